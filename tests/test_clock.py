"""
Tests for `rootstream.transport.clock`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.internet.base import DelayedCall
from twisted.trial.unittest import SynchronousTestCase

from rootstream.transport.clock import boottime, mediaClock, useBoottime

#: Sets the wall clock back an hour under a pending timer of 0.1 s; prints ``fired``
#: if that timer fires within 1.5 s of real time.
STEP_BACK = """
import threading, time

wall = time.time
shift = 0.0
# Before anything of Twisted takes a copy.
time.time = lambda: wall() + shift

from twisted.internet.selectreactor import SelectReactor
from rootstream.transport.clock import useBoottime

reactor = SelectReactor()

def fired():
    print("fired")
    reactor.stop()

def stepBack():
    global shift
    shift = -3600.0

if {pendingFirst}:
    reactor.callLater(0.1, fired)
if {mended}:
    useBoottime(reactor)
if not {pendingFirst}:
    reactor.callLater(0.1, fired)
reactor.callWhenRunning(stepBack)
giveUp = threading.Timer(1.5, reactor.callFromThread, [reactor.stop])
giveUp.daemon = True
giveUp.start()
reactor.run(installSignalHandlers=False)
giveUp.cancel()
"""


class ClockTests(SynchronousTestCase):
    """
    Tests for the clocks.
    """

    def test_boottime(self) -> None:
        """
        Boot time counts on, in seconds, and is at least the monotonic time, which
        leaves suspend out.
        """
        first = boottime()
        self.assertGreaterEqual(first, time.monotonic() - 0.1)
        self.assertGreaterEqual(boottime(), first)

    def test_mediaClock(self) -> None:
        """
        The media clock is boot time in whole microseconds, within 48 bits.
        """
        before = int(boottime() * 1e6)
        now = mediaClock()
        self.assertIsInstance(now, int)
        self.assertTrue(0 <= now - (before & (1 << 48) - 1) < 1_000_000)

    def steppedBack(self, mended: bool, pendingFirst: bool) -> str:
        program = STEP_BACK.format(mended=mended, pendingFirst=pendingFirst)
        return subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.strip()

    def test_timersSurviveClockSetBack(self) -> None:
        """
        A timer set after `useBoottime` fires although the wall clock was set back
        an hour (F24).
        """
        self.assertEqual(self.steppedBack(True, False), "fired")

    def test_pendingTimersSurviveClockSetBack(self) -> None:
        """
        A timer that was pending when `useBoottime` was called fires, too (F24).
        """
        self.assertEqual(self.steppedBack(True, True), "fired")

    def test_withoutBoottime(self) -> None:
        """
        Without `useBoottime` such a timer does not fire: the fault that it mends.
        """
        self.assertEqual(self.steppedBack(False, False), "")

    def test_continues(self) -> None:
        """
        A reactor's time goes on from the value it had, and its pending calls take
        the new clock for `reset`.
        """

        class Reactor:
            """
            A reactor whose wall clock stands still.
            """

            def __init__(self) -> None:
                self.seconds = lambda: 1000.0
                self.call = DelayedCall(
                    1005.0,
                    lambda: None,
                    (),
                    {},
                    lambda call: None,
                    lambda call: None,
                    seconds=self.seconds,
                )

            def getDelayedCalls(self) -> list[DelayedCall]:
                return [self.call]

        reactor = Reactor()
        useBoottime(reactor)
        self.assertTrue(1000.0 <= reactor.seconds() < 1001.0)
        self.assertEqual(reactor.call.getTime(), 1005.0)
        self.assertIs(reactor.call.seconds, reactor.seconds)
