"""Makes the pictures of the README: a batch in the terminal, and the report in a browser.

Run `python docs/screenshots.py`. Needs the test requirements, Chromium and the model 2stems.
"""

from __future__ import annotations

import html
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pexpect
import pyte
import soundfile
from playwright.sync_api import sync_playwright

from stemsplit.api.demo.song import make_song

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
from report_page import chromium

PICTURES = Path(__file__).parent / "pictures"
COMMAND = Path(sys.executable).with_name("stemsplit")
COLUMNS, LINES = 104, 20
FINISHED = 3
"""Number of finished tracks in the picture of the terminal."""
CELL_WIDTH, CELL_HEIGHT = 8.4, 18
COLOURS = {
    "default": "#e6e6e6",
    "black": "#7f7f7f",
    "red": "#ff6b68",
    "green": "#6cc070",
    "brown": "#e5c07b",
    "blue": "#6aa7ff",
    "magenta": "#d28bd8",
    "cyan": "#56b6c2",
    "white": "#ffffff",
}
TRACKS = {
    "Harbour/01 Ferry": 60,
    "Harbour/02 Low Tide": 45,
    "Harbour/03 Night Watch": 75,
    "Rooftops/01 Antenna": 50,
    "Rooftops/02 Swallows": 65,
}


def make_library(folder: Path) -> None:
    """Write songs that the demo's generator makes, and one file that is not audio."""
    for seed, (name, seconds) in enumerate(TRACKS.items()):
        path = folder / f"{name}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        mix = make_song(seconds, seed=seed).mix
        soundfile.write(path, np.clip(mix, -1, 1), 44_100)
    (folder / "Rooftops" / "03 Broken.mp3").write_bytes(b"not audio" * 1000)


def record(arguments: list[str], folder: Path) -> pyte.Screen:
    """Run the command in a terminal; return the screen halfway through the batch."""
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": ""}
    process = pexpect.spawn(
        str(COMMAND), arguments, cwd=folder, env=environment, dimensions=(LINES, COLUMNS)
    )
    stream.feed(f"$ stemsplit {' '.join(arguments)}\r\n".encode())
    rows = None
    while True:
        try:
            stream.feed(process.read_nonblocking(65_536, timeout=0.05))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            break
        text = "\n".join(screen.display)
        if "━" in text and f"[{FINISHED}/" in text and f"[{FINISHED + 1}/" not in text:
            rows = [dict(screen.buffer[row]) for row in range(LINES)]
    if rows is None:
        message = "the batch showed no bars"
        raise RuntimeError(message)
    for row in range(LINES):
        screen.buffer[row].clear()
        screen.buffer[row].update(rows[row])
    return screen


def svg_of(screen: pyte.Screen) -> str:
    """Draw a screen as SVG, one text element for each run of characters in the same style."""
    rows = [row for row in range(LINES) if screen.display[row].strip()]
    height = (max(rows) + 2) * CELL_HEIGHT
    width = COLUMNS * CELL_WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}">',
        '<rect width="100%" height="100%" rx="6" fill="#1e1e1e"/>',
        '<g font-family="monospace" font-size="14" style="white-space: pre">',
    ]
    for row in rows:
        cells = [screen.buffer[row][column] for column in range(COLUMNS)]
        first = 0
        for column in range(1, COLUMNS + 1):
            style = (cells[first].fg, cells[first].bold)
            if column < COLUMNS and (cells[column].fg, cells[column].bold) == style:
                continue
            text = "".join(cell.data for cell in cells[first:column]).rstrip()
            if text.strip():
                colour = COLOURS.get(style[0], f"#{style[0]}")
                weight = ' font-weight="bold"' if style[1] else ""
                parts.append(
                    f'<text x="{(first + 1) * CELL_WIDTH:.1f}" y="{(row + 1) * CELL_HEIGHT}" '
                    f'textLength="{len(text) * CELL_WIDTH:.1f}" fill="{colour}"{weight}>'
                    f"{html.escape(text)}</text>"
                )
            first = column
    return "\n".join([*parts, "</g>", "</svg>\n"])


def main() -> None:
    """Write both pictures."""
    folder = Path(tempfile.gettempdir()) / "me"  # short, because its path is in the pictures
    folder.mkdir()
    try:
        make_library(folder / "Music")
        screen = record(["separate", "Music", "-o", "stems"], folder)
        (PICTURES / "terminal.svg").write_text(svg_of(screen), encoding="utf-8")
        report = folder / "stems" / "report.html"
        pexpect.run(f"{COMMAND} report stems --html {report}", cwd=folder)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium())
            page = browser.new_page(viewport={"width": 1200, "height": 800})
            page.goto(report.as_uri())
            page.get_by_role("button", name="Listen").first.click()
            page.wait_for_timeout(1000)
            page.get_by_role("heading", name="Tracks").evaluate(
                "heading => heading.scrollIntoView()"
            )
            page.screenshot(path=PICTURES / "report.png")
            browser.close()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
