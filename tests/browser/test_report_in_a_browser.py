"""A report as its readers meet it: opened from disk, used by mouse and by keyboard, read by a screen reader, printed."""

import json
import re

import pytest
from pages import HOSTILE, focus_map


def cells(page, column):
    """Return the texts of one column of the table, by its number from 1."""
    return page.locator(f"#rows tbody td:nth-child({column})").all_inner_texts()


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
