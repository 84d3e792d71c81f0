"""A killed writer loses nothing that was committed, the same command goes on, and readers never notice."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from harness import Death, Server, Unbroken, content, every, faults, sampled, strays, swept, versions
from toll import Toll, kill_at_random

import nagindex
from nagindex.errors import InputNotFoundError

CI_BUILD_KILLS = 12
# ---- builds ----


def killed_build(server: Server, unbroken: Unbroken, folder: Path, death: Death) -> list[str]:
    """Kill a build at a step and go on with it; return what was wrong on the way."""
    index = folder / f"{death[0]}-{death[1]}.nagindex"
    request = {"corpus": unbroken.corpus, "options": unbroken.options}
    outcome = server.run("build", index, die_at=death[0], after=death[1], **request)
    wrong = [] if outcome.killed else [f"not killed: {outcome}"]
    if versions(index):
        wrong += faults(index) + content(index).differences(unbroken.content, prefix=True)
    else:
        with pytest.raises(InputNotFoundError):
            nagindex.open(index)
    server.finish("build", index, **request)
    wrong += faults(index) + content(index).differences(unbroken.content)
    nagindex.open(index).vacuum(grace=0)
    wrong += [f"left behind after a vacuum: {path}" for path in strays(index)]
    shutil.rmtree(index)
    return [f"{death}: {text}" for text in wrong]


def test_the_corpus_makes_several_segments_and_skips_rows(unbroken: Unbroken):
    """Otherwise the tests below would show little."""
    assert len(versions(unbroken.index)) > 5
    assert len({row[3] for row in unbroken.content.skipped}) >= 4
    assert faults(unbroken.index) == []


def test_the_same_build_gives_the_same_documents_and_codes(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Another cut into segments changes neither order nor codes."""
    server.finish("build", tmp_path / "i", corpus=unbroken.corpus, segment_documents=40)
    assert len(versions(tmp_path / "i")) < len(versions(unbroken.index))
    assert content(tmp_path / "i").differences(unbroken.content) == []


def test_a_build_killed_at_a_step_goes_on_as_if_unbroken(server: Server, unbroken: Unbroken, tmp_path: Path):
    """What a killed build committed is a whole prefix; the same command ends with the same documents and codes."""
    assert swept(killed_build, server, unbroken, tmp_path, sampled(unbroken.steps, CI_BUILD_KILLS)) == []


@pytest.mark.slow
def test_a_build_killed_at_any_step_goes_on_as_if_unbroken(server: Server, unbroken: Unbroken, tmp_path: Path):
    """The same at every commit step, just before and just after."""
    assert swept(killed_build, server, unbroken, tmp_path, every(unbroken.steps)) == []


def test_random_kills_lose_nothing_and_readers_never_fail(server: Server, unbroken: Unbroken, tmp_path: Path):
    """Kill -9 from outside, at moments that no step marks, while a reader opens, reads and queries."""
    toll = Toll()
    kill_at_random(
        server,
        unbroken.corpus,
        tmp_path / "kills",
        unbroken.content,
        random.Random(0),
        toll,
        kills=5,
        longest=unbroken.seconds * 0.6,
    )
    assert toll.kills >= 2
    assert not toll.failed, toll
