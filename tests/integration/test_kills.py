"""
A thousand SIGKILLs each, while files are written that must be whole.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import ROOT

KILLS = 1000


class KillTests(SynchronousTestCase):
    """
    What a process leaves that is killed at a moment of chance.
    """

    def kill(self, kind: str) -> dict[str, int]:
        """
        Kill, and count what came of it, once each was found to be right.
        """
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.kills", kind, str(KILLS)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        sys.stdout.write(f"\n    {kind}: {done.stdout}")
        parts = [part.rpartition(": ") for part in done.stdout.strip().split(", ")]
        seen = {name: int(times) for name, _, times in parts}
        self.assertEqual(sum(seen.values()), KILLS)
        return seen

    def test_identity(self) -> None:
        """
        An identity is there whole or not at all (F81).
        """
        self.assertEqual(self.kill("identity").keys(), {"none", "whole"})

    def test_peers(self) -> None:
        """
        The list of peers is the old one or the new one (F81).
        """
        self.assertEqual(self.kill("peers").keys(), {"old", "new"})

    def test_recordings(self) -> None:
        """
        A recording can be played to where its writer was killed (F84).
        """
        for ending in ("mkv", "mp4"):
            self.assertIn("to where it was killed", self.kill(ending))
