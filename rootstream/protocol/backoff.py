"""
The reconnect schedule (PROTOCOL, section 5), as a function of nothing.

The reconnecting factory computes its waits one by one and remembers where it is;
this says what they must come to, for tests and for the documentation.
"""

from __future__ import annotations

from rootstream.protocol.constants import (
    RECONNECT_ATTEMPTS,
    RECONNECT_FACTOR,
    RECONNECT_INITIAL,
    RECONNECT_MAXIMUM,
)


def waits() -> tuple[float, ...]:
    """
    The seconds to wait before each attempt, 81.1 in all.  Doubling a float is
    exact, so these may be compared with ``==``.
    """
    return tuple(
        min(RECONNECT_INITIAL * RECONNECT_FACTOR**attempt, RECONNECT_MAXIMUM)
        for attempt in range(RECONNECT_ATTEMPTS)
    )
