"""The README and the docs: what is generated is what its generator gives, what is named exists."""

import ast
import csv
import json
import re
import runpy
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()


def script(name):
    """Return what a script of docs/scripts defines."""
    return runpy.run_path(str(DOCS / "scripts" / f"{name}.py"))


def test_the_figure_is_what_its_script_draws():
    """`python docs/scripts/figure.py > docs/nag.svg` after a change."""
    assert (DOCS / "nag.svg").read_text() == script("figure")["figure"]()


def test_the_overlap_that_the_figure_states_is_that_of_its_neurons():
    drawn = script("figure")
    shared = sum(len(a & b) for a, b in zip(drawn["OF_EXAMPLE"], drawn["OF_DOCUMENT"], strict=True))
    assert f">{shared} of 16 neurons are shared: {shared / 16:.2f}<" in (DOCS / "nag.svg").read_text()
    assert {len(layer) for layer in (*drawn["OF_EXAMPLE"], *drawn["OF_DOCUMENT"])} == {drawn["TOP_K"]}


def named_in_help():
    """Return the path of every command, and the options that click knows of it."""
    from nagindex.cli import main

    def of(command, path):
        flags = {
            flag
            for one in command.params
            if one.param_type_name == "option"
            for flag in (*one.opts, *one.secondary_opts)
        }
        subcommands = getattr(command, "list_commands", lambda _: [])(None)
        return [
            (path, flags),
            *(pair for name in subcommands for pair in of(command.get_command(None, name), f"{path} {name}")),
        ]

    return of(main, "nagindex")


def sections(text, heading):
    """Return the text of each section, by its heading."""
    parts = re.split(heading, text, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_of_the_command_line_has_every_command_and_option():
    found = sections(script("commands")["markdown"](), r"^##+ (nagindex.*)$")
    assert [*found] == [path for path, _ in named_in_help()]
    for path, flags in named_in_help():
        written = re.findall(r"^`(-.*)`\n:   \S", found[path], re.MULTILINE)
        assert flags <= set(re.findall(r"(?<!\S)--?[\w-]+", " ".join(written).replace(",", " "))), path


@pytest.mark.skipif(shutil.which("man") is None, reason="no man")
def test_the_man_page_renders_without_a_warning_and_has_every_command_and_option(tmp_path):
    page = tmp_path / "nagindex.1"
    page.write_text(script("commands")["man"]())
    done = subprocess.run(
        ["man", "--warnings", "-E", "ascii", "-l", page],
        capture_output=True, text=True, check=True, timeout=60, env={"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C"},
    )  # fmt: skip
    assert done.stderr == ""
    plain = re.sub(r".\x08", "", done.stdout)
    for path, flags in named_in_help():
        assert f"{path} " in plain
        assert all(flag in plain for flag in flags), path


def test_the_python_page_has_every_public_name():
    """The errors are those of nagindex.errors."""
    import nagindex

    page = (DOCS / "api.md").read_text()
    described = {*re.findall(r"^::: nagindex\.(\w+)$", page, re.MULTILINE), "__version__"}
    errors = {name for name in vars(nagindex.errors) if name.endswith("Error")}
    assert "errors" in described
    assert [name for name in nagindex.__all__ if name not in described | errors] == []


def messages():
    """Return the texts in the code, with a line break for each value that is filled in."""
    for path in (*(ROOT / "nagindex").rglob("*.py"), *(ROOT / "cli").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "\n" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_that_the_page_on_troubleshooting_explains_is_in_the_code():
    """The page has `...` for what is filled in, and sets messages in bold."""
    written = "\n".join(messages())
    quoted = re.findall(r"\*\*(.+?)\*\*", (DOCS / "troubleshooting.md").read_text())
    parts = [part for message in quoted for part in re.split(r" ?\.\.\. ?|; ", message) if re.search(r"\w{2}", part)]
    assert len(quoted) >= 20
    assert [part for part in parts if part not in written] == []


def test_the_readme_is_short():
    assert len(README.split()) < 1200


def table_rows(text, heading):
    """Return the rows of the tables whose first line contains a heading, as lists of cells."""
    tables = re.findall(rf"^\|[^\n]*{heading}[^\n]*\n\|[-:| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for rows in tables for line in rows.splitlines()]


def test_the_comparison_in_the_readme_is_that_of_the_benchmarks():
    """Each row has the precisions of a row of the table there."""
    measured = table_rows((ROOT / "benchmarks" / "README.md").read_text(), r"smollm2 \| mean \| gsm8k")
    known = {(row[3], row[4], row[7], row[1].split()[0]) for row in measured}
    compared = table_rows(README, "MMLU, biology")
    assert len(compared) == 8
    assert {tuple(cell.strip("*") for cell in row[1:]) for row in compared} <= known


def test_the_texts_in_the_readme_are_of_the_sample_data():
    with open(ROOT / "data" / "more" / "part-004.csv", newline="") as more:
        documents = [*csv.DictReader(more)]
    for path in (ROOT / "data" / "corpus").glob("*.jsonl"):
        documents += map(json.loads, path.read_text().splitlines())
    for row in table_rows(README, "from the pool, at random"):
        for cell in row:
            subject, _, text = re.fullmatch(r"\*([a-z ]+)(?:, score ([\d.]+))?:\* (.+)", cell).groups()
            [found] = [document for document in documents if document["text"].startswith(text)]
            assert found["subject"].replace("_", " ").startswith(subject)


def links(text):
    """Return the targets of Markdown links and images that are files of this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


def anchors(text):
    """Return the anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(ROOT.glob("*/*.md"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in links(page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


def test_every_page_is_in_the_navigation_once():
    """The changelog and the benchmarks come from elsewhere in the repository."""
    nav = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]
    listed = re.findall(r"[\w-]+\.md", str(nav))
    pages = [path.with_suffix(".md").name for path in (*DOCS.glob("*.md"), *DOCS.glob("*.ipynb"))]
    assert sorted(listed) == sorted([*pages, "benchmarks.md", "changelog.md"])


PAGES = {
    "index.html": '<h1 id="top">x</h1><a href="a/#here">x</a><a href="#top">x</a><a href="https://arxiv.org/">x</a>',
    "a/index.html": '<h2 id="here">x</h2><a href="..">x</a><a href="../nag.svg">x</a><img src="../nag.svg">',
    "nag.svg": "<svg/>",
}
FAULTS = {
    '<a href="b/">x</a>': "index.html: no page b/",
    '<a href="a/#gone">x</a>': "index.html: no anchor a/#gone",
    '<a href="#gone">x</a>': "index.html: no anchor #gone",
    '<img src="gone.svg">': "index.html: no page gone.svg",
    '<script src="https://cdn.example/x.js"></script>': "index.html: loads https://cdn.example/x.js",
    '<link rel="stylesheet" href="//fonts.example/x.css">': "index.html: loads //fonts.example/x.css",
}


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_the_check_of_a_built_site_names_what_leads_nowhere(tmp_path, fault):
    """A missing page, a missing anchor, and what a page would load from another host; external links are not followed."""
    for name, content in PAGES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + fault * (name == "index.html"))
    assert script("links")["problems"](tmp_path) == ([FAULTS[fault]] if fault else [])
