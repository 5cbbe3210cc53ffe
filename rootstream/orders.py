"""
What the user of a program that runs may order about a stream: ``control``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed

from rootstream.errors import LocalError
from rootstream.peer import Peer
from rootstream.protocol.events import Command

__all__ = ["ACTIONS", "orderPeers"]

#: What may be ordered, by name, with the least and the most of its value if it has one
#: (PROTOCOL, section 3).
ACTIONS: Mapping[str, tuple[Command, tuple[int, int] | None]] = {
    "pause": (Command.PAUSE, None),
    "resume": (Command.RESUME, None),
    "bitrate": (Command.SET_BITRATE, (500_000, 100_000_000)),
    "fps": (Command.SET_FPS, (1, 240)),
    "quality": (Command.SET_QUALITY, (0, 100)),
    "keyframe": (Command.REQUEST_KEYFRAME, None),
    "disconnect": (Command.DISCONNECT, None),
}


def orderPeers(
    peers: Iterable[Peer],
    asked: Mapping[str, Any],
    order: Callable[[Peer, Command, int], None],
) -> Deferred[dict[str, object]]:
    """
    Do what ``asked`` says: an ``action`` of `ACTIONS`, with its ``value``, about the
    ``peer`` of that fingerprint, or all that are connected when it is null.

    Raises `LocalError` when that makes no sense.
    """
    name, wanted = asked.get("action"), asked.get("peer")
    if not isinstance(name, str) or name not in ACTIONS:
        raise LocalError(f'"action" is one of {", ".join(ACTIONS)}')
    command, limits = ACTIONS[name]
    value = 0
    if limits is not None:
        given = asked.get("value")
        if (
            not isinstance(given, int | float)
            or isinstance(given, bool)
            or not limits[0] <= given <= limits[1]
        ):
            raise LocalError(f'{name} takes a "value" from {limits[0]} to {limits[1]}')
        value = int(given)
    chosen = [
        peer for peer in peers if peer.connected and wanted in (None, peer.fingerprint)
    ]
    if not chosen:
        who = "nobody is" if wanted is None else "that peer is not"
        raise LocalError(f"{who} connected")
    for peer in chosen:
        order(peer, command, value)
    return succeed({"peers": [peer.fingerprint for peer in chosen]})
