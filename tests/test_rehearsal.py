"""
Tests for `rootstream.rehearsal`: what a program does when it is asked for a drill, and
what the command shows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

import rootstream.rehearsal
from rootstream.errors import IdentityError, LocalError
from rootstream.eventlog import EventLog
from rootstream.interfaces import Transport
from rootstream.protocol.events import DrillReport
from rootstream.rehearsal import describeDrill, drillFields, drillPeers, rehearse

VIEWED = DrillReport(Transport.UDP, 3.0, 0.1804, None, 0.463, Transport.TCP, 0.7)
SENT = DrillReport(Transport.UDP, 3.0, None, 0.21, 1.0, Transport.TCP, None)
STAYED = DrillReport(Transport.UDP, 0.1, 0.1, None, None, None, None)
IDLE = DrillReport(Transport.UDP, 3.0, None, None, 0.5, Transport.TCP, 0.5)


class WordsTests(SynchronousTestCase):
    """
    Tests for `describeDrill` and `drillFields`.
    """

    def test_words(self) -> None:
        """
        A line says how long what stood still, where the session went, and when it was
        back.
        """
        for report, words in (
            (
                VIEWED,
                "picture stopped 0.18 s, moved to TCP after 0.46 s, "
                "back on UDP 0.70 s after the drill ended",
            ),
            (
                SENT,
                "no acknowledgement for 0.21 s, moved to TCP after 1.00 s, "
                "not back on UDP",
            ),
            (STAYED, "picture stopped 0.10 s, never left UDP"),
            (
                IDLE,
                "nothing was streaming, moved to TCP after 0.50 s, "
                "back on UDP 0.50 s after the drill ended",
            ),
        ):
            self.assertEqual(describeDrill(report), words)

    def test_fields(self) -> None:
        """
        The event has the numbers in milliseconds' precision, and null for what did not
        happen.
        """
        self.assertEqual(
            drillFields(VIEWED),
            {
                "transport": "udp",
                "seconds": 3.0,
                "picture_gap_s": 0.18,
                "ack_gap_s": None,
                "moved_to": "tcp",
                "moved_after_s": 0.463,
                "back_after_s": 0.7,
            },
        )
        self.assertIsNone(drillFields(STAYED)["moved_to"])


class FakePeer:
    """
    A peer whose drill ends when a test says so.
    """

    def __init__(self, fingerprint: str, name: str = "", connected: bool = True):
        self.fingerprint = fingerprint
        self.name = name
        self.connected = connected
        self.refuses = ""
        self.drills: list[tuple[float, Deferred[DrillReport]]] = []

    def drill(self, seconds: float) -> Deferred[DrillReport]:
        if self.refuses:
            return fail(LocalError(self.refuses))
        drill: Deferred[DrillReport] = Deferred()
        self.drills.append((seconds, drill))
        return drill


class DrillPeersTests(SynchronousTestCase):
    """
    Tests for `drillPeers`.
    """

    def setUp(self) -> None:
        self.events = self.mktemp()
        self.log = EventLog(self.events)
        self.addCleanup(self.log.close)
        self.desk, self.den = FakePeer("aaaa", "desk"), FakePeer("bbbb")
        self.gone = FakePeer("cccc", connected=False)
        self.peers: list[Any] = [self.desk, self.den, self.gone]

    def ask(self, **request: object) -> Deferred[dict[str, object]]:
        return drillPeers(self.peers, request, self.log)

    def test_all(self) -> None:
        """
        Each connected peer is put to the test at once; the answer has a report for
        each, in numbers and in words, and so have the events.
        """
        answer = self.ask()
        [(seconds, first)] = self.desk.drills
        [(_, second)] = self.den.drills
        self.assertEqual(seconds, 3.0)
        self.assertEqual(self.gone.drills, [])
        first.callback(SENT)
        self.assertNoResult(answer)
        second.callback(VIEWED)
        self.assertEqual(
            self.successResultOf(answer),
            {
                "peers": [
                    {
                        "peer": "aaaa",
                        "name": "desk",
                        **drillFields(SENT),
                        "text": describeDrill(SENT),
                    },
                    {
                        "peer": "bbbb",
                        "name": "",
                        **drillFields(VIEWED),
                        "text": describeDrill(VIEWED),
                    },
                ]
            },
        )
        lines = [
            json.loads(line) for line in Path(self.events).read_text().split("\n")[:-1]
        ]
        self.assertEqual(
            [(line["event"], line["peer"], line["ack_gap_s"]) for line in lines],
            [("drill", "aaaa", 0.21), ("drill", "bbbb", None)],
        )

    def test_one(self) -> None:
        """
        With a fingerprint it is that peer alone, for as long as is asked.
        """
        answer = self.ask(peer="bbbb", seconds=1.5)
        self.assertEqual(self.desk.drills, [])
        [(seconds, drill)] = self.den.drills
        self.assertEqual(seconds, 1.5)
        drill.callback(VIEWED)
        self.assertEqual(len(self.successResultOf(answer)["peers"]), 1)

    def test_nobody(self) -> None:
        """
        With nobody there the answer is an empty list.
        """
        self.assertEqual(self.successResultOf(self.ask(peer="zzzz")), {"peers": []})

    def test_refused(self) -> None:
        """
        A peer that refuses is told of in words, beside the others; it is no event.
        """
        self.desk.refuses = "a drill is running already; wait for its end"
        answer = self.ask()
        self.den.drills[0][1].callback(VIEWED)
        [refused, done] = self.successResultOf(answer)["peers"]
        self.assertEqual(refused["error"], self.desk.refuses)
        self.assertIn("text", done)
        self.assertEqual(Path(self.events).read_text().count("\n"), 1)

    def test_cancelled(self) -> None:
        """
        When whoever asked is gone, all drills are cancelled, and nothing is logged.
        """
        answer = self.ask()
        answer.cancel()
        [first, second] = self.successResultOf(answer)["peers"]
        self.assertIn("cancelled", first["error"])
        self.assertIn("cancelled", second["error"])
        self.assertEqual(Path(self.events).read_text(), "")

    def test_wholeSeconds(self) -> None:
        """
        JSON of other programs has whole numbers without a fraction.
        """
        self.ask(seconds=2)
        self.assertEqual([seconds for seconds, _ in self.desk.drills], [2])

    def test_nonsense(self) -> None:
        """
        What makes no sense is refused in words before anything begins.
        """
        for request in (
            {"seconds": "3"},
            {"seconds": None},
            {"seconds": True},
            {"peer": 7},
            {"peer": ["aaaa"]},
        ):
            self.assertRaises(LocalError, self.ask, **request)
        self.assertEqual(self.desk.drills, [])


class RehearseTests(SynchronousTestCase):
    """
    Tests for `rehearse`.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.asked: list[tuple[Path, Mapping[str, object], float]] = []
        self.home = Path("/home")

    def answers(self, *answers: object, ticks: int = 0) -> None:
        """
        What the programs say, after so many seconds.
        """

        def ask(
            home: Path,
            request: Mapping[str, object],
            seconds: float,
            tick: Callable[[], object],
        ) -> list[Any]:
            self.asked.append((home, request, seconds))
            for _ in range(ticks):
                tick()
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            return list(answers)

        self.patch(rootstream.rehearsal, "ask", ask)

    def run_(self, peer: str | None = None) -> int:
        return rehearse(self.home, 3.0, peer, self.out, self.err)

    def test_reports(self) -> None:
        """
        A line a peer, of all programs, and status 0; what goes on is said elsewhere.
        """
        self.answers(
            {"peers": [{"peer": "aaaa", "name": "desk", "text": "all is well"}]},
            {"peers": []},
            {"peers": [{"peer": "bbbb", "name": "", "text": "as well"}]},
            ticks=3,
        )
        self.assertEqual(self.run_(), 0)
        self.assertEqual(self.out.getvalue(), "aaaa desk: all is well\nbbbb: as well\n")
        self.assertEqual(
            self.err.getvalue(),
            "UDP counts as dead for 3 s, then sessions return: ..\n",
        )
        [(home, request, seconds)] = self.asked
        self.assertEqual(home, self.home)
        self.assertEqual(request, {"command": "drill", "seconds": 3.0, "peer": None})
        self.assertGreater(seconds, 13.0)

    def test_nothingRuns(self) -> None:
        """
        When nothing runs there, one line says so, with status 1.
        """
        self.answers()
        self.assertEqual(self.run_(), 1)
        self.assertOneLine("nothing runs with the home /home")

    def test_nobodyConnected(self) -> None:
        """
        When nobody is connected, or not the one who was named, one line says so, with
        status 1.
        """
        self.answers({"peers": []}, {"peers": []})
        self.assertEqual(self.run_(), 1)
        self.assertOneLine("nobody is connected")
        self.err = io.StringIO()
        self.assertEqual(self.run_("aaaa"), 1)
        self.assertOneLine("the peer aaaa is not connected")

    def assertOneLine(self, phrase: str) -> None:
        """
        A complaint is one line of ours with this phrase.
        """
        said = self.err.getvalue()
        self.assertEqual(said.count("\n"), 1, said)
        self.assertTrue(said.startswith("rootstream: "), said)
        self.assertIn(phrase, said)
        self.assertEqual(self.out.getvalue(), "")

    def test_refused(self) -> None:
        """
        A peer that refused, and a program that did not answer, get a line each; with
        no report the status is 1.
        """
        refused = {"peers": [{"peer": "aaaa", "error": "not on UDP"}]}
        self.answers(refused, {"error": "process 7 gave no answer"})
        self.assertEqual(self.run_(), 1)
        self.assertEqual(
            self.err.getvalue(),
            "rootstream: process 7 gave no answer\nrootstream: aaaa: not on UDP\n",
        )
        self.answers(refused, {"peers": [{"peer": "bbbb", "text": "fine"}]})
        self.assertEqual(self.run_(), 0)
        self.assertEqual(self.out.getvalue(), "bbbb: fine\n")

    def test_noTricks(self) -> None:
        """
        F74: what a program answers cannot steer a terminal, nor forge a line, and what
        is no answer of ours raises nothing.
        """
        self.answers(
            {
                "peers": [
                    {"peer": "\x1b[2J", "text": "a\nrootstream: b\u202e" + "x" * 999}
                ]
            },
            {"error": {"\x1b": 1}},
            {"peers": 7},
            {"peers": [None, {}]},
            {},
        )
        self.assertEqual(self.run_(), 0)
        first, second = self.out.getvalue().splitlines()
        self.assertTrue(
            first.startswith("\\x1b[2J: a\\nrootstream: b\\u202exxx"), first
        )
        self.assertLessEqual(len(first), 400)
        self.assertEqual(second, ": no report")
        self.assertNotIn("\x1b", self.err.getvalue())

    def test_badHome(self) -> None:
        """
        A home that cannot be used is said in one line, with status 1.
        """
        self.answers(IdentityError("there is no directory /home"))
        self.assertEqual(self.run_(), 1)
        self.assertOneLine("there is no directory")

    def test_interrupted(self) -> None:
        """
        Ctrl-C ends it without a traceback; the programs notice.
        """
        self.answers(KeyboardInterrupt(), ticks=1)
        self.assertEqual(self.run_(), 1)
        self.assertTrue(
            self.err.getvalue().endswith(": \nrootstream: stopped; UDP carries again\n")
        )
