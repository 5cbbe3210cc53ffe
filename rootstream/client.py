"""
Connecting to a host: from its code to a `Peer`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.python.failure import Failure

from rootstream.dialled import DialledPeer
from rootstream.errors import BadCode, LocalError
from rootstream.identity import Code, Identity, parseCode
from rootstream.interfaces import IPeerReceiver
from rootstream.networks import NetworkMemory
from rootstream.peer import Peer
from rootstream.protocol.constants import DEFAULT_TLS_PORT
from rootstream.station import NO_PSK, Station

__all__ = ["connect"]


def connect(
    reactor: Any,
    code: str | Code,
    receiver: IPeerReceiver,
    *,
    identity: Identity,
    udp: bool = True,
    tcp: bool = True,
    tlsPort: int | None = DEFAULT_TLS_PORT,
    standby: bool = True,
    memory: NetworkMemory | None = None,
    psk: bytes = NO_PSK,
) -> Deferred[Peer]:
    """
    Connect to the host that ``code`` names, and keep connected.

    Fires with the `Peer` when the first handshake is confirmed.  From then on the
    peer reconnects by itself, and tells its receiver.  Fails with
    `rootstream.errors.GaveUp` after the whole schedule, and with a
    `rootstream.errors.LocalError` when asking was never possible.  Cancelling it
    gives up.

    ``receiver`` gets what the host sends; ``identity`` is ours; without ``tcp`` there
    are no connections, with TLS or without; ``tlsPort`` is where the host may listen
    for TLS (None: nowhere); ``standby`` keeps a connection ready beside UDP; ``memory``
    knows which transport to begin with on which network; ``psk`` is 32 random bytes
    that the host has too, if it wants any.
    """
    try:
        parsed = parseCode(code) if isinstance(code, str) else code
        if parsed.host is None:
            raise BadCode("the code names no host; write it as CODE@HOST:PORT")
        if parsed.key.x25519 == identity.key.x25519:
            raise BadCode("the code is our own; use the code of the other machine")
        station = Station(reactor, identity, psk=psk)
    except LocalError:
        return fail()
    peer = station.peer(parsed.key.x25519, parsed.key.fingerprint)
    peer.setReceiver(receiver)
    connected = peer.whenConnected()

    def given(reason: Failure) -> Failure:
        if reason.check(CancelledError):
            peer.abandon()
        return reason

    connected.addErrback(given)
    DialledPeer(
        reactor,
        peer,
        station,
        parsed.host,
        parsed.port,
        udp=udp,
        tcp=tcp,
        tlsPort=tlsPort if tcp else None,
        standby=standby,
        memory=memory,
    ).start()
    return connected
