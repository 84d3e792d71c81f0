"""Builds of relative impact, killed around their calibration, and what becomes of it in an index's later life."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from harness import Server, Unbroken, content, every, faults, make_corpus, sampled, strays, swept, versions
from test_kill import killed_build

import nagindex

OPTIONS = {"impact": "relative", "calibrate": 12}
CI_KILLS = 6


@pytest.fixture(scope="module")
def calibrated(place: Path, server: Server, unbroken: Unbroken) -> Unbroken:
    """A build of relative impact of the corpus that the other tests build absolute ones of."""
    index, start = place / "calibrated.nagindex", time.monotonic()
    said = server.finish("build", index, corpus=unbroken.corpus, options=OPTIONS)
    return Unbroken(unbroken.corpus, index, content(index), said["steps"], time.monotonic() - start, OPTIONS)


@pytest.fixture(scope="module")
def trace(place: Path, server: Server, calibrated: Unbroken) -> list[list[str]]:
    """The commit steps of the build, in order."""
    said = server.finish(
        "build", place / "traced calibration.nagindex", corpus=calibrated.corpus, options=OPTIONS, trace=True
    )
    found: list[list[str]] = said["trace"]
    return found


def test_relative_codes_are_others(unbroken: Unbroken, calibrated: Unbroken):
    """Otherwise the tests below would show little."""
    assert calibrated.content.rows == unbroken.content.rows
    assert (calibrated.content.codes != unbroken.content.codes).mean() > 0.5
    assert len(list((calibrated.index / "calibration").iterdir())) == 1
    assert faults(calibrated.index) == []


def test_a_build_killed_around_its_calibration_goes_on_as_if_unbroken(
    server: Server, calibrated: Unbroken, trace: list[list[str]], tmp_path: Path
):
    """Just before and just after each step on the file and its folder; with the same calibration, and nothing left behind."""
    steps = [k for k, step in enumerate(trace, 1) if any("/calibration" in path for path in step[1:])]
    assert {trace[k - 1][0] for k in steps} >= {"mkdir", "create", "fsync", "link"}
    deaths = [(k, after) for k in steps for after in (False, True)]
    assert swept(killed_build, server, calibrated, tmp_path, deaths) == []


def test_a_calibrated_build_killed_at_a_step_goes_on_as_if_unbroken(
    server: Server, calibrated: Unbroken, tmp_path: Path
):
    """Later steps too: what is built after the kill uses the stored means."""
    assert swept(killed_build, server, calibrated, tmp_path, sampled(calibrated.steps, CI_KILLS)) == []


@pytest.mark.slow
def test_a_calibrated_build_killed_at_any_step_goes_on_as_if_unbroken(
    server: Server, calibrated: Unbroken, tmp_path: Path
):
    """The same at every commit step, just before and just after."""
    assert swept(killed_build, server, calibrated, tmp_path, every(calibrated.steps)) == []


def test_a_calibration_is_on_the_disk_before_the_version_that_names_it(trace: list[list[str]]):
    """File and folder are forced before the first manifest is linked, and the file appears whole."""
    links = [(at, Path(step[1]), Path(step[2])) for at, step in enumerate(trace) if step[0] == "link"]
    (at, temporary, target), (first, _, manifest) = links[:2]
    assert (target.parent.name, manifest.parent.name) == ("calibration", "manifests")
    synced = {step[1]: i for i, step in enumerate(trace[:first]) if step[0] == "fsync"}
    made = {step[1]: i for i, step in enumerate(trace[:first]) if step[0] in ("create", "mkdir")}
    assert made[str(temporary)] < synced[str(temporary)] < at < synced[str(target.parent)] < first
    assert synced[str(target.parent.parent)] > made[str(target.parent)]


def test_a_calibration_outlives_all_that_an_index_goes_through(
    server: Server, calibrated: Unbroken, place: Path, tmp_path: Path
):
    """Append, delete, compact and vacuum keep it, every version on the way opens, and a stray one goes."""
    index = tmp_path / "i.nagindex"
    shutil.copytree(calibrated.index, index)
    before = {path.name: path.read_bytes() for path in (index / "calibration").iterdir()}
    np.save(index / "calibration" / f"{'0' * 64}.npy", np.zeros(3, np.float32))
    server.finish("append", index, corpus=make_corpus(place / "calibrated more", seed=1, rows=20, name="more"))
    added = len(content(index).rows)
    assert added > len(calibrated.content.rows)
    server.finish("delete", index, where="row % 5 = 1")
    kept = content(index)
    server.finish("compact", index)
    assert content(index).differences(kept) == []
    assert len(kept.rows) < added
    assert faults(index) == []
    nagindex.open(index).vacuum(grace=0)
    assert len(versions(index)) == 1
    assert strays(index) == []
    assert {path.name: path.read_bytes() for path in (index / "calibration").iterdir()} == before
    assert content(index).differences(kept) == []
