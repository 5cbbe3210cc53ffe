"""
Media against programs that are not ours: the ``ffmpeg`` command and an X server.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess

import av
import numpy as np
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rootstream.media.filesource import FileSource
from tests.integration.test_media import Program
from tests.mediasamples import VirtualOutlet


def require(command):
    """
    Skip where a command is missing, but for where all must be tested.
    """
    if shutil.which(command) is None and not os.environ.get("CI"):
        raise SkipTest(f"the command {command} is not installed")


def run(*arguments):
    """
    What a command prints; it must end well and complain of nothing.
    """
    done = subprocess.run(arguments, capture_output=True, timeout=60)
    if done.returncode or done.stderr:
        raise AssertionError(f"{arguments}: {done.stderr.decode()}")
    return done.stdout


def ffmpeg(*arguments):
    return run("ffmpeg", "-nostdin", "-v", "error", "-y", *arguments)


class FfmpegTests(SynchronousTestCase):
    """
    Files made by ffmpeg come through, and files made by us play in it.
    """

    def setUp(self):
        require("ffmpeg")
        require("ffprobe")

    def make(self, extension, sound, *more):
        path = os.path.abspath(self.mktemp() + extension)
        ffmpeg(
            *("-f", "lavfi", "-i", "testsrc2=s=320x180:r=30"),
            *("-f", "lavfi", "-i", "sine=f=440:r=44100"),
            *("-t", "2", "-c:v", "libx264", "-g", "20", "-bf", "3"),
            *("-c:a", sound, *more, path),
        )
        return path

    def annexB(self, path):
        """
        All pictures of a file, as ffmpeg takes them out of it.
        """
        return ffmpeg(
            *("-i", path, "-map", "0:v", "-c", "copy"),
            *("-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"),
        )

    def starts(self, path):
        """
        When picture and sound begin, in seconds.
        """
        found = []
        for kind in ("v", "a"):
            times = run(
                *("ffprobe", "-v", "error", "-select_streams", kind),
                *("-show_entries", "packet=pts_time", "-of", "csv=p=0", path),
            )
            lines = times.decode().split()
            found.append(min(float(line.strip(",")) for line in lines))
        return found

    def test_byteIdentical(self):
        """
        What comes out of the source is what ffmpeg's own copy gives.
        """
        for extension, sound in ((".mp4", "aac"), (".mkv", "libopus"), (".ts", "aac")):
            path = self.make(extension, sound)
            outlet = VirtualOutlet()
            source = FileSource(path)
            source.open(outlet)
            source.run(outlet)
            source.close()
            came = b"".join(frame.data for frame in outlet.pictures)
            self.assertEqual(came, self.annexB(path))
            self.assertEqual(len(outlet.pictures), 60)

    def test_recordingsPlay(self):
        """
        Recordings play in ffmpeg without an error, with every picture, and with
        the offset of sound and picture unchanged within 20 ms.
        """
        source = self.make(".mp4", "aac")
        opus = self.make(".mkv", "libopus", "-output_ts_offset", "3")
        running = []
        for path in (source, opus):
            for extension in (".mkv", ".mp4", ".ts"):
                recorded = os.path.abspath(self.mktemp() + extension)
                running.append((path, recorded, Program(self, path, recorded)))
        for path, recorded, program in running:
            self.assertEqual(program.said(), "open\n")
            ffmpeg("-i", recorded, "-f", "null", "-")
            if not recorded.endswith(".ts"):
                self.assertEqual(self.annexB(recorded), self.annexB(path))
            picture, sound = self.starts(path)
            # AAC's priming is cut off by the decoder before we encode.
            sound = max(sound, 0.0) if path == source else sound
            recordedPicture, recordedSound = self.starts(recorded)
            self.assertApproximates(
                recordedSound - recordedPicture, sound - picture, 0.02
            )

    def test_testPicture(self):
        """
        A recording of the test picture plays in ffmpeg without an error.
        """
        for extension in (".mkv", ".mp4", ".ts"):
            recorded = os.path.abspath(self.mktemp() + extension)
            Program(self, "test:320x180@30", recorded, seconds=1.5).said()
            ffmpeg("-i", recorded, "-f", "null", "-")


class ScreenTests(SynchronousTestCase):
    """
    A screen under Xvfb.
    """

    def setUp(self):
        require("Xvfb")
        require("xwd")
        reader, writer = os.pipe()
        self.server = subprocess.Popen(
            [
                *("Xvfb", "-displayfd", str(writer), "-nolisten", "tcp"),
                *("-screen", "0", "321x181x24", "-retro"),
            ],
            pass_fds=(writer,),
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self.server.wait)
        self.addCleanup(self.server.terminate)
        os.close(writer)
        with os.fdopen(reader) as answer:
            self.display = ":" + answer.readline().strip()

    def test_recorded(self):
        """
        A screen reaches a file: its stipple, seen by another program, is in the
        last picture, at an even size.
        """
        recorded = os.path.abspath(self.mktemp() + ".mkv")
        said = Program(self, f"screen:{self.display}", recorded, seconds=1.5).said()
        self.assertNotIn("Traceback", said)
        with av.open(recorded) as container:
            pictures = list(container.decode(video=0))
        self.assertGreater(len(pictures), 10)
        self.assertEqual((pictures[-1].width, pictures[-1].height), (320, 180))
        # A corner, since one of the two shows the pointer, in the middle.
        shown = pictures[-1].to_ndarray()[:60, :100].astype(int)
        screen = self.shot()[:60, :100].astype(int)
        self.assertGreater(screen.std(), 50)
        # Full range on the screen, 16 to 235 in the video.
        expected = 16 + screen * 219 / 255
        self.assertLess(abs(shown - expected).mean(), 8)

    def shot(self):
        """
        The red of the screen's pixels, by xwd.
        """
        dump = run("xwd", "-root", "-silent", "-display", self.display)
        header = struct.unpack(">25I", dump[:100])
        size, height, line, colours = (header[i] for i in (0, 5, 12, 19))
        pixels = np.frombuffer(dump[size + colours * 12 :], np.uint8)
        return pixels[: height * line].reshape(height, line)[:, 2::4]

    def test_serverGone(self):
        """
        A screen that goes away ends the source with one line.
        """
        program = Program(self, f"screen:{self.display}", "null")
        program.awaitFrames()
        self.server.terminate()
        said = program.said()
        self.assertNotIn("Traceback", said)
        self.assertEqual(len(said.strip().splitlines()), 1)
