"""How a corpus is shared out on a Ray cluster, and what does not work there: known without Ray or a cluster."""

import sys
import types

import pytest

import nagindex
from nagindex.cluster import connection
from nagindex.cluster.connection import Slots, slots_of
from nagindex.cluster.ingest import _Display, count_shards
from nagindex.cluster.worker import Board
from nagindex.corpus.sources import Source
from nagindex.progress import Progress, reporting


@pytest.fixture
def with_ray(monkeypatch):
    """Ray counts as installed."""
    monkeypatch.setattr(connection, "find_spec", lambda name: sys.__spec__)


def nodes(*resources):
    return [{"Alive": True, "Resources": own} for own in resources]


def sources(tmp_path, count, size):
    return [Source(f"{n}.jsonl", tmp_path / f"{n}.jsonl", "jsonl", "none", size) for n in range(count)]


def state(done, total, *, known=0, tokens=0, committed=0):
    return Progress("encoding documents", done, total, "documents", known, tokens, committed)


def test_a_worker_takes_a_gpu_where_there_are_any_else_the_cpus_of_the_smallest_node():
    gpus = nodes({"CPU": 64, "GPU": 8}, {"CPU": 4}, {"CPU": 64, "GPU": 4})
    assert slots_of(gpus, "auto") == Slots(1, 1, 12)
    assert slots_of(gpus, "cpu") == Slots(0, 4, 33)
    assert slots_of(nodes({"CPU": 64}), "auto") == Slots(0, 8, 8)
    assert slots_of([{"Alive": False, "Resources": {"GPU": 8}}, *nodes({"CPU": 2}, {})], "auto") == Slots(0, 2, 1)


def test_an_autoscaler_may_bring_the_first_node():
    assert slots_of(nodes({"memory": 1}), "auto") == Slots(0, 1, 1)
    assert slots_of(nodes({"CPU": 4}), "cuda") == Slots(1, 1, 1)


def test_there_are_more_shards_than_workers_but_none_of_a_few_lines(tmp_path):
    assert count_shards(sources(tmp_path, 1, 1000), 64) == 1
    assert count_shards(sources(tmp_path, 2, 1 << 30), 4) == 8  # shards share the two files
    assert count_shards(sources(tmp_path, 800, 64 << 20), 4) == 100  # each has eight files of its own
    assert count_shards(sources(tmp_path, 20_000, 64 << 20), 4) == 1000


@pytest.mark.parametrize("share_files", [False, True])
def test_a_shard_that_is_begun_anew_does_not_set_the_display_back(share_files):
    shown = []
    display = _Display(2, share_files=share_files)
    with reporting(shown.append):
        display({0: state(30, 100, known=10, tokens=20)})
        display({0: state(60, 100, known=10, tokens=50, committed=20)})
        display({0: Progress("reading the corpus", 0, 1, "")})
        display({0: state(35, 100, known=30, tokens=5)})
        display({0: state(100, 100, known=30, tokens=70), 1: state(100, 100, known=30, tokens=70)})
    assert [own.done for own in shown] == sorted(own.done for own in shown)
    assert {own.known for own in shown} == ({10} if share_files else {10, 40})
    assert shown[-1].done == shown[-1].total


def test_the_board_tells_parts_to_stop_and_knows_those_begun_twice():
    board = Board()
    board.reset()
    assert not board.begin(0)
    assert not board.update(0, state(1, 2))
    assert not board.repeated()
    board.stop()
    assert board.begin(0)
    assert board.update(0, state(2, 2))
    assert board.repeated()
    assert board.states() == {0: state(2, 2)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ray": "corpus/"}, "no address of a cluster"),
        ({"ray": "auto", "shard": nagindex.Shard(0, 2)}, "`shard`"),
        ({"ray": "auto", "device": "cuda:0,cuda:1"}, "`device`: cuda:0,cuda:1"),
    ],
)
def test_what_cannot_work_on_a_cluster_is_said_before_anything_is_read(with_ray, tmp_path, options, message):
    with pytest.raises(nagindex.BadInputError, match=message):
        nagindex.build(tmp_path / "missing", tmp_path / "i", **options)


def test_a_model_of_this_process_does_not_work_on_a_cluster(with_ray, tiny_backbone, tmp_path):
    with pytest.raises(nagindex.BadInputError, match="each worker of a cluster loads its own"):
        nagindex.build(tmp_path / "missing", tmp_path / "i", backbone=tiny_backbone, ray="auto")


def test_without_ray_the_error_names_the_install_command(monkeypatch, make_index, tmp_path):
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    index = make_index([("a", "a text")])
    for run in (
        lambda: index.append(tmp_path, ray="local"),
        lambda: nagindex.build(tmp_path, tmp_path / "i", ray="local"),
    ):
        with pytest.raises(nagindex.MissingDependencyError, match=r"pip install 'nagindex\[ray\]'"):
            run()


def test_the_command_line_refuses_options_of_one_machine(tmp_path):
    from click.testing import CliRunner
    from nagindex.cli import main

    for arguments in (["build", "c", "--shard", "0/2"], ["build", "c", "--dry-run"], ["append", "c", "--check"]):
        done = CliRunner().invoke(main, [*arguments, "-i", str(tmp_path / "i"), "--ray", "local"])
        assert done.exit_code == 2
        assert f"Error: {arguments[2]} does not work with --ray" in done.output


def test_a_board_that_was_made_again_has_not_seen_what_was_begun_before():
    """Its node was lost."""
    board = Board()
    board.begin(1)
    assert board.repeated()


@pytest.fixture
def ray(monkeypatch, with_ray):
    """A library of the name that connects to no cluster; `calls` are what it was asked for."""
    library = types.ModuleType("ray")
    library.calls = []
    library.is_initialized = lambda: [name for name, *_ in library.calls][-1:] == ["init"]
    library.init = lambda address, **options: library.calls.append(("init", address))
    library.shutdown = lambda: library.calls.append(("shutdown",))
    library.get_runtime_context = lambda: types.SimpleNamespace(gcs_address="10.0.0.1:6379")
    library._private = types.SimpleNamespace(worker=types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ray", library)
    monkeypatch.setattr(connection, "_require_answer", lambda address: None)
    return library


@pytest.mark.parametrize("address", ["local", "head:6379", "auto"])
def test_a_connection_that_is_held_serves_all_calls_with_its_address(ray, monkeypatch, address):
    """Ray itself names a cluster otherwise than the user does."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with nagindex.connected(address):
        for own in (address, "auto", "10.0.0.1:6379"):
            with connection.connected(own):
                assert ray.calls == [("init", address)]
        with pytest.raises(nagindex.BadInputError, match=r"at 10\.0\.0\.1:6379 already"):
            connection.connected("other:1").__enter__()
    assert ray.calls == [("init", address), ("shutdown",)]
    with nagindex.connected(address):
        pass
    assert len(ray.calls) == 4


def test_a_connection_of_the_program_stays(ray):
    ray.init("elsewhere")
    with nagindex.connected("auto"):
        pass
    assert ray.is_initialized()
    with pytest.raises(nagindex.BadInputError, match="already"):
        nagindex.connected("local").__enter__()
