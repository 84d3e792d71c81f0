"""A query of a small index starts quickly: it loads no library that it does not use, and compiled loops are kept between processes."""

import os
import subprocess
import sys

import numpy as np
import pytest

from nagindex.search import plain
from nagindex.search.scan import neuron_counter
from nagindex.search.scorers import scorer_of
from nagindex.search.view import View
from nagindex.targets.saved import TargetSet, write_nags

UNUSED = (
    "torch", "transformers", "tokenizers", "numba", "llvmlite", "scipy", "usearch", "pyarrow", "pandas", "polars", "ray", "jinja2",
    "tqdm", "yaml", "obstore", "lm_eval", "sklearn", "matplotlib", "numpy.f2py", "numpy.testing", "multiprocessing",
)  # fmt: skip
QUERY = """
import sys
sys.argv = ["nagindex", "query", "saved.parquet", "-i", "small.nagindex", "-n", "3", "-o", "best.parquet", *{options}]
from nagindex.cli import main
main(standalone_mode=False)
print("loaded:", *[name for name in {unused} if name in sys.modules])
"""
LOOP = """
import os
import numpy as np
from numba.core import caching

def refuse(self):
    raise OSError("read-only")

for name in {refused}:
    locator = getattr(caching, name, None) or getattr(caching, "_" + name)  # which older versions of numba have
    locator.ensure_cache_path = refuse
from nagindex.search import kernels

counts = np.zeros((1, 4), np.int64)
kernels.count(np.array([[1, 3]], np.uint16), np.zeros(1, np.int64), 2, np.ones(1, bool), counts)
print(counts.tolist(), sum(kernels.count.stats.cache_hits.values()))
"""


@pytest.fixture
def folder(tmp_path, write_index, random_codes):
    """A folder with the index small.nagindex of 30 documents, and saved.parquet, the NAGs of some examples."""
    codes = random_codes(np.random.default_rng(0), 40, 3, 4, 64)
    index = write_index(
        tmp_path / "small.nagindex", codes[:30], [f"d{i}" for i in range(30)], range(30), width=64, cuts=(7,)
    )
    target = TargetSet(codes[30:], [str(i) for i in range(10)], [])
    write_nags(tmp_path / "saved.parquet", [target], index.manifest.fingerprint)
    return tmp_path


def run(program, folder, **environment):
    """Return what a program prints last, run in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].strip()


@pytest.mark.parametrize("options", [[], ["--weights", "log-ratio"]], ids=["frequency", "log-ratio"])
def test_a_query_of_a_small_index_loads_no_library_that_it_does_not_use(folder, options):
    assert run(QUERY.format(options=options, unused=UNUSED), folder) == "loaded:"


def test_the_list_of_unused_libraries_can_fail(folder):
    """By its nearest examples a query needs a compiled loop."""
    loaded = run(QUERY.format(options=["--score", "top:2"], unused=UNUSED), folder)
    assert "numba" in loaded.split()


@pytest.mark.parametrize("targets", [1, 4])
def test_loops_for_few_codes_give_the_integers_of_the_compiled_ones(random_codes, targets):
    """With damaged codes too, and for layers and neurons that a view leaves out."""
    from nagindex.nag import NagSpec
    from nagindex.search.profile import Profile

    rng = np.random.default_rng(1)
    spec = NagSpec("up", (40, 64, 50), 5)
    codes = random_codes(rng, 700, 3, 5, 40)
    codes[3, 2, 1] = 65535
    flat = codes.reshape(700, -1)
    for view in (View.of(spec), View.of(spec, "0,2", 3)):
        shape = (view.spec.layers, max(view.spec.widths))
        profiles = [Profile(rng.integers(-9, 1 << 20, shape), 1, view.spec) for _ in range(targets)]
        few, many = np.empty((2, targets, 700), np.int64)
        scorer_of(profiles, view, documents=len(flat))(flat, few)
        scorer_of(profiles, view)(flat, many)
        valid = [i for i in range(700) if i != 3] if targets > 1 else range(700)  # packed sums have another zero
        assert few[:, valid].tolist() == many[:, valid].tolist()
        alive = rng.random(700) < 0.9
        counts = np.zeros((2, *shape), np.int64)
        for size, own in zip((1, plain.FEW + 1), counts, strict=True):
            neuron_counter(size, view)(flat, view.columns, view.top_k, alive, own)
        assert counts[0].tolist() == counts[1].tolist()


@pytest.mark.parametrize(
    ("refused", "kept"), [(["InTreeCacheLocator"], True), (["InTreeCacheLocator", "UserWideCacheLocator"], False)]
)
def test_compiled_loops_are_kept_in_the_users_cache_where_the_package_is_read_only(tmp_path, refused, kept):
    """Where the user has no cache either, they are compiled each time."""
    program = LOOP.format(refused=refused)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_CACHE_DIR": ""}
    assert run(program, tmp_path, **home) == "[[0, 1, 0, 1]] 0"
    assert run(program, tmp_path, **home) == f"[[0, 1, 0, 1]] {int(kept)}"
    assert any((tmp_path / "cache").rglob("*.nbc")) == kept


def test_compiled_loops_are_kept_where_the_variable_says(tmp_path):
    """NUMBA_CACHE_DIR goes before both."""
    program = LOOP.format(refused=[])
    run(program, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own"))
    assert run(program, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own")) == "[[0, 1, 0, 1]] 1"
    assert any((tmp_path / "own").rglob("*.nbc"))
