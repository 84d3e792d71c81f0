"""Reports, and a browser to open them in: Debian's Chromium, driven by Playwright.

Without it tests are skipped, or fail where CI asks for it.
"""

import os
import shutil
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from pages import HOSTILE

from nagindex.query import exhibits, report_map

REQUIRED = "NAGINDEX_BROWSER"
"""Environment variable that is set where a missing browser is an error."""
WORDS = ("river", "garden", "theorem", "violin", "salmon", "planet", "engine", "harvest", "window", "market", "letter")


def _missing(reason):
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, and {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("Playwright is not installed: pip install 'nagindex[browser]'")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        _missing("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def make_report(tmp_path_factory, write_index, random_codes):
    """Return f(documents, selected, points): the page of documents of 400 words for two targets; texts, ids and labels hold markup."""

    def make(documents, selected, points=None):
        folder = tmp_path_factory.mktemp("report")
        rng = np.random.default_rng(0)
        codes = random_codes(rng, documents, 4, 6, 64)
        index = write_index(
            *(folder / "i", codes, [f"<i>d</i>-{n:05d}" for n in range(documents)], np.arange(documents) + 1),
            width=64,
            kept=[(f"label <b>{n % 5}</b>", n / 10) for n in range(documents)],
            keep=("label", "number"),
            texts=[f"{HOSTILE} {' '.join(rng.choice(WORDS, 400))}" for _ in range(documents)],
        )
        path = folder / "report.html"
        index.query({"first": codes[:9], "second": codes[9:20]}, n=selected).report(path, map=points)
        return path

    return make


@pytest.fixture(scope="session")
def report(make_report):
    """The page of 2,000 selected documents and 20,000 of the pool on the map, which are not laid out but strewn."""

    def strewn(codes, spec, **_):
        places = np.random.default_rng(1).random((len(codes), 2))
        return places, SimpleNamespace(indices=np.arange(11 * len(codes)) % len(codes))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_map, "embed", strewn)
        return make_report(22_000, 2000, 20_000)


@pytest.fixture(scope="session")
def small_report(make_report):
    """A page with the same parts of few documents, which axe-core reads in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhibits, "SHOWN", 2)
        return make_report(60, 20)


@dataclass
class Seen:
    """What a page did that it should not: messages of the console, errors, requests, dialogs."""

    messages: list = field(default_factory=list)
    requests: list = field(default_factory=list)


@pytest.fixture
def open_page(browser, report):
    """Return f(path, **options of the context): a report's page, opened, and what was seen of it."""
    contexts = []

    def opened(path=report, **options):
        context = browser.new_context(**{"viewport": {"width": 1400, "height": 900}} | options)
        contexts.append(context)
        page, seen = context.new_page(), Seen()
        page.on("console", lambda message: seen.messages.append(message.text))
        page.on("pageerror", lambda error: seen.messages.append(str(error)))
        page.on("dialog", lambda dialog: seen.messages.append(dialog.message))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(path.as_uri(), wait_until="load")
        return page, seen

    yield opened
    for context in contexts:
        context.close()
