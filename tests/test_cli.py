"""
Tests for `rootstream.cli`: the command and its exit status.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

import rootstream
import rootstream.cli
from rootstream.cli import main
from rootstream.identity import loadIdentity
from tests.virtual import installReactor


class FakeProgram:
    """
    A program that ends with a status.
    """

    def __init__(self, exitStatus: int) -> None:
        self.exitStatus = exitStatus
        self.calls: list[str] = []

    def startService(self) -> None:
        self.calls.append("start")

    def stopService(self) -> Deferred[None]:
        self.calls.append("stop")
        return succeed(None)


class FakeBeginner:
    """
    Takes the observers instead of the process's log.
    """

    def __init__(self) -> None:
        self.publisher = LogPublisher()
        self.redirected: bool | None = None

    def beginLoggingTo(self, observers: Any, redirectStandardIO: bool) -> None:
        self.redirected = redirectStandardIO
        for observer in observers:
            self.publisher.addObserver(observer)


class MainTests(SynchronousTestCase):
    """
    Tests for `main`.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)

    def run_(self, status: int, *words: str) -> FakeProgram:
        """
        Run the command with a program that ends with a status.
        """
        program = FakeProgram(status)
        self.reactor = MemoryReactorClock()
        self.beginner = FakeBeginner()
        self.made: list[Any] = []

        def makeService(options: Any) -> FakeProgram:
            self.made.append(options)
            return program

        installReactor(self, self.reactor)
        self.patch(rootstream.cli, "globalLogBeginner", self.beginner)
        self.patch(rootstream.cli, "makeService", makeService)
        self.assertEqual(main(words), status)
        return program

    def test_exitStatus(self) -> None:
        """
        The exit status is the program's: 0, 1 for a fault, 3 for a peer given up on.
        """
        for status in (0, 1, 3):
            program = self.run_(status, "demo")
            self.assertEqual(program.calls, ["start"])
            self.assertTrue(self.reactor.hasRun)
            self.assertEqual(self.made[0].subCommand, "demo")

    def test_shutdown(self) -> None:
        """
        The reactor waits for the program's end before it stops.
        """
        program = self.run_(0, "demo")
        _, (stop, arguments, named) = self.reactor.triggers["before"]["shutdown"]
        self.successResultOf(stop(*arguments, **named))
        self.assertEqual(program.calls, ["start", "stop"])

    def test_logging(self) -> None:
        """
        Warnings go to standard error, and nothing less; standard output is left
        alone, for the stream may be on it.
        """
        self.run_(0, "demo")
        log = Logger(observer=self.beginner.publisher)
        log.info("not for everyone")
        log.warn("a warning")
        self.assertIn("a warning", self.err.getvalue())
        self.assertNotIn("not for everyone", self.err.getvalue())
        self.assertEqual(self.out.getvalue(), "")
        self.assertIs(self.beginner.redirected, False)

    def test_usage(self) -> None:
        """
        A command line that cannot be used is said in one line, with status 1.
        """
        for words in (
            (),
            ("frobnicate",),
            ("host", "--frobnicate"),
            ("connect",),
            ("connect", "nonsense"),
            ("host", "--port", "http"),
            ("drill", "--seconds", "long"),
            ("drill", "--seconds", "61"),
            ("drill", "--seconds", "nan"),
            ("drill", "--peers", "x"),
        ):
            self.err.seek(0)
            self.err.truncate()
            self.assertEqual(main(words), 1)
            said = self.err.getvalue()
            self.assertEqual(said.count("\n"), 1, said)
            self.assertTrue(said.startswith("rootstream: "), said)
            self.assertTrue(said.endswith(". See rootstream --help.\n"), said)
            self.assertNotIn("..", said)

    def test_argumentsOfTheProcess(self) -> None:
        """
        Without arguments of its own it takes those of the process.
        """
        self.patch(sys, "argv", ["rootstream", "frobnicate"])
        self.assertEqual(main(), 1)
        self.assertIn("frobnicate", self.err.getvalue())

    def test_version(self) -> None:
        """
        ``--version`` shows ours.
        """
        with self.assertRaises(SystemExit) as caught:
            main(["--version"])
        self.assertEqual(caught.exception.code, 0)
        self.assertEqual(self.out.getvalue(), f"rootstream {rootstream.__version__}\n")

    def test_help(self) -> None:
        """
        ``--help`` names all commands.
        """
        with self.assertRaises(SystemExit) as caught:
            main(["--help"])
        self.assertFalse(caught.exception.code)
        programs = ("host", "connect", "demo")
        asking = ("status", "record", "control", "drill")
        for command in (*programs, "identity", "peers", *asking):
            self.assertIn(f"    {command} ", self.out.getvalue())


class IdentityTests(SynchronousTestCase):
    """
    Tests for ``rootstream identity``.
    """

    def setUp(self) -> None:
        self.out, self.err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.patch(rootstream.cli, "guessHost", lambda: "192.0.2.7")
        self.home = self.mktemp()

    def test_created(self) -> None:
        """
        The first use makes an identity; each use prints its code and fingerprint.
        """
        self.assertEqual(main(["identity", "--home", self.home]), 0)
        first = self.out.getvalue()
        key = loadIdentity(self.home).key
        self.assertIn("@192.0.2.7\n", first)
        self.assertIn(f"fingerprint: {key.fingerprint}\n", first)
        self.assertEqual(main(["identity", "--home", self.home]), 0)
        self.assertEqual(self.out.getvalue(), first * 2)

    def test_qr(self) -> None:
        """
        With ``--qr`` the code is drawn too.
        """
        main(["identity", "--home", self.home])
        plain = self.out.getvalue()
        self.assertEqual(main(["identity", "--home", self.home, "--qr"]), 0)
        drawn = self.out.getvalue()[len(plain) :]
        self.assertTrue(drawn.startswith(plain.rstrip("\n")))
        self.assertIn("\u2588", drawn)

    def test_fault(self) -> None:
        """
        A home that cannot be used is said in one line, with status 1.
        """
        Path(self.home).write_text("not a directory")
        self.assertEqual(main(["identity", "--home", self.home]), 1)
        self.assertEqual(self.out.getvalue(), "")
        self.assertEqual(self.err.getvalue().count("\n"), 1)
        self.assertIn("is not a directory", self.err.getvalue())


class DrillTests(SynchronousTestCase):
    """
    Tests for ``rootstream drill``.
    """

    def test_options(self) -> None:
        """
        It asks the programs of a home, for three seconds and with all peers unless told
        otherwise; its status is the command's.
        """
        asked: list[tuple[Any, ...]] = []

        def rehearse(*arguments: Any) -> int:
            asked.append(arguments[:3])
            return 7

        self.patch(rootstream.cli, "rehearse", rehearse)
        self.assertEqual(main(["drill", "--home", "there"]), 7)
        words = ["drill", "--home", "there", "--seconds", "0.5", "--peer", "aaaa"]
        self.assertEqual(main(words), 7)
        there = Path("there")
        self.assertEqual(asked, [(there, 3.0, None), (there, 0.5, "aaaa")])


class RunningTests(SynchronousTestCase):
    """
    Tests for ``rootstream status``, ``record`` and ``control``.
    """

    def setUp(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        for name in ("showStatus", "recordStream", "controlStream"):
            self.patch(rootstream.cli, name, self.record(name))

    def record(self, name: str) -> Any:
        def command(home: Path, *arguments: Any, **options: Any) -> int:
            words = [part for part in arguments if isinstance(part, tuple)]
            self.asked.append((name, str(home), *words, options))
            return 7

        return command

    def test_options(self) -> None:
        """
        They ask the programs of a home; their status is the command's.
        """
        for words in (
            "status --home there",
            "status --json --watch --home there",
            "record --home there start a.mkv",
            "control --home there all fps 30",
        ):
            self.assertEqual(main(words.split()), 7)
        self.assertEqual(
            self.asked,
            [
                ("showStatus", "there", {"asJSON": False, "watch": False}),
                ("showStatus", "there", {"asJSON": True, "watch": True}),
                ("recordStream", "there", ("start", "a.mkv"), {}),
                ("controlStream", "there", ("all", "fps", "30"), {}),
            ],
        )


class PeersTests(SynchronousTestCase):
    """
    ``rootstream peers``.
    """

    def test_peers(self) -> None:
        """
        It hands its words over, with the home, and exits as that says.
        """
        tended: list[Any] = []

        def tend(home: Path, words: Any, out: Any, err: Any) -> int:
            tended.append((home, tuple(words)))
            return 7

        self.patch(rootstream.cli, "tendPeers", tend)
        self.assertEqual(main(["peers", "--home", "/h", "revoke", "Anna"]), 7)
        self.assertEqual(main(["peers", "--home", "/h"]), 7)
        self.assertEqual(tended, [(Path("/h"), ("revoke", "Anna")), (Path("/h"), ())])
