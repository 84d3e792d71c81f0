"""What tests in a browser do with the page of a report: texts in it that are markup, and its map."""

import re

import numpy as np

HOSTILE = (
    '<script>document.title = "run"</script><img src="https://example.org/x.png" onerror="document.title=1"> </script>'
)


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
