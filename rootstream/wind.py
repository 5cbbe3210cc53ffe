"""
What the demo's two peers talk through: a port that forwards to the host's, as well as
the weather allows.

The viewer dials it instead of the host.  UDP and TCP share its number, as they do on a
host.  A connection that is begun while nothing passes is accepted, because the kernel
does that by itself, but nobody answers on it.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol

from rootstream.forwarding import LOOPBACK, Connection, Flows
from rootstream.transport.listen import bindAll
from rootstream.transport.udp import PacketDatagrams, UDPPort
from rootstream.weather import Forecast, Weather, parseChange

__all__ = ["Wind"]

#: A viewer has one or two; others on this machine may try.
MAX_CONNECTIONS = 64


class _Front(Factory[Protocol]):
    """
    Takes the connections of viewers.
    """

    noisy = False

    def __init__(self, wind: Wind) -> None:
        self._wind = wind

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return self._wind.accept()


class Wind:
    """
    A port before a host's, and the weather between them.

    :ivar reactor: the reactor that all of it lives in.
    :ivar host: the host's address and port.
    :ivar random: gives numbers from 0 to 1 for what is left to chance.
    :ivar port: the number to dial, on UDP and TCP.
    """

    def __init__(
        self,
        reactor: Any,
        hostPort: int,
        forecast: Forecast,
        changed: Callable[[str], None],
        random: Callable[[], float] = random.random,
    ) -> None:
        """
        :param changed: gets the weather in words whenever it changes.
        """
        self.reactor = reactor
        self.host = (LOOPBACK, hostPort)
        self.random = random
        self.port = 0
        self._forecast = forecast
        self._changed = changed
        self._words = str(forecast.weather)
        self._timer: IDelayedCall | None = None
        self._flows = Flows(self)
        self._connections: set[Connection] = set()
        self._udp: IListeningPort | None = None
        self._tcp: Any = None
        self._listener: socket.socket | None = None
        self._refuses = False

    @property
    def weather(self) -> Weather:
        """
        The weather now.
        """
        return self._forecast.weather

    def listen(self) -> int:
        """
        Open the ports; returns their number.  The forecast begins.

        :raises LocalError: if there are none to be had.
        """
        kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        datagrams, self._listener = bindAll(kinds, 0, LOOPBACK)
        self.port = self._listener.getsockname()[1]
        udp = UDPPort(
            self.reactor, PacketDatagrams(self._flows, self.reactor), datagrams
        )
        udp.startListening()
        self._udp = udp
        self._tcp = self.reactor.adoptStreamPort(
            self._listener.fileno(), socket.AF_INET, _Front(self)
        )
        self._forecast.begin(self.reactor.seconds())
        self._timerFired()
        return self.port

    def change(self, text: str) -> str:
        """
        Change the weather as a text like ``block udp`` says, and return what it is
        now, in words.

        :raises LocalError: if the text means no weather.
        """
        self._forecast.change(parseChange(text), self.reactor.seconds())
        self._adapt()
        return self._words

    def _timerFired(self) -> None:
        self._timer = None
        self._forecast.timerFired(self.reactor.seconds())
        self._adapt()

    def _adapt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._forecast.nextTimer()
        if due is not None:
            wait = max(0.0, due - self.reactor.seconds())
            self._timer = self.reactor.callLater(wait, self._timerFired)
        words = str(self.weather)
        if words != self._words:
            self._words = words
            self._changed(words)
        self._refuse(self.weather.offline)
        for connection in tuple(self._connections):
            connection.adapt()

    def _refuse(self, refuses: bool) -> None:
        """
        Refuse connections, or take them again.
        """
        if self._listener is None or refuses is self._refuses:
            return
        self._refuses = refuses
        if refuses:
            # On Linux this ends listening and keeps the number; a port that was
            # closed could be somebody else's by the time that the host is back.
            self._tcp.stopReading()
            self._listener.shutdown(socket.SHUT_RDWR)
            for connection in tuple(self._connections):
                connection.abort()
        else:
            self._listener.listen(socket.SOMAXCONN)
            self._tcp.startReading()

    def accept(self) -> Protocol | None:
        """
        A viewer has connected: what speaks to him, unless there are too many.
        """
        if len(self._connections) >= MAX_CONNECTIONS:
            return None
        connection = Connection(self, self._connections.discard)
        self._connections.add(connection)
        return connection.viewer

    def close(self) -> Deferred[None]:
        """
        Close everything; fires when the ports are.
        """
        if self._listener is None:
            return succeed(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flows.close()
        for connection in tuple(self._connections):
            connection.abort()
        assert self._udp is not None
        self._udp.stopListening()
        self._listener.close()
        self._listener = None
        closing: Deferred[None] = self._tcp.stopListening()
        return closing
