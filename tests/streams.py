"""
A network on which TCP is connections, and which a `Witness` watches.

A connection loses nothing and keeps the order, as in life; packets that arrive at the
same time by the same path arrive as one batch.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.events import Event
from rootstream.protocol.node import Node
from tests.wire import Side, Wire, WirePath
from tests.witness import Witness

TCP = Transport.TCP


@dataclass(frozen=True)
class StreamPath(WirePath):
    """
    One end of one TCP connection.
    """

    number: int = 0

    __hash__ = WirePath.__hash__


class Stream:
    """
    A TCP connection: it loses nothing and keeps the order, and what is sent while it
    is blocked arrives later, unless the connection ended meanwhile.
    """

    def __init__(self, number: int, dialler: Side, other: Side) -> None:
        here = dialler.address[0], 20_000 + number
        self.number = number
        self.ends = {
            dialler: StreamPath(TCP, other.address, number=number),
            other: StreamPath(TCP, here, number=number),
        }
        #: An end has moved away: nothing is carried, and nobody told yet.
        self.dead = False
        self.lastAt = {dialler: 0.0, other: 0.0}
        self.held: list[tuple[Side, bytes]] = []


class Streams(Wire):
    """
    Two sides, the connections between them, and the time.  ``tell`` gets the story of
    what happens.

    @ivar streams: the connections that there are, by number.
    """

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        self.witness = Witness(self)
        self._tell = tell
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        super().__init__(seed)
        self._timerAt = {self.a: inf, self.b: inf}
        self.names = {self.a: "a", self.b: "b"}
        self.streams: dict[int, Stream] = {}
        self._numbers = itertools.count(1)
        #: How often a side had anything to say.
        self._said = 0
        #: When the last packet is to arrive, at whom, which way, and in what batch.
        self._last: tuple[float, Side, IPath | None, list[bytes]]
        self._last = 0.0, self.a, None, []

    def happened(self, side: Side, event: Event) -> None:
        """
        A link of ``side`` told something.
        """
        self.tell("{}: {}", self.names[side], event)

    def passes(self, side: Side, packet: bytes) -> None:
        """
        A datagram of ``side`` is on its way.
        """

    def tell(self, words: str, *values: object) -> None:
        """
        Add to the story.
        """
        if self._tell is not None:
            self._tell(f"{self.now - 1000:9.4f}  {words.format(*values)}")

    # --- time ---

    def later(self, delay: float, function: Callable[[], object]) -> None:
        """
        Call ``function`` after ``delay`` seconds.
        """
        entry = (self.now + delay, next(self._order), function)
        heapq.heappush(self._later, entry)

    def run(self, seconds: float) -> None:
        """
        Let ``seconds`` pass.
        """
        end = self.now + seconds
        later, timers = self._later, self._timerAt
        while True:
            side = self.a if timers[self.a] <= timers[self.b] else self.b
            timerAt = timers[side]
            at = later[0][0] if later else inf
            if min(at, timerAt) > end:
                self.now = end
                return
            if at <= timerAt:
                self.now = max(self.now, at)
                heapq.heappop(later)[2]()
            else:
                # Clocks of floats never hit a time exactly.
                self.now = max(self.now + 1e-6, timerAt)
                for link in side.node.links:
                    link.timerFired(self.now)
                said = self._said
                self.pump(side)
                self.witness.rang(self._said > said)

    # --- packets ---

    def inject(self, to: Side, packet: bytes, path: IPath, delay: float) -> None:
        """
        Let a packet arrive after ``delay`` seconds.
        """
        at = self.now + delay
        if self._last[:3] == (at, to, path):
            self._last[3].append(packet)
            return
        self._last = at, to, path, [packet]
        self.later(delay, partial(self._arrive, *self._last[1:]))

    def _arrive(self, to: Side, path: IPath, packets: list[bytes]) -> None:
        """
        Put packets into a side, unless the connection that they came by is gone.
        """
        if isinstance(path, StreamPath):
            stream = self.streams.get(path.number)
            if stream is None or stream.dead:
                return
        self.witness.arrives(to, path, packets)
        to.node.receive(packets, path, self.now)
        self.pump(to)

    def pump(self, side: Side) -> None:
        """
        Take what a side has to say: events, and packets into the network.
        """
        batches = side.node.packetsToSend()
        told: list[Event] = []
        timerAt = inf
        for link in side.node.links:
            self.witness.speaker = link
            batches += link.packetsToSend(self.now)
            while (event := link.nextEvent()) is not None:
                self.witness.happened(side, link, event)
                told.append(event)
            at = link.nextTimer()
            if at is not None and at < timerAt:
                timerAt = at
        self._timerAt[side] = timerAt
        self._said += bool(batches or told)
        for path, packets in batches:
            for packet in packets:
                self.witness.sends(side, path, packet)
                side.sent.append((self.now, path, packet))
                self._carry(side, path, packet)
        for event in told:
            self.happened(side, event)

    def _carry(self, side: Side, path: IPath, packet: bytes) -> None:
        if not isinstance(path, StreamPath):
            self.passes(side, packet)
            super()._carry(side, path, packet)
            return
        stream = self.streams.get(path.number)
        if stream is None or stream.dead:
            return
        if TCP in side.weather.blocked:
            stream.held.append((side, packet))
            return
        other = self.other(side)
        at = max(stream.lastAt[side], self.now + side.weather.delay)
        stream.lastAt[side] = at
        self.inject(other, packet, stream.ends[other], at - self.now)

    # --- connections ---

    def connectTCP(self, side: Side, use: Callable[[Stream], object]) -> None:
        """
        Dial the other side over TCP, and ``use`` the connection if it comes about.
        """
        roundTrip = side.weather.delay + self.other(side).weather.delay
        self.later(roundTrip, partial(self._connected, side, side.node, use))

    def _connected(
        self, side: Side, node: Node, use: Callable[[Stream], object]
    ) -> None:
        other = self.other(side)
        blocked = any(TCP in each.weather.blocked for each in (side, other))
        if blocked or side.node is not node:
            return
        stream = Stream(next(self._numbers), side, other)
        self.streams[stream.number] = stream
        self.tell("{}: connection {} is made", self.names[side], stream.number)
        use(stream)
        self.pump(side)

    def lose(self, stream: Stream, reason: str) -> None:
        """
        A connection ends: both sides are told, what is under way is lost.
        """
        if self.streams.pop(stream.number, None) is None:
            return
        self.tell("connection {} is lost: {}", stream.number, reason)
        for side, path in stream.ends.items():
            side.linkTo(self.other(side)).pathLost(path, reason, self.now)
            self.pump(side)

    def restart(self, side: Side) -> None:
        """
        The process of ``side`` ends, and begins anew.
        """
        streams = list(self.streams.values())
        self.streams.clear()
        side.restart()
        self.witness.forgotten(side)
        self._timerAt[side] = inf
        other = self.other(side)
        for stream in streams:
            other.linkTo(side).pathLost(stream.ends[other], "closed", self.now)
        self.pump(other)

    def unblocked(self) -> None:
        """
        Carry what connections have held back, where nothing is blocked any more.
        """
        for stream in self.streams.values():
            held, stream.held = stream.held, []
            for side, packet in held:
                self._carry(side, stream.ends[side], packet)
