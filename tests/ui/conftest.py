"""A real browser over the real page."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.support.platform import Platform

ROOT = Path(__file__).parent.parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 20_000


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser's path. Its absence fails the test: a page that nobody has looked at is not tested."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.fail("no Chromium here: apt-get install -y chromium")


@pytest.fixture(scope="session")
def built_page() -> None:
    if not (ROOT / "src/sophia/gateway/static/index.html").is_file():
        pytest.fail("the page is not built: cd ui && npm ci && npm run build")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of the accessibility checker."""
    source = ROOT / "ui/node_modules/axe-core/axe.min.js"
    if not source.is_file():
        pytest.fail("the page's tools are not installed: cd ui && npm ci")
    return source.read_text()


@pytest.fixture
async def page(chromium: str, built_page: None, running_platform: Platform) -> AsyncIterator[Page]:
    """An empty tab. An error that the page's scripts let through, or a refused load, fails the test at its end."""
    troubles: list[str] = []
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        # Without animations nothing moves away from under a click on a busy machine.
        tab = await browser.new_page(viewport={"width": 1360, "height": 900}, reduced_motion="reduce")
        tab.set_default_timeout(WAIT_MS)
        tab.on("pageerror", lambda error: troubles.append(str(error)))
        tab.on("console", lambda message: troubles.append(message.text) if "Content Security" in message.text else None)
        yield tab
        await browser.close()
    assert troubles == []


@pytest.fixture
async def opened(page: Page, running_platform: Platform) -> Page:
    """The page, opened by the link that `sophia up` prints, and live."""
    await page.goto(f"{running_platform.url}/#key={running_platform.api_key}")
    await page.locator('[data-live="live"]').wait_for()
    return page
