"""
Two peers joined in memory, for applications' own tests.

Everything is real but the network and the time: handshake, encryption, frames.
There is no mode without encryption, here or on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.task import Clock
from zope.interface import implementer

from rootstream.identity import Identity
from rootstream.interfaces import IPath, Transport
from rootstream.station import Station

__all__ = ["JoinedPeers"]

#: How long a packet takes, in seconds of the clock.
DELAY = 0.001


@implementer(IPath)
class _MemoryPath:
    """
    The way to the other station.
    """

    transport = Transport.UDP
    local = None
    backlog = 0

    def __init__(self, joined: JoinedPeers, there: int) -> None:
        self._joined = joined
        self._there = there
        self.address = ("127.0.0.1", there)

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        self._joined.carry(self._there, list(packets))

    def authenticated(self) -> None:
        pass

    def chosen(self) -> None:
        pass

    def close(self) -> None:
        pass


class JoinedPeers:
    """
    Two peers, ``a`` and ``b``, connected to each other.

    Set a receiver on each, send, and call `run`: what was sent arrives within it.

    @ivar clock: the `twisted.internet.task.Clock` that both live by.
    @ivar connected: whether packets pass; set it to False to cut the network.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.connected = True
        identities = Identity.generate("a"), Identity.generate("b")
        self._stations: list[Station] = []
        for identity in identities:
            self._stations.append(
                Station(
                    self.clock,
                    identity,
                    admits=lambda remote: True,
                    now=self.clock.seconds,
                )
            )
        self._paths = (_MemoryPath(self, 1), _MemoryPath(self, 0))
        self.a, self.b = (
            station.peer(other.key.x25519, other.key.fingerprint)
            for station, other in zip(self._stations, reversed(identities), strict=True)
        )
        self.a.handshake(self._paths[0])
        self.run(1.0)

    def carry(self, there: int, packets: list[bytes]) -> None:
        """
        Take packets to the peer of that number.
        """
        if self.connected:
            self.clock.callLater(
                DELAY,
                self._stations[there].packetsReceived,
                packets,
                self._paths[there],
            )

    def run(self, seconds: float = 0.1) -> None:
        """
        Let time pass, a millisecond at a time.
        """
        for _ in range(round(seconds / DELAY)):
            self.clock.advance(DELAY)
