"""
Tests for `rootstream.media.sources`, `rootstream.media.outlet` and
`rootstream.media.screen`.
"""

from __future__ import annotations

import os
import threading

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import SourceError
from rootstream.media.outlet import MAX_WAITING, Outlet, Stopped
from rootstream.media.screen import ScreenSource
from rootstream.media.sources import STOP_WAIT, MediaSource, openSource
from rootstream.protocol.events import Command, Control, VideoFrame
from tests.mediasamples import Collected, PumpedReactor, silence, writeSample


def clock():
    return 1_000_000


class Scripted:
    """
    A production that does as the test says.
    """

    def __init__(self, run=lambda outlet: None, live=True, opening=None):
        self.live = live
        self.run = run
        self.opening = opening
        self.closed = 0

    def open(self, outlet):
        if self.opening is not None:
            raise self.opening

    def close(self):
        self.closed += 1


class SpecTests(SynchronousTestCase):
    """
    Tests for `openSource`'s reading of its word.
    """

    def refused(self, spec):
        return str(
            self.assertRaises(
                SourceError, openSource, spec, reactor=PumpedReactor(), clock=clock
            )
        )

    def test_bad(self):
        """
        A word that names nothing is refused, saying how to write it.
        """
        self.assertIn("no source is named", self.refused(""))
        for spec in ("test:", "test:big", "test:640", "test:640x360@", "test:1x2x3"):
            self.assertIn("test:1280x720@30", self.refused(spec))
        for spec in ("test:641x360", "test:2x2", "test:9999x9998"):
            self.assertIn("even numbers", self.refused(spec))
        for spec in ("test:640x360@0", "test:640x360@241"):
            self.assertIn("1 to 240", self.refused(spec))

    def test_live(self):
        """
        Test picture and screen are live; files and standard input are not.
        """
        self.patch(os, "environ", {"DISPLAY": ":7"})
        for spec, live in (
            ("test", True),
            ("test:640x360", True),
            ("test:640x360@25", True),
            ("screen", True),
            ("screen::0", True),
            ("screen:0", True),
            ("testfile.mkv", False),
            ("-", False),
        ):
            source = openSource(spec, reactor=PumpedReactor(), clock=clock)
            self.assertEqual(source.live, live, spec)

    def test_noScreen(self):
        """
        Without DISPLAY the screen must be named.
        """
        self.patch(os, "environ", {})
        self.assertIn("DISPLAY is not set", self.refused("screen"))

    def test_screenNotThere(self):
        """
        A screen that nobody serves is a SourceError that names it.
        """
        source = ScreenSource("987")
        error = self.assertRaises(SourceError, source.open, None)
        self.assertIn("cannot grab the screen :987", str(error))
        source.close()


class MediaSourceTests(SynchronousTestCase):
    """
    Tests for `MediaSource`.
    """

    def setUp(self):
        self.reactor = PumpedReactor()
        self.got = Collected()

    def source(self, *arguments, **named):
        self.production = Scripted(*arguments, **named)
        return MediaSource(self.production, self.reactor, clock)

    def opened(self, source):
        opened = []
        source.open().addBoth(opened.append)
        self.reactor.pump(lambda: opened)
        return opened[0]

    def stop(self, source):
        stopped = []
        source.stop().addCallback(stopped.append)
        self.reactor.pump(lambda: stopped)

    def test_file(self):
        """
        A real file flows from its thread to its end.
        """
        path = self.mktemp() + ".mkv"
        writeSample(path, frames=5)
        source = openSource(path, reactor=self.reactor, clock=clock)
        self.assertIsNone(self.opened(source))
        self.assertEqual(self.got.pictures, [])
        # The clock stands still, so nothing is ever waited for but stop.
        source.start(self.got)
        self.reactor.pump(lambda: self.got.pictures)
        self.stop(source)
        self.assertEqual(self.got.endings, [])

    def test_end(self):
        """
        A source that comes to its end says so after its last frame.
        """
        source = self.source(lambda outlet: outlet.video(VideoFrame(b"a", 1, True)))
        self.opened(source)
        source.start(self.got)
        self.reactor.pump(lambda: self.got.endings)
        self.assertEqual(len(self.got.pictures), 1)
        self.assertEqual(self.got.endings, [None])
        self.assertEqual(self.production.closed, 1)
        self.successResultOf(source.stop())

    def test_openFails(self):
        """
        Trouble in opening goes to the Deferred, and what was opened is closed.
        """
        source = self.source(opening=SourceError("there is no file"))
        failure = self.opened(source)
        failure.trap(SourceError)
        self.assertEqual(self.production.closed, 1)

    def test_missingFile(self):
        """
        A file that is not there is a SourceError of the Deferred.
        """
        source = openSource(self.mktemp(), reactor=self.reactor, clock=clock)
        self.opened(source).trap(SourceError)

    def test_runFails(self):
        """
        Trouble on the way is what the source ended with.
        """

        def run(outlet):
            raise OSError(5, "Input/output error")

        source = self.source(run)
        self.opened(source)
        source.start(self.got)
        self.reactor.pump(lambda: self.got.endings)
        self.assertIsInstance(self.got.endings[0], SourceError)
        self.assertIn("Input/output error", str(self.got.endings[0]))

    def test_bug(self):
        """
        A bug in the thread is logged with its traceback and ends the source.
        """

        def run(outlet):
            raise ZeroDivisionError

        source = self.source(run)
        self.opened(source)
        source.start(self.got)
        self.reactor.pump(lambda: self.got.endings)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIn("a bug in RootStream", str(self.got.endings[0]))

    def test_stopBeforeStart(self):
        """
        A source that nobody watched stops as readily.
        """
        source = self.source()
        self.opened(source)
        self.stop(source)
        self.assertEqual(self.got.endings, [])
        self.assertEqual(self.production.closed, 1)

    def test_stopUnopened(self):
        """
        A source that was never opened has nothing to stop.
        """
        self.successResultOf(self.source().stop())

    def test_stopWhileOpening(self):
        """
        A source stopped before it was open says that it was stopped.
        """
        source = self.source(opening=Stopped())
        self.opened(source).trap(SourceError)

    def test_stuck(self):
        """
        F86: a thread that cannot be stopped holds nobody up for more than a
        second.
        """
        free = threading.Event()
        self.addCleanup(free.set)
        source = self.source(lambda outlet: free.wait())
        self.opened(source)
        source.start(self.got)
        stopped = source.stop()
        self.assertNoResult(stopped)
        [(seconds, call)] = self.reactor.later
        self.assertEqual(seconds, STOP_WAIT)
        call.fire()
        self.successResultOf(stopped)

    def test_oversized(self):
        """
        Packets too large to be sent are said once, with their number.
        """
        source = self.source()
        self.production.oversized = 3
        self.opened(source)
        source.start(self.got)
        with capturedLogs() as logs:
            self.reactor.pump(lambda: self.got.endings)
        self.assertEqual([event["count"] for event in logs], [3])

    def test_control(self):
        """
        Commands reach the thread.
        """
        seen = []

        def run(outlet):
            while not seen:
                outlet.sleep(10_000_000)
                seen.extend(outlet.commands())

        source = self.source(run)
        self.opened(source)
        source.start(self.got)
        source.control(Command.SET_FPS, 25)
        self.reactor.pump(lambda: self.got.endings)
        self.assertEqual(seen, [Control(Command.SET_FPS, 25)])


class OutletTests(SynchronousTestCase):
    """
    Tests for `Outlet`.
    """

    def setUp(self):
        self.reactor = PumpedReactor()
        self.got = Collected()

    def outlet(self, live):
        outlet = Outlet(self.reactor, live, clock)
        outlet.attach(self.got)
        return outlet

    def frame(self, key=False):
        return VideoFrame(b"frame", 0, key)

    def test_liveDrops(self):
        """
        When the reactor is behind, a live source loses whole frames up to the
        next key frame, and never waits.
        """
        outlet = self.outlet(live=True)
        for _ in range(MAX_WAITING):
            self.assertTrue(outlet.video(self.frame()))
        self.assertFalse(outlet.video(self.frame(key=True)))
        outlet.audio(silence(0))
        self.reactor.pump(lambda: len(self.got.pictures) == MAX_WAITING)
        self.assertFalse(outlet.video(self.frame()))
        self.assertTrue(outlet.video(self.frame(key=True)))
        self.assertTrue(outlet.video(self.frame()))
        outlet.audio(silence(0))
        self.reactor.pump(lambda: self.got.sounds)
        self.assertEqual(outlet.framesDropped, 2)
        self.assertEqual(len(self.got.pictures), MAX_WAITING + 2)

    def test_fileWaits(self):
        """
        A file's thread is held back instead, and loses nothing.
        """
        outlet = self.outlet(live=False)

        def send():
            for _ in range(3 * MAX_WAITING):
                outlet.video(self.frame())

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        self.reactor.pump(lambda: len(self.got.pictures) == 3 * MAX_WAITING)
        thread.join(5)
        self.assertEqual(outlet.framesDropped, 0)

    def test_stopWhileHeld(self):
        """
        A thread that is held back can still be stopped, and what was on its way
        is not delivered.
        """
        outlet = self.outlet(live=False)
        for _ in range(MAX_WAITING):
            outlet.video(self.frame())
        outlet.stop()
        self.assertRaises(Stopped, outlet.video, self.frame())
        self.assertRaises(Stopped, outlet.sleep, 1_000_000_000)
        self.assertRaises(Stopped, outlet.awaitStart)
        done = []
        self.reactor.callFromThread(done.append, True)
        self.reactor.pump(lambda: done)
        self.assertEqual(self.got.pictures, [])

    def test_pause(self):
        """
        A pause lasts until RESUME, which is told, with what else was asked for;
        a RESUME of what was not paused is not.
        """
        outlet = self.outlet(live=True)
        outlet.command(Control(Command.RESUME))
        outlet.command(Control(Command.PAUSE))
        outlet.command(Control(Command.SET_FPS, 10))
        outlet.command(Control(Command.RESUME))
        self.assertEqual(
            outlet.commands(), [Control(Command.SET_FPS, 10), Control(Command.RESUME)]
        )

    def test_stopWhilePaused(self):
        """
        A paused source can be stopped.
        """
        outlet = self.outlet(live=True)
        outlet.command(Control(Command.PAUSE))
        threading.Timer(0.01, outlet.stop).start()
        self.assertRaises(Stopped, outlet.commands)

    def test_sleepEndsEarly(self):
        """
        A command ends a sleep, and a time that has passed is no sleep.
        """
        outlet = self.outlet(live=True)
        outlet.sleep(-5)
        outlet.command(Control(Command.SET_FPS, 1))
        outlet.sleep(1_000_000_000)
        self.assertEqual(len(outlet.commands()), 1)
