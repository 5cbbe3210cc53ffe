"""
Asking a program that runs: a socket in its home directory.

One JSON object a line in, ``{"command": "drill", ...}``, and one a line out, which has
``error`` with a reason in words when it came to nothing.  Each program of a home has a
socket of its own, ``control-`` and its process number; what a killed one left behind is
removed by the next program, or by whoever asks.

Only its owner may ask, and root: the socket's mode says so, and the kernel tells who
connects.  Still nothing that is said here can do more than be refused.

Twisted's UNIX port is not used: it changes the mode of the name after the fact, takes
no path of more than 107 bytes, and raises at its end when the name is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineReceiver
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.errors import LocalError, RootstreamError
from rootstream.home import Home

__all__ = ["ControlSocket", "Question", "ask"]

_PREFIX = "control-"

#: Bytes of a line in, and of an answer.
MAX_LINE = 4096
MAX_ANSWER = 1 << 20
#: Connections of one program.
MAX_ASKERS = 8
#: Seconds that a connection may say nothing while nothing is being done for it.
MAX_IDLE = 60.0
#: Seconds until connections are taken again, when the process can open no more files.
PAUSE = 1.0
#: Seconds that a program may take to accept.
DIAL_TIMEOUT = 2.0

#: pid, uid and gid (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct("iII")

Answer = Mapping[str, object]
#: Deferred promises no more than its own type, not that of a mapping that is one.
Question = Callable[[Mapping[str, Any]], Deferred[Any]]


def _parse(line: bytes) -> Mapping[str, Any]:
    try:
        # Numbers of any length are one number then.
        request = json.loads(line, parse_int=float)
    except (ValueError, RecursionError):
        raise LocalError("that is no line of JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise LocalError('ask with an object that has a "command"')
    return request


class Asker(LineReceiver, TimeoutMixin):
    """
    One connection: its questions, one at a time.  ``gone`` is told when it ends.
    """

    _log = Logger()
    #: Of a stream; the base class knows only what all transports have in common.
    transport: Any

    delimiter = b"\n"
    MAX_LENGTH = MAX_LINE

    def __init__(
        self,
        clock: IReactorTime,
        commands: Mapping[str, Question],
        gone: Callable[[Asker], object],
    ) -> None:
        self._clock = clock
        self._commands = commands
        self._gone = gone
        self._running: Deferred[Answer] | None = None
        self._over = False

    def connectionMade(self) -> None:
        # Who does not read the answers is not read any more.
        self.transport.registerProducer(self, True)
        self.setTimeout(MAX_IDLE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.setTimeout(None)
        self._gone(self)
        if self._running is not None:
            # Nobody waits for it any more.
            self._running.cancel()

    def callLater(self, period: float, func: Callable[[], object]) -> IDelayedCall:
        """
        The timer of `TimeoutMixin`, which takes the global reactor's otherwise.
        """
        return self._clock.callLater(period, func)

    def timeoutConnection(self) -> None:
        """
        Nothing was asked for long.
        """
        self.transport.abortConnection()

    def lineReceived(self, line: bytes) -> None:
        if self._running is not None:
            self._say({"error": "wait for the answer before you ask again"})
            return
        self.setTimeout(None)
        running = self._running = maybeDeferred(self._do, line)
        running.addErrback(self._failed).addCallback(self._done)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._say({"error": f"a line has {MAX_LINE} bytes at most"})
        self.transport.loseConnection()

    def _do(self, line: bytes) -> Deferred[Answer]:
        request = _parse(line)
        command = self._commands.get(request["command"])
        if command is None:
            known = ", ".join(sorted(self._commands))
            raise LocalError(f"there is no such command; there is: {known}")
        return command(request)

    def _failed(self, reason: Failure) -> Answer:
        error = reason.value
        if isinstance(error, RootstreamError):
            return {"error": str(error)}
        if not isinstance(error, CancelledError):
            self._log.failure("A command failed.", failure=reason)
        return {"error": "that went wrong; the log of the program says why"}

    def _done(self, answer: Answer) -> None:
        self._running = None
        if not self._over:
            self.setTimeout(MAX_IDLE)
            self._say(answer)

    def _say(self, answer: Answer) -> None:
        self.sendLine(json.dumps(answer).encode())


class _Askers(Factory):
    """
    The connections there are.
    """

    # Nothing about a connection is worth a line in the log.
    noisy = False

    def __init__(self, clock: IReactorTime, commands: Mapping[str, Question]) -> None:
        self._clock = clock
        self._commands = commands
        self.there: set[Asker] = set()

    def buildProtocol(self, addr: IAddress | None) -> Asker:
        asker = Asker(self._clock, self._commands, self.there.discard)
        self.there.add(asker)
        return asker


@implementer(IReadDescriptor)
class ControlSocket:
    """
    Where a program can be asked.

    ``commands`` are the functions that do what is asked, by name.  Each is given the
    object that came and returns a Deferred of the object to answer; a
    `RootstreamError` is answered in words, and whoever hangs up cancels it.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, home: Path, commands: Mapping[str, Question]
    ) -> None:
        self._reactor = reactor
        self._path = home
        self._askers = _Askers(reactor, commands)
        self._name = f"{_PREFIX}{os.getpid()}"
        self._home: Home | None = None
        self._socket: socket.socket | None = None
        self._pause: IDelayedCall | None = None

    def open(self) -> None:
        """
        Listen.  Where that cannot be, a warning says so, and the program goes on.
        """
        home = None
        try:
            home = Home(self._path, create=False)
            for connection in _reach(home).values():
                connection.close()
            listening = home.listen(self._name)
        except (OSError, RootstreamError) as error:
            self._log.warn(
                "Commands to this program will not reach it, since there can be no "
                "socket in {home}: {reason}.",
                home=self._path,
                reason=getattr(error, "strerror", None) or error,
            )
            if home is not None:
                home.close()
            return
        listening.setblocking(False)
        self._home, self._socket = home, listening
        self._reactor.addReader(self)

    def close(self) -> None:
        """
        Listen no more, and hang up.  Harmless when repeated.
        """
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._home is None or self._socket is None:
            return
        self._reactor.removeReader(self)
        self._socket.close()
        try:
            self._home.remove(self._name)
        except OSError as error:
            self._log.warn("The control socket stays: {reason}.", reason=error)
        self._home.close()
        self._home = self._socket = None
        for asker in tuple(self._askers.there):
            asker.transport.abortConnection()

    # --- IReadDescriptor ---

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "control"

    def connectionLost(self, reason: Failure) -> None:
        self.close()

    def doRead(self) -> None:
        assert self._socket is not None
        try:
            connection, _ = self._socket.accept()
            with connection:
                self._arrived(connection)
        except BlockingIOError:
            # It hung up before we came to it.
            return
        except OSError as error:
            # No more files can be opened (F76): it would be readable without end.
            self._log.warn("No command can be taken: {reason}.", reason=error.strerror)
            self._reactor.removeReader(self)
            self._pause = self._reactor.callLater(PAUSE, self._resume)

    def _resume(self) -> None:
        self._pause = None
        self._reactor.addReader(self)

    def _arrived(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        if _uidOf(connection) not in (0, os.geteuid()):
            return
        if len(self._askers.there) >= MAX_ASKERS:
            with contextlib.suppress(OSError):
                connection.send(b'{"error": "too many ask already; try again"}\n')
            return
        # It duplicates the descriptor; ours is closed.
        self._reactor.adoptStreamConnection(
            connection.fileno(), socket.AF_UNIX, self._askers
        )


def _uidOf(connection: socket.socket) -> int:
    """
    The user at the other end, when it connected.
    """
    raw = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
    )
    uid: int = _CREDENTIALS.unpack(raw)[1]
    return uid


def _reach(home: Home) -> dict[str, socket.socket]:
    """
    A connection to each program of a home.  Sockets whose program is gone are removed.
    """
    found = {}
    for name in home.sockets(_PREFIX):
        try:
            found[name] = home.dial(name, DIAL_TIMEOUT)
        except ConnectionRefusedError:
            # Also between bind and listen, hence the second look.
            if not _runs(name.removeprefix(_PREFIX)):
                home.remove(name)
        except OSError:
            # Somebody is there, and does not let us in.
            continue
    return found


def _runs(process: str) -> bool:
    """
    Whether there is another process of that number.
    """
    if process == str(os.getpid()):
        return False
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def ask(
    home: Path,
    request: Mapping[str, object],
    seconds: float,
    tick: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """
    Ask all programs of a home, and return what they answer; ``tick`` is called each
    second.  One that gives no answer within ``seconds`` counts as one with an
    ``error``.  Blocks: this is for a command of its own, without a reactor.

    :raise RootstreamError: The home cannot be used.
    """
    with Home(home, create=False) as directory:
        try:
            found = _reach(directory)
        except OSError as error:
            raise LocalError(f"cannot read {home}: {error.strerror}") from None
    line = json.dumps(request).encode() + b"\n"
    answers: dict[str, dict[str, Any]] = {}
    heard = dict.fromkeys(found, b"")
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as open_:
        for name, connection in found.items():
            open_.enter_context(connection)
            selector.register(connection, selectors.EVENT_READ, name)
            # It may have answered, and hung up, before it was asked.
            with contextlib.suppress(OSError):
                connection.sendall(line)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            ready = selector.select(min(1.0, left))
            for key, _ in ready:
                name = key.data
                chunk = _receive(found[name])
                heard[name] += chunk
                if b"\n" in chunk or not chunk or len(heard[name]) > MAX_ANSWER:
                    answers[name] = _understood(name, heard[name])
                    selector.unregister(key.fileobj)
            if not ready:
                tick()
    return [answers.get(name) or _silent(name) for name in found]


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        # Gone, as if it had said so.
        return b""


def _silent(name: str) -> dict[str, Any]:
    return {"error": f"process {name.removeprefix(_PREFIX)} gave no answer"}


def _understood(name: str, heard: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(heard.partition(b"\n")[0])
    except (ValueError, RecursionError):
        return _silent(name)
    return answer if isinstance(answer, dict) else _silent(name)
