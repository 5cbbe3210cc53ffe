"""
Tests for `rootstream.pictures`: how long the picture stopped.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rootstream.pictures import PATIENCE, AcknowledgementWatch, PictureWatch

INTERVAL = 1 / 30


class PictureWatchTests(SynchronousTestCase):
    """
    Tests for `PictureWatch`.
    """

    def setUp(self) -> None:
        self.told: list[tuple[float, str]] = []
        self.watch = PictureWatch(lambda *gap: self.told.append(gap))
        self.now = 100.0

    def play(self, seconds: float) -> None:
        """
        Let pictures come for a while.
        """
        until = self.now + seconds
        while self.now < until:
            self.watch.came(self.now)
            self.watch.look(self.now)
            self.now += INTERVAL

    def test_stopped(self) -> None:
        """
        The gap around a disturbance is told once all is well again, less the interval
        between two pictures.
        """
        self.play(1.0)
        self.now += 0.2
        self.watch.disturbed("moved", self.now)
        self.play(0.9)
        self.assertEqual(self.told, [])
        self.play(0.5)
        [(gap, cause)] = self.told
        self.assertAlmostEqual(gap, 0.2)
        self.assertEqual(cause, "moved")
        self.play(2.0)
        self.assertEqual(len(self.told), 1)

    def test_noticedLate(self) -> None:
        """
        A gap that is over when this side notices the disturbance belongs to it.
        """
        self.play(1.0)
        self.now += 0.3
        self.play(0.5)
        self.watch.disturbed("suspect", self.now)
        self.play(1.5)
        self.assertAlmostEqual(self.told[0][0], 0.3)

    def test_longest(self) -> None:
        """
        One thing leads to another: it is one story, with its longest gap and its last
        words.
        """
        self.play(1.0)
        self.now += 0.5
        self.watch.disturbed("suspect", self.now)
        self.play(0.5)
        self.now += 0.2
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        [(gap, cause)] = self.told
        self.assertAlmostEqual(gap, 0.5)
        self.assertEqual(cause, "moved")

    def test_unseen(self) -> None:
        """
        What nobody sees is not told, nor is a gap without a disturbance.
        """
        self.play(1.0)
        self.now += 0.05
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        self.now += 2.0
        self.play(2.0)
        self.watch.disturbed("moved", self.now)
        self.play(1.5)
        self.assertEqual(self.told, [])

    def test_nothingYet(self) -> None:
        """
        Without a picture there is nothing to tell.
        """
        self.watch.disturbed("moved", self.now)
        self.watch.look(self.now + 5.0)
        self.assertEqual(self.told, [])


class AcknowledgementWatchTests(SynchronousTestCase):
    """
    Tests for `AcknowledgementWatch`.
    """

    waiting = True

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(100.0)
        self.acknowledgedAt = 100.0
        self.told: list[tuple[float, str]] = []
        self.watch = AcknowledgementWatch(
            self.clock, self.clock.seconds, self, lambda *gap: self.told.append(gap)
        )

    def pass_(self, seconds: float, acknowledging: bool) -> None:
        """
        Let time pass, with an acknowledgement each 0.05 s or none.
        """
        for _ in range(round(seconds / 0.01)):
            self.clock.advance(0.01)
            now = self.clock.seconds()
            if acknowledging and now - self.acknowledgedAt > 0.045:
                self.acknowledgedAt = now

    def assertIdle(self) -> None:
        """
        Nothing is looked at any more.
        """
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_beforeTheFirst(self) -> None:
        """
        What happens before anything was acknowledged is measured from then on.
        """
        self.acknowledgedAt = 0.0
        self.watch.disturbed("suspect")
        self.pass_(0.2, False)
        self.pass_(1.5, True)
        [(gap, _)] = self.told
        self.assertApproximates(gap, 0.2, 0.03)

    def test_stopped(self) -> None:
        """
        The time from the last progress before a disturbance to the next after it is
        told, once, when all is well again.
        """
        self.pass_(0.15, False)
        self.watch.disturbed("suspect")
        self.pass_(0.1, False)
        self.watch.disturbed("moved")
        self.pass_(1.5, True)
        [(gap, cause)] = self.told
        self.assertApproximates(gap, 0.26, 0.03)
        self.assertEqual(cause, "moved")
        self.assertIdle()

    def test_again(self) -> None:
        """
        What happens later is another story.
        """
        for _ in range(2):
            self.watch.disturbed("suspect")
            self.pass_(0.3, False)
            self.pass_(1.5, True)
        self.assertEqual(len(self.told), 2)
        self.assertIdle()

    def test_unseen(self) -> None:
        """
        A move that costs nothing is not told.
        """
        self.watch.disturbed("moved")
        self.pass_(1.5, True)
        self.assertEqual(self.told, [])
        self.assertIdle()

    def test_idle(self) -> None:
        """
        Where nothing waits to be acknowledged, nothing is missed so far.
        """
        self.waiting = False
        self.pass_(5.0, False)
        self.watch.disturbed("moved")
        self.pass_(1.5, True)
        self.assertEqual(self.told, [])
        self.assertIdle()

    def test_neverAgain(self) -> None:
        """
        A peer that acknowledges nothing any more is not watched for ever.
        """
        self.watch.disturbed("moved")
        self.pass_(PATIENCE + 1.1, False)
        self.assertEqual(self.told, [])
        self.assertIdle()

    def test_stoppedWatching(self) -> None:
        """
        Nor is one that is gone.
        """
        self.watch.stop()
        self.watch.disturbed("moved")
        self.watch.stop()
        self.watch.stop()
        self.assertIdle()
