"""The layout that CONTRIBUTING.md describes is the one on disk, and each room says in its docstring what it knows."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "nagindex"
PUBLIC = ("analysis",)
"""Rooms that are imported by their own names, and import what they offer."""


def listed():
    """Return the rooms that CONTRIBUTING.md's table lists, in its order."""
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_the_table_of_rooms_lists_every_folder_and_file_on_top():
    """A new room that nobody described fails, and so does a description of one that is gone."""
    folders = [f"nagindex/{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")]
    files = [f"nagindex/{path.name}" for path in PACKAGE.glob("*.py")]
    assert sorted(listed()) == sorted([*folders, *files, "cli/"])
    assert len(files) <= 9


def test_the_table_stands_in_the_order_in_which_rooms_import_each_other():
    """Read from top to bottom, data flows from corpus to selection: the layers that import-linter holds, turned around."""
    contract = (ROOT / "pyproject.toml").read_text().split("layers = [")[1].split("]")[0]
    layers = [name for line in contract.splitlines() for name in re.findall(r"\w+", line)]
    rooms = [Path(name).stem for name in listed() if name not in ("cli/", "nagindex/__init__.py")]
    assert rooms == layers[::-1]


def test_no_module_of_the_library_imports_the_command_line():
    """import-linter sees the folder `cli`, which is imported as `nagindex.cli`; `python -m nagindex` is the command line."""
    for path in {*PACKAGE.rglob("*.py")} - {PACKAGE / "__main__.py"}:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith("nagindex.cli")], path


def test_every_module_and_every_room_has_a_docstring_of_one_line_first():
    """The first line fits the page; a room's docstring goes on with what the room knows nothing of."""
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "cli").glob("*.py")]:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        assert len(docstring.splitlines()[0]) <= 130, path
    for path in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        rest = [
            node for node in tree.body[1:] if path.parent.name not in PUBLIC or not isinstance(node, ast.ImportFrom)
        ]
        assert not rest, f"{path} holds more than a docstring"
        assert re.search(r"\bknow(s|ing)? (no|nothing)\b", ast.get_docstring(tree)), path
