"""
Tests for `rootstream.protocol.liveness`.
"""

from __future__ import annotations

from functools import partial
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.events import Impaired, Recovered, Silent
from rootstream.protocol.liveness import Liveness

START = 1000.0
ROUND_TRIP = 0.02


class LivenessTests(SynchronousTestCase):
    """
    When the peer is asked, and what its silence comes to.
    """

    def setUp(self) -> None:
        self.liveness = Liveness(START)
        self.pings: list[float] = []
        self.events: list[Impaired | Silent] = []

    def letPass(self, until: float, roundTrip: float = ROUND_TRIP) -> None:
        """
        Do what is due, timer by timer.
        """
        while (now := self.liveness.nextTimer(roundTrip)) <= until:
            self.events += self.liveness.timerFired(roundTrip, now)
            if self.liveness.pingDue(now):
                self.pings.append(round(now - START, 6))
            self.assertGreater(self.liveness.nextTimer(roundTrip), now)

    def test_firstPing(self) -> None:
        """
        A new peer is pinged at once, so that the round trip is known.
        """
        self.assertEqual(self.liveness.nextTimer(ROUND_TRIP), START)
        self.assertTrue(self.liveness.pingDue(START))
        self.assertFalse(self.liveness.pingDue(START))

    def test_idle(self) -> None:
        """
        An idle peer that answers is pinged every 14 s by whoever began the session, and
        never impaired.
        """
        for _ in range(10):
            self.letPass(self.liveness.nextTimer(ROUND_TRIP))
            self.liveness.heard(START + self.pings[-1] + ROUND_TRIP)
        self.assertEqual(self.pings, [14.0 * each for each in range(10)])
        self.assertEqual(self.events, [])

    def test_idleResponder(self) -> None:
        """
        Whoever did not begin the session sends one PING to measure with, and then none
        while he is pinged; when he is not, he asks after 15 s as ever.
        """
        self.liveness.restart(False, START)
        for each in range(10):
            self.letPass(START + 14.0 * each + ROUND_TRIP)
            self.liveness.heard(START + 14.0 * each + ROUND_TRIP)
        self.assertEqual(self.pings, [0.0])
        self.letPass(START + 9 * 14.0 + ROUND_TRIP + 16)
        self.assertEqual(self.pings[1], 141.02)
        self.assertEqual(len(self.events), 1)

    def test_streamingResponder(self) -> None:
        """
        While media flows he measures every second as well.
        """
        self.liveness.restart(False, START)
        for step in range(100):
            self.liveness.mediaMoved(START + step / 20)
            self.liveness.heard(START + step / 20)
            self.letPass(START + step / 20)
        self.assertEqual(self.pings, [float(each) for each in range(5)])

    def test_streaming(self) -> None:
        """
        While media flows, the round trip is measured every second, even when the
        peer is heard all the time.
        """
        for step in range(200):
            now = START + step / 20
            self.liveness.mediaMoved(now)
            self.liveness.heard(now)
            self.letPass(now)
        self.assertEqual(self.pings, [float(each) for each in range(10)])
        self.assertEqual(self.events, [])

    def test_quiet(self) -> None:
        """
        F45: whoever received media speaks up 50 ms after the last of it, and after
        twice as long each time, until a PING is due anyway.
        """
        self.letPass(START)
        self.liveness.heard(START)
        self.liveness.mediaCame(START)
        spoken = []
        now = START
        while (now := self.liveness.nextTimer(ROUND_TRIP)) < START + 2:
            if self.liveness.quiet(now):
                spoken.append(round(now - START, 6))
            self.assertFalse(self.liveness.quiet(now))
            self.liveness.pingDue(now)
            self.liveness.timerFired(ROUND_TRIP, now)
        self.assertEqual(spoken, [0.05, 0.1, 0.2, 0.4, 0.8])

    def test_notQuiet(self) -> None:
        """
        While media keeps coming there is nothing to say; nor has a side that only
        sends.
        """
        self.letPass(START)
        for step in range(100):
            now = START + step * 0.03
            self.liveness.mediaCame(now)
            self.liveness.heard(now)
            self.assertFalse(self.liveness.quiet(now + 0.03))
        self.setUp()
        self.liveness.mediaMoved(START)
        self.assertFalse(self.liveness.quiet(START + 0.5))

    def test_streamingStarts(self) -> None:
        """
        The long idle interval ends within a second of the first media.
        """
        self.letPass(START)
        self.liveness.heard(START + 1.6)
        self.liveness.mediaMoved(START + 2)
        self.assertTrue(self.liveness.streaming(START + 2))
        self.assertEqual(self.liveness.nextTimer(ROUND_TRIP), START + 2.6)

    def test_streamingStartsAfterSilence(self) -> None:
        """
        Media after a silence asks at once whether anybody is there.
        """
        self.letPass(START)
        self.liveness.heard(START + ROUND_TRIP)
        self.liveness.mediaMoved(START + 10)
        self.assertTrue(self.liveness.pingDue(START + 10))
        self.letPass(START + 10.5)
        self.assertEqual(len(self.events), 1)
        self.assertAlmostEqual(self.events[0].silence, 10.5 - ROUND_TRIP)

    def test_held(self) -> None:
        """
        While a key of ours is down a PING goes out every 100 ms, though nothing flows
        and whoever began the session; and no more once it is up.
        """
        for leads in (True, False):
            self.setUp()
            self.liveness.restart(leads, START)
            self.letPass(START)
            self.liveness.heard(START + 5)
            self.liveness.hold(True, START + 5)
            for step in range(1, 11):
                self.letPass(START + 5.001 + step / 10)
                self.liveness.heard(START + 5 + step / 10)
            self.assertEqual(self.pings[1:], [5 + step / 10 for step in range(1, 11)])
            self.liveness.hold(False, START + 6)
            self.letPass(START + 18)
            self.assertLessEqual(len(self.pings), 13)
            self.assertEqual(self.events, [])

    def test_heldIsNoIdleness(self) -> None:
        """
        Whoever does not answer while a key is down is impaired as soon as one that
        streams would be; after that there are no more PINGs than ever.
        """
        self.letPass(START)
        self.liveness.heard(START + 10)
        self.liveness.hold(True, START + 10)
        self.letPass(START + 11.499)
        self.assertEqual(self.events, [])
        self.letPass(START + 11.501)
        (event,) = self.events
        self.assertAlmostEqual(event.silence, 1.5)
        before = len(self.pings)
        self.letPass(START + 21.5)
        self.assertLessEqual(len(self.pings) - before, 11)

    def test_streamingEnds(self) -> None:
        """
        Five seconds after the last media the peer counts as idle.
        """
        self.liveness.mediaMoved(START)
        self.assertTrue(self.liveness.streaming(START + 4.99))
        self.assertFalse(self.liveness.streaming(START + 5))
        self.liveness.heard(START + 4.5)
        self.letPass(START + 18.9)
        self.assertEqual(self.pings, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
        self.letPass(START + 19.5)
        self.assertEqual(self.pings[6:], [19.0, 19.5])

    def test_impairedWhileStreaming(self) -> None:
        """
        F54: at whatever moment a streaming peer falls silent, it is asked after one
        second, again every 250 ms, and impaired after 1.5 s.
        """
        for phase in range(20):
            self.setUp()
            last = phase / 20
            self.liveness.mediaMoved(START)
            self.letPass(START + last)
            self.liveness.mediaMoved(START + last)
            self.liveness.heard(START + last)
            self.letPass(START + last + 1.499)
            self.assertEqual(self.events, [])
            asked = [at for at in self.pings if at >= last + 0.999]
            self.assertAlmostEqual(asked[0], last + 1)
            self.assertAlmostEqual(asked[1], last + 1.25)
            self.letPass(START + last + 1.501)
            self.assertEqual(len(self.events), 1)
            self.assertAlmostEqual(self.events[0].silence, 1.5)
            self.assertTrue(self.liveness.impaired)

    def test_impairedOnALongRoundTrip(self) -> None:
        """
        The answer to the question is waited for twice as long as it usually takes.
        """
        self.liveness.mediaMoved(START)
        self.letPass(START + 2.99, 1.0)
        self.assertEqual(self.events, [])
        self.letPass(START + 3, 1.0)
        self.assertEqual(self.events, [Impaired(3.0)])

    def test_impairedWhileIdle(self) -> None:
        """
        An idle peer that went away is impaired half a second after it was asked.
        """
        self.liveness.heard(START + ROUND_TRIP)
        self.letPass(START + 29)
        self.assertEqual(len(self.events), 1)
        self.assertAlmostEqual(self.events[0].silence, 15.5)

    def test_silent(self) -> None:
        """
        F54: after 30 s the peer is silent, once, and one PING a second goes on.
        """
        self.liveness.mediaMoved(START)
        self.letPass(START + 29.999)
        self.assertFalse(self.liveness.silent)
        self.letPass(START + 30)
        self.assertTrue(self.liveness.silent)
        self.assertEqual(self.events, [Impaired(1.5), Silent(30.0)])
        before = len(self.pings)
        self.letPass(START + 40)
        self.assertEqual(len(self.events), 2)
        self.assertEqual(len(self.pings) - before, 10)

    def test_recovered(self) -> None:
        """
        The first packet after an impairment says how long the silence was, and is
        answered with a PING at once.
        """
        self.liveness.mediaMoved(START)
        self.letPass(START + 31)
        back = START + 31.5
        self.assertEqual(self.liveness.heard(back), Recovered(31.5))
        self.assertFalse(self.liveness.impaired)
        self.assertFalse(self.liveness.silent)
        self.assertTrue(self.liveness.pingDue(back))
        self.assertIsNone(self.liveness.heard(back + 0.1))

    def test_restart(self) -> None:
        """
        A handshake ends the silence without a word.
        """
        self.liveness.mediaMoved(START)
        self.letPass(START + 31)
        self.liveness.restart(True, START + 32)
        self.assertFalse(self.liveness.impaired)
        self.assertFalse(self.liveness.silent)
        self.assertIsNone(self.liveness.heard(START + 32.1))
        self.assertTrue(self.liveness.pingDue(START + 32.1))

    def test_pathsGone(self) -> None:
        """
        Without any path the peer is impaired at once, once, and silent in time.
        """
        self.liveness.heard(START + 3)
        self.assertEqual(self.liveness.pathsGone(START + 4), [Impaired(1.0)])
        self.assertEqual(self.liveness.pathsGone(START + 5), [])
        self.letPass(START + 33)
        self.assertEqual(self.events, [Silent(30.0)])

    def test_afterSuspend(self) -> None:
        """
        F67: a process that slept for ten minutes asks before it judges.
        """
        self.letPass(START)
        now = START + 600
        self.assertEqual(self.liveness.timerFired(ROUND_TRIP, now), [])
        self.assertTrue(self.liveness.pingDue(now))
        self.assertEqual(self.liveness.timerFired(ROUND_TRIP, now + 0.4), [])
        self.assertIsNone(self.liveness.heard(now + 0.4))

    def test_neverSpins(self) -> None:
        """
        Whatever happens when, once all is done the timer lies in the future.
        """
        for seed in range(100):
            random = Random(seed)
            liveness, now = Liveness(START), START
            for _ in range(200):
                now += random.choice((0.0, 0.01, 0.3, 1.0, 7.0))
                random.choice(
                    (
                        liveness.mediaMoved,
                        liveness.heard,
                        liveness.pathsGone,
                        partial(liveness.restart, random.random() < 0.5),
                        lambda now: None,
                    )
                )(now)
                liveness.timerFired(ROUND_TRIP, now)
                liveness.pingDue(now)
                self.assertGreater(liveness.nextTimer(ROUND_TRIP), now)
