"""The map of a report as its readers meet it: by mouse and by keyboard."""

import numpy as np
import pytest
from pages import focus_map, marked, move_to, points_of


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
