"""Finding sources: files, globs and folders become one ordered list, named relative to the corpus root."""

import hashlib
import os

import pytest

from nagindex.corpus.sources import find_sources, still_holds
from nagindex.errors import BadInputError, InputNotFoundError


def tree(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


def names(paths, **options):
    return [s.name for s in find_sources(paths, **options).sources]


def test_folders_are_searched_to_the_bottom(tmp_path):
    """Sources come sorted by name, relative to the folder named; files of other kinds are counted, not read."""
    tree(tmp_path, "b.txt", "a/z.txt", "a/deep/er/y.jsonl.gz", "README.md", "a/x.parquet.gz")
    listing = find_sources([tmp_path])
    assert [s.name for s in listing.sources] == ["a/deep/er/y.jsonl.gz", "a/z.txt", "b.txt"]
    assert sorted(p.name for p in listing.ignored) == ["README.md", "x.parquet.gz"]


def test_hidden_folders_and_indexes_are_not_searched(tmp_path):
    """Folders that start with a dot or end in .nagindex are passed over, and hidden files too."""
    tree(tmp_path, "a.txt", ".git/b.txt", "my.nagindex/segments/c.txt", "sub/.hidden.txt", "sub/d.txt")
    assert names([tmp_path]) == ["a.txt", "sub/d.txt"]


@pytest.mark.parametrize("pattern", ["**/*.txt", "*"])
def test_globs_do_not_enter_indexes_either(tmp_path, pattern):
    """A glob finds the corpus's files and not those of an index that lies among them."""
    tree(tmp_path, "a.txt", "sub/d.txt", "my.nagindex/segments/c.txt", ".git/b.txt")
    assert names([str(tmp_path / pattern)]) == ["a.txt", "sub/d.txt"]


def test_globs_and_files_and_folders_mix(tmp_path):
    """Each file is read once however often it is named; names are relative to the deepest folder that holds all."""
    tree(tmp_path, "a/1.txt", "a/2.txt", "b/3.txt", "b/4.csv")
    assert names([tmp_path / "a", str(tmp_path / "*" / "*.txt"), tmp_path / "b" / "3.txt"]) == [
        "a/1.txt",
        "a/2.txt",
        "b/3.txt",
    ]
    assert names([tmp_path / "a" / "1.txt"]) == ["1.txt"]


def test_a_corpus_root_makes_names_the_same_everywhere(tmp_path):
    """With a root, names are relative to it; a file outside it is refused."""
    tree(tmp_path, "root/sub/a.txt", "out.txt")
    assert names([tmp_path / "root" / "sub"], root=tmp_path / "root") == ["sub/a.txt"]
    with pytest.raises(BadInputError, match=r"out\.txt.*outside"):
        find_sources([tmp_path / "out.txt"], root=tmp_path / "root")


def test_a_link_back_to_a_folder_gives_each_file_once(tmp_path):
    """A symbolic link to a folder above it does not send the search in circles."""
    tree(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    assert names([tmp_path]) == ["a.txt", "sub/b.txt"]


def test_a_linked_folder_is_searched(tmp_path):
    """A symbolic link to a folder elsewhere is followed."""
    tree(tmp_path, "elsewhere/b.txt", "corpus/a.txt")
    (tmp_path / "corpus" / "more").symlink_to(tmp_path / "elsewhere")
    assert names([tmp_path / "corpus"]) == ["a.txt", "more/b.txt"]


def test_what_is_not_there_is_an_error_that_names_it(tmp_path):
    """A missing file, a glob without match, an empty folder and an unknown format each name what was asked for."""
    for missing in ("nope.jsonl", "*.jsonl"):
        with pytest.raises(InputNotFoundError, match="jsonl"):
            find_sources([tmp_path / missing])
    with pytest.raises(InputNotFoundError, match=tmp_path.name):
        find_sources([tmp_path])
    with pytest.raises(BadInputError, match=r"a\.pdf"):
        find_sources([tree(tmp_path, "a.pdf") / "a.pdf"])
    with pytest.raises(FileNotFoundError):
        find_sources([])


# What cannot be read ------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path, monkeypatch):
    """A corpus with a folder and a file that may not be read, by whomever the tests run as."""
    tree(tmp_path, "c/a.txt", "c/locked/b.txt", "c/private.txt", "c/z.txt")
    folder, file = tmp_path / "c" / "locked", tmp_path / "c" / "private.txt"
    folder.chmod(0)
    file.chmod(0)
    scandir, access = os.scandir, os.access

    def scan(path="."):
        if os.path.abspath(os.fspath(path)) == str(folder):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr(os, "access", lambda path, mode: path != file and access(path, mode))
    yield tmp_path / "c"
    folder.chmod(0o700)


def problems(paths, **options):
    return {s.name: s.problem for s in find_sources(paths, on_error="skip", **options).sources if s.problem}


@pytest.mark.parametrize("pattern", ["", "*/*.txt", "**/*.txt", "locked/*.txt"])
def test_a_folder_that_cannot_be_listed_is_an_error_that_names_it(locked, pattern):
    """No part of a corpus is left out in silence, neither below a folder nor by a glob."""
    (locked / "private.txt").unlink()
    with pytest.raises(BadInputError, match=r"locked: cannot be read \(Permission denied\)"):
        find_sources([str(locked / pattern)])
    assert problems([str(locked / pattern)]) == {"locked": "Permission denied"}


def test_what_cannot_be_read_is_listed_beside_what_can(locked):
    """Under `skip` the other files come as ever, under their usual names."""
    listing = find_sources([locked], on_error="skip")
    assert [(s.name, s.problem) for s in listing.sources] == [
        ("a.txt", None),
        ("locked", "Permission denied"),
        ("private.txt", "Permission denied"),
        ("z.txt", None),
    ]
    with pytest.raises(BadInputError, match="locked: cannot be read"):
        find_sources([locked])


@pytest.mark.parametrize("name", ["b.txt", "folder", "sub/b.jsonl.gz"])
@pytest.mark.parametrize("named", [False, True])
def test_a_link_that_leads_nowhere_is_an_error_that_names_it_and_where_it_leads(tmp_path, name, named):
    """It may stand for a file or for a folder of them, so its name does not matter; nor does whether a folder holds it."""
    tree(tmp_path, "a.txt", "sub/c.txt")
    (tmp_path / name).symlink_to(tmp_path / "gone")
    paths = [tmp_path / "a.txt", tmp_path / name] if named else [tmp_path]
    with pytest.raises(BadInputError, match=rf"{name}: cannot be read \(a link to .*gone: No such file"):
        find_sources(paths)
    assert list(problems(paths, root=tmp_path)) == [name]


def test_links_in_a_circle_are_an_error_that_names_them(tmp_path):
    """Two links that lead to each other are no file."""
    tree(tmp_path, "a.txt")
    (tmp_path / "x.txt").symlink_to(tmp_path / "y.txt")
    (tmp_path / "y.txt").symlink_to(tmp_path / "x.txt")
    with pytest.raises(BadInputError, match=r"x\.txt: cannot be read \(a link to .*y\.txt: Too many levels"):
        find_sources([tmp_path])
    assert list(problems([tmp_path])) == ["x.txt", "y.txt"]


def test_folders_linked_into_each_other_end(tmp_path):
    """The search follows a link into another folder and not back again."""
    tree(tmp_path, "x/a.txt", "y/b.txt")
    (tmp_path / "x" / "to-y").symlink_to(tmp_path / "y")
    (tmp_path / "y" / "to-x").symlink_to(tmp_path / "x")
    assert names([tmp_path]) == ["x/a.txt", "x/to-y/b.txt", "y/b.txt", "y/to-x/a.txt"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_rights_are_those_of_the_system(tmp_path):
    """Without any double in between."""
    tree(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "sub").chmod(0)
    try:
        assert problems([tmp_path]) == {"sub": "Permission denied"}
    finally:
        (tmp_path / "sub").chmod(0o700)


CONTENT = b'{"text": "a"}\n{"text": "b"}\n'


@pytest.mark.parametrize(
    ("name", "now", "held"),
    [
        ("a.jsonl", CONTENT, True),
        ("a.jsonl", CONTENT + b"more", True),
        ("a.jsonl", b"x" + CONTENT[1:], False),
        ("a.jsonl", b"x" + CONTENT[1:] + b"more", False),
        ("a.jsonl", CONTENT[:-1], False),
        ("a.json", CONTENT + b"more", False),
        ("a.txt", CONTENT + b"more", False),
    ],
)
def test_a_source_holds_what_it_was_while_lines_are_only_appended(tmp_path, name, now, held):
    """In formats where a longer file leaves the rows before as they are."""
    (tmp_path / name).write_bytes(now)
    [source] = find_sources([tmp_path]).sources
    assert still_holds(source, len(CONTENT), hashlib.sha256(CONTENT).hexdigest()) == held


def test_a_last_line_without_end_may_have_gone_on(tmp_path):
    """`{"a": 1` may have been the beginning of a longer line; a line end that follows says that it was not."""
    path = tmp_path / "a.csv"
    for more, held in ((b"", True), (b"b\n", False), (b"\nb\n", True), (b"\r\nb\n", True)):
        path.write_bytes(b"text\na" + more)
        [source] = find_sources([path]).sources
        assert still_holds(source, 6, hashlib.sha256(b"text\na").hexdigest()) == held
