"""
Recordings of streams that run, as a user makes them; and ``rootstream status``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.programs import Program, ProgramTestCase, waitUntil
from tests.mediasamples import readBack

#: A picture small enough for a busy machine.
TEST = "test:320x240@25"


class RecordingTests(ProgramTestCase):
    """
    A host and its viewer, on loopback, and files beside them.
    """

    def ask(self, command: str, home: str, *words: str) -> str:
        """
        What a command says that went well.
        """
        where = str(self.directory / home)
        asking = self.start(command, "--home", where, *words)
        self.assertEqual(asking.exitStatus(), 0, asking.complaints())
        self.assertEqual(asking.complaints(), "")
        return asking.said()

    def frames(self, program: Program, more: int) -> None:
        """
        So many frames more pass.
        """
        stats = program.events("stats")
        before = stats[-1]["frames"] if stats else 0
        program.waitFor("stats", lambda entry: entry["frames"] >= before + more)

    def assertHolds(self, file: Path, pictures: int) -> None:
        """
        A file plays, from a key frame on, with so many pictures at least, and sound.
        """
        shown, heard = readBack(str(file))
        self.assertGreaterEqual(len(shown), pictures, file)
        self.assertTrue(heard, file)

    def test_killed(self) -> None:
        """
        A host records without a viewer, and a viewer begins when it is told to; after
        SIGKILL both files play (F84).
        """
        first, second = self.directory / "host.mkv", self.directory / "viewer.mp4"
        host, port = self.startHost(TEST, "--record", str(first))
        waitUntil(lambda: first.exists() and first.stat().st_size, "bytes in the file")
        viewer = self.startViewer(port)
        self.frames(viewer, 10)
        said = self.ask("record", "viewer", "start", str(second))
        self.assertEqual(said, f"recording into {second}\n")
        viewer.waitFor("recording", file=str(second))
        [status] = map(json.loads, self.ask("status", "viewer", "--json").splitlines())
        self.assertEqual(status["recording"], str(second))
        self.assertEqual(status["peers"][0]["state"], "CONNECTED")
        self.assertIn(f"recording: {first}", self.ask("status", "hosting"))
        self.frames(viewer, 60)
        viewer.kill()
        host.kill()
        self.assertHolds(first, 60)
        # The key frame that was asked for, and what the sink's thread had yet to write.
        self.assertHolds(second, 25)

    def test_stopped(self) -> None:
        """
        A recording that is ended is whole, the next has another name, and the stream
        goes on.
        """
        _, port = self.startHost(TEST)
        viewer = self.startViewer(port)
        self.frames(viewer, 10)
        file = self.directory / "a.mkv"
        self.ask("record", "viewer", "start", str(file))
        self.frames(viewer, 50)
        self.assertEqual(
            self.ask("record", "viewer", "stop"), "the recording is over\n"
        )
        viewer.waitFor("recording", text=f"recorded {file}")
        self.assertHolds(file, 25)
        where = str(self.directory / "viewer")
        again = self.start("record", "--home", where, "start", str(file))
        self.assertEqual(again.exitStatus(), 1)
        self.assertOneLine(again.complaints(), "exists; remove it or choose another")
        self.frames(viewer, 10)

    def test_diskFull(self) -> None:
        """
        A file system without room ends the recording with a notice; what it has plays,
        and the stream goes on (F83).
        """
        if os.geteuid() != 0:
            why = "only root can mount a file system of one MiB"
            if "CI" in os.environ:
                raise AssertionError(why)
            raise SkipTest(why)
        small = self.directory / "small"
        small.mkdir()
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "rootstream", small], check=True
        )
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        # Not to wait until a picture as simple as the test's has filled it.
        (small / "other").write_bytes(bytes(900 << 10))
        file = small / "a.mkv"
        host, port = self.startHost(TEST, "--record", str(file))
        viewer = self.startViewer(port)
        noticed = host.waitFor(
            "recording", lambda entry: "ended" in entry["text"], seconds=40
        )
        self.assertIn("No space left on device; it is playable", noticed["text"])
        self.assertIsNone(noticed["file"])
        self.assertIn(noticed["text"], host.said())
        self.assertIn(noticed["text"], host.complaints())
        self.frames(viewer, 25)
        self.assertIs(host.process.poll(), None)
        self.assertHolds(file, 10)
