"""
A real browser for tests: Debian's Chromium, driven by Playwright, started once.

Playwright's package brings no browser, and is never asked to fetch one.  Where either
is missing the tests are skipped, but fail where all must be shown.
"""

from __future__ import annotations

import atexit
import importlib.resources
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SkipTest

from tests.integration.programs import ROOT, Program, ProgramTestCase, waitUntil

__all__ = ["DESKTOP", "GONE", "PHONE", "BrowserTestCase", "linkOf", "measured"]

COMMAND: Final = "chromium"
#: No graphics card, no sandbox of its own (tests run as root), and nobody called.
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
#: What a browser says of its own accord when a program is gone.
GONE = "net::ERR_|Connection closed before receiving a handshake response"
DESKTOP: Final = (1440, 900)
PHONE: Final = (390, 844)
#: Where screenshots are kept, if anywhere: ``docs``, to make its pictures anew.  Of the
#: sources: trial runs tests in a directory of its own.
_GIVEN: Final = os.environ.get("ROOTSTREAM_SCREENSHOTS")
SCREENSHOTS: Final = str(ROOT / _GIVEN) if _GIVEN else None
SHOWN_AFTER: Final = 15_000

_shared: list[Any] = []


def _missing(what: str) -> Exception:
    if "ROOTSTREAM_LAB_REQUIRED" in os.environ or "CI" in os.environ:
        return AssertionError(f"missing here: {what}")
    return SkipTest(f"no browser: {what}")


def _browser() -> Any:
    """
    The one browser of this process.
    """
    if _shared:
        return _shared[0]
    path = shutil.which(COMMAND)
    if path is None:
        raise _missing(f"the command {COMMAND}; install Debian's package {COMMAND}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise _missing("playwright; install rootstream[browser]") from None
    driver = sync_playwright().start()
    browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
    _shared.append(browser)

    def end() -> None:
        browser.close()
        driver.stop()

    atexit.register(end)
    return browser


def linkOf(program: Program) -> str:
    """
    The link to its page, as it printed it.
    """
    found = waitUntil(
        lambda: re.search(r"http://\S+", program.said()), "the link to the page"
    )
    return str(found[0])


class BrowserTestCase(ProgramTestCase):
    """
    Pages that must not complain: each ends by looking at what the browser's console
    was told.
    """

    def setUp(self) -> None:
        self._browser = _browser()
        super().setUp()

    def openPage(
        self,
        link: str,
        size: tuple[int, int] = DESKTOP,
        *,
        script: str | None = None,
        complains: str | None = None,
        **options: Any,
    ) -> Any:
        """
        A page in a context of its own.

        :param script: run in it before any of its own.
        :param complains: what its console may say, as a pattern.
        """
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            **{"color_scheme": "dark", **options},
        )
        self.addCleanup(context.close)
        page = context.new_page()
        complaints: list[str] = []
        page.on(
            "console",
            lambda said: (
                complaints.append(said.text)
                if said.type in ("error", "warning")
                else None
            ),
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if script is not None:
            page.add_init_script(script)
        page.goto(link)

        def looked() -> None:
            unexpected = [
                complaint
                for complaint in complaints
                if complains is None or not re.search(complains, complaint)
            ]
            self.assertEqual(unexpected, [])

        self.addCleanup(looked)
        return page

    def until(
        self, page: Any, expression: str, what: str, seconds: float = 30.0
    ) -> Any:
        """
        What an expression is in the page, once it is true.
        """

        def look() -> Any:
            found = page.evaluate(expression)
            if not found:
                page.wait_for_timeout(50)
            return found

        return waitUntil(look, what, seconds)

    def untilText(
        self, page: Any, selector: str, pattern: str, seconds: float = 30.0
    ) -> str:
        """
        The text of an element, once it matches.
        """

        def look() -> re.Match[str] | None:
            page.wait_for_timeout(50)
            return re.search(pattern, page.locator(selector).first.text_content() or "")

        found = waitUntil(look, f"{pattern!r} in {selector}", seconds)
        return str(found.string)

    def screenshot(self, page: Any, name: str, *, whole: bool = False) -> Path:
        """
        Keep what the page looks like.
        """
        where = SCREENSHOTS or tempfile.mkdtemp(dir=self.directory)
        if SCREENSHOTS:
            # Charts with something on them.
            page.wait_for_timeout(SHOWN_AFTER)
        path = Path(where) / f"{name}.png"
        page.screenshot(path=path, full_page=whole)
        return path

    def assertAccessible(self, page: Any) -> None:
        """
        axe-core finds no serious and no critical fault.
        """
        try:
            package = importlib.resources.files("axe_playwright_python")
        except ModuleNotFoundError:
            raise _missing("axe_playwright_python; install rootstream[browser]") from (
                None
            )
        page.evaluate(package.joinpath("axe.min.js").read_text("utf-8"))
        faults = [
            f"{found['impact']}: {found['id']}: {found['nodes'][0]['html']}"
            for found in page.evaluate("axe.run()")["violations"]
            if found["impact"] in ("serious", "critical")
        ]
        self.assertEqual(faults, [])


def measured(values: list[float]) -> Callable[[float], float]:
    """
    The value below which that share of the values is.
    """
    ordered = sorted(values)
    return lambda share: ordered[min(len(ordered) - 1, int(len(ordered) * share))]
