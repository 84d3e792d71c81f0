"""Take the screenshot of docs/report.md: the top of a report about the sample data, which Chromium opens.

python docs/scripts/screenshot.py report.html docs/images/report.webp
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

SIZE = {"width": 1200, "height": 2990}
QUALITY = 70


def main(page: Path, image: Path) -> None:
    """Write the image of a page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        tab = browser.new_page(viewport=SIZE, color_scheme="light")
        tab.goto(page.resolve().as_uri())
        taken = tab.screenshot()
        browser.close()
    Image.open(io.BytesIO(taken)).convert("RGB").save(image, "WEBP", quality=QUALITY, method=6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
