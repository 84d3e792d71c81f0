"""Child processes: what their generators yield and raise arrives, and none of them outlives its use."""

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import child_functions
import pytest
from children import SOON, child, gone, interrupt_when, nothing_left, until  # noqa: F401 - nothing_left is a fixture

from nagindex import errors
from nagindex.workers.parent import Child, merged

HERE = str(Path(__file__).parent)
OWN_ERRORS = [
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.NagIndexError)
]


def test_items_arrive_in_order():
    assert list(child("count", 1000)) == list(range(1000))


def test_an_empty_generator_ends():
    assert list(child("count", 0)) == []


def test_a_second_iteration_finds_nothing():
    one = child("count", 3)
    assert [list(one), list(one), one.close()] == [[0, 1, 2], [], []]


def test_large_items_and_arguments_arrive_whole():
    blob = bytes(range(256)) * 80_000
    with Child("builtins:iter", [blob, blob[::-1]]) as large:
        assert list(large) == [blob, blob[::-1]]


def test_a_child_runs_only_a_few_items_ahead(tmp_path):
    counter = tmp_path / "counter"
    with child("counting_in", counter, 1 << 20, ahead=2) as ahead:
        for number, _ in ahead:
            assert int(counter.read_text() or 0) <= number + 2 + 3  # taken, being read, being written
            if number == 20:
                break


def test_no_item_is_read_further_ahead_than_asked_for():
    with pytest.raises(errors.BadInputError, match="`ahead` 1 or more"):
        child("count", 1, ahead=0)


@pytest.mark.parametrize("name", OWN_ERRORS)
def test_own_errors_are_pickled_whole(name):
    error = errors.DamagedIndexError("p", "short") if name == "DamagedIndexError" else getattr(errors, name)("a text")
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__notes__) == (type(error), str(error), ["a note"])


@pytest.mark.parametrize("name", [*OWN_ERRORS, "ValueError", "FileNotFoundError", "KeyboardInterrupt", "SystemExit"])
def test_an_error_arrives_as_it_is_after_the_items_before_it(name):
    expected = child_functions.RAISED.get(name, lambda: getattr(errors, name)(f"{name} of a child"))()
    items = []
    with pytest.raises(type(expected)) as raised:
        items.extend(child("raising", name))  # extend keeps what came before the error
    assert items == [1, 2]
    assert (type(raised.value), str(raised.value)) == (type(expected), str(expected))
    assert "child_functions.py" in raised.value.__notes__[0]


@pytest.mark.parametrize(("name", "text"), [("LocalError", "1 and 2"), ("StatefulError", "a text")])
def test_an_error_that_cannot_be_pickled_keeps_its_text(name, text):
    with pytest.raises(errors.NagIndexError) as raised:
        list(child("raising", name))
    assert (type(raised.value), str(raised.value)) == (errors.NagIndexError, text)


def test_an_item_that_cannot_be_pickled_is_an_error():
    with pytest.raises((AttributeError, pickle.PicklingError), match="pickle"):
        list(child("unpicklable"))


def test_a_function_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="missing"):
        list(child("missing"))
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        list(Child("no_such_module:count"))


def test_prints_go_to_stderr(capfd):
    assert list(child("printing", 3)) == [0, 1, 2]
    out, err = capfd.readouterr()
    assert not out
    assert all(text in err for text in ("raw text", "a print 2", "a program", "an error line"))


def test_a_killed_child_is_an_error_even_while_a_grandchild_lives():
    with pytest.raises(errors.NagIndexError, match="was killed by signal 9"):
        list(child("dying", signal.SIGKILL))


def test_a_child_stopped_by_another_is_an_error():
    with pytest.raises(errors.NagIndexError, match="was killed by signal 15"):
        list(child("dying", signal.SIGTERM))


def test_a_child_that_leaves_is_an_error():
    with pytest.raises(errors.NagIndexError, match="ended early with exit code 3"):
        list(child("leaving", 3))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_and_a_child_have_children():
    ours = child("endless")
    items = iter(ours)
    assert next(items) == 0
    if (pid := os.fork()) == 0:
        status = 1
        try:
            signal.alarm(SOON)
            ok = list(child("count", 5)) == list(range(5))
            ours.close()  # a copy, which must leave the child alone
            status = 0 if ok else 2
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert [next(items) for _ in range(100)] == list(range(1, 101))
    ours.close()


def test_a_thread_has_children():
    found = []
    thread = threading.Thread(target=lambda: found.extend(child("count", 5)))
    thread.start()
    thread.join(SOON)
    assert found == list(range(5))


def test_a_child_sees_the_environment_the_path_and_no_main():
    [(value, main, path)] = child("environment", "OF_THE_TEST", environment={"OF_THE_TEST": "1"})
    assert (value, main, path) == ("1", None, sys.path)


def test_merged_yields_all_of_all():
    came = list(merged([child("count", n) for n in (5, 0, 200)]))
    assert [[item for number, item in came if number == i] for i in range(3)] == [
        list(range(5)),
        [],
        list(range(200)),
    ]


def test_merged_waits_for_none_in_particular(tmp_path):
    pairs = merged([child("publishing", tmp_path / "out", 1, tmp_path / "started"), child("count", 50)])
    came = [next(pairs) for _ in range(51)]
    assert sorted(came) == [(0, 0), *((1, i) for i in range(50))]
    pairs.close()
    assert (tmp_path / "out").read_text() == "published"


def test_merged_stops_the_others_before_an_error_goes_on(tmp_path):
    with pytest.raises(errors.DamagedIndexError, match="too short"):
        for _ in merged([child("endless", tmp_path / "out", 1000), child("raising", "DamagedIndexError")]):
            pass
    # A child still starting when the error comes has nothing to finish.
    assert not (tmp_path / "out").exists() or (tmp_path / "out").read_text() == "stopped"


def test_many_children_leave_nothing():
    for _ in range(10):
        assert list(child("count", 2)) == [0, 1]
