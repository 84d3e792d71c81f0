"""A report as its readers meet it: opened from disk, used by mouse and by keyboard, read by a screen reader, printed."""

import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from nagindex.query import exhibits

HOSTILE = (
    '<script>document.title = "run"</script><img src="https://example.org/x.png" onerror="document.title=1"> </script>'
)
WORDS = ("river", "garden", "theorem", "violin", "salmon", "planet", "engine", "harvest", "window", "market", "letter")


@pytest.fixture(scope="session")
def make_report(tmp_path_factory, write_index, random_codes):
    """Return f(documents, selected): the page of documents of 400 words for two targets; texts, and some ids and labels, hold markup."""

    def make(documents, selected):
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
        index.query({"first": codes[:9], "second": codes[9:20]}, n=selected).report(path)
        return path

    return make


@pytest.fixture(scope="session")
def report(make_report):
    """The page of 2,000 selected documents."""
    return make_report(2500, 2000)


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


def cells(page, column):
    """Return the texts of one column of the table, by its number from 1."""
    return page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts()


def column_of(page, name):
    """Return the number of a column, from 1."""
    return page.locator("#rows thead th").all_inner_texts().index(name) + 1


def test_it_opens_in_under_two_seconds_says_nothing_and_asks_for_nothing(open_page, report):
    page, seen = open_page()
    assert 0 < page.evaluate("document.querySelectorAll('*').length") < 40_000
    assert report.stat().st_size < 3_000_000
    page.locator("#open-all").click()
    page.locator("#close-all").click()
    taken = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    assert 0 < taken < 2000
    assert seen.messages == []
    assert seen.requests == [report.as_uri()]


def test_texts_with_markup_show_as_texts(open_page):
    page, seen = open_page()
    first = page.locator(".exhibit").first
    first.locator("summary").click()
    assert first.locator("pre.text").inner_text().startswith(HOSTILE)
    assert page.title() == "2,000 documents for first and second"
    assert page.locator("img, main script, main b").count() == 0
    assert any("<b>" in label for label in cells(page, column_of(page, "label")))
    assert seen.messages == []


def test_the_table_is_sorted_by_mouse_and_by_keyboard(open_page):
    page, _ = open_page()
    number = column_of(page, "number")
    heading = page.locator("#rows thead th").nth(number - 1)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    up = [float(own) for own in cells(page, number)]
    assert up == sorted(up)
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    down = [float(own) for own in cells(page, number)]
    assert down == sorted(down, reverse=True)
    assert max(down) > max(up)
    page.locator("#rows thead th").nth(0).get_by_role("button").press("Space")
    assert heading.get_attribute("aria-sort") is None
    assert cells(page, 1)[:3] == ["1", "1", "2"]


def test_the_table_is_searched_and_turned_over(open_page):
    page, _ = open_page()
    assert len(cells(page, 1)) == 50
    before = cells(page, 2)
    page.locator("#after").click()
    assert not set(before) & set(cells(page, 2))
    wanted = before[3]
    page.get_by_label("Search").fill(wanted.upper())
    assert cells(page, 2) == [wanted]
    assert page.locator("#found").inner_text().startswith("1 of ")
    page.get_by_label("Search").fill("no such document")
    assert cells(page, 2) == []
    assert page.locator("#page").inner_text() == "no row"
    page.get_by_label("Search").fill("")
    assert cells(page, 2) == before


def test_the_map_names_the_point_under_the_pointer(open_page):
    page, seen = open_page()
    chart = page.locator("#points")
    chart.scroll_into_view_if_needed()
    drawn = chart.locator("g.examples.target-1 .dots").get_attribute("d")
    x, y = map(int, re.match(r"M(\d+) (\d+)h0", drawn).groups())
    box = chart.bounding_box()
    page.mouse.move(box["x"] + x * box["width"] / 1000, box["y"] + y * box["width"] / 1000)
    assert page.locator("#about-point").inner_text().endswith("examples of second")
    assert page.locator("#point").is_visible()
    page.get_by_label("examples of second").uncheck()
    assert not page.locator("#point").is_visible()
    assert not chart.locator("g.examples.target-1").is_visible()
    page.get_by_label("examples of second").focus()
    page.keyboard.press("Space")
    assert chart.locator("g.examples.target-1").is_visible()

    drawn = chart.locator("g.pool .dots").get_attribute("d")
    for other in ("selected for first", "selected for second", "examples of first", "examples of second"):
        page.get_by_label(other).uncheck()
    x, y = map(int, re.match(r"M(\d+) (\d+)h0", drawn).groups())
    page.mouse.move(box["x"] + x * box["width"] / 1000, box["y"] + y * box["width"] / 1000)
    named = page.locator("#about-point").inner_text().splitlines()
    assert named[0].startswith("<i>d</i>-")
    assert named[1].startswith("label: label <b>")
    assert named[2] == "pool"
    page.mouse.move(box["x"] - 5, box["y"] - 5)
    assert not page.locator("#about-point").is_visible()
    assert seen.messages == []


def test_documents_open_by_mouse_and_by_keyboard(open_page):
    page, _ = open_page()
    one, other = page.locator(".exhibit").nth(0), page.locator(".exhibit").nth(1)
    one.locator("summary").click()
    assert one.get_attribute("open") is not None
    assert one.get_by_role("table").count() == 3
    other.locator("summary").focus()
    page.keyboard.press("Enter")
    assert other.locator("pre.text").is_visible()
    page.keyboard.press("Space")
    assert not other.locator("pre.text").is_visible()


def test_the_whole_page_is_reached_by_the_tab_key(open_page):
    """The first stop skips the navigation; a section of the navigation is followed by Enter."""
    page, _ = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#outcome"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 400)])
def test_axe_finds_nothing_serious(open_page, small_report, scheme, width):
    from axe_core_python.sync_playwright import Axe

    page, _ = open_page(small_report, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((own) => { own.open = true; })")
    found = Axe().run(page)["violations"]
    serious = [own for own in found if own["impact"] in ("serious", "critical")]
    assert json.dumps([(own["id"], [node["html"][:200] for node in own["nodes"][:3]]) for own in serious]) == "[]"


def test_a_narrow_screen_scrolls_in_one_direction(open_page):
    page, _ = open_page(viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_dark_and_light_differ(open_page):
    colors = []
    for scheme in ("light", "dark"):
        page, _ = open_page(color_scheme=scheme)
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(own) for own in re.findall(r"\d+", color)] for color in colors)
    assert min(light) > 200
    assert max(dark) < 60


def test_it_prints(open_page):
    """What only a screen can use is not printed; figures are, in light colors."""
    page, _ = open_page(color_scheme="dark")
    page.emulate_media(media="print")
    for hidden in ("nav", ".tools", ".map input", ".skip"):
        assert not page.locator(hidden).first.is_visible()
    for shown in ("#outcome table", "#scores svg", "#points", "#rows"):
        assert page.locator(shown).first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_javascript_figures_and_documents_are_there(open_page):
    page, seen = open_page(java_script_enabled=False)
    assert page.locator("#rows tbody tr").count() == 50
    assert page.locator("#points").is_visible()
    assert not page.locator("#search").is_visible()
    page.locator(".exhibit summary").first.click()
    assert page.locator(".exhibit pre.text").first.is_visible()
    assert seen.messages == []
