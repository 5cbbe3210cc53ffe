"""
Tests for what all tests of programs end with: no secret was said.
"""

from __future__ import annotations

import base64
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rootstream.identity import loadOrCreateIdentity
from tests.integration.programs import ProgramTestCase
from tests.integration.secrecy import leaks, secretsOf


class LeaksTests(SynchronousTestCase):
    """
    Tests for `leaks`.
    """

    def test_forms(self) -> None:
        """
        A secret is found in any form that text has it in, and only then.
        """
        home = Path(self.mktemp())
        identity = loadOrCreateIdentity(home)
        (home / "web-token").write_text("a token of a page\n")
        secrets = secretsOf(home)
        for secret in (identity.seed, identity.x25519Private):
            for said in (
                secret,
                f"key {secret.hex()}.".encode(),
                b"key " + base64.b64encode(secret),
                f"Identity({secret!r})".encode(),
                f"{[*secret]}".encode(),
            ):
                self.assertEqual(len(leaks(b"before " + said, secrets)), 1, said)
        self.assertEqual(
            leaks(b"x a token of a page x", secrets), [b"a token of a page"]
        )
        public = identity.key.ed25519.hex().encode() + identity.key.fingerprint.encode()
        self.assertEqual(leaks(public, secrets), [])


class ProgramsTests(ProgramTestCase):
    """
    What each test of programs checks at its end.
    """

    def test_found(self) -> None:
        """
        A program that says its seed fails its test (F95); the link to its page, on a
        terminal, does not.
        """
        program = self.start("identity", "--home", str(self.directory / "hosting"))
        self.assertEqual(program.exitStatus(), 0)
        (self.directory / "hosting" / "web-token").write_text("token")
        with program.outPath.open("a") as out:
            out.write("http://127.0.0.1:8080/?token=token\n")
        self.keptSecrets()
        program.eventsPath.write_text(f'{{"key": "{self.hosting.seed.hex()}"}}\n')
        self.assertRaises(self.failureException, self.keptSecrets)
        program.eventsPath.unlink()
