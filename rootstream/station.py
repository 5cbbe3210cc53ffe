"""
One identity on the network: the thin shell around a `Node`.

It is the `IPacketSink` that all transports of the identity deliver to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from rootstream.authorized import AuthorizedPeer
from rootstream.errors import LocalError
from rootstream.identity import Identity
from rootstream.interfaces import IPacketSink, IPath
from rootstream.peer import Peer
from rootstream.protocol.handshakes import Credentials
from rootstream.protocol.link import Link
from rootstream.protocol.node import Node
from rootstream.transport.clock import boottime

__all__ = ["NO_PSK", "Station"]

#: What stands for a pre-shared key where there is none (docs/protocol.rst).
NO_PSK = bytes(32)


@implementer(IPacketSink)
class Station:
    """
    The peers of one identity.

    ``admits`` says whether an X25519 key may dial us; ``arrived`` is told of each
    peer that did, and ``introduce`` says who it is.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        identity: Identity,
        *,
        admits: Callable[[bytes], bool] = lambda remote: False,
        introduce: Callable[[bytes], AuthorizedPeer] = lambda remote: AuthorizedPeer(
            remote, "", ""
        ),
        arrived: Callable[[Peer], None] = lambda peer: None,
        psk: bytes = NO_PSK,
        now: Callable[[], float] = boottime,
    ) -> None:
        self._clock = clock
        self._now = now
        self._introduce = introduce
        self._arrived = arrived
        if len(psk) != len(NO_PSK):
            raise LocalError(
                f"a pre-shared key has {len(NO_PSK)} bytes, not {len(psk)}; "
                "make one with os.urandom(32)"
            )
        credentials = Credentials(identity.x25519Private, identity.key.x25519, psk)
        self.node = Node(credentials, admits)
        self._peers: dict[Link, Peer] = {}

    @property
    def peers(self) -> Sequence[Peer]:
        """
        The peers that we have a conversation with.
        """
        return tuple(self._peers.values())

    def peer(self, remote: bytes, fingerprint: str, name: str = "") -> Peer:
        """
        The peer with this X25519 key; made when there is none.
        """
        link = self.node.link(remote, self._now())
        peer = self._peers.get(link)
        if peer is None:
            peer = self._peers[link] = Peer(
                self._clock, self._now, link, fingerprint, name, self._forget
            )
        return peer

    def _forget(self, link: Link) -> None:
        self._peers.pop(link, None)
        self.node.forget(link)

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        try:
            touched = self.node.receive(packets, path, self._now())
            for link in touched:
                self._peerOf(link).pump()
            for where, replies in self.node.packetsToSend():
                where.sendPackets(replies)
        except Exception:
            # A bug of ours; what the network sends must not end the transport.
            self._log.failure("A packet was not taken.")

    def _peerOf(self, link: Link) -> Peer:
        peer = self._peers.get(link)
        if peer is None:
            who = self._introduce(link.remote)
            peer = self.peer(link.remote, who.fingerprint, who.name)
            peer.rights = who.rights
            self._arrived(peer)
        return peer

    def pathLost(self, path: IPath, reason: str) -> None:
        for peer in self.peers:
            peer.pathLost(path, reason)
