"""
How well a path does: round trip, jitter and the distance of two clocks.

These keep a few numbers each, whatever is fed to them, and judge nothing; what a
round trip of a second means is for others to say.
"""

from __future__ import annotations

from typing import Final

from rootstream.protocol.constants import LONGEST_ROUND_TRIP

#: RFC 9002 section 6.2.2 has 333 ms as a first guess, for the whole Internet; a
#: second try that comes early costs one small packet here, so ours is shorter.
INITIAL_RTO: Final = 0.25
MINIMUM_RTO: Final = 0.05
MAXIMUM_RTO: Final = 1.0
#: RFC 5905 section 10 (NTP clock filter): drift spoils older samples.
CLOCK_SAMPLES: Final = 8


class RoundTrip:
    """
    The smoothed round trip time, in seconds (RFC 6298 section 2; RFC 9002
    section 5).  ``smoothed`` and ``minimum`` are None before the first sample.
    """

    def __init__(self) -> None:
        self.smoothed: float | None = None
        self.variation = 0.0
        self.minimum: float | None = None

    def sample(self, seconds: float) -> None:
        """
        Take one measurement.  A negative one, which only an invented echo gives,
        is ignored, and so is one too long to be a round trip.
        """
        if not 0 <= seconds <= LONGEST_ROUND_TRIP:
            return
        if self.smoothed is None or self.minimum is None:
            self.smoothed = self.minimum = seconds
            self.variation = seconds / 2
            return
        self.minimum = min(self.minimum, seconds)
        self.variation += (abs(self.smoothed - seconds) - self.variation) / 4
        self.smoothed += (seconds - self.smoothed) / 8

    @property
    def rto(self) -> float:
        """
        How long to wait for an answer before sending again.
        """
        if self.smoothed is None:
            return INITIAL_RTO
        wait = self.smoothed + 4 * self.variation
        return min(max(wait, MINIMUM_RTO), MAXIMUM_RTO)


class Jitter:
    """
    The interarrival jitter of RFC 3550 section 6.4.1, in ``seconds``.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._transit: float | None = None

    def sample(self, arrival: float, timestamp: int) -> None:
        """
        Take the arrival, in seconds of our clock, of what the sender stamped
        ``timestamp``, in microseconds of its own.
        """
        transit = arrival - timestamp / 1e6
        if self._transit is not None:
            self.seconds += (abs(transit - self._transit) - self.seconds) / 16
        self._transit = transit


class ClockOffset:
    """
    How far the peer's media clock is ahead of ours, in microseconds.

    Of a PING and its PONG we know when the first left and when the second came,
    and assume that the peer read its clock half-way.  That is wrong by half the
    difference of the two directions at most, which a short round trip bounds: so
    of the last few samples the one with the shortest counts.
    """

    def __init__(self) -> None:
        self._samples: list[tuple[int, int]] = []

    def sample(self, sent: int, clock: int, received: int) -> None:
        """
        Our clock when the PING left, the peer's when it answered, and ours when
        the PONG came.  A PONG that came before its PING left is ignored.
        """
        if received >= sent:
            del self._samples[: 1 - CLOCK_SAMPLES]
            self._samples.append((received - sent, clock - (sent + received) // 2))

    @property
    def offset(self) -> int | None:
        """
        Add this to our clock to get the peer's; None before the first sample.
        """
        if not self._samples:
            return None
        return min(self._samples, key=lambda sample: sample[0])[1]
