"""
``rootstream drill`` as a user runs it, and the socket that it asks through.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.programs import LOOPBACK, Program, ProgramTestCase, waitUntil

#: A picture small enough for a busy machine.
TEST = "test:320x240@25"

NOBODY = 65534


class DrillCase(ProgramTestCase):
    """
    A host and its viewer, on loopback.
    """

    def stream(self) -> tuple[Program, Program]:
        """
        Both, streaming over UDP, with a TCP connection ready.
        """
        host, port = self.startHost(TEST)
        viewer = self.startViewer(port)
        viewer.waitFor("stats", lambda entry: entry["frames"] > 25, transport="udp")
        return host, viewer

    def drill(self, home: str, *arguments: str) -> Program:
        """
        The command, with the programs of one home.
        """
        return self.start("drill", "--home", str(self.directory / home), *arguments)

    def socketOf(self, home: str, program: Program) -> Path:
        """
        Where a program can be asked.
        """
        path = self.directory / home / f"control-{program.process.pid}"
        waitUntil(path.exists, "a control socket")
        return path

    def assertReported(self, drill: Program, words: str) -> None:
        """
        It ended well, with one line like these words.
        """
        self.assertEqual(drill.exitStatus(40), 0, drill.complaints())
        [line] = drill.said().splitlines()
        self.assertRegex(line, f"^([0-9a-f]{{4}}-?){{4}}: {words}$")
        print(line)


class RehearsalTests(DrillCase):
    """
    A rehearsal of a stream that runs.
    """

    def test_viewer(self) -> None:
        """
        The viewer's picture stops for a moment, goes on over TCP, and is back on UDP
        afterwards; the line, the events and the paths that were taken agree.
        """
        _, viewer = self.stream()
        drill = self.drill("viewer")
        self.assertReported(
            drill,
            r"picture stopped \d\.\d\d s, moved to TCP after \d\.\d\d s, "
            r"back on UDP \d\.\d\d s after the drill ended",
        )
        self.assertIn("UDP counts as dead for 3 s", drill.complaints())
        told = viewer.waitFor("drill")
        self.assertIn(f"stopped {told['picture_gap_s']:.2f} s", drill.said())
        self.assertLess(told["picture_gap_s"], 2.5)
        self.assertIsNone(told["ack_gap_s"])
        routes = viewer.events("path")
        self.assertEqual(
            [entry["transport"] for entry in routes], ["udp", "tcp", "udp"]
        )
        between = routes[2]["mono"] - routes[1]["mono"]
        expected = 3.0 + told["back_after_s"] - told["moved_after_s"]
        self.assertApproximates(between, expected, 0.5)
        self.assertEqual(viewer.states()[-1], "CONNECTED")
        self.assertEqual(viewer.states().count("CONNECTED"), 1)
        self.assertEqual(viewer.complaints(), "")

    def test_host(self) -> None:
        """
        The host's side of it: how long its pictures went unacknowledged.  Another
        program that shares its home, and has nobody, adds nothing.
        """
        host, _ = self.stream()
        other = self.start(
            *("host", "--home", str(self.directory / "viewer"), "--allow-any"),
            *("--interface", LOOPBACK, "--port", "0", "--source", TEST),
        )
        other.waitFor("listening")
        fingerprint = self.viewer.key.fingerprint
        self.assertReported(
            self.drill("hosting", "--seconds", "2", "--peer", fingerprint),
            r"no acknowledgement for \d\.\d\d s, moved to TCP after \d\.\d\d s, "
            r"back on UDP \d\.\d\d s after the drill ended",
        )
        told = host.waitFor("drill")
        self.assertEqual((told["seconds"], told["transport"]), (2.0, "udp"))
        stopped = host.waitFor("picture", gap_of="acknowledgements")
        self.assertApproximates(stopped["gap_s"], told["ack_gap_s"], 0.1)
        self.assertReported(self.drill("viewer", "--seconds", "0.1"), "picture .*")
        self.assertEqual(host.complaints() + other.complaints(), "")

    def test_interrupted(self) -> None:
        """
        When the command is stopped, UDP carries again at once.
        """
        _, viewer = self.stream()
        drill = self.drill("viewer", "--seconds", "60")
        viewer.waitFor("path", transport="tcp")
        drill.process.send_signal(signal.SIGINT)
        self.assertEqual(drill.exitStatus(), 1)
        self.assertIn("rootstream: stopped", drill.complaints())
        self.assertNotIn("Traceback", drill.complaints())
        viewer.waitFor("path", cause="UDP carries again", seconds=15)
        self.assertEqual(viewer.events("drill"), [])
        self.assertEqual(viewer.complaints(), "")


class NothingTests(DrillCase):
    """
    Where there is nothing to rehearse.
    """

    def test_nobody(self) -> None:
        """
        A home where nothing runs, a host that nobody watches, and a host that was
        killed: one line each, with status 1, and nothing left behind.
        """
        drill = self.drill("viewer")
        self.assertEqual(drill.exitStatus(), 1)
        self.assertOneLine(drill.complaints(), "nothing runs with the home")
        host, _ = self.startHost(TEST)
        path = self.socketOf("hosting", host)
        drill = self.drill("hosting")
        self.assertEqual(drill.exitStatus(), 1)
        self.assertOneLine(drill.complaints(), "nobody is connected")
        host.kill()
        self.assertTrue(path.exists())
        drill = self.drill("hosting")
        self.assertEqual(drill.exitStatus(), 1)
        self.assertOneLine(drill.complaints(), "nothing runs with the home")
        self.assertFalse(path.exists())

    def test_end(self) -> None:
        """
        A program that ends takes its socket along.
        """
        host, _ = self.startHost(TEST)
        path = self.socketOf("hosting", host)
        host.process.send_signal(signal.SIGTERM)
        self.assertEqual(host.exitStatus(), 0)
        self.assertFalse(path.exists())


class SocketTests(DrillCase):
    """
    What else comes by the socket.
    """

    def ask(self, path: Path, line: bytes = b"\n") -> str:
        """
        The error answered to a line; nothing when the program hangs up instead.
        """
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(10)
            asking.connect(str(path))
            # It may have hung up, with or without a word.
            with contextlib.suppress(BrokenPipeError):
                asking.sendall(line)
            heard = b""
            while not heard.endswith(b"\n") and (chunk := asking.recv(65536)):
                heard += chunk
        error: str = json.loads(heard)["error"] if heard else ""
        return error

    def test_junk(self) -> None:
        """
        Junk is answered in words, or hung up on; the program goes on and says nothing.
        """
        host, _ = self.startHost(TEST)
        path = self.socketOf("hosting", host)
        for line, words in (
            (b"drill\n", "JSON"),
            (b"\x00\xff\n", "JSON"),
            (b'{"command": "destroy"}\n', "there is: control, drill, events"),
            (b'{"command": "drill", "seconds": "long"}\n', "is a number"),
            (b"x" * 5000, "4096 bytes"),
        ):
            self.assertIn(words, self.ask(path, line))
        idle = [socket.socket(socket.AF_UNIX) for _ in range(8)]
        for each in idle:
            self.addCleanup(each.close)
            each.connect(str(path))
        waitUntil(lambda: "too many" in self.ask(path), "a refusal")
        for each in idle:
            each.sendall(b'{"command": "dri')
            each.close()
        waitUntil(lambda: "JSON" in self.ask(path), "room for another")
        self.assertIsNone(host.process.poll())
        self.assertEqual(host.complaints(), "")

    def asNobody(self, path: Path) -> str:
        """
        What a process of another user hears when it asks.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                os.write(writing, repr(self.ask(path)).encode())
            except OSError as error:
                os.write(writing, str(error.strerror).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        with os.fdopen(reading) as heard:
            return heard.read()

    def test_strangers(self) -> None:
        """
        Another user cannot connect; and if the socket's mode were changed, he would be
        hung up on without a word.
        """
        if os.geteuid():
            raise SkipTest("only root can be somebody else")
        host, _ = self.startHost(TEST)
        path = self.socketOf("hosting", host)
        for directory in (self.directory, path.parent):
            directory.chmod(0o755)
        self.assertEqual(self.asNobody(path), "Permission denied")
        path.chmod(0o666)
        self.assertIn(self.asNobody(path), ("''", "Connection reset by peer"))
        self.assertIn("JSON", self.ask(path))
        self.assertEqual(host.complaints(), "")
