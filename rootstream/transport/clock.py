"""
Clocks that no one can set: they count from boot and do not stop in suspend.

Twisted's timers follow the wall clock, so a clock set back by an hour stops them
for an hour (Twisted issue 2424).  `useBoottime` mends a reactor.  What it cannot
mend: the kernel's poll does not count suspend, so after a wake-up a timer may be
late by what was left of the wait that the suspend interrupted, until any
descriptor wakes the reactor.
"""

from __future__ import annotations

import time
from typing import Any

__all__ = ["boottime", "mediaClock", "useBoottime"]

#: Absent outside Linux, where the monotonic clock is the best there is.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Timestamps on the wire have 48 bits (docs/protocol.rst).
_MEDIA_CLOCK_MASK = (1 << 48) - 1


def boottime() -> float:
    """
    Seconds since boot, suspend included.
    """
    return time.clock_gettime(_CLOCK)


def mediaClock() -> int:
    """
    Microseconds since boot, suspend included, as they go on the wire.
    """
    return time.clock_gettime_ns(_CLOCK) // 1000 & _MEDIA_CLOCK_MASK


def useBoottime(reactor: Any) -> None:
    """
    Make a reactor's timers, pending ones included, follow `boottime`.

    ``reactor.seconds()`` goes on from the value it has now instead of jumping to
    seconds since boot.  So what is pending keeps its place among the timers, and
    what takes the value for a date (``twisted.web`` does) stays right until
    somebody sets the clock.
    """
    offset: float = reactor.seconds() - boottime()

    def seconds() -> float:
        return offset + boottime()

    reactor.seconds = seconds
    for call in reactor.getDelayedCalls():
        # A delayed call keeps the clock it was made with, for `reset`.
        call.seconds = seconds
