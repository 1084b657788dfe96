"""Take the pictures of docs/images: four pages, on a desktop by day and by night, on a phone, on paper.

Run, with the group ``browser`` installed: .venv/bin/python docs/generate_pictures.py OUTPUTS
where OUTPUTS holds one incident with a triage, a runbook and a post-mortem, as README's ten lines leave it.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).parent / "images"
PAGES = {
    "triage": "INC-*/records/*-triage.html",
    "record": "INC-*/records/*-database_connections.html",
    "index": "index.html",
    "post-mortem": "INC-*/post_mortem.html",
}
LOOKS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "desktop": (1280, 900, {}),
    "dark": (1280, 900, {"color_scheme": "dark"}),
    "phone": (390, 844, {}),
    "print": (794, 1123, {"media": "print"}),  # A4 at 96 dots an inch
}
COLOURS = 64  # enough for text and charts, and a third of the bytes


def main(outputs: Path) -> None:
    """Write the sixteen pictures, each the top of its page."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, pattern in PAGES.items():
            address = min(outputs.glob(pattern)).resolve().as_uri()
            for look, (width, height, media) in LOOKS.items():
                page = browser.new_page(viewport={"width": width, "height": height})
                page.emulate_media(**media)
                page.goto(address)
                picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLOURS)
                picture.save(IMAGES / f"{name}-{look}.png", optimize=True)
                page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
