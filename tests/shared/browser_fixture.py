"""A real browser, and real batches to make a page of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from report_page import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium without a window; skips where there is none."""
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium; `apt-get install chromium` brings one")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser
        browser.close()
