"""The live map in a real browser, over the demo: vehicles that move, stops, ETAs, events, and nothing from elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.servers import free_port, program

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WARM_UP_S = 45.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running demo that has had time for its first arrivals."""
    port = free_port()
    log = tmp_path_factory.mktemp("demo") / "log"
    command = [sys.executable, "-m", "gateway.cli", "demo", "--no-browser", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    deadline_s = time.monotonic() + WARM_UP_S + 30
    try:
        while not arrived(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, f"nobody arrived\n{log.read_text()[-2000:]}"
            time.sleep(0.5)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, log.read_text()[-2000:]
        assert json.loads(log.read_text().strip().splitlines()[-1])["quarantined"] == 0


def arrived(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/v1/events?type=stop.arrived", timeout=5) as answer:
            return len(json.load(answer)["events"]) >= 2
    except OSError:
        return False


@pytest.fixture
def page(demo: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=SWITCHES)
        opened = browser.new_page(viewport={"width": 1600, "height": 950})
        yield opened
        browser.close()


def test_the_page_is_alive(demo: str, page: Page, tmp_path: Path) -> None:
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(demo)
    page.wait_for_selector("body[data-ready=yes]", timeout=20_000)
    page.wait_for_selector("#live.on", timeout=20_000)
    assert page.locator(".marker").count() >= 20
    assert page.locator("#vehicle-list button").count() >= 20
    assert page.locator("#event-list li").count() >= 2
    assert "arrived" in page.locator("#event-list").inner_text()
    places = "() => [...document.querySelectorAll('.marker')].map((m) => m.style.transform)"
    before = page.evaluate(places)
    page.wait_for_timeout(6_000)
    moved = sum(a != b for a, b in zip(before, page.evaluate(places), strict=False))
    assert moved >= 5, f"only {moved} vehicles moved in six seconds"
    page.locator("#vehicle-list button").first.click()
    page.wait_for_selector(".marker.chosen", state="attached")
    page.wait_for_timeout(800)
    picture = tmp_path / "page.png"
    page.screenshot(path=picture)
    if os.environ.get("SCREENSHOT"):
        shutil.copy(picture, os.environ["SCREENSHOT"])
    assert picture.stat().st_size > 50_000, "a page of one colour is no map"
    assert not wrong
    assert [url for url in asked if not url.startswith((demo, "data:", "blob:"))] == [], "nothing comes from elsewhere"
