"""
Whom a peer tells what: the application that receives, and whoever dials it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from zope.interface import implementer

from rootstream.interfaces import IPath, IPeerReceiver, Transport
from rootstream.protocol.events import AudioFrame, Control, InputEvent, VideoFrame

if TYPE_CHECKING:
    from rootstream.peer import Peer

__all__ = ["IRedialler", "PeerReceiver", "describePath"]


def describePath(path: IPath) -> tuple[str, str]:
    """
    A path in words: ``udp``, ``tcp`` or ``tls``, and ``host:port``.
    """
    host, port = path.address
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return Transport(path.transport).name.lower(), shown


@implementer(IPeerReceiver)
class PeerReceiver:
    """
    An `IPeerReceiver` that ignores everything: override what you need.

    @ivar peer: whose receiver this is, where a `rootstream.Host` made it.
    """

    def __init__(self, peer: Peer | None = None) -> None:
        self.peer = peer

    def videoReceived(self, frame: VideoFrame) -> None:
        pass

    def audioReceived(self, frame: AudioFrame) -> None:
        pass

    def inputReceived(self, events: Sequence[InputEvent]) -> None:
        pass

    def controlReceived(self, control: Control) -> None:
        pass

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        pass

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        pass

    def keyFrameWanted(self) -> None:
        pass

    def pathChanged(self, transport: str, address: str, cause: str) -> None:
        pass

    def pathSuspected(self, transport: str, address: str, cause: str) -> None:
        pass

    def impaired(self, cause: str) -> None:
        pass

    def recovered(self, cause: str) -> None:
        pass


class IRedialler(Protocol):
    """
    Who looks after a peer that we dialled.
    """

    def suspect(self) -> None:
        """
        The path in use stopped acknowledging, and there is no standby path.
        """

    def pathsChanged(self) -> None:
        """
        Packets go another way now.
        """

    def pathLost(self, path: IPath) -> None:
        """
        A connection ended, in use or not.
        """

    def impaired(self) -> None:
        """
        Nothing is heard: look for another way.
        """

    def recovered(self) -> None:
        """
        The peer is heard again, or there is a new session.
        """

    def lost(self, cause: str) -> None:
        """
        The peer is disconnected: the reconnect schedule begins.
        """

    def over(self) -> None:
        """
        The conversation ended: dial no more.
        """
