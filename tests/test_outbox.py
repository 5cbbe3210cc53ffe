"""
Tests for `rootstream.protocol.outbox`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.outbox import Outbox

START = 1000.0


class OutboxTests(SynchronousTestCase):
    """
    What waits, for how long, and what leaves.
    """

    def setUp(self) -> None:
        self.outbox = Outbox()

    def fill(self, count: int, now: float = START) -> None:
        """
        Queue one video frame of ``count`` chunks.
        """
        self.outbox.addVideo([b"%d" % each for each in range(count)], now)

    def take(self, now: float, limit: int = 64) -> list[bytes]:
        """
        What leaves at ``now``, without its deadlines.
        """
        pieces = self.outbox.take(limit, now)
        return [plain for plains, _ in pieces for plain in plains]

    def admit(self, keyFrame: bool, congested: bool) -> bool:
        """
        Whether a video frame is taken at ``START``.
        """
        return self.outbox.admitVideo(keyFrame, congested, START)

    def test_empty(self) -> None:
        """
        Nothing comes out of an empty outbox, and it needs no timer.
        """
        self.assertEqual(self.take(START), [])
        self.assertEqual(len(self.outbox), 0)
        self.assertIsNone(self.outbox.lookAt)

    def test_inOrder(self) -> None:
        """
        Video and audio leave in the order in which they came, video within 500 ms
        and audio within 200.
        """
        self.outbox.addVideo([b"v1", b"v2"], START)
        self.outbox.addAudio(b"a", START)
        self.assertEqual(len(self.outbox), 3)
        self.assertEqual(
            self.outbox.take(3, START + 0.1),
            [([b"v1", b"v2"], START + 0.5), ((b"a",), START + 0.2)],
        )
        self.assertEqual(len(self.outbox), 0)

    def test_limit(self) -> None:
        """
        No more leaves than may, frames are cut where they must be, and what is left of
        one leaves first.
        """
        self.fill(100)
        self.outbox.addAudio(b"a", START)
        self.assertEqual(self.take(START, -3), [])
        self.assertEqual(self.take(START, 0), [])
        everything: list[bytes] = []
        for limit, rest in ((64, 37), (1, 36), (35, 1), (5, 0), (5, 0)):
            everything += self.take(START, limit)
            self.assertEqual(len(self.outbox), rest)
        self.assertEqual(everything, [b"%d" % each for each in range(100)] + [b"a"])

    def test_lateVideo(self) -> None:
        """
        A video frame is dropped whole when 500 ms did not suffice, is counted once,
        and only a key frame may follow.
        """
        self.fill(100)
        self.outbox.addVideo([b"next"], START + 0.1)
        self.take(START)
        self.assertEqual(self.take(START + 0.5), [b"next"])
        self.assertEqual(self.outbox.dropped, 1)
        self.assertTrue(self.outbox.needKey)

    def test_expire(self) -> None:
        """
        While nothing is taken, what is too late goes all the same, and only that: a
        frame whole, with what it means for the frames after it, or a sound.
        """
        self.outbox.addAudio(b"a", START - 0.3)
        self.outbox.addVideo([b"1", b"2"], START - 0.2)
        self.outbox.addVideo([b"3"], START)
        self.outbox.expire(START)
        self.assertEqual(len(self.outbox), 3)
        self.assertFalse(self.outbox.needKey)
        self.outbox.expire(START + 0.3)
        self.assertEqual(len(self.outbox), 1)
        self.assertEqual(self.outbox.dropped, 1)
        self.assertTrue(self.outbox.needKey)
        self.outbox.expire(START + 0.5)
        self.assertEqual(len(self.outbox), 0)

    def test_lateAudio(self) -> None:
        """
        An audio frame is dropped after 200 ms, and concerns nobody else.
        """
        self.outbox.addAudio(b"a", START)
        self.outbox.addVideo([b"v"], START)
        self.assertEqual(self.take(START + 0.2), [b"v"])
        self.assertEqual(self.outbox.dropped, 0)
        self.assertFalse(self.outbox.needKey)

    def test_backlog(self) -> None:
        """
        On a path that cannot keep up, whole video frames are refused, up to the next
        key frame that it has room for.
        """
        self.assertTrue(self.admit(keyFrame=False, congested=False))
        self.assertFalse(self.admit(keyFrame=True, congested=True))
        self.assertFalse(self.admit(keyFrame=False, congested=False))
        self.assertFalse(self.admit(keyFrame=True, congested=True))
        self.assertEqual(self.outbox.dropped, 3)
        self.assertTrue(self.outbox.needKey)
        self.assertTrue(self.admit(keyFrame=True, congested=False))
        self.assertTrue(self.admit(keyFrame=False, congested=False))
        self.assertEqual(self.outbox.dropped, 3)

    def test_looks(self) -> None:
        """
        While it cannot keep up it is looked at every 50 ms; once it can, that is told
        one time.
        """
        self.assertFalse(self.outbox.looks(congested=False, now=START))
        self.admit(keyFrame=False, congested=True)
        self.assertEqual(self.outbox.lookAt, START + 0.05)
        self.assertFalse(self.outbox.looks(congested=False, now=START + 0.04))
        self.assertFalse(self.outbox.looks(congested=True, now=START + 0.05))
        self.assertEqual(self.outbox.lookAt, START + 0.05 + 0.05)
        self.assertTrue(self.outbox.looks(congested=False, now=START + 0.1))
        self.assertFalse(self.outbox.looks(congested=False, now=START + 0.2))
        self.assertIsNone(self.outbox.lookAt)
        self.assertTrue(self.outbox.needKey)

    def test_keyFrameInTime(self) -> None:
        """
        A key frame that came and was taken need not be asked for.
        """
        self.admit(keyFrame=False, congested=True)
        self.admit(keyFrame=True, congested=False)
        self.assertFalse(self.outbox.looks(congested=False, now=START + 1))
        self.assertIsNone(self.outbox.lookAt)

    def test_giveUpVideo(self) -> None:
        """
        All video is dropped, each frame counted, and only a key frame may follow; sound
        stays.
        """
        self.fill(3)
        self.outbox.addAudio(b"a", START)
        self.fill(2)
        self.outbox.giveUpVideo()
        self.assertEqual(self.take(START), [b"a"])
        self.assertEqual(self.outbox.dropped, 2)
        self.assertTrue(self.outbox.needKey)

    def test_clear(self) -> None:
        """
        `clear` drops all that waits, for a peer that starts anew.
        """
        self.fill(10)
        self.admit(keyFrame=False, congested=True)
        self.outbox.clear()
        self.assertEqual(len(self.outbox), 0)
        self.assertFalse(self.outbox.needKey)
        self.assertIsNone(self.outbox.lookAt)
