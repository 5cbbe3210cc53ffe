"""
How much work others may cause: strangers by a rate for each source and one for all,
and a peer by a `Bucket` for each kind of message.

A source is an IPv4 address or an IPv6 /64, since whoever has one address of a
/64 has them all.  A source means something only after a cookie has shown that it
is not spoofed; until then `LoadMeter` alone bounds the work.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from ipaddress import IPv4Address, IPv6Address, ip_address

from rootstream.protocol.constants import (
    LOAD_HANDSHAKES_PER_SECOND,
    LOAD_HOLD,
    MAX_HANDSHAKES_PER_SECOND,
    MAX_SOURCES,
    MAX_UNPROVEN_PER_SECOND,
    SOURCE_BURST,
    SOURCE_RATE,
    UNPROVEN_BURST,
    UNPROVEN_RATE,
)

__all__ = ["Bucket", "LoadMeter", "SourceLimiter", "Unproven", "parseAddress"]


def parseAddress(host: str) -> IPv4Address | IPv6Address:
    """
    The address that ``host`` spells, without a scope.  An IPv4 address that a
    dual-stack socket shows as ``::ffff:192.0.2.1`` counts as the IPv4 address.
    """
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


class Bucket:
    """
    So many a second, and at most ``burst`` at once.
    """

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = 0.0

    def take(self, count: int, now: float) -> bool:
        """
        Whether there may be ``count`` more now; if so, that uses them up.
        """
        left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        allowed = count <= left
        self._left = left - count if allowed else left
        return allowed


class SourceLimiter:
    """
    A token bucket for each source, for at most ``maximum`` sources.

    The source that was quiet for longest makes room for a new one.  That lets an
    attacker with many real addresses start afresh, at the rate which he has with
    that many addresses anyway.
    """

    def __init__(
        self,
        rate: float = SOURCE_RATE,
        burst: int = SOURCE_BURST,
        maximum: int = MAX_SOURCES,
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._maximum = maximum
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """
        How many sources are remembered.
        """
        return len(self._buckets)

    def allow(self, address: str, now: float) -> bool:
        """
        May this source have one more handshake now?  Asking uses it up.
        """
        source = parseAddress(address).packed[:8]
        tokens, then = self._buckets.pop(source, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[source] = (tokens - 1.0 if allowed else tokens, now)
        if len(self._buckets) > self._maximum:
            self._buckets.popitem(last=False)
        return allowed

    def giveBack(self, address: str) -> None:
        """
        What was used up last by this source was no stranger's.
        """
        source = parseAddress(address).packed[:8]
        tokens, then = self._buckets[source]
        self._buckets[source] = (tokens + 1.0, then)


class LoadMeter:
    """
    Whether strangers keep us busy, and how many handshakes we do at most.

    Both are exact sliding windows over the last so many times, so no second ever
    holds more than the limit, wherever it begins.
    """

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=LOAD_HANDSHAKES_PER_SECOND + 1)
        self._handshakes: deque[float] = deque(maxlen=MAX_HANDSHAKES_PER_SECOND)
        self._loadedUntil = float("-inf")

    def arrived(self, now: float) -> None:
        """
        Count an INIT that is addressed to us, that is, whose mac1 is right.
        """
        arrivals = self._arrivals
        arrivals.append(now)
        if len(arrivals) == arrivals.maxlen and now - arrivals[0] < 1.0:
            # The second that is too full lasts until its first INIT has left it.
            self._loadedUntil = arrivals[0] + 1.0 + LOAD_HOLD

    def underLoad(self, now: float) -> bool:
        """
        Must a stranger show a cookie?  True when more than 100 INITs came within
        one second, and for a second afterwards.
        """
        return now < self._loadedUntil

    def mayHandshake(self, now: float) -> bool:
        """
        May one more handshake be computed now?  Asking uses it up.
        """
        handshakes = self._handshakes
        if len(handshakes) == handshakes.maxlen and now - handshakes[0] < 1.0:
            return False
        handshakes.append(now)
        return True


class Unproven:
    """
    How much DATA is opened that comes from where its session has no path.

    Whoever saw a packet can send more with its index, from any address, and each costs
    us the cryptography.  What comes by a path of the session is always opened, so this
    costs a stream nothing, and a peer that roams one batch.

    @ivar refused: how many batches were dropped unopened.
    """

    def __init__(self) -> None:
        self._sources = SourceLimiter(UNPROVEN_RATE, UNPROVEN_BURST)
        self._opened: deque[float] = deque(maxlen=MAX_UNPROVEN_PER_SECOND)
        self.refused = 0

    def allow(self, address: str, now: float) -> bool:
        """
        May one more batch from this source be opened now?  Asking uses it up.
        """
        opened = self._opened
        full = len(opened) == opened.maxlen and now - opened[0] < 1.0
        if full or not self._sources.allow(address, now):
            self.refused += 1
            return False
        opened.append(now)
        return True

    def proven(self, address: str) -> None:
        """
        What was allowed last, from this source, was authentic and counts for nothing.
        """
        self._opened.pop()
        self._sources.giveBack(address)
