"""Build the site in build/docs/site: gather its pages, run the notebook, build strictly, and check every link.

python docs/scripts/build_site.py
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from commands import markdown
from links import problems
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[2]
DOCS, BUILD = ROOT / "docs", ROOT / "build" / "docs"
PAGES, SITE = BUILD / "docs", BUILD / "site"
ELSEWHERE = {"benchmarks/README.md": "benchmarks.md", "CHANGELOG.md": "changelog.md", "docs/select.ipynb": "select.md"}
"""Pages of the site that are no Markdown files of docs/."""
REPOSITORY = ("CONTRIBUTING.md", "LICENSE", "README.md", "data/", "benchmarks/", "tests/")
"""What pages link to, and only the repository has."""


def gather() -> None:
    """Write all pages to PAGES, the command line's generated and the notebook's run, with the links of the site."""
    shutil.rmtree(BUILD, ignore_errors=True)
    PAGES.mkdir(parents=True)
    shutil.copy(DOCS / "zensical.toml", BUILD)
    for asset in (*DOCS.glob("*.svg"), *DOCS.glob("images/*"), DOCS / "style.css"):
        shutil.copy(asset, PAGES)
    sources = {path.relative_to(ROOT).as_posix(): path.name for path in DOCS.glob("*.md")}
    for source, page in {**sources, **ELSEWHERE}.items():
        text = notebook(ROOT / source) if source.endswith(".ipynb") else (ROOT / source).read_text()
        text = text.replace("<!-- every command -->", markdown()) if page == "cli.md" else text
        (PAGES / page).write_text(relinked(text, (ROOT / source).parent))


def notebook(path: Path) -> str:
    """Return a notebook as Markdown, after running it in its folder, as Jupyter does."""
    content = nbformat.read(path, as_version=4)
    NotebookClient(content, timeout=600, resources={"metadata": {"path": str(path.parent)}}).execute()
    for cell in content.cells:
        cell.metadata.pop("execution", None)
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    nbformat.write(content, BUILD / path.name)
    return re.sub(r"\n{3,}", "\n\n", str(MarkdownExporter().from_notebook_node(content)[0]))


def relinked(text: str, folder: Path) -> str:
    """Return a page whose links to files of the repository lead to the pages of the site; to other files there is no link."""

    def of(match: re.Match[str]) -> str:
        label, path, anchor = match.groups(default="")
        target = (folder / path).resolve().relative_to(ROOT).as_posix()
        if target.startswith(REPOSITORY) and target not in ELSEWHERE:
            return label
        return f"[{label}]({ELSEWHERE.get(target, Path(path).name)}{anchor})"

    return re.sub(r"\[([^\[\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)", of, text)


def main() -> int:
    """Build and check the site; the exit status."""
    gather()
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [zensical, "build", "--strict", "--clean", "--config-file", BUILD / "zensical.toml"], check=False
    )
    found = [] if built.returncode else problems(SITE)
    print(*found, sep="\n", end="\n" if found else "")
    if not (built.returncode or found):
        print(f"The site is in {SITE.relative_to(ROOT)}")
    return int(bool(built.returncode or found))


if __name__ == "__main__":
    sys.exit(main())
