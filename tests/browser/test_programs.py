"""
The pages of a host and of a viewer.
"""

from __future__ import annotations

import re

from rootstream.identity import formatCode
from tests.browser.chromium import GONE, BrowserTestCase, linkOf
from tests.integration.programs import freePort

HOSTILE = "<img src=none onerror=alert(1)>"


class ProgramsTests(BrowserTestCase):
    """
    Tests for the pages of ``rootstream host`` and ``rootstream connect``.
    """

    def test_hostAndViewer(self) -> None:
        """
        A host's page has its peers, charts and events, and no picture; a viewer's page
        has the picture, and no weather.
        """
        host, port = self.startHost("test:640x360@30", "--web", "0")
        viewer = self.startViewer(port, "--sink", "null", "--web", "0")
        there = self.openPage(linkOf(host))
        self.untilText(there, "#role", "host")
        self.untilText(there, "#peers .state", "connected")
        self.untilText(there, "#peers .transport", "UDP")
        self.untilText(there, "#timeline", "CONNECTED")
        self.untilText(there, "#charts", r"\d\sfps")
        self.assertFalse(there.is_visible("#viewer"))
        self.assertFalse(there.is_visible("#weather"))
        here = self.openPage(linkOf(viewer))
        self.until(here, "globalThis.rootstream?.picture.drawn > 30", "30 pictures")
        self.assertEqual(here.evaluate("rootstream.canvas.width"), 640)
        self.assertFalse(here.is_visible("#weather"))
        self.untilText(here, "#numbers", "640.360")
        self.screenshot(there, "dashboard", whole=True)
        self.assertAccessible(there)

    def test_namesAreText(self) -> None:
        """
        A name is text on the page, whatever is in it.
        """
        code = formatCode(self.viewer.key, None)
        peers = self.directory / "hosting" / "peers"
        peers.write_text(f"{code} {HOSTILE}\n")
        peers.chmod(0o600)
        host, port = self.startHost("test:320x180@10", "--web", "0")
        self.startViewer(port, "--sink", "null")
        page = self.openPage(linkOf(host))
        self.untilText(page, "#peers h3", "^" + re.escape(HOSTILE) + "$")
        self.untilText(page, "#legend", re.escape(HOSTILE))
        self.assertEqual(page.evaluate("document.images.length"), 0)

    def test_restart(self) -> None:
        """
        A page outlives its host: it says that the host does not answer, and when the
        host is there again, that it is back.
        """
        web = str(freePort())
        host, port = self.startHost("test:320x180@10", "--web", web)
        page = self.openPage(linkOf(host), complains=GONE)
        self.untilText(page, "#line", "Connected")
        host.kill()
        self.untilText(page, "#line", "does not answer")
        self.startHost("test:320x180@10", "--web", web, port=port)
        self.untilText(page, "#line", "The program is back")
        self.untilText(page, "#timeline", "listening")
