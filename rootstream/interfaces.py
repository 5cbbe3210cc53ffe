"""
The seams between the floors.

Providers do not repeat these docstrings.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from rootstream.protocol.events import AudioFrame, Control, InputEvent, VideoFrame

__all__ = ["IPacketSink", "IPath", "IPeerReceiver", "Transport"]


class Transport(enum.IntEnum):
    """
    What carries a path's packets.  The numbers enter cookies (PROTOCOL, section 2).
    """

    UDP = 1
    TCP = 2
    TLS = 3


class IPath(Interface):
    """
    One way to reach a peer: a UDP socket and a remote address, or one TCP or TLS
    connection.

    Paths are hashable, and equal exactly when they are the same way: two path
    objects for the same UDP socket and address are equal.  The protocol core
    uses them as keys and reads the attributes; only shells call the methods.
    """

    transport: Transport = Attribute("The `Transport` below.")
    address: tuple[str, int] = Attribute("The remote IP address and port.")
    local: str | None = Attribute(
        "Our own IP address, where the path cannot live without it."
    )
    backlog: int = Attribute(
        "Bytes accepted by `sendPackets` that the kernel has not taken yet."
    )

    def sendPackets(packets: Sequence[bytes]) -> None:
        """
        Send whole packets, in order, each of 1 to 1400 bytes.  Never raises:
        what the network refuses is counted and lost, as on any network.
        """

    def authenticated() -> None:
        """
        A known peer has proved itself on this path: limits for strangers end.
        """

    def chosen() -> None:
        """
        A session sends on this path from now on: it is worth a socket of its own.
        """

    def close() -> None:
        """
        Give the path up, after what was already sent.
        """


class IPacketSink(Interface):
    """
    Where transports deliver what they received: the one seam between them and
    the rest.
    """

    def packetsReceived(packets: Sequence[bytes], path: IPath) -> None:
        """
        Take a batch of whole packets, in the order of arrival, all from one path.
        They are not authenticated.  Never raises.
        """

    def pathLost(path: IPath, reason: str) -> None:
        """
        A connection ended, for a reason in words.  Never called for UDP paths:
        silence there is for the protocol to notice.
        """


class IPeerReceiver(Interface):
    """
    An application's side of a peer: what it receives, and what became of it.
    """

    def videoReceived(frame: VideoFrame) -> None:
        """
        One whole video access unit, in decoding order.
        """

    def audioReceived(frame: AudioFrame) -> None:
        """
        One Opus packet.
        """

    def inputReceived(events: Sequence[InputEvent]) -> None:
        """
        Input events, exactly once and in order.
        """

    def controlReceived(control: Control) -> None:
        """
        One control command, exactly once and in order.
        """

    def stateChanged(old: str, new: str, cause: str) -> None:
        """
        The peer moved between the states of `rootstream.peer`.
        """

    def attemptScheduled(attempt: int, of: int, wait: float) -> None:
        """
        Attempt number ``attempt`` of ``of`` to reach the peer again begins in
        ``wait`` seconds.
        """

    def keyFrameWanted() -> None:
        """
        The peer can go on only from a key frame: it asked for one, or frames to
        it were dropped here because its path could not take them.
        """

    def pathChanged(transport: str, address: str, cause: str) -> None:
        """
        The session moved to another path; ``transport`` is ``udp``, ``tcp`` or
        ``tls``.
        """

    def pathSuspected(transport: str, address: str, cause: str) -> None:
        """
        The path in use stopped acknowledging.  It may yet go on; nothing has moved.
        """

    def impaired(cause: str) -> None:
        """
        The peer is not heard at all, although it should be.  It stays connected for
        now, and is looked for on all ways.
        """

    def recovered(cause: str) -> None:
        """
        The peer is heard again.  Follows `impaired`, sooner or later, unless the
        conversation ends.
        """
