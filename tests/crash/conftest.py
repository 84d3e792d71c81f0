"""Fixtures of the crash tests: one driver server, one corpus and its unbroken build."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Server, Unbroken, content, make_corpus


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(os.path.realpath(tmp_path_factory.mktemp("crash")))


@pytest.fixture(scope="session")
def server(place: Path) -> Iterator[Server]:
    with Server(place / "model") as started:
        yield started


@pytest.fixture(scope="session")
def unbroken(place: Path, server: Server) -> Unbroken:
    corpus, index = make_corpus(place / "corpus", seed=0, rows=70), place / "unbroken.nagindex"
    server.finish("build", place / "first.nagindex", corpus=corpus)
    start = time.monotonic()
    said = server.finish("build", index, corpus=corpus)
    return Unbroken(corpus, index, content(index), said["steps"], time.monotonic() - start)
