"""
The page of a program: it listens, and tells pages what happens.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall

from rootstream.errors import LocalError
from rootstream.eventlog import Entry
from rootstream.show import guessHost
from rootstream.web.address import LOOPBACK, WebAddress
from rootstream.web.door import Connection, Door
from rootstream.web.guard import Guard, homeToken, newToken
from rootstream.web.metrics import Metrics
from rootstream.web.served import Served
from rootstream.web.site import Pages, makeSite
from rootstream.web.sockets import EventsSocket, Socket, StreamSocket, dumps
from rootstream.web.stream import Stream

__all__ = ["WebServer"]

#: What only the command line may ask: who is let in.
NOT_FOR_PAGES = frozenset({"peers"})

#: Connections that the kernel holds until they are accepted.
BACKLOG = 128

_JSON = b"application/json"


def _reachable(host: str) -> str:
    """
    An address to write into the link, for one that means all of this machine's.
    """
    if not ip_address(host).is_unspecified:
        return host
    try:
        return str(ip_address(guessHost()))
    except ValueError:
        # It is only known by a name, by which no page is served.
        return LOOPBACK


class WebServer:
    """
    Serves the page of a program, at an address.

    With a ``home`` the token is that of the home, so that a page that is open finds
    the next program of it; without, it is of this moment.

    :ivar csrf: what only our own page knows, and says when it asks for something.
    """

    def __init__(
        self,
        reactor: Any,
        served: Served,
        address: WebAddress,
        home: Path | None,
    ) -> None:
        self._reactor = reactor
        self._served = served
        self.address = address
        self._home = home
        self._port: Any = None
        self._door: Door | None = None
        self._token = ""
        self.csrf = ""
        self._sockets: dict[Socket, None] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._commands = {
            name: command
            for name, command in served.commands.items()
            if name not in NOT_FOR_PAGES
        }
        self._stream = Stream(served, reactor.seconds)
        self._metrics = Metrics(served.status, lambda: len(self._sockets))
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor

    def open(self) -> str:
        """
        Begin, and return the link to the page, which is a secret.

        Raises `LocalError` when the address cannot be had, or the home's token.
        """
        self._token = newToken() if self._home is None else homeToken(self._home)
        guard = Guard(self._token)
        self.csrf = guard.csrf
        makers: dict[bytes, Callable[[Connection], Any]] = {
            b"/api/events": self._eventsSocket
        }
        if self._served.status().role != "host":
            makers[b"/api/stream"] = self._streamSocket
        pages = Pages(
            guard,
            self._commands,
            {b"/api/status": self._tellStatus, b"/metrics": self._tellMetrics},
            makers,
            lambda: self._door is not None and self._door.hasRoom,
        )
        self._door = Door(makeSite(pages, self._reactor), self._reactor)
        address = self.address
        try:
            self._port = self._reactor.listenTCP(
                address.port, self._door, BACKLOG, address.host
            )
        except CannotListenError as error:
            raise LocalError(
                f"cannot serve the page on {address}: "
                f"{getattr(error.socketError, 'strerror', None) or error.socketError}; "
                "choose another --web"
            ) from None
        self._unsubscribe = self._served.events.subscribe(self._happened)
        self._ticking.start(1.0, now=False)
        here = WebAddress(_reachable(address.host), self._port.getHost().port)
        return f"http://{here}/?token={self._token}"

    def close(self) -> Deferred[Any]:
        """
        End.  Harmless when it never began.
        """
        if self._ticking.running:
            self._ticking.stop()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._door is not None:
            self._door.close()
        port, self._port = self._port, None
        return maybeDeferred(port.stopListening) if port is not None else succeed(None)

    # --- what pages are told ---

    def _eventsSocket(self, connection: Connection) -> Socket:
        return self._opened(
            EventsSocket(connection, self._reactor.seconds, self._lost, self._hello)
        )

    def _streamSocket(self, connection: Connection) -> Socket:
        return self._opened(
            StreamSocket(
                connection,
                self._reactor.seconds,
                self._lost,
                self._stream,
                self._served,
            )
        )

    def _opened(self, socket: Socket) -> Socket:
        self._sockets[socket] = None
        return socket

    def _lost(self, socket: Socket) -> None:
        self._sockets.pop(socket, None)

    def _hello(self) -> str:
        status = self._served.status()
        return dumps(
            {
                "type": "hello",
                "role": status.role,
                "version": status.version,
                "csrf": self.csrf,
                "history": list(self._served.events.history),
                "weather": status.weather is not None,
                "input": status.input is not None,
                "commands": sorted(self._commands),
            }
        )

    def _happened(self, entry: Entry) -> None:
        self._metrics.happened(entry)
        self._stream.happened(entry)
        # Measurements come with the status; what is typed is nobody else's business.
        if entry["event"] not in ("stats", "input"):
            for socket in tuple(self._sockets):
                socket.happened(entry)

    def _tick(self) -> None:
        if not self._sockets:
            return
        status = dumps({"type": "status", **self._served.status().asDict()})
        for socket in tuple(self._sockets):
            socket.tick()
            if isinstance(socket, EventsSocket):
                socket.status(status)

    def _tellStatus(self) -> tuple[bytes, bytes]:
        return dumps(self._served.status().asDict()).encode(), _JSON

    def _tellMetrics(self) -> tuple[bytes, bytes]:
        body, kind = self._metrics.render()
        return body, kind.encode()
