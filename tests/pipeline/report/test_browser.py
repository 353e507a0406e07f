"""The page in a real browser: fits the window, runs nothing, fetches nothing. Skipped where there is no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.report.browser import NAMES, Browser, find_browser

WINDOWS = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
OVERFLOW = """
[document.documentElement.scrollWidth - innerWidth,
 ...[...document.querySelectorAll('body *:not(svg *)')].filter(element => {
   const box = element.getBoundingClientRect();
   return box.width && (box.right > innerWidth + 1 || box.left < -1);
 }).map(element => element.outerHTML.slice(0, 120))]
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = find_browser()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} on the PATH (apt-get install chromium)")
    with Browser(program, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("build", ["ordinary", "hostile"])
def test_page_fits_the_window(
    browser: Browser, request: pytest.FixtureRequest, build: str, window: str, tmp_path: Path
) -> None:
    out: Path = request.getfixturevalue(build)
    browser.open(out / "report.html", *WINDOWS[window])
    browser.value("document.querySelectorAll('details').forEach(details => details.open = true)")
    assert browser.value("innerWidth") == WINDOWS[window][0]
    assert browser.value(OVERFLOW) == [0]


@pytest.mark.parametrize("build", ["ordinary", "hostile"])
def test_nothing_runs_and_nothing_is_fetched(browser: Browser, request: pytest.FixtureRequest, build: str) -> None:
    out: Path = request.getfixturevalue(build)
    browser.open(out / "report.html", 1280, 800)
    assert browser.value("document.title").startswith("maskmine build ")
    assert browser.value("document.scripts.length") == 0
    requested = [event["params"]["request"]["url"] for event in browser.events if event["method"].endswith("BeSent")]
    assert [url for url in requested if not url.startswith("data:")] == [(out / "report.html").as_uri()]
    told = ("Log.entryAdded", "Runtime.exceptionThrown", "Page.javascriptDialogOpening")
    assert [event for event in browser.events if event["method"] in told] == []


def test_style_and_pictures_pass_the_policy_and_outlines_can_be_hidden(browser: Browser, ordinary: Path) -> None:
    browser.open(ordinary / "report.html", 1280, 800)
    assert browser.value("getComputedStyle(document.body).margin") == "0px"
    decoded = "Promise.all([...document.images].map(image => image.decode().then(() => image.naturalWidth)))"
    assert min(browser.value(decoded)) > 0
    shown = "getComputedStyle(document.querySelector('.outline')).display"
    assert browser.value(shown) == "block"
    browser.value("document.querySelector('#outlines').click()")
    assert browser.value(shown) == "none"


def test_the_checks_would_notice(browser: Browser, tmp_path: Path) -> None:
    """A page that does all that a report must not."""
    page = tmp_path / "page.html"
    page.write_text(
        "<meta name=viewport content='width=device-width'><title>t</title><div style='width:2000px'>wide</div>"
        "<img src='http://127.0.0.1:9/x.png'><script>document.title = 'pwned'</script>"
    )
    browser.open(page, 1280, 800)
    assert browser.value(OVERFLOW)[0] > 0
    assert browser.value("document.title") == "pwned"
    assert any("127.0.0.1" in str(event) for event in browser.events if event["method"].endswith("BeSent"))
    page.write_text(
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'\">"
        "<title>t</title><script>document.title = 'pwned'</script>"
    )
    browser.open(page, 1280, 800)
    assert browser.value("document.title") == "t"
    assert any(event["method"] == "Log.entryAdded" for event in browser.events)
