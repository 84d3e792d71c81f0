"""Tasks on a Ray cluster: their ends, and folders of parts that they write whatever happens to nodes."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clusters import LIMIT

import nagindex

RAY = importlib.util.find_spec("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(RAY is None or RAY.origin is None, reason="needs the extra ray"),
]
DOCUMENTS, SELECTED = 150_000, 120_000


def script(name, *arguments):
    return [sys.executable, str(Path(__file__).with_name(name)), *map(str, arguments)]


def test_answers_come_in_the_order_that_is_asked_for_and_a_failure_ends_the_others(cluster):
    done = subprocess.run(script("tasks_end.py", cluster.address), capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "division" in done.stdout


def test_a_node_that_is_lost_takes_no_row_of_a_selection_along(cluster, write_index, random_codes, tmp_path):
    """It held looked-up rows, which a part on another node then misses: they are looked up again, and the parts are the same."""
    rng = np.random.default_rng(0)
    codes = random_codes(rng, 2000, 2, 2, 16)[rng.integers(0, 2000, DOCUMENTS)]
    ids = [f"{number:06d}" for number in rng.permutation(DOCUMENTS)]
    cuts = range(20_000, DOCUMENTS, 20_000)
    index = write_index(tmp_path / "i", codes, ids, rng.integers(0, 60, DOCUMENTS), width=16, cuts=cuts)
    arguments = script("write_parts.py", index.path, SELECTED, f"{tmp_path}/parts/", cluster.address)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(arguments, text=True, **pipes) as driver:
        assert driver.stdout.readline().strip() == "looked up", driver.stderr.read()[-3000:]
        cluster.lose()
        out, errors = driver.communicate("go\n", timeout=LIMIT)
    cluster.join()
    assert driver.returncode == 0, errors[-3000:]
    whole = index.query({"a": np.asarray(index.codes[0][:5])}, n=SELECTED)
    whole.to_parquet(tmp_path / "whole.parquet")
    assert json.loads(out) == dataclasses.asdict(whole.totals())
    assert pq.read_table(tmp_path / "parts").equals(pq.read_table(tmp_path / "whole.parquet"))
    assert sorted(path.name for path in tmp_path.glob("*parts*")) == ["parts"]
    assert nagindex.settings_of(tmp_path / "parts") == whole.settings
