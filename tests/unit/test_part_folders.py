"""A selection is written as a folder of Parquet parts, whole or not at all, and read again as its file would be."""

import json
import shutil

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from cluster_tasks import Here, many_segments, run_here
from nagindex.cli import main

import nagindex
from nagindex.query import parts, remote, remote_rows, rows, selection
from nagindex.search import scan

QUESTIONS = {
    "documents": {"n": 200},
    "all": {"n": 1000},
    "one": {"n": 1},
    "tokens": {"tokens": 6000},
    "min score": {"min_score": 0.2},
    "quality": {"n": 150, "quality": nagindex.Quality("worth")},
    "dedup": {"n": 25, "dedup": 0.9},
    "log-ratio": {"n": 150, "weights": "log-ratio"},
    **{f"several, {mix}": {"n": 160, "mix": mix} for mix in ("union", "merge", "distinct", "max")},
    "several, tokens": {"tokens": 4000, "mix": "merge", "target_weights": {"a": 0.7}},
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory, write_index, random_codes):
    """An index of eight segments with texts, one of them empty, with deleted documents; its targets."""
    index, targets, _ = many_segments(tmp_path_factory.mktemp("pool"), write_index, random_codes, with_texts=True)
    return index, targets


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of few documents, and tasks that look up few."""
    monkeypatch.setattr(remote_rows, "ROWS", 64)
    monkeypatch.setattr(remote_rows, "ROWS_WITH_TEXTS", 64)
    monkeypatch.setattr(rows, "ROWS_PER_PART", 32)
    monkeypatch.setattr(selection, "ROWS_PER_PART", 32)
    monkeypatch.setattr(scan, "ROWS_PER_TASK", 16)


@pytest.fixture
def cluster(monkeypatch):
    """`ray=` has tasks run in this process, on a cluster with room for two at a time."""
    run_here(monkeypatch, remote, remote_rows)


def asked(question, targets):
    return targets if "mix" in question else targets["a"]


def read(folder):
    """Return the rows of a folder's parts, one part after the other."""
    parts = sorted(folder.glob("part-*.parquet"))
    assert {path.name for path in folder.iterdir()} == {path.name for path in parts} | {"_metadata"}
    return pyarrow.concat_tables([pq.read_table(path) for path in parts])


@pytest.mark.parametrize("with_text", [False, True], ids=["", "texts"])
@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_parts_have_the_rows_of_the_file_in_its_order(pool, small_parts, cluster, tmp_path, question, with_text):
    """Written by this process or by tasks; and the totals that tasks add up are those of the rows."""
    index, targets = pool
    whole = index.query(asked(question, targets), **question)
    whole.to_parquet(tmp_path / "whole.parquet", with_text=with_text)
    whole.to_parquet(f"{tmp_path}/here/", with_text=with_text)
    by_tasks = index.query(asked(question, targets), **question, ray="local")
    Here.started.clear()
    by_tasks.to_parquet(f"{tmp_path}/there/", with_text=with_text)
    assert "_table" not in vars(by_tasks)  # no row was looked up by the caller
    assert {name.rpartition(":")[2] for name, _ in Here.started} == {"look_up", "write_sorted"}
    assert by_tasks.totals() == whole.totals()
    expected = pq.read_table(tmp_path / "whole.parquet")
    for name in ("here", "there"):
        found = read(tmp_path / name)
        assert found.schema == expected.schema
        assert found.equals(expected)
        whole_of_parts = pyarrow.dataset.parquet_dataset(tmp_path / name / "_metadata").to_table()
        assert whole_of_parts.equals(expected)
        assert nagindex.settings_of(tmp_path / name) == nagindex.settings_of(tmp_path / "whole.parquet")
    if len(whole) > 64:
        assert len(list((tmp_path / "here").iterdir())) > 2
        assert len(list((tmp_path / "there").iterdir())) > 2


@pytest.mark.parametrize("with_text", [False, True], ids=["", "texts"])
def test_tasks_that_look_rows_up_are_large_however_many_there_is_room_for(
    pool, cluster, tmp_path, monkeypatch, with_text
):
    """As are the pieces that they leave: those below 100 kB would go through the command."""
    index, targets = pool
    monkeypatch.setattr(Here, "slots_there", 64)

    def documents_of_tasks():
        Here.started.clear()
        index.query(targets["a"], n=390, ray="local").to_parquet(f"{tmp_path}/s/", with_text=with_text)
        shutil.rmtree(tmp_path / "s")
        return [given[1] for name, given in Here.started if name.endswith(":look_up")]

    assert [len(own.positions) for own in documents_of_tasks()] == [390]
    monkeypatch.setattr(remote_rows, "ROWS_WITH_TEXTS" if with_text else "ROWS", 640)
    assert [len(own.positions) for own in documents_of_tasks()] == [97, 98, 97, 98]
    monkeypatch.setattr(rows, "ROWS_PER_PART", 24)
    tasks = documents_of_tasks()
    assert len(tasks) < 5
    assert all(len(own.positions) >= 10 * len(own.sizes()) for own in tasks)


def test_totals_are_the_callers_own(pool, cluster, tmp_path):
    """What is done to them changes no later answer; documents that several targets have are counted once as distinct."""
    index, targets = pool
    selection = index.query(targets, n=160, mix="merge")
    totals = selection.totals()
    assert isinstance(totals, nagindex.Totals)
    assert totals.documents == sum(own.documents for own in totals.targets.values()) == 160
    assert totals.distinct == len(set(selection.ids)) < 160
    totals.targets.clear()
    assert set(selection.totals().targets) == {"a", "b", "c"}
    single = index.query(targets["a"], n=20)
    tokens, scores = single.tokens, single.scores
    assert single.totals() == nagindex.Totals(20, tokens.sum(), scores.max(), scores.min(), 20, {})


def test_what_reads_a_selection_reads_a_folder_as_it_reads_the_file(pool, small_parts, tmp_path, monkeypatch):
    index, targets = pool
    monkeypatch.chdir(tmp_path)
    index.save_targets(index.encode(targets), "t.parquet")
    chosen = index.query("t.parquet", n=90, mix="merge")
    for path in ("file.parquet", "folder/"):
        chosen.write(path)
    places = ("file.parquet", "folder")
    for options in ({}, {"ranks": (5, 30)}, {"last": 3}, {"sample": 9}, {"targets": ["b"]}):
        one, other = (nagindex.selected_documents(place, **options) for place in places)
        assert one == other
        assert one.rows
    for of in (
        lambda place: index.selection(place).to_arrow(),
        lambda place: index.compare(place, "file.parquet").to_json(),
        lambda place: index.near_misses(place, n=4),
        lambda place: index.query(targets["a"], n=10, exclude=place).to_arrow(),
        lambda place: index.changes_since(nagindex.settings_of(place)),
        lambda place: [row["id"] for row in index.selection(place)],
    ):
        assert of(places[0]) == of(places[1])
    commands = [
        ["show", "{}", "--rank", "1-5", "--json"],
        ["show", "{}", "--around-cut", "2"],
        ["query", "--config", "{}", "-o", "again.parquet", "--config-strict"],
        ["compare", "{}", "file.parquet", "-i", str(index.path)],
        ["report", "{}", "-o", "page.html", "--map", "0"],
    ]
    for command in commands:
        said = []
        for place in places:
            done = CliRunner().invoke(main, [part.format(place) for part in command])
            assert done.exit_code == 0, done.output
            said.append(done.stdout.replace(place, ""))
        assert said[0] == said[1]
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "file.parquet").read_bytes()


def test_a_part_that_is_gone_is_missed(pool, small_parts, tmp_path):
    index, targets = pool
    index.query(targets["a"], n=200).to_parquet(f"{tmp_path}/s/")
    (tmp_path / "s" / "part-00001.parquet").unlink()
    readings = (
        *(nagindex.selected_documents, index.selection),
        lambda path: index.compare(path, path),
        lambda path: index.query(targets["a"], n=9, exclude=path),
    )
    for reading in readings:
        with pytest.raises(nagindex.BadInputError, match=r"its parts have \d+ rows, and _metadata states 200"):
            reading(tmp_path / "s")
    (tmp_path / "s" / "part-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        nagindex.BadInputError, match=r"not readable as a folder of Parquet parts \(.*part-00001\.parquet"
    ):
        index.selection(tmp_path / "s")
    (tmp_path / "s" / "_metadata").unlink()
    for reading in (nagindex.selected_documents, index.selection, nagindex.settings_of):
        with pytest.raises(nagindex.InputNotFoundError, match="s: a folder without _metadata"):
            reading(tmp_path / "s")


@pytest.mark.parametrize("ray", [None, "local"])
def test_a_folder_appears_whole_or_not_at_all(pool, small_parts, cluster, tmp_path, monkeypatch, ray):
    index, targets = pool
    chosen, folder = index.query(targets["a"], n=100, ray=ray), tmp_path / "s"
    with monkeypatch.context() as patch:
        patch.setattr(parts, "part_name", lambda number: 1 // 0 if number else "part-00000.parquet")
        with pytest.raises(ZeroDivisionError):
            chosen.to_parquet(f"{folder}/")
    assert not list(tmp_path.iterdir())
    folder.mkdir(mode=0o2770)  # an empty one is as good as none, and keeps its mode
    folder.chmod(0o2770)
    chosen.to_parquet(f"{folder}/")
    assert read(folder).num_rows == 100
    assert folder.stat().st_mode & 0o7777 == 0o2770
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_the_folder_of_another_writer_is_left_as_it_is(pool, tmp_path, monkeypatch):
    """Both began where nothing was."""
    index, targets = pool
    chosen = index.query(targets["a"], n=9)
    write = parts.write_metadata

    def overtaken(*given):
        write(*given)
        (tmp_path / "s").mkdir()
        (tmp_path / "s" / "_metadata").write_text("theirs")

    monkeypatch.setattr(parts, "write_metadata", overtaken)
    with pytest.raises(nagindex.BadInputError, match=r"s: holds _metadata; name a new folder"):
        chosen.write(f"{tmp_path}/s/")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    assert (tmp_path / "s" / "_metadata").read_text() == "theirs"


def test_nothing_that_is_there_is_replaced(pool, tmp_path, monkeypatch):
    index, targets = pool
    monkeypatch.chdir(tmp_path)
    chosen = index.query(targets["a"], n=9)
    for name in ("data", "seen"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "part-00000.parquet").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("seen")
    (tmp_path / "dangling").symlink_to("nowhere")
    chosen.write("seen/")
    refused = {
        "data/": "data/: holds part-00000.parquet; name a new folder, or remove this one",
        "seen/": "seen/: holds _metadata",
        "file/": "is no folder",
        "link/": "is no folder",
        "dangling/": "is no folder",
        "gone/s/": "the folder around it does not exist",
        f"{index.path}/s/": "lies inside the index",
    }
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path, message in refused.items():
        for check in (chosen.write, lambda path: index.check_output(path, parts=True)):
            with pytest.raises(nagindex.BadInputError, match=message):
                check(path)
    for write in (lambda: chosen.write("s.jsonl/", format="jsonl"), lambda: chosen.to_jsonl("s/")):
        with pytest.raises(nagindex.BadInputError, match="a folder of Parquet parts, and not of jsonl"):
            write()
    for other in ("seen", "seen/"):  # outputs that are no selection
        with pytest.raises(nagindex.BadInputError, match="seen: is a folder"):
            chosen.write_dropped(other)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_names_of_folders_do_not_become_columns(pool, small_parts, tmp_path):
    """DuckDB would take `id=3` for a column."""
    index, targets = pool
    place = tmp_path / "id=3" / "tokens=9"
    place.mkdir(parents=True)
    chosen = index.query(targets["a"], n=90)
    chosen.write(f"{place}/s/")
    chosen.write(place / "s.parquet")
    index.save_targets(index.encode({"a": targets["a"]}), place / "t.parquet")
    for selected in (place / "s", place / "s.parquet"):
        assert [row["id"] for row in nagindex.selected_documents(selected, ranks=(1, 90)).rows] == [*chosen.ids]
        assert index.compare(selected, place / "s.parquet").documents["both"] == 90
        assert not {*index.query(targets["a"], n=90, exclude=selected).ids} & {*chosen.ids}
    assert [*index.query(place / "t.parquet", n=90).ids] == [*chosen.ids]


def test_the_command_writes_and_describes_a_folder_as_it_does_a_file(pool, cluster, tmp_path, monkeypatch):
    index, targets = pool
    monkeypatch.chdir(tmp_path)
    index.save_targets(index.encode(targets), "t.parquet")
    common = ["query", "t.parquet", "-n", "60", "-i", str(index.path), "--mix", "merge"]
    said = []
    for more in (["-o", "a.parquet"], ["-o", "b/"], ["-o", "c/", "--ray", "local"]):
        done = CliRunner().invoke(main, [*common, *more, "--json", "--progress", "none"])
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found.pop("output") == more[1]
        said.append((found, done.stderr.replace(more[1], "")))
    assert said[0] == said[1] == said[2]
    assert Here.connections == ["local"]  # held for the query and for what it writes
    expected = pq.read_table("a.parquet")
    assert all(read(tmp_path / name).equals(expected) for name in "bc")
    refused = {
        ("-o", "d/", "--format", "csv"): "leave --format out",
        ("-o", "b/"): "b/: holds _metadata",
        ("-o", "d/", "--report", "d/page.html"): "d/page.html: lies inside d/, another output",
        ("-o", "d.parquet", "--report", "b"): "name a file that ends in .html",
    }
    for more, message in refused.items():
        done = CliRunner().invoke(main, [*common, *more])
        assert (done.exit_code > 0, message in done.output) == (True, True), done.output


def test_a_node_that_does_not_see_the_folder_is_named(pool, cluster, tmp_path, monkeypatch):
    index, targets = pool
    chosen = index.query(targets["a"], n=9, ray="local")
    write = remote_rows.write_sorted

    def elsewhere(*given):
        shutil.rmtree(given[1][1])
        return write(*given)

    monkeypatch.setattr(remote_rows, "write_sorted", elsewhere)
    with pytest.raises(nagindex.InputNotFoundError, match=rf"{tmp_path}/s/: not there on node .*; outputs must lie"):
        chosen.write(f"{tmp_path}/s/")
    assert not list(tmp_path.iterdir())
