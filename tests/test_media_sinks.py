"""
Tests for `rootstream.media.sinks`.
"""

from __future__ import annotations

import os
import threading

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import SinkError
from rootstream.media.sinks import (
    CLOSE_WAIT,
    FILE_LIMIT,
    LIVE_LIMIT,
    NullSink,
    ThreadedSink,
    openSink,
)
from rootstream.protocol.events import VideoFrame
from tests.mediasamples import PumpedReactor, encodedFrames, readBack, silence


class SinkCase(SynchronousTestCase):
    """
    A reactor and what a sink tells.
    """

    def setUp(self):
        self.reactor = PumpedReactor()
        self.failures = []
        self.wanted = []

    def open(self, spec):
        return openSink(
            spec,
            reactor=self.reactor,
            failed=self.failures.append,
            wantKeyFrame=lambda: self.wanted.append(True),
        )

    def close(self, sink):
        closed = []
        sink.close().addCallback(closed.append)
        self.reactor.pump(lambda: closed)


class OpenSinkTests(SinkCase):
    """
    Tests for `openSink` with files, and for bad input.
    """

    def test_files(self):
        """
        The extension chooses the container, in either case of letters.
        """
        frames = encodedFrames(30)
        for extension in (".mkv", ".mp4", ".ts", ".MKV"):
            path = self.mktemp() + extension
            sink = self.open(path)
            for index, frame in enumerate(frames):
                sink.video(frame)
                sink.audio(silence(1_000_000 + index * 20_000))
            self.close(sink)
            self.assertEqual(self.failures, [])
            pictures, sounds = readBack(path)
            self.assertEqual((len(pictures), len(sounds)), (30, 30))

    def test_openedByTheClock(self):
        """
        A recording without sound is opened though nothing more comes.
        """
        path = self.mktemp() + ".mkv"
        sink = self.open(path)
        sink.video(encodedFrames(1)[0])
        self.reactor.pump(lambda: os.path.getsize(path) > 0)
        self.close(sink)

    def test_nothingCame(self):
        """
        A sink closed before anything came leaves no file behind.
        """
        path = self.mktemp() + ".mkv"
        self.close(self.open(path))
        self.assertFalse(os.path.exists(path))
        self.assertEqual(self.failures, [])

    def test_closedTwice(self):
        """
        Closing again is harmless, and later frames are left out.
        """
        sink = self.open(self.mktemp() + ".mkv")
        self.close(sink)
        sink.video(encodedFrames(1)[0])
        self.successResultOf(sink.close())

    def test_null(self):
        """
        The null sink counts.
        """
        sink = self.open("null")
        self.assertIsInstance(sink, NullSink)
        sink.video(VideoFrame(b"12345", 0))
        sink.audio(silence(0))
        self.successResultOf(sink.close())
        counts = (sink.videoFrames, sink.audioFrames, sink.bytes)
        self.assertEqual(counts, (1, 1, 8))

    def test_unknownExtension(self):
        """
        A name that tells no container is refused, with those that do.
        """
        error = self.assertRaises(SinkError, self.open, "video.xyz")
        self.assertIn(".mkv, .mp4 or .ts", str(error))
        self.assertFalse(os.path.exists("video.xyz"))

    def test_existing(self):
        """
        A file that is there is not overwritten.
        """
        path = self.mktemp() + ".mkv"
        with open(path, "w") as file:
            file.write("precious")
        error = self.assertRaises(SinkError, self.open, path)
        self.assertIn("exists", str(error))

    def test_badUrl(self):
        """
        A URL that cannot be written is reported once, when the stream starts.
        """
        sink = self.open("nosuchprotocol://127.0.0.1/")
        for frame in encodedFrames(3):
            sink.video(frame)
        sink.audio(silence(1_000_000))
        self.reactor.pump(lambda: self.failures)
        sink.video(encodedFrames(1)[0])
        [error] = self.failures
        self.assertIsInstance(error, SinkError)
        self.assertIn("cannot write nosuchprotocol://", str(error))

    def test_undecodablePicture(self):
        """
        A key frame of nonsense ends the recording with a SinkError, not with a
        traceback.
        """
        for extension in (".mkv", ".ts"):
            self.failures.clear()
            sink = self.open(self.mktemp() + extension)
            sink.video(VideoFrame(b"\0\0\1\x67a\0\0\1\x68b\0\0\1\x65c", 0, True))
            sink.audio(silence(0))
            closed = []
            sink.close().addCallback(closed.append)
            self.reactor.pump(lambda closed=closed: closed)
            for error in self.failures:
                self.assertIsInstance(error, SinkError)


class Gate:
    """
    A destination whose writer waits at a gate.
    """

    name = "the gate"

    def __init__(self, live):
        self.live = live
        self.gate = threading.Semaphore(0)
        self.abandoned = False
        self.pictures = []
        self.error = None

    def open(self, opening):
        return self

    def video(self, data, pts, dts, duration, key):
        self.gate.acquire()
        if self.error is not None:
            raise self.error
        self.pictures.append(data)

    def audio(self, data, pts, samples):
        pass

    def commit(self):
        pass

    def close(self):
        pass

    def abandon(self):
        self.abandoned = True


class ThreadedSinkTests(SinkCase):
    """
    Tests for `ThreadedSink` with a destination under control.
    """

    def sink(self, live):
        self.gate = Gate(live)
        sink = ThreadedSink(
            self.gate,
            self.reactor,
            self.failures.append,
            lambda: self.wanted.append(True),
        )
        # However a test ends, its thread must not wait for ever.
        self.addCleanup(self.gate.gate.release, 100_000)
        return sink

    def frame(self, number, key=False, size=500_000):
        head = encodedFrames(1)[0].data
        return VideoFrame(head + bytes(size), number * 33_333, key)

    def test_slowReader(self):
        """
        For a live reader that is slow, frames are left out whole, up to a key
        frame that is asked for once there is room.
        """
        sink = self.sink(live=True)
        sink.video(self.frame(0, key=True))
        sink.audio(silence(0))
        number = 1
        while not sink.framesSkipped:
            sink.video(self.frame(number))
            number += 1
            self.assertLess(number * 500_000, 3 * LIVE_LIMIT)
        self.assertEqual(self.wanted, [])
        self.gate.gate.release(100)
        self.reactor.pump(lambda: len(self.gate.pictures) == number - 1)
        sink.video(self.frame(number))
        sink.video(self.frame(number + 1))
        self.assertEqual(len(self.wanted), 1)
        sink.video(self.frame(number + 2, key=True))
        self.close(sink)
        self.assertEqual(sink.framesSkipped, 3)
        self.assertEqual(len(self.gate.pictures), number)
        self.assertEqual(self.failures, [])

    def test_slowDisk(self):
        """
        For a file nothing is left out: a disk too slow by 64 MiB ends the
        recording, and says so.
        """
        sink = self.sink(live=False)
        sink.video(self.frame(0, key=True))
        sink.audio(silence(0))
        for number in range(1, 12):
            sink.video(self.frame(number, size=FILE_LIMIT // 10))
        self.gate.gate.release(100)
        self.reactor.pump(lambda: self.failures)
        self.assertIn("too slow", str(self.failures[0]))
        self.assertEqual(self.wanted, [])

    def test_stuckReader(self):
        """
        F86: a reader that takes nothing holds up closing for a second only.
        """
        sink = self.sink(live=True)
        sink.video(self.frame(0, key=True))
        sink.audio(silence(0))
        closed = []
        sink.close().addCallback(closed.append)
        [(seconds, call)] = self.reactor.later
        self.assertEqual(seconds, CLOSE_WAIT)
        self.assertEqual(closed, [])
        call.fire()
        self.assertEqual(closed, [None])
        self.assertTrue(self.gate.abandoned)

    def test_bug(self):
        """
        A bug in the writing thread is logged with its traceback and ends the
        recording.
        """
        sink = self.sink(live=False)
        self.gate.error = ZeroDivisionError("bug")
        self.gate.gate.release(10)
        sink.video(self.frame(0, key=True))
        sink.audio(silence(0))
        self.reactor.pump(lambda: self.failures)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("a bug in RootStream", str(self.failures[0]))

    def test_lateSound(self):
        """
        Sound that began after the recording was opened without it is counted in
        the log.
        """
        sink = self.sink(live=False)
        self.gate.gate.release(10)
        sink.video(self.frame(0, key=True))
        self.reactor.pump(lambda: self.gate.pictures)
        sink.audio(silence(0))
        with capturedLogs() as logs:
            self.close(sink)
        self.assertEqual([event["count"] for event in logs if "count" in event], [1])
