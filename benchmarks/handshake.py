"""
``python -m benchmarks.handshake``: what a handshake costs whoever is dialled, and what
it costs him to turn somebody away.

One station answers in memory, so no socket is in the numbers; ``benchmarks.idle`` has
them over sockets.  Its time is virtual: the limits on strangers hold as they always do,
and who must not meet them knocks slowly.  Bytes tell whether the station can be used to
flood a third party: it never says more than it was told.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from twisted.internet.task import Clock
from zope.interface import implementer

from benchmarks.costs import Cost, quietly, show
from rootstream.identity import Identity
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.constants import (
    LOAD_HANDSHAKES_PER_SECOND,
    SOURCE_BURST,
    TYPE_DATA,
)
from rootstream.protocol.frames import FrameType
from rootstream.protocol.handshake import Initiation, InitPayload
from rootstream.protocol.noise import publicKey
from rootstream.protocol.session import Session
from rootstream.station import NO_PSK, Station

__all__ = ["main"]

#: Seconds between two INITs that are no load.
APART = 2 / LOAD_HANDSHAKES_PER_SECOND
#: Peers of one station, so that its virtual timers cost little.
PEERS = 100


@implementer(IPath)
@dataclass(eq=False)
class Door:
    """
    A path that keeps what it was given.
    """

    address: tuple[str, int]
    said: list[bytes] = field(default_factory=list)
    transport = Transport.UDP
    local = None
    backlog = 0

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        self.said.extend(packets)

    def authenticated(self) -> None:
        pass

    def chosen(self) -> None:
        pass

    def close(self) -> None:
        pass


class Knocking:
    """
    A station, who knocks at it, and what that cost.

    :ivar seconds: of this process, while the station was at work.
    :ivar came: bytes that the station was sent.
    :ivar went: bytes that it sent.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.came = 0
        self.went = 0
        self.admitting = True
        self.renew()

    def renew(self) -> None:
        """
        Begin with another station, that knows nobody.
        """
        self.clock = Clock()
        identity = Identity.generate("host")
        self.public = identity.key.x25519
        self.station = Station(
            self.clock,
            identity,
            admits=lambda remote: self.admitting,
            now=self.clock.seconds,
        )

    def init(self, cookie: bytes | None = None) -> Initiation:
        """
        The INIT of somebody new.
        """
        payload = InitPayload(
            time.time_ns() // 1_000_000, cookie or bytes(16), 1, 0, 1400, 0
        )
        index = int.from_bytes(os.urandom(4), "little") or 1
        return Initiation(os.urandom(32), self.public, NO_PSK, index, payload, cookie)

    def knock(self, packet: bytes, door: Door) -> None:
        """
        Give the station one packet.
        """
        before = sum(map(len, door.said))
        began = time.process_time()
        self.station.packetsReceived([packet], door)
        self.seconds += time.process_time() - began
        self.came += len(packet)
        self.went += sum(map(len, door.said)) - before

    @contextmanager
    def unmeasured(self) -> Iterator[None]:
        """
        What happens in here does not count.
        """
        before = self.seconds, self.came, self.went
        yield
        self.seconds, self.came, self.went = before

    def load(self) -> None:
        """
        Let more knock at once than need not show a cookie.
        """
        with self.unmeasured():
            for _ in range(LOAD_HANDSHAKES_PER_SECOND + 1):
                self.knock(self.init().packet, Door(("192.0.2.9", 9)))


def accepted(knocking: Knocking, runs: int) -> None:
    """
    A handshake, up to the first packet under its keys.
    """
    for number in range(runs):
        if number % PEERS == 0:
            knocking.renew()
        door = Door(("192.0.2.1", 1024 + number))
        dialled = knocking.init()
        knocking.knock(dialled.packet, door)
        answer, send, receive = dialled.openResponse(door.said[0])
        session = Session(send, receive, dialled.index, answer.index, 0.0, True)
        knocking.knock(session.seal(bytes((FrameType.CONFIRM,))), door)
        knocking.clock.advance(APART)
    if not all(peer.connected for peer in knocking.station.peers):
        raise AssertionError("a handshake was not accepted")


def knockAlike(
    knocking: Knocking, runs: int, packet: Callable[[], bytes], apart: float = APART
) -> None:
    """
    Knock with one packet after the other.
    """
    for _ in range(runs):
        knocking.knock(packet(), Door(("192.0.2.1", 1024)))
        knocking.clock.advance(apart)


def noise(knocking: Knocking, runs: int) -> None:
    """
    DATA to nobody.
    """
    knockAlike(knocking, runs, lambda: bytes((TYPE_DATA,)) + os.urandom(1399))


def misaddressed(knocking: Knocking, runs: int) -> None:
    """
    An INIT whose mac1 is wrong.
    """
    packet = knocking.init().packet
    knockAlike(knocking, runs, lambda: packet[:144] + os.urandom(32))


def strangers(knocking: Knocking, runs: int) -> None:
    """
    A right INIT of somebody who may not come in.
    """
    knocking.admitting = False
    knockAlike(knocking, runs, lambda: knocking.init().packet)


def replayed(knocking: Knocking, runs: int) -> None:
    """
    An INIT that was accepted before.
    """
    packet = knocking.init().packet
    with knocking.unmeasured():
        knocking.knock(packet, Door(("192.0.2.1", 1024)))
    knockAlike(knocking, runs, lambda: packet)


def uninvited(knocking: Knocking, runs: int) -> None:
    """
    An INIT without a cookie, under load.
    """
    knocking.load()
    knockAlike(knocking, runs, lambda: knocking.init().packet, 0.0)


def insistent(knocking: Knocking, runs: int) -> None:
    """
    An INIT with a cookie, under load, from who has had his share.
    """
    knocking.load()
    door = Door(("192.0.2.1", 1024))
    dialled = knocking.init()
    with knocking.unmeasured():
        knocking.knock(dialled.packet, door)
        cookie = dialled.openRetry(door.said[0])
        knockAlike(knocking, SOURCE_BURST, lambda: knocking.init(cookie).packet, 0.0)
    knockAlike(knocking, runs, lambda: knocking.init(cookie).packet, 0.0)


#: Name, title, how, and bytes that may go out for each that came.
CASES: tuple[tuple[str, str, Callable[[Knocking, int], None], float], ...] = (
    ("noise", "DATA to nobody", noise, 0.0),
    ("mac1", "INIT with a wrong mac1", misaddressed, 0.0),
    ("stranger", "INIT of a stranger", strangers, 0.0),
    ("replay", "INIT replayed", replayed, 0.0),
    ("retry", "INIT under load, without a cookie", uninvited, 1.0),
    ("source", "INIT under load, too many of one source", insistent, 0.0),
)


def exchanges(runs: int) -> float:
    """
    Seconds that the X25519 of one handshake takes: four DHs and a new key.
    """
    own = X25519PrivateKey.generate()
    other = X25519PrivateKey.generate().public_key()
    began = time.process_time()
    for _ in range(runs):
        publicKey(os.urandom(32))
        for _ in range(4):
            own.exchange(other)
    return (time.process_time() - began) / runs


def measure(runs: int) -> list[Cost]:
    """
    All rows of the table.
    """
    knocking = Knocking()
    accepted(knocking, PEERS)
    knocking = Knocking()
    accepted(knocking, runs)
    each = knocking.seconds / runs
    costs = [
        Cost("accepted", "handshakes accepted", 1 / each, "a second", least=1200),
        Cost("accepted-us", "one of them", each * 1e6, "us"),
        Cost("x25519-us", "of that X25519", exchanges(runs) * 1e6, "us"),
        Cost(
            "amplification",
            "bytes sent for each received",
            knocking.went / knocking.came,
            "",
            most=1.0,
        ),
    ]
    for name, title, case, most in CASES:
        knocking = Knocking()
        case(knocking, runs)
        each = knocking.seconds / runs * 1e6
        sent = knocking.went / knocking.came
        costs.append(Cost(f"{name}-us", f"refused: {title}", each, "us"))
        costs.append(Cost(f"{name}-bytes", "  bytes sent for each", sent, "", most))
    return costs


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command; returns its exit status.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.handshake")
    add = parser.add_argument
    add("--runs", type=int, default=1000, help="of each kind (%(default)s)")
    add("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs is at least 1")
    quietly()
    show(measure(options.runs), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
