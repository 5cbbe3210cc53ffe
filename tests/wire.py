"""
A network in memory, on virtual time, between two nodes of the protocol core.

Loss, duplication, delay and reordering come from a seed, so a run that failed
can be run again.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TypeVar

from zope.interface import implementer

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.events import Event, VideoReceived
from rootstream.protocol.handshakes import Credentials
from rootstream.protocol.link import Link
from rootstream.protocol.node import Node
from rootstream.protocol.noise import publicKey
from rootstream.protocol.paths import Paths, PathState
from rootstream.protocol.session import Session

E = TypeVar("E")

EPOCH = 1_800_000_000_000
#: More timers a second than this are a loop that never sleeps.
MAX_TIMERS_PER_SECOND = 5000


@implementer(IPath)
@dataclass(frozen=True)
class WirePath:
    """
    A path to ``address``; what it carries is the `Wire`'s business.
    """

    transport: Transport
    address: tuple[str, int]
    local: str | None = field(default=None, compare=False)
    backlog: int = field(default=0, compare=False)

    def __hash__(self) -> int:
        # Links look paths up all the time.
        return hash(self.address)

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        """
        The core never sends by itself.
        """
        raise AssertionError("the core called a method of a path")

    def authenticated(self) -> None:
        """
        The core never lifts limits by itself.
        """
        raise AssertionError("the core called a method of a path")

    def chosen(self) -> None:
        """
        The core never opens a socket by itself.
        """
        raise AssertionError("the core called a method of a path")

    def close(self) -> None:
        """
        The core never closes a path by itself.
        """
        raise AssertionError("the core called a method of a path")


class Weather:
    """
    What the network does to the packets of one direction.  Times in seconds,
    the others are probabilities.
    """

    def __init__(self) -> None:
        self.delay = 0.01
        self.jitter = 0.0
        self.loss = 0.0
        self.duplication = 0.0
        self.corruption = 0.0
        self.blocked: set[Transport] = set()
        self.filter: Callable[[bytes], bool] | None = None


@cache
def credentials(seed: int, psk: bytes = bytes(32)) -> Credentials:
    """
    Keys from a seed.
    """
    private = Random(f"key {seed}").randbytes(32)
    return Credentials(private, publicKey(private), psk)


def respond(paths: Paths, data: bytes) -> PathState | None:
    """
    A challenge came back; returns the path that it was sent on.
    """
    state = paths.challenged(data)
    if state is not None:
        paths.responded(state)
    return state


class Side:
    """
    One node, its address, its wall clock, and all that its links told.
    """

    def __init__(self, wire: Wire, keys: Credentials, address: tuple[str, int]):
        self.wire = wire
        self.keys = keys
        self.address = address
        self.weather = Weather()
        self.clockSkew = 0
        self.events: list[Event] = []
        self.sent: list[tuple[float, IPath, bytes]] = []
        self.admitted: set[bytes] = set()
        self.restart()

    def restart(self) -> None:
        """
        A new process: nothing is remembered but the keys.
        """
        self.node = Node(
            self.keys,
            lambda remote: remote in self.admitted,
            wallClock=lambda: EPOCH + int(self.wire.now * 1000) + self.clockSkew,
            random=self.wire.random.randbytes,
        )

    def linkTo(self, other: Side) -> Link:
        """
        The link to the other side.
        """
        return self.node.link(other.keys.public, self.wire.now)

    def dial(self, other: Side, transport: Transport = Transport.UDP) -> Link:
        """
        Begin a handshake with the other side.
        """
        link = self.linkTo(other)
        link.connect(WirePath(transport, other.address), self.wire.now)
        self.wire.pump(self)
        return link

    def eventsOf(self, kind: type[E]) -> list[E]:
        """
        The events of one class, in order.
        """
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def frames(self) -> list[bytes]:
        """
        The video frames that arrived.
        """
        return [
            event.frame.data
            for event in self.events
            if isinstance(event, VideoReceived)
        ]

    def packets(self, kind: int) -> list[bytes]:
        """
        The packets of one type that this side sent.
        """
        return [packet for _, _, packet in self.sent if packet[0] == kind]

    def bytesTo(self, path: IPath) -> int:
        """
        How many bytes this side sent on one path.
        """
        return sum(len(packet) for _, each, packet in self.sent if each == path)

    def session(self, other: Side) -> Session:
        """
        The keys that this side sends on.
        """
        slot = self.linkTo(other)._slots.current
        assert slot is not None
        return slot.session


class Wire:
    """
    Two sides, ``a`` and ``b``, each authorised at the other, and the time.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.a = Side(self, credentials(1), ("192.0.2.1", 1111))
        self.b = Side(self, credentials(2), ("192.0.2.2", 9876))
        self.a.admitted.add(self.b.keys.public)
        self.b.admitted.add(self.a.keys.public)
        #: Addresses of forwarders: what is sent there, or from there, arrives at
        #: the other side as coming from that address.
        self.forwarders: set[tuple[str, int]] = set()
        self._queue: list[tuple[float, int, Side, bytes, IPath]] = []
        self._order = itertools.count()

    def other(self, side: Side) -> Side:
        """
        Whom this side talks to.
        """
        return self.b if side is self.a else self.a

    def deliver(self, to: Side, packet: bytes, path: IPath) -> None:
        """
        Put one packet into a side, as the network would.
        """
        self.pump(to, to.node.receive([packet], path, self.now))

    def pump(self, side: Side, links: Iterable[Link] | None = None) -> None:
        """
        Take what a side has to say, or these of its links: events, and packets into the
        network.
        """
        batches = side.node.packetsToSend()
        for link in side.node.links if links is None else links:
            batches += link.packetsToSend(self.now)
            while (event := link.nextEvent()) is not None:
                side.events.append(event)
        for path, packets in batches:
            for packet in packets:
                side.sent.append((self.now, path, packet))
                self._carry(side, path, packet)

    def _carry(self, side: Side, path: IPath, packet: bytes) -> None:
        weather, random = side.weather, self.random
        other = self.other(side)
        forwarded = path.address in self.forwarders
        if not forwarded and path.address != other.address:
            return
        if path.transport in weather.blocked:
            return
        if weather.filter is not None and not weather.filter(packet):
            return
        source = path.address if forwarded else side.address
        arrives = WirePath(path.transport, source)
        copies = 1 + (random.random() < weather.duplication)
        for _ in range(copies):
            if random.random() < weather.loss:
                continue
            if weather.corruption and random.random() < weather.corruption:
                at = random.randrange(len(packet))
                flipped = packet[at] ^ 1 << random.randrange(8)
                packet = packet[:at] + bytes((flipped,)) + packet[at + 1 :]
            delay = weather.delay + random.random() * weather.jitter
            self.inject(other, packet, arrives, delay)

    def inject(self, to: Side, packet: bytes, path: IPath, delay: float) -> None:
        """
        Let a packet arrive after ``delay`` seconds.
        """
        entry = (self.now + delay, next(self._order), to, packet, path)
        heapq.heappush(self._queue, entry)

    def forge(self, side: Side, plain: bytes) -> bytes:
        """
        A packet that ``side`` sends under its keys, whatever is in it.
        """
        packet = side.session(self.other(side)).seal(plain)
        self._carry(side, WirePath(Transport.UDP, self.other(side).address), packet)
        return packet

    def run(self, seconds: float) -> None:
        """
        Let ``seconds`` pass.
        """
        end = self.now + seconds
        patience = MAX_TIMERS_PER_SECOND * (seconds + 1)
        while True:
            timers = [
                (at, side, link)
                for side in (self.a, self.b)
                for link in side.node.links
                if (at := link.nextTimer()) is not None
            ]
            timer = min(timers, key=lambda one: one[0], default=None)
            nextTimer = timer[0] if timer is not None else end + 1
            nextPacket = self._queue[0][0] if self._queue else end + 1
            if min(nextTimer, nextPacket) > end:
                self.now = end
                return
            if nextPacket <= nextTimer:
                at, _, to, packet, path = heapq.heappop(self._queue)
                self.now = max(self.now, at)
                self.deliver(to, packet, path)
            else:
                assert timer is not None
                patience -= 1
                assert patience > 0, "timers that never sleep"
                # Clocks of floats never hit a time exactly.
                self.now = max(self.now + 1e-6, nextTimer)
                timer[2].timerFired(self.now)
                self.pump(timer[1])

    def connect(self) -> tuple[Link, Link]:
        """
        A session between the two, dialled by ``a``.
        """
        self.a.dial(self.b)
        self.run(0.5)
        return self.a.linkTo(self.b), self.b.linkTo(self.a)
