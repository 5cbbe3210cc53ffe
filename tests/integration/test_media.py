"""
Media in processes of their own: killed, out of disk, on pipes.
"""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mediasamples import readBack, sampleBytes, writeSample

ROOT = Path(__file__).resolve().parent.parent.parent


class Program:
    """
    A `mediaprogram` that runs.
    """

    def __init__(self, case, source, sink, seconds=30, **options):
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.integration.mediaprogram",
                source,
                sink,
                str(seconds),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            **{"stdout": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
        )
        case.addCleanup(self._clean)
        self.stdout = self._process.stdout
        self.stdin = self._process.stdin

    def _clean(self):
        self.kill()
        for file in (self.stdout, self.stdin, self._process.stderr):
            if file is not None:
                file.close()

    def awaitFrames(self):
        """
        Come back when frames flow.
        """
        line = self._process.stderr.readline()
        if line != b"open\n":
            raise AssertionError(line + self._process.stderr.read())

    def said(self):
        """
        What it said until its end.
        """
        _, said = self._process.communicate(timeout=30)
        return said.decode()

    def kill(self):
        self._process.kill()
        self._process.wait()


class KilledTests(SynchronousTestCase):
    """
    A recording that is cut off at any moment can be played up to there.
    """

    def check(self, extension):
        path = os.path.abspath(self.mktemp() + extension)
        program = Program(self, "test:320x180@60", path)
        program.awaitFrames()
        program.kill()
        pictures, sounds = readBack(path)
        # 15 had gone to the sink, of which the half second that it waits for
        # sound is over; its thread may be two behind.
        self.assertGreaterEqual(len(pictures), 12)
        self.assertTrue(sounds)

    def test_matroska(self):
        """
        F84: Matroska, after SIGKILL.
        """
        self.check(".mkv")

    def test_mp4(self):
        """
        F84: MP4, after SIGKILL.
        """
        self.check(".mp4")

    def test_mpegTs(self):
        """
        F84: MPEG-TS, after SIGKILL.
        """
        self.check(".ts")


class DiskFullTests(SynchronousTestCase):
    """
    A disk that is full ends the recording, and only that.
    """

    def check(self, extension):
        path = os.path.abspath(self.mktemp() + extension)
        source = os.path.abspath(self.mktemp() + ".mkv")
        writeSample(source, audio="libopus", frames=60)
        limit = os.path.getsize(source) // 2
        program = Program(
            self,
            source,
            path,
            preexec_fn=lambda: resource.setrlimit(
                resource.RLIMIT_FSIZE, (limit, limit)
            ),
        )
        said = program.said()
        self.assertIn("playable up to here; make room", said)
        self.assertNotIn("Traceback", said)
        self.assertLessEqual(os.path.getsize(path), limit)
        pictures, _ = readBack(path)
        whole = [data for _, data in readBack(source)[0]]
        self.assertGreater(len(pictures), 5)
        if extension != ".ts":
            sent = [data for _, data in pictures]
            self.assertEqual(sent, whole[: len(sent)])

    def test_matroska(self):
        """
        F83: a Matroska file ends in a whole frame, and the user is told.
        """
        self.check(".mkv")

    def test_mp4(self):
        """
        F83: an MP4 file ends in a whole frame, and the user is told.
        """
        self.check(".mp4")

    def test_mpegTs(self):
        """
        F83: an MPEG-TS file ends in a whole frame, and the user is told.
        """
        self.check(".ts")


class PipeTests(SynchronousTestCase):
    """
    Standard input and output.
    """

    def test_stdout(self):
        """
        Standard output carries MPEG-TS and nothing else: stray words go to
        standard error.
        """
        program = Program(self, "test:320x180@30", "-", seconds=2)
        stream = program.stdout.read()
        self.assertEqual(len(stream) % 188, 0)
        self.assertEqual(set(stream[::188]), {0x47})
        pictures, sounds = readBack(io.BytesIO(stream))
        self.assertGreater(len(pictures), 30)
        self.assertGreater(len(sounds), 50)
        said = program.said()
        self.assertIn("stray words", said)
        self.assertNotIn("Traceback", said)

    def test_stdoutClosed(self):
        """
        A player that was closed ends the stream with one line.
        """
        program = Program(self, "test:320x180@30", "-")
        program.stdout.read(188)
        program.stdout.close()
        program.stdout = None
        lines = program.said().splitlines()
        self.assertIn("its reader is gone", " ".join(lines))
        self.assertNotIn("Traceback", " ".join(lines))

    def test_stdin(self):
        """
        A stream on standard input goes through to its end.
        """
        for form in ("matroska", "mpegts"):
            data = sampleBytes(form, frames=20, audio="libopus")
            path = os.path.abspath(self.mktemp() + ".mkv")
            program = Program(self, "-", path, stdin=subprocess.PIPE)
            program.stdin.write(data)
            program.stdin.close()
            program.stdin = program._process.stdin = None
            program.said()
            self.assertEqual(len(readBack(path)[0]), 20)

    def test_stdinClosed(self):
        """
        Standard input that is closed, or empty, is said to be so in one line.
        """
        program = Program(self, "-", "null", preexec_fn=lambda: os.close(0), stdin=None)
        self.assertEqual(
            program.said(), "standard input is closed; pipe a stream into it\n"
        )
        lines = Program(self, "-", "null").said().splitlines()
        self.assertEqual(len(lines), 1)
        self.assertIn("cannot read standard input", lines[0])

    def test_stdinSilent(self):
        """
        F86: a pipe in which nothing comes does not hold up the end.
        """
        program = Program(self, "-", "null", seconds=0.2, stdin=subprocess.PIPE)
        self.assertNotIn("Traceback", program.said())
