"""Build the site in build/docs/site: gather its pages, run the notebook, build strictly, and check every link.

python docs/scripts/build_site.py
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from commands import markdown
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
    for asset in ("nag.svg", "style.css"):
        shutil.copy(DOCS / asset, PAGES)
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


class Page(HTMLParser):
    """The links and the anchors of a page.

    Attributes:
        links: targets of links, images, styles and scripts.
        loaded: those of them that a browser loads with the page.
        anchors: identifiers of elements.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors = {"", "__skip"}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to, and what it is called."""
        values = {name: value for name, value in attrs if value}
        found = [values[name] for name in ("href", "src") if name in values]
        self.links += found
        self.loaded += found if tag in ("script", "img", "iframe") or values.get("rel") == "stylesheet" else []
        self.anchors |= {values[name] for name in ("id", "name") if name in values}


def problems() -> list[str]:
    """Return the links of the built site that lead nowhere, and what it would load from elsewhere."""
    pages = {path.resolve(): Page(path) for path in SITE.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        name = path.relative_to(SITE.resolve()).as_posix()
        found += [f"{name}: loads {link}" for link in page.loaded if urlsplit(link).netloc]
        for link in page.links:
            scheme, host, folder, _, anchor = urlsplit(link)
            target = (path.parent / unquote(folder)).resolve() if folder else path
            target = target / "index.html" if target.is_dir() else target
            if not (scheme or host) and not target.exists():
                found.append(f"{name}: no page {link}")
            elif not (scheme or host) and target in pages and unquote(anchor) not in pages[target].anchors:
                found.append(f"{name}: no anchor {link}")
    return found


def main() -> int:
    """Build and check the site; the exit status."""
    gather()
    zensical = Path(sys.executable).with_name("zensical")
    built = subprocess.run(
        [zensical, "build", "--strict", "--clean", "--config-file", BUILD / "zensical.toml"], check=False
    )
    found = [] if built.returncode else problems()
    print(*found, sep="\n", end="\n" if found else "")
    if not (built.returncode or found):
        print(f"The site is in {SITE.relative_to(ROOT)}")
    return int(bool(built.returncode or found))


if __name__ == "__main__":
    sys.exit(main())
