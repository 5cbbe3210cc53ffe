"""
The example of the library's page runs as it stands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent.parent


class ExampleTests(SynchronousTestCase):
    """
    Tests for ``docs/example.py``.
    """

    def test_runs(self) -> None:
        """
        The viewer gets the picture that the host sent, and the program ends.
        """
        done = subprocess.run(
            [sys.executable, str(ROOT / "docs" / "example.py")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(
            (done.returncode, done.stdout, done.stderr),
            (0, "received b'a picture'\n", ""),
        )
