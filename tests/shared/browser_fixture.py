"""A real browser for the tests of the report's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from report_page import chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium; skips the test if it is not installed."""
    program = chromium()
    if program is None:
        pytest.skip("Chromium is not installed; run `apt-get install chromium`")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser
        browser.close()
