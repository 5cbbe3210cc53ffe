"""
A host's ports: UDP and TCP, IPv4 and IPv6, all on one number, and TLS on another if
it is wanted; all of them, or none at all.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorTime

from rootstream.errors import AddressRefused, LocalError, PortInUse
from rootstream.interfaces import IPacketSink
from rootstream.transport.sockets import bindSocket
from rootstream.transport.tcp import PacketServerFactory, Strangers
from rootstream.transport.tls import TLSServerFactory
from rootstream.transport.udp import PacketDatagrams, UDPPort

__all__ = ["Bound", "HostPorts", "bindAll", "bindBoth", "listenBoth"]

#: A free UDP port may be taken on TCP.  So many in a row mean something else.
FREE_PORT_TRIES = 16

#: What shares a number.
_UDP_AND_TCP = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
_TLS = (socket.SOCK_STREAM,)


class HostPorts:
    """
    The ports that are open.

    :ivar port: the number that UDP and TCP share.
    :ivar tlsPort: the number of TLS, if that is open.
    :ivar udp: one UDP port a family.
    :ivar tcp: one TCP port a family.
    :ivar tls: one TLS port a family, or none.
    :ivar strangers: who has connected over TCP or TLS and is not known yet.
    """

    def __init__(
        self,
        port: int,
        tlsPort: int | None,
        udp: Sequence[UDPPort],
        strangers: Strangers,
    ) -> None:
        self.port = port
        self.tlsPort = tlsPort
        self.udp = tuple(udp)
        self.tcp: tuple[IListeningPort, ...] = ()
        self.tls: tuple[IListeningPort, ...] = ()
        self.strangers = strangers

    def renew(self) -> None:
        """
        The addresses of this machine have changed: see `UDPPort.renew`.
        """
        for port in self.udp:
            port.renew()

    def close(self) -> Deferred[None]:
        """
        Stop listening; fires when all ports are closed.  Connections stay.
        """
        closing: list[Deferred[Any]] = [
            maybeDeferred(port.stopListening)
            for port in (*self.udp, *self.tcp, *self.tls)
        ]
        return gatherResults(closing).addCallback(lambda _: None)


class Bound:
    """
    Sockets that are bound, and nobody listens to yet: what it takes privileges for.

    :ivar shared: those of UDP and TCP.
    :ivar tls: those of TLS, or none.
    """

    def __init__(
        self, shared: Sequence[socket.socket], tls: Sequence[socket.socket]
    ) -> None:
        self.shared = shared
        self.tls = tls

    def close(self) -> None:
        """
        Give the numbers back.
        """
        _close(self.shared)
        _close(self.tls)


def bindBoth(port: int, interface: str = "", tlsPort: int | None = None) -> Bound:
    """
    Bind what `listenBoth` listens on; takes and raises what that does.
    """
    if tlsPort and tlsPort == port:
        raise LocalError(f"TLS needs a port of its own: choose another than {port}")
    shared = bindAll(_UDP_AND_TCP, port, interface)
    if tlsPort is None:
        return Bound(shared, ())
    try:
        return Bound(shared, bindAll(_TLS, tlsPort, interface))
    except BaseException:
        _close(shared)
        raise


def listenBoth(
    reactor: Any,
    sink: IPacketSink,
    clock: IReactorTime,
    port: int,
    interface: str = "",
    tlsPort: int | None = None,
    bound: Bound | None = None,
) -> HostPorts:
    """
    Listen on UDP and TCP, and on TLS if it has a port.

    :param clock: ends strangers' connections and spaces log lines.
    :param port: 0 takes one that is free for all.
    :param interface: an IP address of this machine; empty for all, of IPv4 and of
        whichever of IPv4 and IPv6 the machine has.
    :param tlsPort: 0 takes a free one.
    :param bound: what `bindBoth` has bound already, of the same.
    :raises PortInUse: if another process has the port on any of them.
    :raises LocalError: if they cannot be had for another reason.
    """
    bound = bound or bindBoth(port, interface, tlsPort)
    sockets, tlsSockets = bound.shared, bound.tls
    udp = [
        UDPPort(reactor, PacketDatagrams(sink, clock), skt, connects=True, filters=True)
        for skt in sockets
        if skt.type == socket.SOCK_DGRAM
    ]
    for port_ in udp:
        port_.startListening()
    tcpSockets = [skt for skt in sockets if skt.type == socket.SOCK_STREAM]
    strangers = Strangers(clock)
    ports = HostPorts(
        _numberOf(sockets),
        _numberOf(tlsSockets) if tlsSockets else None,
        udp,
        strangers,
    )

    def adopt(skt: socket.socket, factory: Any) -> IListeningPort:
        # By listenTCP, Twisted would take all of IPv4 along with "::".
        adopted: IListeningPort = reactor.adoptStreamPort(
            skt.fileno(), skt.family, factory
        )
        return adopted

    try:
        tcp = PacketServerFactory(sink, strangers)
        for skt in tcpSockets:
            ports.tcp += (adopt(skt, tcp),)
        if tlsSockets:
            tls = TLSServerFactory(sink, strangers, clock)
            for skt in tlsSockets:
                ports.tls += (adopt(skt, tls),)
    except OSError as error:
        ports.close()
        raise LocalError(f"cannot listen on port {ports.port}: {error}") from error
    finally:
        # Twisted has copies of its own.
        _close(tcpSockets)
        _close(tlsSockets)
    return ports


def _numberOf(sockets: Sequence[socket.socket]) -> int:
    number: int = sockets[0].getsockname()[1]
    return number


def _close(sockets: Sequence[socket.socket]) -> None:
    for skt in sockets:
        skt.close()


def bindAll(
    kinds: Sequence[socket.SocketKind], port: int, interface: str
) -> list[socket.socket]:
    """
    All sockets or none, all on one number.
    """
    for _ in range(FREE_PORT_TRIES - 1):
        try:
            return _bindOnce(kinds, port, interface)
        except PortInUse:
            if port:
                raise
    return _bindOnce(kinds, port, interface)


def _bindOnce(
    kinds: Sequence[socket.SocketKind], port: int, interface: str
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: AddressRefused | None = None
    try:
        for address in [interface] if interface else ["0.0.0.0", "::"]:
            try:
                for kind in kinds:
                    skt = bindSocket(kind, address, port)
                    sockets.append(skt)
                    port = skt.getsockname()[1]
            except AddressRefused as error:
                # A machine without this family of addresses.
                missing = error
        if missing is not None and (interface or not sockets):
            raise missing
    except BaseException:
        _close(sockets)
        raise
    return sockets
