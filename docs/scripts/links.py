"""Check a built site: every link leads to a page and an anchor, and no page loads anything from another host."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


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


def problems(site: Path) -> list[str]:
    """Return the links of a built site that lead nowhere, and what its pages would load from elsewhere, one line each."""
    pages = {path.resolve(): Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
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
