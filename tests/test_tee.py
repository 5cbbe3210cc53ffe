"""
Tests for `rootstream.tee`: one stream for several.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.events import AudioFrame, VideoFrame
from rootstream.tee import Tee

KEY = VideoFrame(b"key", 0, keyFrame=True)
OTHER = VideoFrame(b"other", 1)
SOUND = AudioFrame(b"sound", 0)


class Taker:
    """
    Keeps what it is handed.
    """

    def __init__(self) -> None:
        self.taken: list[object] = []

    def video(self, frame: VideoFrame) -> None:
        self.taken.append(frame)

    def audio(self, frame: AudioFrame) -> None:
        self.taken.append(frame)


class Faulty(Taker):
    """
    Takes nothing.
    """

    def video(self, frame: VideoFrame) -> None:
        raise ZeroDivisionError


class TeeTests(SynchronousTestCase):
    """
    Tests for `Tee`.
    """

    def setUp(self) -> None:
        self.wanted = 0
        self.tee = Tee(self.want)

    def want(self) -> None:
        self.wanted += 1

    def test_fromAKeyFrame(self) -> None:
        """
        Whoever is added asks for a key frame and begins with it.
        """
        taker = Taker()
        self.tee.add(taker)
        self.assertEqual(self.wanted, 1)
        self.tee.video(OTHER)
        self.tee.audio(SOUND)
        self.assertEqual(taker.taken, [])
        for frame in (KEY, OTHER):
            self.tee.video(frame)
        self.tee.audio(SOUND)
        self.assertEqual(taker.taken, [KEY, OTHER, SOUND])

    def test_removed(self) -> None:
        """
        Whoever was removed gets no more, and the others do.
        """
        first, second = Taker(), Taker()
        self.tee.add(first)
        self.tee.add(second)
        self.assertEqual(len(self.tee), 2)
        self.tee.remove(first)
        self.tee.remove(first)
        self.tee.video(KEY)
        self.assertEqual((first.taken, second.taken), ([], [KEY]))

    def test_faulty(self) -> None:
        """
        One that fails is removed and logged; the stream goes on for the others.
        """
        taker = Taker()
        self.tee.add(Faulty())
        self.tee.add(taker)
        self.tee.video(KEY)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.tee.video(OTHER)
        self.assertEqual(taker.taken, [KEY, OTHER])
        self.assertEqual(len(self.tee), 1)
