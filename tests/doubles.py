"""
Stand-ins for the network, on virtual time.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from rootstream.interfaces import IPacketSink, IPath, Transport

__all__ = ["FakePath", "MemoryNet", "MemoryPath", "MemoryPort", "RecordingSink"]


@implementer(IPath)
class FakePath:
    """
    A path that remembers what it was asked to do.  Equal only to itself.
    """

    def __init__(
        self,
        transport: Transport = Transport.UDP,
        address: tuple[str, int] = ("192.0.2.1", 9876),
    ) -> None:
        self.transport = transport
        self.address = address
        self.local: str | None = None
        self.backlog = 0
        self.sent: list[bytes] = []
        self.isAuthenticated = False
        self.isChosen = False
        self.closed = False

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        self.sent.extend(packets)

    def authenticated(self) -> None:
        self.isAuthenticated = True

    def chosen(self) -> None:
        self.isChosen = True

    def close(self) -> None:
        self.closed = True


@implementer(IPacketSink)
class RecordingSink:
    """
    Remembers batches and lost paths, in the order they came.
    """

    def __init__(self) -> None:
        self.batches: list[tuple[list[bytes], IPath]] = []
        self.lost: list[tuple[IPath, str]] = []

    @property
    def packets(self) -> list[bytes]:
        """
        All packets of all batches.
        """
        return [packet for batch, _ in self.batches for packet in batch]

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        self.batches.append((list(packets), path))

    def pathLost(self, path: IPath, reason: str) -> None:
        self.lost.append((path, reason))


@implementer(IPath)
@dataclass(frozen=True)
class MemoryPath:
    """
    A remote address as seen from one `MemoryPort`.
    """

    port: MemoryPort
    address: tuple[str, int]
    transport = Transport.UDP
    local = None
    backlog = 0

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        for packet in packets:
            self.port.net.carry(packet, self.port.address, self.address)

    def authenticated(self) -> None:
        pass

    def chosen(self) -> None:
        pass

    def close(self) -> None:
        pass


@dataclass(eq=False)
class MemoryPort:
    """
    A UDP port of a `MemoryNet`.
    """

    net: MemoryNet
    address: tuple[str, int]
    sink: IPacketSink

    def pathTo(self, address: tuple[str, int]) -> MemoryPath:
        return MemoryPath(self, address)

    def stopListening(self) -> Deferred[None]:
        self.net.ports.pop(self.address, None)
        return succeed(None)


@dataclass
class MemoryNet:
    """
    Datagrams between ports of one process: late, lost, doubled and reordered as
    told, by a seed.

    ``loss`` and ``double`` are shares of all packets, ``delay`` and ``jitter``
    seconds; jitter above the spacing of packets reorders them.  ``blocked`` holds
    (source, destination) pairs that nothing passes between; None stands for any.
    """

    clock: Clock
    seed: int = 0
    loss: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    ports: dict[tuple[str, int], MemoryPort] = field(default_factory=dict)
    blocked: set[tuple[tuple[str, int] | None, tuple[str, int] | None]] = field(
        default_factory=set
    )
    carried: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def port(self, address: tuple[str, int], sink: IPacketSink) -> MemoryPort:
        """
        Open a port.
        """
        assert address not in self.ports, f"{address} is in use"
        port = self.ports[address] = MemoryPort(self, address, sink)
        return port

    def carry(
        self, packet: bytes, source: tuple[str, int], destination: tuple[str, int]
    ) -> None:
        """
        Send one datagram on its way.
        """
        self.carried += 1
        ways = {(source, destination), (None, destination), (source, None)}
        if ways & self.blocked or self.random.random() < self.loss:
            return
        for _ in range(1 + (self.random.random() < self.double)):
            late = self.delay + self.random.random() * self.jitter
            self.clock.callLater(late, self._arrive, packet, source, destination)

    def _arrive(
        self, packet: bytes, source: tuple[str, int], destination: tuple[str, int]
    ) -> None:
        port = self.ports.get(destination)
        if port is not None:
            port.sink.packetsReceived([packet], port.pathTo(source))
