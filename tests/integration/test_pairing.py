"""
Two machines that pair, as a user does it: with the programs.
"""

from __future__ import annotations

import json
import re

from tests.integration.programs import LOOPBACK, ProgramTestCase, waitUntil


class PairingTests(ProgramTestCase):
    """
    A host that shows a phrase, and viewers that nobody has listed.
    """

    def test_pairRenameRevoke(self) -> None:
        """
        Who types a wrong phrase is sent away; who types the shown one watches, is
        listed with the rights that the host gives, comes again by the host's name, and
        is gone at once when it is revoked.
        """
        hosting = str(self.directory / "hosting")
        viewing = str(self.directory / "viewer")
        host = self.start(
            "host",
            *("--home", hosting, "--interface", LOOPBACK, "--port", "0"),
            *("--source", "test:320x180@30"),
            *("--pair", "--pair-rights", "view,input"),
        )
        shown = waitUntil(
            lambda: re.search(r"connect '(.*)' --pair '(.*)'", host.said()),
            "the host shows a phrase",
        )
        code, phrase = shown.groups()
        wrong = " ".join([*phrase.split()[1:], phrase.split()[0]])
        if wrong == phrase:
            wrong = "zoo " * 6
        stranger = self.start(
            "connect", code, "--home", str(self.directory / "eve"), "--pair", wrong
        )
        self.assertEqual(stranger.exitStatus(), 1)
        self.assertIn("the host has another phrase", stranger.complaints())

        viewer = self.start("connect", code, "--home", viewing, "--pair", phrase)
        viewer.waitFor("state", to="CONNECTED")
        [paired] = host.events("paired")
        self.assertEqual(paired["peer"], self.viewer.key.fingerprint)
        self.assertEqual(paired["rights"], "view,input")
        viewer.process.terminate()
        self.assertEqual(viewer.exitStatus(), 0, viewer.complaints())

        peers = ("peers", "--home", viewing, "rename", self.hosting.key.fingerprint)
        self.assertEqual(self.tend(*peers, "desk"), 0)
        again = self.start("connect", "desk", "--home", viewing)
        again.waitFor("state", to="CONNECTED")
        key = self.viewer.key.fingerprint
        self.assertEqual(self.tend("peers", "--home", hosting, "revoke", key), 0)
        self.assertEqual(again.exitStatus(), 0, again.complaints())
        gone = again.events("state")[-1]
        self.assertIn("taken off the list of peers", gone["cause"])
        self.assertNotIn(phrase, json.dumps(host.events()))

    def tend(self, *words: str) -> int:
        """
        Run ``rootstream peers``; returns its exit status.
        """
        return self.start(*words).exitStatus()
