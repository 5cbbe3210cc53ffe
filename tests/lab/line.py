"""
What a bad line does to the packets of one direction.

A `Line` is given packets and the time, and gives back those that are due: it owns no
clock and no socket, and all its chances come from a seed.  `emulator` puts two of them
between real machines.

A packet meets, in this order: the largest size that passes; the queue before a
transmitter of so many bit/s; loss; corruption; duplication; the way, which takes its
time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from heapq import heappop, heappush
from random import Random
from typing import Any

#: What each setting may be.
SHARE = (0.0, 1.0)
RANGES = {
    "delay": (0.0, 60.0),
    "jitter": (0.0, 60.0),
    "loss": SHARE,
    "burst": (1.0, 1e6),
    "reorder": SHARE,
    "duplicate": SHARE,
    "corrupt": SHARE,
    "rate": (1.0, 1e12),
    "queue": (0.0, 1e9),
    "mtu": (28.0, 65535.0),
}
#: Those that None switches off.
LIMITS = ("rate", "mtu")

UDP = 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """
    How bad a line is.

    :ivar delay: seconds on the way.
    :ivar jitter: up to so many seconds more, each as likely.
    :ivar loss: the share that is lost.
    :ivar burst: how many are lost in a row, on average; 1: each by its own chance.
    :ivar reorder: the share that overtakes all others on the way.
    :ivar duplicate: the share that arrives twice.
    :ivar corrupt: the share in which one bit is wrong.
    :ivar rate: bit/s of the transmitter.
    :ivar queue: bytes that may wait for it; what comes then is lost.
    :ivar mtu: bytes of the largest IP packet that passes.
    """

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    burst: float = 1.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float | None = None
    queue: float = 150_000
    mtu: float | None = None

    def __post_init__(self) -> None:
        """
        :raise ValueError: in one line, if a value makes no sense.
        """
        for field in fields(self):
            check(field.name, getattr(self, field.name))
        if self.reorder and not self.delay + self.jitter:
            raise ValueError(
                "emulator setting reorder needs a delay or jitter: "
                "without, nothing is on the way that could be overtaken"
            )

    def changed(self, **changes: Any) -> Settings:
        """
        These settings but for some.

        :raise ValueError: in one line, if there is no such setting or value.
        """
        unknown = sorted(changes.keys() - RANGES.keys())
        if unknown:
            raise ValueError(
                f"no emulator setting {', '.join(unknown)}; "
                f"there are {', '.join(sorted(RANGES))}"
            )
        return replace(self, **changes)


def check(name: str, value: Any) -> None:
    """
    Refuse a value that a setting may not have.

    :raise ValueError: in one line.
    """
    if value is None and name in LIMITS:
        return
    least, most = RANGES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:
        none = " (or None)" if name in LIMITS else ""
        raise ValueError(
            f"emulator setting {name}={value!r}: "
            f"must be a number from {least:g} to {most:g}{none}"
        )


class Line:
    """
    One direction of a link.

    Packets stay in order, whatever the jitter, but for those chosen to overtake: a
    path that reorders by itself would hide what is being asked for.
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self._settings = settings
        self._random = Random(seed)
        self._way: list[tuple[float, int, bytes]] = []
        self._serial = 0
        # When the transmitter will have sent what it was given.
        self._idleAt = 0.0
        # When the last packet arrives that did not overtake.
        self._lastDue = 0.0
        self._losing = False

    def change(self, settings: Settings, now: float) -> None:
        """
        Be as bad as this from now on.  What is on the way arrives as it would have.
        """
        waiting = self._waiting(now)
        self._settings = settings
        self._losing = False
        if settings.rate is not None:
            self._idleAt = now + waiting * 8 / settings.rate

    def enter(self, packet: bytes, now: float) -> None:
        """
        Take a packet of IP.
        """
        settings = self._settings
        if settings.mtu is not None and len(packet) > settings.mtu:
            return
        sentAt = now
        if settings.rate is not None:
            waiting = self._waiting(now)
            # An idle transmitter takes anything: no queue makes a line dead.
            if waiting and waiting + len(packet) > settings.queue:
                return
            sentAt = max(now, self._idleAt) + len(packet) * 8 / settings.rate
            self._idleAt = sentAt
        if self._loses():
            return
        if self._chance(settings.corrupt):
            packet = corrupted(packet, self._random)
        self._send(packet, sentAt)
        if self._chance(settings.duplicate):
            self._send(packet, sentAt)

    def leave(self, now: float) -> list[bytes]:
        """
        The packets that have arrived by now.
        """
        arrived = []
        while self._way and self._way[0][0] <= now:
            arrived.append(heappop(self._way)[2])
        return arrived

    def nextTime(self) -> float:
        """
        When the next packet arrives: never, if none is on the way.
        """
        return self._way[0][0] if self._way else math.inf

    def _send(self, packet: bytes, sentAt: float) -> None:
        settings = self._settings
        if self._chance(settings.reorder):
            due = sentAt
        else:
            due = sentAt + settings.delay + self._random.random() * settings.jitter
            due = self._lastDue = max(due, self._lastDue)
        self._serial += 1
        heappush(self._way, (due, self._serial, packet))

    def _waiting(self, now: float) -> float:
        """
        Bytes that the transmitter has yet to send.
        """
        if self._settings.rate is None:
            return 0.0
        return max(0.0, self._idleAt - now) * self._settings.rate / 8

    def _loses(self) -> bool:
        """
        Whether this packet is lost: a Gilbert model, which draws a new state, or
        keeps its own.

        A run of draws that all say "lost" has 1 / (1 - loss) members on average; with
        states kept for ``kept`` packets on average a burst has so many times more.
        It cannot be shorter than by independent chances.
        """
        settings = self._settings
        if not settings.loss:
            return False
        kept = max(1.0, settings.burst * (1 - settings.loss))
        if self._random.random() * kept < 1:
            self._losing = self._chance(settings.loss)
        return self._losing

    def _chance(self, share: float) -> bool:
        return share > 0 and self._random.random() < share


def corrupted(packet: bytes, random: Random) -> bytes:
    """
    A packet with one bit of its payload wrong.

    The checksum of UDP is mended: with it every corrupt datagram would be lost in the
    kernel, while networks do deliver some (a router's memory lies, and the checksum
    is made after).  That of TCP is not, so TCP repeats the segment.
    """
    version6 = packet[0] >> 4 == 6
    header = 40 if version6 else (packet[0] & 0x0F) * 4
    protocol = packet[6] if version6 else packet[9]
    # A fragment behind the first begins with no header of UDP.
    fragment = not version6 and int.from_bytes(packet[6:8], "big") & 0x1FFF
    datagram = protocol == UDP and not fragment and len(packet) >= header + 8
    start = header + 8 if datagram else header
    if start >= len(packet):
        return packet
    bad = bytearray(packet)
    where = random.randrange(start, len(packet))
    bad[where] ^= 1 << random.randrange(8)
    if datagram:
        mendChecksum(bad, header, packet[where] - bad[where], (where - header) % 2)
    return bytes(bad)


def mendChecksum(packet: bytearray, header: int, less: int, odd: int) -> None:
    """
    Make up for a byte of the datagram that is now so much less (RFC 1624).

    :param odd: whether it is the low byte of a word of the sum.
    """
    field = slice(header + 6, header + 8)
    checksum = int.from_bytes(packet[field], "big")
    # Zero says that there is none, over IPv4.
    if checksum:
        difference = less if odd else less * 256
        mended = (checksum + difference) % 0xFFFF
        packet[field] = (mended or 0xFFFF).to_bytes(2, "big")
