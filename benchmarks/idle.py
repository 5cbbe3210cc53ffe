"""
``python -m benchmarks.idle``: what it costs a host to keep idle peers connected.

The host is a process of its own, with the ports that a host has.  Each peer has a UDP
socket; all of them live in this process, which is not measured.  They connect, and then
nothing happens but what keeps sessions alive.

Keys are replaced every two minutes.  Nobody wants to wait for that, so it is added up:
what accepting a peer has cost, once in that time for each.
"""

from __future__ import annotations

import argparse
import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from benchmarks.costs import Cost, quietly, show
from rootstream.identity import Identity
from rootstream.interfaces import IPacketSink, IPath
from rootstream.peer import Peer
from rootstream.protocol.constants import REKEY_AFTER_TIME, REKEY_JITTER, TYPE_DATA
from rootstream.protocol.handshakes import Credentials, Indices
from rootstream.protocol.limiter import LoadMeter
from rootstream.protocol.link import Link
from rootstream.protocol.noise import publicKey
from rootstream.station import NO_PSK, Station
from rootstream.transport.clock import boottime
from rootstream.transport.listen import listenBoth
from rootstream.transport.udp import listenPackets

__all__ = ["main"]

HOST = "127.0.0.1"
#: Peers that connect before memory is looked at: the first brings code along.
WARM = 100
#: Handshakes at once.
ABREAST = 16
#: Seconds for all peers to connect, and for what follows a handshake to settle.
PATIENCE = 90.0
SETTLING = 3.0
#: Seconds between two looks whether the host has answered.
LOOK = 0.05
#: Descriptors that are no peers'.
SPARE = 200
#: What the limit of the processor's time is set for.
MANY = 10_000


@dataclass(frozen=True, slots=True)
class Moment:
    """
    Seconds of the processor that a process has had, and of the clock.
    """

    processor: float
    at: float


def moment() -> Moment:
    """
    This one.
    """
    return Moment(time.process_time(), time.monotonic())


@dataclass(frozen=True, slots=True)
class Reading:
    """
    What the host says of itself: peers connected, bytes of memory, and when it was
    asked and answered, because to count takes time.
    """

    peers: int
    memory: int
    asked: Moment
    answered: Moment


class Unlimited(LoadMeter):
    """
    Thousands are to come in at once here, and none is a stranger.
    """

    def underLoad(self, now: float) -> bool:
        return False

    def mayHandshake(self, now: float) -> bool:
        return True


@implementer(IReadDescriptor)
class Questions:
    """
    A pipe in a reactor, on which each message is answered, and its end ends all.
    """

    def __init__(
        self, reactor: Any, pipe: Connection, answer: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._pipe = pipe
        self._answer = answer

    def fileno(self) -> int:
        return self._pipe.fileno()

    def doRead(self) -> None:
        try:
            self._pipe.recv()
            self._pipe.send(self._answer())
        except (EOFError, OSError):
            self._reactor.removeReader(self)
            self._reactor.stop()

    def logPrefix(self) -> str:
        return "questions"

    def connectionLost(self, reason: Failure) -> None:
        pass


def runHost(pipe: Connection) -> None:
    """
    The host's process: listens, and answers each question with a `Reading`, until the
    other end is closed.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    quietly()
    identity = Identity.generate("host")
    station = Station(reactor, identity, admits=lambda remote: True)
    station.node._load = Unlimited()
    ports = listenBoth(reactor, station, reactor, 0, HOST)

    def answer() -> Reading:
        asked = moment()
        gc.collect()
        connected = sum(peer.connected for peer in station.peers)
        return Reading(connected, memory(), asked, moment())

    pipe.send((ports.port, identity.key.x25519))
    reactor.addReader(Questions(reactor, pipe, answer))
    reactor.run()


def memory() -> int:
    """
    Bytes of this process that are in memory.
    """
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@implementer(IPacketSink)
class Crowd:
    """
    Peers of one host that share a process, and nothing else.
    """

    def __init__(self, reactor: Any, port: int, public: bytes) -> None:
        self._reactor = reactor
        self._port = port
        self._public = public
        self._indices = Indices(os.urandom)
        self._peers: dict[object, Peer] = {}

    def __len__(self) -> int:
        return len(self._peers)

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        for packet in packets:
            # RESP has it where DATA has the counter.
            start = 1 if packet[0] == TYPE_DATA else 4
            index = int.from_bytes(packet[start : start + 4], "little")
            owner = self._indices.owner(index)
            if isinstance(owner, Link):
                owner.receive([packet], path, boottime())
                self._peers[owner].pump()

    def pathLost(self, path: IPath, reason: str) -> None:
        raise AssertionError("a datagram has no connection to lose")

    def join(self) -> Deferred[None]:
        """
        One peer more; fires when it is connected.
        """
        private = os.urandom(32)
        link = Link(
            Credentials(private, publicKey(private), NO_PSK),
            self._public,
            self._indices,
            boottime(),
        )
        peer = Peer(self._reactor, boottime, link, "", "", lambda link: None)
        self._peers[link] = peer
        port = listenPackets(self._reactor, self, 0, HOST)
        return peer.handshake(port.pathTo((HOST, self._port)))

    async def grow(self, peers: int, until: float) -> None:
        """
        Let peers connect until there are so many.
        """

        async def some() -> None:
            while len(self) < peers:
                await self.join().addTimeout(until - boottime(), self._reactor)

        for one in [Deferred.fromCoroutine(some()) for _ in range(ABREAST)]:
            await one


async def visit(
    reactor: Any, questions: Connection, peers: int, seconds: float
) -> tuple[Reading, Reading, Reading, Reading]:
    """
    Let peers connect and stay; returns what the host says when the first have, when
    all have, and at both ends of the time in which nothing happens.
    """

    async def ask() -> Reading:
        questions.send(None)
        while not questions.poll():
            await deferLater(reactor, LOOK)
        answer: Reading = questions.recv()
        return answer

    crowd = Crowd(reactor, *questions.recv())
    until = boottime() + PATIENCE
    await crowd.grow(min(WARM, peers // 2), until)
    few = await ask()
    await crowd.grow(peers, until)
    many = await ask()
    await deferLater(reactor, SETTLING)
    before = await ask()
    await deferLater(reactor, seconds)
    after = await ask()
    return few, many, before, after


def judge(
    few: Reading, many: Reading, before: Reading, after: Reading, peers: int
) -> list[Cost]:
    """
    What readings come to.

    :raise RuntimeError: if peers were missing.
    """
    if after.peers != peers:
        raise RuntimeError(f"{after.peers} of {peers} peers are connected")
    came = many.peers - few.peers
    handshake = (many.asked.processor - few.answered.processor) / came
    idle = (after.asked.processor - before.answered.processor) / (
        after.asked.at - before.answered.at
    )
    # A share of the processor for `MANY`, in percent.
    quiet = 100 * idle / peers * MANY
    keys = 100 * handshake * MANY / (REKEY_AFTER_TIME + REKEY_JITTER / 2)
    return [
        Cost(
            "memory",
            f"memory a peer, of {peers}",
            (after.memory - few.memory) / (after.peers - few.peers) / 1024,
            "KiB",
            most=12.0,
        ),
        Cost("idle", f"{MANY} idle peers", quiet, "% of a core", most=5.0),
        Cost("keys", "and their new keys", keys, "% of a core"),
        Cost(
            "accepted",
            "handshakes accepted over sockets",
            1 / handshake,
            "a second",
            least=1200,
        ),
    ]


def allowDescriptors(count: int) -> None:
    """
    Let this process have so many descriptors.

    :raise OSError: if it may not.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(most, count)))
    except ValueError as error:
        raise OSError(f"{count} open files are needed, {most} allowed") from error


def measure(peers: int, seconds: float) -> list[Cost]:
    """
    All rows of the table.
    """
    from twisted.internet import reactor as installed

    reactor: Any = installed
    allowDescriptors(peers + SPARE)
    quietly()
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    host = context.Process(target=runHost, args=(theirs,), daemon=True)
    host.start()
    theirs.close()
    results: list[object] = []

    def over(result: object) -> None:
        results.append(result)
        reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(visit(reactor, ours, peers, seconds)).addBoth(over)

    reactor.callWhenRunning(begin)
    reactor.run()
    ours.close()
    host.join()
    if not results:
        raise RuntimeError("interrupted")
    [result] = results
    if not isinstance(result, tuple):
        raise RuntimeError(f"the peers did not connect: {result}")
    few, many, before, after = result
    return judge(few, many, before, after, peers)


def main(
    arguments: Sequence[str] | None = None,
    measure: Callable[[int, float], list[Cost]] = measure,
) -> int:
    """
    Run the command; returns its exit status.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.idle")
    add = parser.add_argument
    add("--peers", type=int, default=MANY, help="connected (%(default)s)")
    add("--seconds", type=float, default=30.0, help="of being idle (%(default)s)")
    add("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args(arguments)
    if options.peers < 2 or options.seconds <= 0:
        parser.error("--peers is at least 2, and --seconds more than 0")
    try:
        show(measure(options.peers, options.seconds), options.json)
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"benchmarks.idle: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
