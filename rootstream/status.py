"""
What a program is doing now, as frozen values: for the command, the page and metrics.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["PeerStatus", "ProgramStatus"]


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """
    One peer.  Rates are those of the last second, of the direction that the media
    flows in; ``loss`` is a share, 0 to 1; ``latency_ms`` the median from capture to
    receipt.  None is what is not known.

    ``since`` are seconds since what ``cause`` tells: the last move of the session, in
    the words of the events file.
    """

    fingerprint: str
    name: str
    state: str
    transport: str | None
    address: str | None
    rtt_ms: float | None
    jitter_ms: float | None
    loss: float | None
    mbit_s: float | None
    fps: float | None
    latency_ms: float | None
    frames: int
    lost: int
    bytes: int
    since: float | None
    cause: str
    rights: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """
    A program and its peers.  ``role`` is ``host``, ``connect`` or ``demo``;
    ``recording`` the file that is written, ``input`` what becomes of input events
    (``log``, ``uinput``, ``sent`` to the host),
    ``weather`` what the demo's network is like.
    """

    role: str
    version: str
    uptime_s: float
    peers: tuple[PeerStatus, ...] = ()
    recording: str | None = None
    input: str | None = None
    weather: str | None = None

    def asDict(self) -> dict[str, Any]:
        """
        The same as JSON has it.
        """
        return asdict(self)
