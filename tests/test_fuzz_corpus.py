"""
The corpora of `tests.fuzz`, played again, and proof that its targets can find anything.
"""

from __future__ import annotations

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol.constants import TYPE_INIT
from rootstream.protocol.video import Reassembler
from tests.fuzz import __main__ as command
from tests.fuzz.seeds import CORPUS, seeds
from tests.fuzz.targets import MAX_PARTS, TARGETS, Finding, join, split
from tests.witness import Violation

#: What each target must reach with its corpus, and not swallow the error of.
READERS = {
    "init": "rootstream.protocol.handshake.InitPayload.decode",
    "resp": "rootstream.protocol.handshake.RespPayload.decode",
    "retry": "rootstream.protocol.handshakes.Initiation.openRetry",
    "frames": "rootstream.protocol.frames.decodeAck",
    "data": "rootstream.protocol.frames.decodePairing",
    "tcp": "rootstream.transport.tcp.PacketStream.abort",
    "code": "rootstream.identity.checkHost",
    "peers": "rootstream.authorized.parseRights",
    "control": "rootstream.control._parse",
    "websocket": "rootstream.web.sockets._inputEvent",
    "pairing": "rootstream.protocol.pairing.HostPairing._offerReceived",
}


def inputs(target: str) -> list[Path]:
    """
    The corpus of a target.
    """
    return sorted((CORPUS / target).iterdir())


class CorpusTests(SynchronousTestCase):
    """
    What is in the corpora.
    """

    def test_played(self) -> None:
        """
        Nothing that a fuzzer, or somebody who thought like one, ever sent does harm.
        """
        for target, play in TARGETS.items():
            for path in inputs(target):
                with self.subTest(target=target, input=path.name):
                    play(path.read_bytes())

    def test_whole(self) -> None:
        """
        Each target has a corpus, and no corpus is without a target; all are small, and
        hold what `tests.fuzz.seeds` makes.
        """
        self.assertEqual(
            sorted(path.name for path in CORPUS.iterdir()), sorted(TARGETS)
        )
        self.assertEqual(seeds().keys(), TARGETS.keys())
        for target, made in seeds().items():
            there = {path.name: path.read_bytes() for path in inputs(target)}
            self.assertEqual({**there, **made}, there, target)
        size = sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file())
        self.assertLess(size, 60_000)


class TargetTests(SynchronousTestCase):
    """
    Tests for the targets.
    """

    def test_planted(self) -> None:
        """
        Each target reaches the reader that it is for, and an error in there that nobody
        expects comes out.
        """
        self.assertEqual(READERS.keys(), TARGETS.keys())
        for target, reader in READERS.items():
            planted = ZeroDivisionError("planted")
            found = 0
            with mock.patch(reader, side_effect=planted):
                for path in inputs(target):
                    try:
                        TARGETS[target](path.read_bytes())
                    except ZeroDivisionError:
                        found += 1
                    except Exception:
                        # What follows from it may be noticed first.
                        continue
            self.flushLoggedErrors(ZeroDivisionError)
            self.assertTrue(found, target)

    def test_judged(self) -> None:
        """
        What raises nothing and is wrong all the same is a finding as well.
        """
        wrong = (
            ("tcp", "rootstream.transport.tcp.MIN_RECORD", 1),
            ("code", "tests.fuzz.targets.cleanName", lambda text: repr(text)[:20]),
            (
                "frames",
                "rootstream.protocol.frames.cleanText",
                lambda raw, limit=0: f"{raw!r}",
            ),
        )
        for target, name, value in wrong:
            with mock.patch(name, value), self.assertRaises(Finding):
                for path in inputs(target):
                    TARGETS[target](path.read_bytes())

    def test_books(self) -> None:
        """
        What a peer has sent of a picture is counted while it waits for the rest.
        """
        receive = Reassembler.receiveMany

        def miscounts(video: Reassembler, *arguments: Any) -> None:
            receive(video, *arguments)
            video.bytesHeld += 1

        half = (CORPUS / "data" / "half-a-picture").read_bytes()
        TARGETS["data"](half)
        self.patch(Reassembler, "receiveMany", miscounts)
        error = self.assertRaises(Violation, TARGETS["data"], half)
        self.assertEqual(str(error), "the bytes of pictures are counted wrongly")

    def test_sameEachTime(self) -> None:
        """
        An input does the same each time, or a finding could not be played again.
        """
        sent: list[list[bytes]] = []
        for _ in range(2):
            with mock.patch("tests.fuzz.targets._bounded") as bounded:
                TARGETS["init"]((CORPUS / "init" / "open").read_bytes())
            [(wire,)] = [call.args for call in bounded.call_args_list]
            sent.append([packet for _, _, packet in wire.b.sent])
        self.assertEqual(*sent)
        self.assertNotEqual(sent[0], [])
        self.assertNotEqual(sent[0][0][0], TYPE_INIT)

    def test_parts(self) -> None:
        """
        An input is split as it was joined; one that says too much is cut short.
        """
        parts = [b"", b"one", b"x" * 300]
        self.assertEqual(list(split(join(*parts))), parts)
        self.assertEqual(list(split(b"\xff\xffabc")), [b"abc"])
        self.assertEqual(list(split(b"\1")), [b""])
        self.assertEqual(len(list(split(bytes(1000)))), MAX_PARTS)


class CommandTests(SynchronousTestCase):
    """
    Tests for ``python -m tests.fuzz``, with another program in atheris' place.
    """

    def run_(self, program: str, *arguments: str) -> tuple[int, str]:
        """
        The status, and what was printed, when ``program`` stands for the fuzzer.
        """
        home = Path(self.mktemp())
        home.mkdir()
        (home / "stand_in.py").write_text(program)
        out = StringIO()
        with (
            mock.patch.object(command, "ROOT", home),
            mock.patch.object(command, "PATIENCE", 90),
            redirect_stdout(out),
        ):
            status = command.main(
                [*arguments, f"--findings={home}", "--seconds=0"], "stand_in"
            )
        return status, out.getvalue()

    def test_held(self) -> None:
        """
        Status 0 says that the fuzzer ran and found nothing; how much it did is told.
        """
        program = "print('#9 DONE cov: 70 ft: 9\\nstat::number_of_executed_units: 42')"
        status, words = self.run_(program, "code", "tcp")
        self.assertEqual(
            words, "code: 42 inputs, 70 branches\ntcp: 42 inputs, 70 branches\n"
        )
        self.assertEqual(status, 0)

    def test_found(self) -> None:
        """
        When it ends in any other way, the status is 1 and its last words are shown.
        """
        status, words = self.run_("raise ValueError('planted')", "code")
        self.assertEqual(status, 1)
        self.assertIn("ValueError: planted\ncode: status 1, see ", words)

    def test_silent(self) -> None:
        """
        A fuzzer that ends well without having done anything has not held.
        """
        status, words = self.run_("", "code")
        self.assertEqual(status, 1)
        self.assertIn("code: status 0", words)

    def test_endless(self) -> None:
        """
        One that does not end is ended.
        """
        home = Path(self.mktemp())
        home.mkdir()
        (home / "stand_in.py").write_text("import time; time.sleep(999)")
        with (
            mock.patch.object(command, "ROOT", home),
            mock.patch.object(command, "PATIENCE", 0.2),
        ):
            held, words = command.runTarget("code", 0, home, None, "stand_in")
        self.assertFalse(held)
        self.assertEqual(words, "code: did not end by itself")

    def test_play(self) -> None:
        """
        A finding is played again without a fuzzer, and raises what it raised.
        """
        path = CORPUS / "code" / "whole"
        self.assertEqual(command.main(["code", f"--play={path}"]), 0)
        with (
            mock.patch("rootstream.identity.checkHost", side_effect=ZeroDivisionError),
            self.assertRaises(ZeroDivisionError),
        ):
            command.main(["code", f"--play={path}"])
