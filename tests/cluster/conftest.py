"""Fixtures of the Ray tests: a cluster of three nodes on this machine, a corpus and its build by one process."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import pytest
from clusters import DOCUMENTS, LIMIT, MORE, Driver, Nodes, command, options, write_corpus


@pytest.fixture
def drive(tmp_path):
    """Return f(*arguments): a started `Driver`; all are ended with the test."""
    started: list[Driver] = []

    def start(*arguments: object, by: Sequence[str] = (), **environment: str) -> Driver:
        started.append(Driver(*arguments, errors=tmp_path / f"stderr-{len(started)}", by=by, **environment))
        return started[-1]

    yield start
    for driver in started:
        driver.kill()


@pytest.fixture(scope="session")
def cluster():
    """A cluster of three nodes on this machine, with a CPU each."""
    with Nodes() as own:
        yield own


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("corpus") / "c", documents=DOCUMENTS, seed=0, prefix="a")


@pytest.fixture(scope="session")
def more(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("more") / "m", documents=MORE, seed=1, prefix="b")


@pytest.fixture(scope="session")
def alone(corpus, tmp_path_factory):
    """The index that one process builds without Ray."""
    index = tmp_path_factory.mktemp("alone") / "alone.nagindex"
    subprocess.run(command("build", corpus, *options(index)), check=True, capture_output=True, timeout=LIMIT)
    return index
