"""
Tests for `rootstream.hardening`: what a process that holds keys forbids itself.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream import hardening
from rootstream.hardening import keepMemoryPrivate

ROOT = Path(__file__).resolve().parent.parent

#: Says what the kernel knows of a process that holds keys: as the programs begin, and
#: before.
LOOK = """
import ctypes, json, resource
from twisted.internet import reactor
from rootstream.tap import Options, makeService

def look():
    dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
    return {"core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": dumpable}

options = Options()
options.parseOptions(["demo"])
before = look()
makeService(options)
print(json.dumps([before, look()]))
"""


class KeepMemoryPrivateTests(SynchronousTestCase):
    """
    Tests for `keepMemoryPrivate`.
    """

    def test_programs(self) -> None:
        """
        A program dumps no core, and others of its user may not look into it (F88).
        """
        done = subprocess.run(
            [sys.executable, "-c", LOOK],
            cwd=ROOT,
            capture_output=True,
            timeout=60,
            check=True,
        )
        before, after = json.loads(done.stdout)
        self.assertEqual(before["dumpable"], 1)
        self.assertEqual(after, {"core": [0, 0], "dumpable": 0})

    def failing(self, library: Any) -> str:
        """
        What is logged where the system is another.
        """
        self.patch(hardening.resource, "setrlimit", lambda *limit: None)
        self.patch(ctypes, "CDLL", library)
        with capturedLogs() as logs:
            keepMemoryPrivate()
        [event] = logs
        return event["log_format"].format(**event)

    def test_refused(self) -> None:
        """
        A system that refuses is no reason to end.
        """

        class Library:
            def __init__(self, name: None, use_errno: bool) -> None:
                self.prctl = lambda *arguments: -1

        self.assertIn("may read this one's memory: error", self.failing(Library))

    def test_unknown(self) -> None:
        """
        Nor is one that has nothing of the kind.
        """
        self.assertIn(
            "may read this one's memory.", self.failing(lambda *_, **__: object())
        )
