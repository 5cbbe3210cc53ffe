"""
Connections to the page: how many there are, and how long each may take.

Nobody is given more than a bounded piece of the program: a connection that has not
asked in time is closed, and when there are too many, those that have waited longest
make room for the next.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from wsproto.utilities import ProtocolError

__all__ = ["Connection", "Door"]

#: Seconds for a whole request, from its first byte; then between two of them; and
#: then for the other side to take what was sent before a close.
REQUEST_TIME: Final = 10.0
IDLE_TIME: Final = 30.0
CLOSE_TIME: Final = 5.0
#: Seconds that each may wait however many there are: a hundred pages at once open more
#: connections than stay.
GRACE: Final = 1.0
#: Connections that are no WebSocket and wait for longer; WebSockets; and all.
MAX_HTTP: Final = 64
MAX_SOCKETS: Final = 256
MAX_ALL: Final = 768
#: Bytes from a page until a message is whole.  Twisted's WebSocket has no limit.
MAX_MESSAGE: Final = 65536


class Connection(ProtocolWrapper):
    """
    One connection, from outside: what HTTP or a WebSocket speaks through it.

    :ivar isSocket: whether it has become a WebSocket.
    """

    _log = Logger()
    transport: Any
    factory: Any

    def __init__(self, factory: Any, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self._deadline: IDelayedCall | None = None
        self._waiting = False
        self._waitsSince = factory.clock.seconds()
        self._unfinished = 0
        self.isSocket = False
        self.isAnswering = False
        self.isClosing = False

    def makeConnection(self, transport: Any) -> None:
        """
        Somebody came.
        """
        self.transport = transport
        self._within(REQUEST_TIME)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """
        Bytes came.
        """
        if self.isClosing or self.wrappedProtocol is None:
            return
        if self.isSocket:
            self._unfinished += len(data)
            if self._unfinished > MAX_MESSAGE:
                self.abort()
                return
        elif self._waiting:
            self._waiting = False
            self._within(REQUEST_TIME)
        try:
            super().dataReceived(data)
        except ProtocolError:
            # They went on after a close, or otherwise not as WebSockets do.
            self.abort()
        except Exception:
            self._log.failure("A request to the page failed.")
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        They went.
        """
        self.isClosing = True
        self._within(None)
        super().connectionLost(reason)

    def began(self) -> None:
        """
        A request is whole, and being answered.
        """
        self.isAnswering = True
        self._within(None)

    def answered(self) -> None:
        """
        A request is answered.
        """
        self.isAnswering = False
        if not self.isClosing:
            self._waiting = True
            self._waitsSince = self.factory.clock.seconds()
            self._within(IDLE_TIME)

    @property
    def isStale(self) -> bool:
        """
        Whether it may be closed for another.
        """
        waits = self.factory.clock.seconds() - self._waitsSince
        return not self.isAnswering and waits >= GRACE

    def upgraded(self) -> None:
        """
        It is a WebSocket from now on.
        """
        self.isSocket = True
        self._within(None)

    def messageEnded(self) -> None:
        """
        A message of the WebSocket is whole.
        """
        self._unfinished = 0

    def closing(self) -> None:
        """
        All is said; whoever does not take it is not waited for.
        """
        self.isClosing = True
        self._within(CLOSE_TIME)

    def refuse(self, answer: bytes) -> None:
        """
        Answer before the request is whole, and listen to nothing more.

        What still comes is read and thrown away for a moment, since to close at once
        would take the answer from them.
        """
        self.isClosing = True
        self.transport.write(answer)
        if hasattr(self.transport, "loseWriteConnection"):
            self.transport.loseWriteConnection()
        self._within(CLOSE_TIME)

    def abort(self) -> None:
        """
        Close at once.
        """
        self.isClosing = True
        self._within(None)
        self.transport.abortConnection()

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if seconds is not None:
            self._deadline = self.factory.clock.callLater(seconds, self.abort)


class Door(WrappingFactory[Connection]):
    """
    Lets connections in.
    """

    protocol = Connection
    noisy = False

    def __init__(self, site: Any, clock: Any) -> None:
        super().__init__(site)
        self.clock = clock

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Another connection, or None when there are too many by far; those that have
        waited longest may make room for it.
        """
        if len(self.protocols) >= MAX_ALL:
            return None
        waiting = [
            connection
            for connection in self.protocols
            if not (connection.isSocket or connection.isClosing)
        ]
        stale = [connection for connection in waiting if connection.isStale]
        for connection in stale[: max(len(waiting) - MAX_HTTP + 1, 0)]:
            connection.abort()
        return super().buildProtocol(addr)

    @property
    def hasRoom(self) -> bool:
        """
        Whether one more WebSocket may be.
        """
        sockets = [one for one in self.protocols if one.isSocket]
        return len(sockets) < MAX_SOCKETS

    def close(self) -> None:
        """
        End all connections.
        """
        for connection in tuple(self.protocols):
            connection.abort()
