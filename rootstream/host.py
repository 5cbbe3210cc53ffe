"""
A host: listens, lets in whom its owner listed, and no one else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from rootstream.authorized import AuthorizedPeer, AuthorizedPeers
from rootstream.identity import Identity, fingerprintOf
from rootstream.interfaces import IPeerReceiver
from rootstream.peer import Peer
from rootstream.protocol.constants import DEFAULT_PORT
from rootstream.protocol.link import GOODBYE, NOT_LISTED
from rootstream.reception import Reception
from rootstream.station import NO_PSK, Station
from rootstream.transport.listen import Bound, HostPorts, listenBoth
from rootstream.transport.netwatch import NetworkChange, watchNetwork

__all__ = ["Host"]

#: Seconds between two log lines about strangers, however many there are (F13).
STRANGERS_LOG_INTERVAL = 10.0

#: Seconds between two looks whether the list of peers has changed.
LIST_INTERVAL = 1.0


class Host:
    """
    The peers that dial us.

    ``receiverFor`` is called with each `Peer` that dials, and returns the
    `IPeerReceiver` for what it sends.  With a ``tlsPort`` it listens for TLS as well; 0
    takes a free one.  With ``psk``, 32 random bytes, only those are let in who have it
    too.

    Who is taken off the list is disconnected within a second, and what a listed peer
    may do changes as soon (`rootstream.Peer.rights`).  While a ``reception`` shows a
    phrase, strangers may try to join the list.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        identity: Identity,
        authorized: AuthorizedPeers,
        receiverFor: Callable[[Peer], IPeerReceiver],
        *,
        port: int = DEFAULT_PORT,
        interface: str = "",
        tlsPort: int | None = None,
        psk: bytes = NO_PSK,
        reception: Reception | None = None,
    ) -> None:
        self._reactor = reactor
        self._authorized = authorized
        self._reception = reception
        self._receiverFor = receiverFor
        self._port = port
        self._interface = interface
        self._tlsPort = tlsPort
        self._ports: HostPorts | None = None
        self._unwatch: Callable[[], None] | None = None
        self._nextLook: IDelayedCall | None = None
        self._quietUntil = 0.0
        self._shownError: str | None = None
        self._station = Station(
            reactor,
            identity,
            admits=self._admits,
            introduce=self._introduce,
            arrived=self._arrived,
            psk=psk,
        )

    @property
    def peers(self) -> Sequence[Peer]:
        """
        The peers that have dialled and are not forgotten yet.
        """
        return self._station.peers

    @property
    def tlsPort(self) -> int | None:
        """
        The number of the TLS port, while one is open.
        """
        return self._ports.tlsPort if self._ports is not None else None

    def listen(self, bound: Bound | None = None) -> int:
        """
        Open the ports: UDP and TCP, whose number it returns, and TLS if that was
        given one; on sockets that are ``bound`` already, if there are.

        Raises `rootstream.errors.PortInUse` or another `LocalError`.
        """
        self._ports = listenBoth(
            self._reactor,
            self._station,
            self._reactor,
            self._port,
            self._interface,
            self._tlsPort,
            bound,
        )
        self._unwatch = watchNetwork(self._reactor, self._networkChanged)
        self._nextLook = self._reactor.callLater(LIST_INTERVAL, self._look)
        return self._ports.port

    def _networkChanged(self, change: NetworkChange) -> None:
        if self._ports is not None:
            self._ports.renew()
        for peer in self.peers:
            peer.networkChanged(change)

    def close(self, text: str = "goodbye", code: int = GOODBYE) -> Deferred[None]:
        """
        Say goodbye to all peers and close the ports.
        """
        unwatch, self._unwatch = self._unwatch, None
        if unwatch is not None:
            unwatch()
        look, self._nextLook = self._nextLook, None
        if look is not None:
            look.cancel()
        goodbyes = [peer.close(text, code) for peer in self.peers]

        def closePorts(_: object) -> Deferred[None] | None:
            ports, self._ports = self._ports, None
            return ports.close() if ports is not None else None

        return gatherResults(goodbyes).addCallback(closePorts)

    def _look(self) -> None:
        self._nextLook = self._reactor.callLater(LIST_INTERVAL, self._look)
        self.refresh()

    def refresh(self) -> None:
        """
        Look at the list of peers now, and do what it says with those who are here.

        This happens once a second by itself; it costs next to nothing when the list
        has not changed.
        """
        changed = self._authorized.refresh()
        error = self._authorized.error
        if error is not None and error != self._shownError:
            self._log.error("The peers file was not read again: {error}.", error=error)
        self._shownError = error
        if changed:
            for peer in self.peers:
                self._judge(peer)

    def _judge(self, peer: Peer) -> None:
        if self._reception is not None and self._reception.receives(peer):
            return
        who = self._authorized.allowed(peer.remote)
        if who is None:
            peer.rights = frozenset()
            peer.close("you were taken off the list of peers", NOT_LISTED)
        else:
            peer.name, peer.rights = who.name, who.rights

    def _admits(self, remote: bytes) -> bool:
        self.refresh()
        if self._authorized.allowed(remote) is not None:
            return True
        if self._reception is not None and self._reception.admits(self.peers):
            return True
        now = self._reactor.seconds()
        if now >= self._quietUntil:
            self._quietUntil = now + STRANGERS_LOG_INTERVAL
            self._log.warn(
                "Refused a peer that is not listed (key any:{key}).",
                key=fingerprintOf(remote),
            )
        return False

    def _introduce(self, remote: bytes) -> AuthorizedPeer:
        peer = self._authorized.allowed(remote)
        if peer is None:
            # Taken off the list while its handshake was on the way.
            key = f"any:{fingerprintOf(remote)}"
            return AuthorizedPeer(remote, key, "", frozenset())
        return peer

    def _arrived(self, peer: Peer) -> None:
        reception = self._reception
        if peer.rights:
            peer.setReceiver(self._receiverFor(peer))
            if reception is not None:
                reception.arrived(peer, stranger=False)
        elif reception is not None and reception.admits(self.peers):
            reception.arrived(peer, stranger=True)
        else:
            self._judge(peer)
