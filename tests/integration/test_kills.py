"""
A thousand SIGKILLs each, while files are written that must be whole.
"""

from __future__ import annotations

import functools
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.programs import ROOT

KILLS = 1000
KINDS = ("identity", "peers", "mkv", "mp4")


@functools.cache
def killing() -> dict[str, subprocess.Popen[str]]:
    """
    All kinds at the same time: most of it is waiting.
    """
    return {
        kind: subprocess.Popen(
            [sys.executable, "-m", "tests.integration.kills", kind, str(KILLS)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for kind in KINDS
    }


class KillTests(SynchronousTestCase):
    """
    What a process leaves that is killed at a moment of chance.
    """

    def seen(self, kind: str) -> dict[str, int]:
        """
        What came of it, once each was found to be right, and how often.
        """
        process = killing()[kind]
        self.addCleanup(process.kill)
        said, complained = process.communicate(timeout=400)
        self.assertEqual(process.returncode, 0, complained)
        sys.stdout.write(f"\n    {kind}: {said}")
        parts = [part.rpartition(": ") for part in said.strip().split(", ")]
        seen = {name: int(times) for name, _, times in parts}
        self.assertEqual(sum(seen.values()), KILLS)
        return seen

    def test_identity(self) -> None:
        """
        An identity is there whole or not at all (F81).
        """
        self.assertEqual(self.seen("identity").keys(), {"none", "whole"})

    def test_peers(self) -> None:
        """
        The list of peers is the old one or the new one (F81).
        """
        self.assertEqual(self.seen("peers").keys(), {"old", "new"})

    def test_recordings(self) -> None:
        """
        A recording can be played to where its writer was killed (F84).
        """
        for ending in ("mkv", "mp4"):
            self.assertIn("to where it was killed", self.seen(ending))
