"""
Tests for `rootstream.service`: what the three programs share.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream import service
from rootstream.errors import GaveUp, LocalError
from rootstream.eventlog import EventLog
from rootstream.protocol.events import Command, VideoFrame
from rootstream.service import (
    EXIT_FAILED,
    EXIT_FAULT,
    STOP_TIMEOUT,
    Program,
    Watched,
)
from rootstream.web.address import WebAddress
from rootstream.words import describeEvent
from tests.doubles import FakePath
from tests.virtual import VirtualReactor


class Toy(Program):
    """
    A program that does nothing but count.
    """

    ticks = 0
    wrong: Exception | None = None
    cleanedUp = 0
    keyFramesWanted = 0
    cleaning: Callable[[], Deferred[Any]] = staticmethod(lambda: succeed(None))

    where: Path | None = None

    @property
    def home(self) -> Path | None:
        return self.where

    def begin(self) -> None:
        if self.wrong is not None:
            raise self.wrong

    def tick(self) -> None:
        self.ticks += 1

    def wantKeyFrame(self) -> None:
        self.keyFramesWanted += 1

    def cleanUp(self) -> Deferred[Any]:
        self.cleanedUp += 1
        return self.cleaning()


class ProgramTests(SynchronousTestCase):
    """
    Tests for `Program`.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.reactor.running = True
        self.events = self.mktemp()
        self.out, self.err = io.StringIO(), io.StringIO()

    def toy(self, **options: Any) -> Toy:
        toy = Toy(self.reactor, self.out, self.err, **options)
        self.addCleanup(toy._events.close)
        return toy

    def written(self) -> list[dict[str, Any]]:
        text = Path(self.events).read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def test_service(self) -> None:
        """
        It is a service like any other.
        """
        verifyObject(IService, self.toy())

    def test_page(self) -> None:
        """
        The link to the page is said, and written down nowhere (F95).
        """
        toy = self.toy(events=self.events, web=WebAddress("127.0.0.1", 0))
        toy.startService()
        link = re.fullmatch(
            r"Page: http://127\.0\.0\.1:\d+/\?token=(\S{43})\n", self.out.getvalue()
        )
        assert link is not None
        self.successResultOf(toy.stopService())
        self.assertNotIn(link[1], Path(self.events).read_text())

    def test_pageCannotBe(self) -> None:
        """
        A port that is taken ends the program, in one line that says what to do.
        """

        def taken(*_: object, **__: object) -> None:
            raise CannotListenError("127.0.0.1", 80, OSError(98, "Address in use"))

        self.reactor.listenTCP = taken
        toy = self.toy(web=WebAddress("127.0.0.1", 80))
        toy.startService()
        self.assertEqual(
            self.err.getvalue(),
            "rootstream: cannot serve the page on 127.0.0.1:80: Address in use; "
            "choose another --web\n",
        )
        self.assertEqual(toy.exitStatus, EXIT_FAULT)
        self.successResultOf(toy.stopService())

    def test_abstract(self) -> None:
        """
        What a program begins with, does each second and ends with is its own.
        """
        plain = Program(self.reactor, self.out, self.err)
        for method in (plain.begin, plain.tick, plain.cleanUp, plain.wantKeyFrame):
            self.assertRaises(NotImplementedError, method)
        self.assertRaises(NotImplementedError, plain.order, None, Command.PAUSE, 0)

    def test_status(self) -> None:
        """
        A program tells what it is doing, by its command as well.
        """
        toy = self.toy()
        toy.startService()
        self.reactor.elapse(2.0)
        status = toy.status()
        self.assertEqual((status.role, status.peers), ("", ()))
        self.assertIsNone(status.recording)
        told = self.successResultOf(toy.commands["status"]({}))
        self.assertEqual(told.keys(), status.asDict().keys())
        toy.events.write("network", cause="eth0 came up")
        [entry] = self.successResultOf(toy.commands["events"]({}))["events"]
        self.assertEqual(entry["text"], "network: eth0 came up")
        self.successResultOf(toy.stopService())

    def test_strangers(self) -> None:
        """
        What is kept of peers is bounded by those that there are, however many came and
        went.
        """
        toy = self.toy()
        toy.startService()
        for number in range(2 * service.MAX_MOVED):
            toy.events.write("state", f"peer {number}", to="FAILED", cause="x")
        self.assertLessEqual(len(toy._moved), service.MAX_MOVED)
        self.successResultOf(toy.stopService())

    def test_ticks(self) -> None:
        """
        It is called each second from its start to its end, and leaves no timer.
        """
        toy = self.toy()
        toy.startService()
        self.assertEqual(toy.ticks, 0)
        self.reactor.elapse(3.5)
        self.assertEqual(toy.ticks, 3)
        self.successResultOf(toy.stopService())
        self.assertEqual(toy.cleanedUp, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_network(self) -> None:
        """
        A change of the network is written down, in words, as long as the program
        runs.
        """
        toy = self.toy(events=self.events)
        toy.startService()
        self.reactor.changeNetwork("eth0 came up")
        [event] = self.written()
        self.assertEqual((event["event"], event["cause"]), ("network", "eth0 came up"))
        toy.stopService()
        self.assertEqual(self.reactor.watching, {})

    def test_control(self) -> None:
        """
        A program with a home can be asked there while it runs, and one without has no
        such place; one that could not begin has none either.
        """
        home = Path(self.mktemp())
        home.mkdir(mode=0o700)
        for wrong in (None, LocalError("no")):
            toy = self.toy()
            toy.where, toy.wrong = home, wrong
            toy.startService()
            running = [] if wrong else [f"control-{os.getpid()}"]
            self.assertEqual(os.listdir(home), running)
            self.successResultOf(toy.stopService())
            self.assertEqual(os.listdir(home), [])
        plain = Program(self.reactor, self.out, self.err)
        self.assertIsNone(plain.home)
        self.assertEqual(plain.peers, ())
        toy = self.toy()
        toy.startService()
        self.assertEqual(self.reactor.getReaders(), [])
        toy.stopService()

    def test_duration(self) -> None:
        """
        With a duration it ends by itself, with status 0.
        """
        toy = self.toy(duration=2.0)
        toy.startService()
        self.reactor.elapse(1.9)
        self.assertFalse(self.reactor.hasStopped)
        self.reactor.elapse(0.2)
        self.assertTrue(self.reactor.hasStopped)
        self.assertEqual(toy.exitStatus, 0)
        toy.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_endedBeforeItsDuration(self) -> None:
        """
        An end from outside cancels the duration.
        """
        toy = self.toy(duration=20.0)
        toy.startService()
        self.reactor.elapse(1.0)
        toy.stopService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_faultAtTheStart(self) -> None:
        """
        A fault of this side is said in one line, written down, and ends the program
        with status 1.
        """
        toy = self.toy(events=self.events, duration=5.0)
        toy.wrong = LocalError("the port is in use: stop the other")
        toy.startService()
        self.assertEqual(
            self.err.getvalue(), "rootstream: the port is in use: stop the other\n"
        )
        [event] = self.written()
        self.assertEqual(event["event"], "error")
        self.assertEqual(event["message"], "the port is in use: stop the other")
        self.assertEqual(toy.exitStatus, EXIT_FAULT)
        self.assertTrue(self.reactor.hasStopped)
        self.successResultOf(toy.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_unwritableEvents(self) -> None:
        """
        An events file that cannot be opened is such a fault.
        """
        toy = self.toy(events="/no/such/directory/events")
        toy.startService()
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("choose another --events", self.err.getvalue())
        self.assertEqual(toy.exitStatus, EXIT_FAULT)

    def test_beforeTheReactorRuns(self) -> None:
        """
        A fault before the reactor runs stops it once it does.
        """
        self.reactor.running = False
        toy = self.toy()
        toy.wrong = LocalError("no")
        toy.startService()
        self.assertFalse(self.reactor.hasStopped)
        self.reactor.run()
        self.assertTrue(self.reactor.hasStopped)

    def test_reactorStoppedAlready(self) -> None:
        """
        A reactor that was stopped meanwhile is not stopped again.
        """
        toy = self.toy()
        self.reactor.hasRun = True
        self.reactor.running = False
        toy.finish(0)
        self.assertFalse(self.reactor.hasStopped)

    def test_endsOnce(self) -> None:
        """
        The first end counts; what follows it is not another.
        """
        toy = self.toy()
        toy.startService()
        toy.finish(EXIT_FAILED)
        self.reactor.hasStopped = False
        toy.finish(0)
        self.assertFalse(self.reactor.hasStopped)
        self.assertEqual(toy.exitStatus, EXIT_FAILED)

    def test_faultWhileEnding(self) -> None:
        """
        A fault met at the end, such as a disk that is full at the last write, still
        shows in the status (F83).
        """
        toy = self.toy()
        toy.startService()
        toy.finish(0)
        toy.fault(LocalError("the disk is full"))
        self.assertEqual(toy.exitStatus, EXIT_FAULT)

    def test_faultWithAnotherStatus(self) -> None:
        """
        A peer that was given up on has a status of its own.
        """
        toy = self.toy()
        toy.startService()
        toy.fault(GaveUp("gave up after 10 attempts"), EXIT_FAILED)
        self.assertEqual(toy.exitStatus, 3)

    def test_slowEnd(self) -> None:
        """
        What takes too long at the end is left, so that the process ends in two
        seconds (F86).
        """
        toy = self.toy()
        toy.cleaning = Deferred
        toy.startService()
        stopping = toy.stopService()
        self.reactor.elapse(STOP_TIMEOUT - 0.1)
        self.assertNoResult(stopping)
        self.reactor.elapse(0.2)
        self.successResultOf(stopping)
        self.assertLess(STOP_TIMEOUT, 2.0)

    def test_eventsAreClosedLast(self) -> None:
        """
        What is written while it cleans up is in the events file.
        """
        toy = self.toy(events=self.events)

        def cleaning() -> Deferred[None]:
            toy.summarise(sent=3, received=2, lost=1, size=99, path=FakePath())
            return succeed(None)

        toy.cleaning = cleaning
        toy.startService()
        self.reactor.elapse(1.25)
        toy.stopService()
        toy.summarise()
        [summary] = self.written()
        del summary["time"], summary["mono"]
        self.assertEqual(
            summary,
            {
                "event": "summary",
                "frames_sent": 3,
                "frames_received": 2,
                "frames_lost": 1,
                "bytes": 99,
                "seconds": 1.25,
                "transport": "udp",
                "text": "over after 1.2 s: 3 frames sent, 2 received, 1 lost",
            },
        )

    def test_say(self) -> None:
        """
        A line is shown at once; when nobody reads any more, the program goes on.
        """

        class Broken(io.StringIO):
            def flush(self) -> None:
                raise BrokenPipeError

        toy = self.toy()
        toy.say("one line")
        self.assertEqual(self.out.getvalue(), "one line\n")
        broken = Broken()
        deaf = Toy(self.reactor, broken, self.err)
        deaf.say("one")
        deaf.say("two")
        self.assertEqual(broken.getvalue(), "one\n")


class WatchedTests(SynchronousTestCase):
    """
    Tests for `Watched`.
    """

    def test_events(self) -> None:
        """
        States, paths and attempts are written with their documented fields.
        """
        path = self.mktemp()
        log = EventLog(path)
        watched = Watched("aaaa-bbbb-cccc-dddd", log)
        watched.stateChanged("CONNECTED", "DISCONNECTED", "nothing heard for 30 s")
        watched.pathChanged("tcp", "192.0.2.1:9876", "the old path is silent")
        watched.pathSuspected("udp", "192.0.2.1:9876", "no acknowledgement")
        watched.impaired("UDP is silent")
        watched.recovered("heard again")
        watched.attemptScheduled(1, 10, 0.1)
        log.close()
        lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
        for line in lines:
            self.assertEqual(line.pop("peer"), "aaaa-bbbb-cccc-dddd")
            self.assertEqual(line.pop("text"), describeEvent(line))
            del line["time"], line["mono"]
        self.assertEqual(
            lines,
            [
                {
                    "event": "state",
                    "from": "CONNECTED",
                    "to": "DISCONNECTED",
                    "cause": "nothing heard for 30 s",
                },
                {
                    "event": "path",
                    "transport": "tcp",
                    "address": "192.0.2.1:9876",
                    "cause": "the old path is silent",
                },
                {
                    "event": "suspect",
                    "transport": "udp",
                    "address": "192.0.2.1:9876",
                    "cause": "no acknowledgement",
                },
                {"event": "impaired", "cause": "UDP is silent"},
                {"event": "recovered", "cause": "heard again"},
                {"event": "attempt", "n": 1, "of": 10, "wait_s": 0.1},
            ],
        )

    def test_picture(self) -> None:
        """
        How long the picture stopped when the session moved is written down, in words
        with the move.
        """
        log = EventLog(None)
        watched = Watched("aaaa-bbbb-cccc-dddd", log)
        now = 100.0
        self.patch(service, "boottime", lambda: now)
        frame = VideoFrame(b"picture", 0)
        for _ in range(10):
            now += 0.033
            watched.videoReceived(frame)
        now += 0.25
        watched.pathChanged("tcp", "192.0.2.1:9876", "UDP is silent, TCP is alive")
        for _ in range(60):
            watched.videoReceived(frame)
            watched.look()
            now += 0.033
        [moved, stopped] = log.history
        self.assertEqual(stopped["event"], "picture")
        self.assertAlmostEqual(stopped["gap_s"], 0.25 - 0.033)
        self.assertEqual(stopped["text"], moved["text"] + "; picture stopped 0.22 s")
