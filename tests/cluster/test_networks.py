"""Nodes whose network is cut: a worker's or the driver's. The index becomes what one process makes of the corpus."""

import importlib.util

import pytest
from clusters import DOCUMENTS, DUPLICATES, LIMIT, content, options, skipped
from networks import DRIVER, ENVIRONMENT, WORKER, Network, reason_against

from nagindex.storage.manifest import read_latest, versions

RAY = importlib.util.find_spec("ray")
REASON = "needs the extra ray" if RAY is None or RAY.origin is None else reason_against()
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture
def network(tmp_path):
    """A head, a worker and a driver's node, each in a network namespace of its own."""
    with Network(tmp_path) as own:
        yield own


def committed(index):
    """Return how many documents an index holds, 0 before there is one."""
    return read_latest(index).documents if versions(index) else 0


def test_a_worker_that_is_cut_off_takes_no_document_along_and_adds_none_twice(network, corpus, alone, drive, tmp_path):
    """It goes on for a while, and sees the files of the index all the time; its shard is encoded elsewhere, too."""
    index = tmp_path / "i.nagindex"
    arguments = ["build", corpus, *options(index), "--ray", network.address]
    driver = drive(*arguments, by=network.inside(DRIVER), **ENVIRONMENT)
    driver.wait_until(lambda: committed(index) > 0)
    network.cut(WORKER)
    report = driver.finish()
    assert (report["documents"], report["skipped"]) == (DOCUMENTS, {"duplicate id": DUPLICATES})
    assert (content(index), skipped(index)) == (content(alone), skipped(alone))
    network.join(WORKER)
    again = drive(*arguments, by=network.inside(DRIVER), **ENVIRONMENT).finish()
    assert again["documents"] == 0
    assert (content(index), skipped(index)) == (content(alone), skipped(alone))


def test_a_driver_that_is_cut_off_is_run_again_and_goes_on(network, corpus, alone, drive, tmp_path):
    """It ends by itself, its workers end once Ray has missed its node, and what they committed is not encoded again."""
    index = tmp_path / "i.nagindex"
    arguments = ["build", corpus, *options(index), "--ray", network.address]
    driver = drive(*arguments, by=network.inside(DRIVER), **ENVIRONMENT)
    driver.wait_until(
        lambda: any(own["stage"] == "encoding documents" and own["done"] > 2048 for own in driver.progress())
    )
    network.cut(DRIVER)
    assert committed(index) < DOCUMENTS
    assert driver.process.wait(timeout=LIMIT) != 0
    network.join(DRIVER)
    network.start_node(DRIVER)
    before = committed(index)
    report = drive(*arguments, by=network.inside(DRIVER), **ENVIRONMENT).finish()
    assert report["documents"] <= DOCUMENTS - before + DUPLICATES
    assert (content(index), skipped(index)) == (content(alone), skipped(alone))
