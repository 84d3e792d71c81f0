"""A report as its readers meet it: opened from disk, used by mouse and by keyboard, read by a screen reader, printed."""

import json
import re
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest

from nagindex.query import exhibits, report_map

HOSTILE = (
    '<script>document.title = "run"</script><img src="https://example.org/x.png" onerror="document.title=1"> </script>'
)
WORDS = ("river", "garden", "theorem", "violin", "salmon", "planet", "engine", "harvest", "window", "market", "letter")


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


def cells(page, column):
    """Return the texts of one column of the table, by its number from 1."""
    return page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts()


def points_of(page):
    """Return the coordinates of each group's points in the drawing."""
    paths = page.locator("#points .dots").evaluate_all("paths => paths.map(own => own.getAttribute('d'))")
    return [np.array(re.findall(r"M(\d+) (\d+)h0", path), int) for path in paths]


def marked(page):
    """Return where the marked point is in the drawing."""
    return tuple(int(page.locator("#point").get_attribute(name)) for name in ("cx", "cy"))


def move_to(page, x, y):
    """Move the mouse to a place of the map's drawing."""
    box = page.locator("#points").bounding_box()
    page.mouse.move(box["x"] + x * box["width"] / 1000, box["y"] + y * box["width"] / 1000)


def focus_map(page):
    """Reach the map by the tab key."""
    page.get_by_label("examples of second").focus()
    page.keyboard.press("Tab")


def serious(page, seconds, options=None):
    """Return what axe-core finds of serious violations on the whole page, as JSON; it must end in so many seconds."""
    from axe_core_python.sync_playwright import Axe

    page.evaluate(Axe().axe_script)
    page.evaluate(
        "options => { axe.run(document, options).then((all) => { window.found = all.violations; }); }", options or {}
    )
    found = page.wait_for_function("window.found", timeout=1000 * seconds).json_value()
    return json.dumps(
        [
            (own["id"], [node["html"][:200] for node in own["nodes"][:3]])
            for own in found
            if own["impact"] in ("serious", "critical")
        ]
    )


def column_of(page, name):
    """Return the number of a column, from 1."""
    return page.locator("#rows thead th").all_inner_texts().index(name) + 1


def test_it_opens_in_under_two_seconds_says_nothing_and_asks_for_nothing(open_page, report):
    page, seen = open_page()
    assert page.locator("#points path").count() == 7, (
        "all points of a group are one path, and the rim of examples another"
    )
    assert 0 < page.evaluate("document.querySelectorAll('*').length") < 5_000
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
    points = points_of(page)
    move_to(page, *points[-1][0])
    assert page.locator("#about-point").inner_text().endswith("examples of second")
    assert page.locator("#point").is_visible()
    page.get_by_label("examples of second").uncheck()
    assert not page.locator("#point").is_visible()
    assert not chart.locator("g.examples.target-1").is_visible()
    page.get_by_label("examples of second").focus()
    page.keyboard.press("Space")
    assert chart.locator("g.examples.target-1").is_visible()

    for other in ("selected for first", "selected for second", "examples of first", "examples of second"):
        page.get_by_label(other).uncheck()
    move_to(page, *points[0][0])
    named = page.locator("#about-point").inner_text().splitlines()
    assert named[0].startswith("<i>d</i>-")
    assert named[1].startswith("label: label <b>")
    assert named[2] == "pool"
    page.keyboard.press("Escape")
    assert not page.locator("#about-point").is_visible()
    move_to(page, *points[0][1])
    assert page.locator("#about-point").is_visible()
    move_to(page, -5, -5)
    assert not page.locator("#about-point").is_visible()
    assert seen.messages == []


def test_the_map_is_read_by_keyboard_as_by_mouse(open_page):
    """Arrow keys lead to the nearest point in their direction; a screen reader hears what the mouse would show."""
    page, seen = open_page()
    about, said = page.locator("#about-point"), page.locator("#said-point")
    points = points_of(page)
    everything = np.concatenate(points)
    focus_map(page)
    assert page.evaluate("document.activeElement.className") == "points"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert marked(page) == tuple(points[3][0]), "the first example"
    for key, axis, sign in (("Right", 0, 1), ("Down", 1, 1), ("Left", 0, -1), ("Left", 0, -1), ("Up", 1, -1)):
        before = np.array(marked(page))
        page.keyboard.press(f"Arrow{key}")
        away = everything - before
        inside = (sign * away[:, axis] > 0) & (np.abs(away[:, 1 - axis]) <= sign * away[:, axis])
        distances = np.hypot(*away[inside].T)
        assert np.hypot(*np.subtract(marked(page), before)) == pytest.approx(distances.min())
        assert tuple(np.sign(np.subtract(marked(page), before)))[axis] == sign
        by_keyboard = about.inner_text()
        assert said.text_content() == by_keyboard
        assert len(by_keyboard.splitlines()) >= 2
        move_to(page, *marked(page))
        assert about.inner_text() == by_keyboard
    page.keyboard.press("Escape")
    assert not about.is_visible()
    assert said.text_content() == ""
    assert page.evaluate("document.activeElement.className") == "points"
    assert seen.messages == []


def test_the_keyboard_goes_through_the_groups_of_the_map(open_page):
    page, _ = open_page()
    about = page.locator("#about-point")
    points = points_of(page)
    focus_map(page)
    page.keyboard.press("End")
    assert marked(page) == tuple(points[3][-1])
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    assert marked(page) == tuple(points[3][1])
    assert about.inner_text().endswith("examples of first")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    assert marked(page) == tuple(points[3][0]), "before the first there is none"
    page.keyboard.press("PageUp")
    assert about.inner_text().endswith("selected for second")
    nearest = np.hypot(*(points[2] - points[3][0]).T).min()
    assert np.hypot(*np.subtract(marked(page), points[3][0])) == pytest.approx(nearest)

    page.get_by_label("selected for second").uncheck()
    focus_map(page)
    assert about.inner_text().endswith("examples of first"), "the point of a hidden group is left"
    page.keyboard.press("PageUp")
    assert about.inner_text().endswith("selected for first")
    page.keyboard.press("Tab")
    assert not about.is_visible()
    for name in ("pool", "selected for first", "examples of first", "examples of second"):
        page.get_by_label(name, exact=True).uncheck()
    focus_map(page)
    page.keyboard.press("ArrowRight")
    assert not about.is_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") != "points", "no key is held back"


def test_documents_open_by_mouse_and_by_keyboard(open_page):
    from playwright.sync_api import expect

    page, _ = open_page()
    one, other = page.locator(".exhibit").nth(0), page.locator(".exhibit").nth(1)
    one.locator("summary").click()
    assert one.get_attribute("open") is not None
    expect(one.get_by_role("table")).to_have_count(3)
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
def test_axe_finds_nothing_serious_in_a_page_with_everything_open(open_page, small_report, scheme, width):
    page, _ = open_page(small_report, color_scheme=scheme, viewport={"width": width, "height": 900})
    page.evaluate("document.querySelectorAll('details').forEach((own) => { own.open = true; })")
    page.wait_for_function("document.querySelector('.exhibit noscript') === null")
    assert serious(page, 60) == "[]"


def test_axe_finds_nothing_serious_in_the_whole_page_of_2_000_documents_and_20_000_points(open_page, report):
    page, seen = open_page()
    focus_map(page)
    page.locator(".exhibit").last.locator("summary").click()
    focus_map(page)
    assert page.locator("#about-point").is_visible()
    assert serious(page, 240) == "[]"
    assert seen.messages == []
    assert seen.requests == [report.as_uri()]


def test_a_narrow_screen_scrolls_in_one_direction(open_page):
    page, _ = open_page(viewport={"width": 400, "height": 800})
    page.locator(".exhibit summary").first.click()
    page.locator(".exhibit table").first.wait_for()
    focus_map(page)
    assert page.locator("#about-point").is_visible()
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
