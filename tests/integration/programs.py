"""
Running the programs as a user does: as processes, with what they leave behind.

Nothing here starts a reactor: the tests wait for processes, files and pipes, each
with a deadline.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rootstream.identity import Identity, formatCode, loadOrCreateIdentity
from tests.integration.secrecy import leaks, secretsOf

__all__ = [
    "LOOPBACK",
    "Program",
    "ProgramTestCase",
    "Relay",
    "freePort",
    "needCommands",
    "waitUntil",
]

ROOT = Path(__file__).resolve().parent.parent.parent
LOOPBACK = "127.0.0.1"

_COMMAND = "import sys; from rootstream.cli import main; sys.exit(main())"
_TWISTD = "from twisted.scripts.twistd import run; run()"

#: Seconds for what should take a moment, on a machine that is busy.
PATIENCE = 20.0


def needCommands(*names: str) -> None:
    """
    Skip a test for want of a command, but never where all must be shown.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing and "CI" in os.environ:
        raise AssertionError(f"missing here: {', '.join(missing)}")
    if missing:
        raise SkipTest(f"not installed: {', '.join(missing)}")


#: To a page, with its token.
LINK = re.compile(rb"http://\S+\?token=\S+")


def waitUntil(holds: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """
    What ``holds`` returns, once that is true.
    """
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds:g} s: {what}")
        # Another process gives no sign when it has written to its file.
        time.sleep(0.02)
    return found


def freePort() -> int:
    """
    A number that is free on UDP and TCP.
    """
    while True:
        with (
            socket.socket(type=socket.SOCK_STREAM) as stream,
            socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        ):
            stream.bind((LOOPBACK, 0))
            try:
                datagrams.bind(stream.getsockname())
            except OSError:
                continue
            port: int = stream.getsockname()[1]
            return port


class Program:
    """
    One process of ours: its events, what it said, and how it ended.
    """

    def __init__(
        self,
        directory: Path,
        arguments: Sequence[str],
        *,
        twistd: bool = False,
        script: str = _COMMAND,
        launcher: Sequence[str] = (),
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        """
        :param directory: gets its events and what it says; made here.
        :param script: the Python that runs ``main``.
        :param launcher: the command that runs it, if any.
        :param stdout: where its output goes instead, such as ``subprocess.PIPE``.
        :param prepare: called in the new process before it becomes ours.
        """
        directory.mkdir()
        self.outPath = directory / "stdout"
        self._err = directory / "stderr"
        self.eventsPath = directory / "events"
        words = ["-n", "--pidfile=", "rootstream", *arguments]
        command = [*launcher, sys.executable, "-c", _TWISTD if twistd else script]
        command += words if twistd else arguments
        streams = arguments[0] in ("host", "connect", "demo")
        if streams and "--events" not in arguments:
            command += ["--events", str(self.eventsPath)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(directory)}
        environment.pop("ROOTSTREAM_HOME", None)
        with self.outPath.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=out if stdout is None else stdout,
                stderr=err,
                cwd=directory,
                env=environment,
                preexec_fn=prepare,
            )

    @property
    def written(self) -> tuple[Path, ...]:
        """
        All that it writes which others may read.
        """
        return self.outPath, self._err, self.eventsPath

    def kill(self) -> None:
        """
        End it at once; harmless when repeated.
        """
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def exitStatus(self, seconds: float = PATIENCE) -> int:
        """
        How it ends, in so many seconds at most.
        """
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {seconds:g} s; it said {self.complaints()!r}"
            ) from None

    def said(self) -> str:
        """
        Its standard output so far.
        """
        return self.outPath.read_text()

    def complaints(self) -> str:
        """
        Its standard error so far.
        """
        return self._err.read_text()

    def events(self, event: str = "", **fields: object) -> list[dict[str, Any]]:
        """
        Its events so far, of one kind and with these fields.
        """
        if not self.eventsPath.exists():
            return []
        # What is behind the last line end is still being written.
        lines = self.eventsPath.read_text().rpartition("\n")[0].splitlines()
        return [
            entry
            for entry in map(json.loads, lines)
            if event in ("", entry["event"])
            and all(entry.get(name) == value for name, value in fields.items())
        ]

    def waitFor(
        self,
        event: str,
        which: Callable[[dict[str, Any]], bool] = lambda entry: True,
        seconds: float = PATIENCE,
        **fields: object,
    ) -> dict[str, Any]:
        """
        Its first event of a kind, with these fields, that ``which`` accepts.
        """

        def found() -> dict[str, Any] | None:
            if self.process.poll() is not None and not any(
                map(which, self.events(event, **fields))
            ):
                raise AssertionError(
                    f"ended without {event} {fields}: {self.complaints()!r}"
                )
            return next(filter(which, self.events(event, **fields)), None)

        entry: dict[str, Any] = waitUntil(found, f"{event} {fields}", seconds)
        return entry

    def states(self) -> list[str]:
        """
        The states that its peer went through.
        """
        return [entry["to"] for entry in self.events("state")]


class Relay:
    """
    Stands between a host and who dials it, and counts bytes, over UDP and TCP.

    :ivar port: the number to dial.
    :ivar fromHost: bytes that the host sent.
    :ivar overUDP: bytes that it was sent over UDP.
    :ivar overTCP: bytes that it was sent over TCP.
    """

    def __init__(self, hostPort: int) -> None:
        self._host = (LOOPBACK, hostPort)
        self.port = freePort()
        self.fromHost = 0
        self.overUDP = 0
        self.overTCP = 0
        self._outside = socket.socket(type=socket.SOCK_DGRAM)
        self._outside.bind((LOOPBACK, self.port))
        self._inside = socket.socket(type=socket.SOCK_DGRAM)
        self._inside.connect(self._host)
        self._listener = socket.create_server((LOOPBACK, self.port))
        self._client: Any = None
        self._twins: dict[socket.socket, socket.socket] = {}
        self._hostSide: set[socket.socket] = {self._inside}
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """
        Let go of all sockets.
        """
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        for one in (self._outside, self._inside, self._listener, *self._twins):
            one.close()

    def _run(self) -> None:
        while True:
            sockets = [self._outside, self._inside, self._listener, *self._twins]
            waited: list[Any] = [self._stop, *sockets]
            ready, _, _ = select.select(waited, [], [])
            if self._stop in ready:
                return
            for one in ready:
                if one is self._listener:
                    stream, _ = one.accept()
                    twin = socket.create_connection(self._host)
                    self._twins |= {stream: twin, twin: stream}
                    self._hostSide.add(twin)
                elif one is self._outside:
                    data, self._client = one.recvfrom(65536)
                    self.overUDP += len(data)
                    self._inside.send(data)
                elif one is self._inside:
                    self._answer()
                elif one in self._twins:
                    self._pass(one)

    def _answer(self) -> None:
        try:
            data = self._inside.recv(65536)
        except ConnectionError:
            # Nobody listens at the host's port.
            return
        self.fromHost += len(data)
        self._outside.sendto(data, self._client)

    def _pass(self, one: socket.socket) -> None:
        twin = self._twins[one]
        try:
            data = one.recv(65536)
        except ConnectionError:
            data = b""
        if data:
            twin.sendall(data)
            if one in self._hostSide:
                self.fromHost += len(data)
            else:
                self.overTCP += len(data)
            return
        for end in (one, twin):
            del self._twins[end]
            self._hostSide.discard(end)
            end.close()


class ProgramTestCase(SynchronousTestCase):
    """
    A directory for each test, and no process that outlives it.

    :ivar viewer: the identity of most who connect.
    """

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="rootstream-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.programs: list[Program] = []
        self.addCleanup(self.keptSecrets)
        self.viewer = self.identity("viewer")
        self.hosting = self.identity("hosting")
        self._started = 0

    def identity(self, home: str) -> Identity:
        """
        The identity in a home of ours.
        """
        return loadOrCreateIdentity(self.directory / home)

    def start(self, *arguments: str, **options: Any) -> Program:
        """
        Start a program.
        """
        self._started += 1
        directory = self.directory / f"{arguments[0]}-{self._started}"
        program = Program(directory, arguments, **options)
        self.programs.append(program)
        self.addCleanup(program.kill)
        return program

    def keptSecrets(self) -> None:
        """
        Nothing that the programs of a test wrote has a secret of theirs in it (F95);
        but for the link to a page, which is for the terminal.
        """
        secrets = [
            secret
            for key in self.directory.rglob("identity.key")
            for secret in secretsOf(key.parent)
        ]
        for program in self.programs:
            for path in program.written:
                output = path.read_bytes() if path.exists() else b""
                if path == program.outPath:
                    output = LINK.sub(b"", output)
                self.assertEqual(leaks(output, secrets), [], path.name)

    def startHost(
        self, source: str, *arguments: str, port: int = 0, **options: Any
    ) -> tuple[Program, int]:
        """
        Start a host that lets ``viewer`` in; returns it and its port.
        """
        host = self.start(
            "host",
            *("--home", str(self.directory / "hosting")),
            *("--interface", LOOPBACK),
            *("--port", str(port)),
            *("--source", source),
            *("--allow", formatCode(self.viewer.key, None)),
            *arguments,
            **options,
        )
        return host, host.waitFor("listening")["udp"]

    def startViewer(
        self, port: int, *arguments: str, home: str = "viewer", **options: Any
    ) -> Program:
        """
        Start a client of our host.
        """
        code = formatCode(self.hosting.key, LOOPBACK, port)
        where = str(self.directory / home)
        return self.start("connect", code, "--home", where, *arguments, **options)

    def run_(self, *command: str | Path, stdin: IO[bytes] | None = None) -> bytes:
        """
        The output of somebody else's command, which must not complain.
        """
        done = subprocess.run(
            list(map(str, command)),
            stdin=stdin or subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
        )
        self.assertEqual((done.returncode, done.stderr), (0, b""), command)
        return done.stdout

    def assertOneLine(self, text: str, *phrases: str) -> None:
        """
        A complaint is one line of ours with these phrases, and no traceback.
        """
        self.assertEqual(len(text.splitlines()), 1, text)
        self.assertTrue(text.startswith("rootstream: "), text)
        self.assertNotRegex(text, re.compile("traceback", re.IGNORECASE))
        for phrase in phrases:
            self.assertIn(phrase, text)
