"""Every byte of an index is checked: a fault in any of its files is told by `verify`, and no answer is ever wrong for it.

The faults are those of benchmarks/reliability.py, of which its table is made, in a smaller number.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
RIGHT = {"scan": [["a"], [1.0]], "graph": [["a"], [1.0]]}
EARLIER = {name: [["b"], [1.0]] for name in RIGHT}


@pytest.fixture
def reliability():
    """The script, as a module."""
    return importlib.import_module("benchmarks.reliability")


def kind_of(reliability, name):
    return next(kind for kind in reliability.KINDS if kind.name == name)


def test_a_fault_in_any_file_is_told_and_no_answer_is_wrong(tmp_path):
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.reliability", "--least", "--json", figures]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    found = json.loads(figures.read_text())
    assert found["broken"] == [], done.stderr
    assert done.returncode == 0, done.stderr
    totals = found["totals"]
    assert len(totals) == 17
    for name, total in totals.items():
        assert total["faults"] >= 4, name
        assert total.get("wrong", 0) == total.get("crashes", 0) == 0, name
        assert total.get("detected", 0) == total.get("detectable", 0), name
    least = {
        "version hint": 3,
        "saved targets": 0,
    }  # there is one hint, so it cannot be exchanged, and older indexes have none
    assert all(totals[name].get("detectable", 0) >= least.get(name, 4) for name in totals)
    assert all(totals[name]["opening"] >= 3 for name in ("nags.npy", "docs.parquet", "deleted-*.npy", "calibration"))
    assert all(totals[name]["repaired"] >= 3 for name in totals if totals[name].get("repairs"))
    assert sum("repaired" in total for total in totals.values()) == 6


SOUND = {"verify": ["/i/x: damaged"], "opening": None, "answers": RIGHT, "warnings": ["not used: x"], "crashes": []}
BROKEN = [
    ("nags.npy", {"answers": RIGHT | {"scan": [["b"], [1.0]]}}, "wrong"),
    ("manifest, older", {"answers": EARLIER}, "wrong"),
    ("nags.npy", {"crashes": ["Traceback"]}, "crashes"),
    ("nags.npy", {"verify": ["/i/y: damaged"]}, "untold"),
    ("nags.npy", {"opening": None}, "unseen"),
    ("basis.npy", {"warnings": []}, "silent"),
    ("basis.npy", {"answers": RIGHT | {"scan": {"refused": "no"}}}, "in the way"),
    ("basis.npy", {"repaired": {"refused": "no"}}, "unrepaired"),
    ("basis.npy", {"repaired": {"verify": ["x"], "warnings": [], "answers": RIGHT}}, "unrepaired"),
    ("basis.npy", {"repaired": {"verify": [], "warnings": ["not used"], "answers": RIGHT}}, "unrepaired"),
    ("basis.npy", {"repaired": {"verify": [], "warnings": [], "answers": EARLIER}}, "unrepaired"),
]


@pytest.mark.parametrize(("name", "changes", "promise"), BROKEN)
def test_a_broken_promise_is_counted(reliability, name, changes, promise):
    """Otherwise zeros in the table would say nothing."""
    fault = reliability.Fault("bit 7", {}, (Path("/i/x"),), opening=promise == "unseen")
    found = reliability.judge(kind_of(reliability, name), fault, SOUND | changes, RIGHT, EARLIER)
    assert [each for each in reliability.BROKEN if found[each]] == [promise]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nags.npy", {}),
        ("nags.npy", {"answers": {mode: {"refused": "no"} for mode in RIGHT}}),
        ("nags.npy", {"answers": {}, "opening": "/i/x: damaged"}),
        ("basis.npy", {"answers": RIGHT | {"graph": {"refused": "no"}}}),
        ("basis.npy", {"repaired": {"verify": [], "warnings": [], "answers": RIGHT}}),
    ],
)
def test_a_right_answer_or_a_refusal_breaks_none(reliability, name, changes):
    fault = reliability.Fault("bit 7", {}, (Path("/i/x"),), opening=False)
    found = reliability.judge(kind_of(reliability, name), fault, SOUND | changes, RIGHT, EARLIER)
    assert not any(found[each] for each in reliability.BROKEN)


def test_an_index_that_lost_its_newest_manifest_is_the_version_before(reliability):
    """`verify` names it, and every answer is that of the version before."""
    fault = reliability.Fault("removed", {}, (Path("/i/x"),), opening=False)
    kind = kind_of(reliability, "manifest, current")
    for answers, wrong in ((EARLIER, 0), (RIGHT, 2)):
        said = SOUND | {"answers": answers}
        assert reliability.judge(kind, fault, said, RIGHT, EARLIER)["wrong"] == wrong
    assert reliability.judge(kind, fault, SOUND | {"verify": [], "answers": EARLIER}, RIGHT, EARLIER)["untold"]
