"""
Doubles for tests of `rootstream.web`: a program to look at, and a browser without
sockets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from wsproto import Connection as WebSocketConnection
from wsproto import ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, TextMessage

from rootstream.errors import LocalError, PeerClosed
from rootstream.eventlog import EventLog
from rootstream.protocol.events import AudioFrame, InputEvent, VideoFrame
from rootstream.status import PeerStatus, ProgramStatus
from rootstream.tee import Tee
from rootstream.web.address import WebAddress
from rootstream.web.server import WebServer

__all__ = ["FakeProgram", "PageTestCase", "Wire", "peerStatus"]

PORT = 8080
HOST = f"127.0.0.1:{PORT}"
ORIGIN = f"http://{HOST}"
#: As a browser sends it with a WebSocket.
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def peerStatus(fingerprint: str = "aaaa-bbbb", **changed: Any) -> PeerStatus:
    """
    The status of a peer that is well.
    """
    fields: dict[str, Any] = {
        "name": "den",
        "state": "CONNECTED",
        "transport": "udp",
        "address": "192.0.2.1:7777",
        "rtt_ms": 12.5,
        "jitter_ms": 0.5,
        "loss": 0.25,
        "mbit_s": 8.0,
        "fps": 30.0,
        "latency_ms": None,
        "frames": 90,
        "lost": 2,
        "bytes": 1000,
        "since": 3.0,
        "cause": "connected",
    }
    return PeerStatus(fingerprint, **{**fields, **changed})


class FakeProgram:
    """
    A program as the page knows it.
    """

    def __init__(self, role: str = "demo") -> None:
        self.role = role
        self.events = EventLog(None, wallClock=lambda: 0.0, now=lambda: 0.0)
        self.keyFramesWanted = 0
        self.tee = Tee(self.wantKeyFrame)
        self.peers: tuple[PeerStatus, ...] = (peerStatus(),)
        self.asked: list[Mapping[str, Any]] = []
        self.inputs: list[list[InputEvent]] = []
        self.released = 0
        self.pending: Deferred[Any] = Deferred()
        self.commands: dict[str, Callable[[Mapping[str, Any]], Deferred[Any]]] = {
            "drill": self._note,
            "peers": self._note,
            "control": lambda asked: self.pending,
            "record": self._refuse,
            "weather": self._refuseRemote,
            "events": self._break,
        }

    def _note(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        self.asked.append(asked)
        return succeed({"text": "done"})

    def _refuse(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        raise LocalError("choose another name, not <b>this</b>")

    def _refuseRemote(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        raise PeerClosed("the host went away")

    def _break(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        raise ZeroDivisionError

    def status(self) -> ProgramStatus:
        return ProgramStatus(self.role, "1.0", 5.0, self.peers, input="log")

    def wantKeyFrame(self) -> None:
        self.keyFramesWanted += 1

    def latencyOf(self, frame: VideoFrame | AudioFrame) -> float | None:
        return 0.25

    def sendInput(self, events: Sequence[InputEvent]) -> None:
        self.inputs.append(list(events))
        if not events:
            raise LocalError("nobody takes input")

    def releaseInput(self) -> None:
        self.released += 1


class Wire(StringTransport):
    """
    A TCP connection to a door, from the browser's side, with its answers.
    """

    def __init__(self, server: WebServer, clock: Any) -> None:
        super().__init__(
            hostAddress=IPv4Address("TCP", "127.0.0.1", PORT),
            peerAddress=IPv4Address("TCP", "127.0.0.1", 50000),
        )
        self._clock = clock
        self.lost = False
        self._socket: WebSocketConnection | None = None
        door = clock.tcpServers[0][1]
        self.protocol = door.buildProtocol(self.peerAddr)
        self.protocol.makeConnection(self)

    def abortConnection(self) -> None:
        self._over(ConnectionAborted())

    def loseConnection(self) -> None:
        self._over(ConnectionDone())

    def _over(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            # As a reactor does: not from within.
            self._clock.callLater(0, self.protocol.connectionLost, Failure(error))

    def hangUp(self) -> None:
        """
        The browser closes it.
        """
        self._over(ConnectionDone())
        self._clock.advance(0)

    def send(self, data: bytes) -> None:
        """
        Bytes from the browser.
        """
        if not self.lost:
            self.protocol.dataReceived(data)

    def takeAnswer(self) -> tuple[int, dict[str, str], bytes]:
        """
        Status, headers and body of what came since.
        """
        head, _, body = self.value().partition(b"\r\n\r\n")
        self.clear()
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(first.split()[1]), headers, body

    def upgraded(self) -> None:
        """
        A WebSocket is spoken from here on.
        """
        self._socket = WebSocketConnection(ConnectionType.CLIENT)

    def sendMessage(self, message: Event) -> None:
        """
        Send a message of the WebSocket.
        """
        assert self._socket is not None
        self.send(self._socket.send(message))

    def say(self, message: object) -> None:
        """
        Send JSON.
        """
        self.sendMessage(TextMessage(json.dumps(message)))

    def takeMessages(self) -> list[Any]:
        """
        The messages that came since: JSON, bytes, or the code of a close.
        """
        assert self._socket is not None
        data = self.value()
        self.clear()
        self._socket.receive_data(data)
        found: list[Any] = []
        partial: Any = None
        for event in self._socket.events():
            match event:
                case CloseConnection(code=code):
                    found.append(int(code))
                case TextMessage() | BytesMessage():
                    assert isinstance(event, Message)
                    part = event.data
                    partial = part if partial is None else partial + part
                    if event.message_finished:
                        isText = isinstance(partial, str)
                        found.append(json.loads(partial) if isText else bytes(partial))
                        partial = None
                case _:
                    found.append(event)
        return found


class PageTestCase(SynchronousTestCase):
    """
    A page that is served, in memory.
    """

    role = "demo"

    def setUp(self) -> None:
        self.clock = MemoryReactorClock()
        self.program = FakeProgram(self.role)
        self.server = WebServer(
            self.clock, self.program, WebAddress("127.0.0.1", PORT), self.home()
        )
        self.wires: list[Wire] = []
        link = self.server.open()
        self.token = link.partition("token=")[2]
        self.cookie = ""
        wire = self.connect()
        wire.send(f"GET /?token={self.token} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        headers = wire.takeAnswer()[1]
        self.cookie = headers["Set-Cookie"].partition(";")[0]
        wire.hangUp()
        self.addCleanup(self._end)

    def home(self) -> Path | None:
        """
        The home of the program.
        """
        return None

    def _end(self) -> None:
        self.server.close()
        for wire in self.wires:
            self.clock.advance(0)
            self.assertTrue(wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def connect(self) -> Wire:
        """
        A new connection.
        """
        wire = Wire(self.server, self.clock)
        self.wires.append(wire)
        return wire

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes = b"",
        wire: Wire | None = None,
        **headers: str | None,
    ) -> tuple[int, dict[str, str], bytes]:
        """
        The answer to a request of our own page, some of whose headers are different:
        names are written with `_` for `-`, and None leaves one out.
        """
        wire = self.connect() if wire is None else wire
        wire.send(self.request(path, method, body, **headers))
        return wire.takeAnswer()

    def request(
        self, path: str, method: str = "GET", body: bytes = b"", **headers: str | None
    ) -> bytes:
        """
        The bytes of such a request.
        """
        lines: dict[str, str | None] = {"Host": HOST, "Cookie": self.cookie}
        if method == "POST":
            lines |= {
                "Origin": ORIGIN,
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Rootstream": self.server.csrf,
            }
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        text = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in lines.items() if value is not None
        )
        return text.encode() + b"\r\n" + body

    def openSocket(self, path: str) -> Wire:
        """
        A WebSocket that was let in.
        """
        wire = self.connect()
        wire.send(self.request(path, Origin=ORIGIN, **UPGRADE))
        status, _, rest = wire.takeAnswer()
        self.assertEqual(status, 101)
        wire.upgraded()
        wire.write(rest)
        return wire
