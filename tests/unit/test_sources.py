"""Finding sources: files, globs and folders become one ordered list, named relative to the corpus root."""

import pytest

from nagindex.corpus.sources import find_sources
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
