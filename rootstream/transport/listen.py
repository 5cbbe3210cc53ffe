"""
A host's ports: UDP and TCP, IPv4 and IPv6, all on one number, or none at all.
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
from rootstream.transport.udp import PacketDatagrams, UDPPort

__all__ = ["HostPorts", "listenBoth"]

#: A free UDP port may be taken on TCP.  So many in a row mean something else.
FREE_PORT_TRIES = 16

_KINDS = (socket.SOCK_DGRAM, socket.SOCK_STREAM)


class HostPorts:
    """
    The ports that are open.

    :ivar port: the number they share.
    :ivar udp: one UDP port a family.
    :ivar tcp: one TCP port a family.
    :ivar strangers: who has connected over TCP and is not known yet.
    """

    def __init__(
        self,
        port: int,
        udp: Sequence[UDPPort],
        tcp: Sequence[IListeningPort],
        strangers: Strangers,
    ) -> None:
        self.port = port
        self.udp = tuple(udp)
        self.tcp = tuple(tcp)
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
            maybeDeferred(port.stopListening) for port in (*self.udp, *self.tcp)
        ]
        return gatherResults(closing).addCallback(lambda _: None)


def listenBoth(
    reactor: Any,
    sink: IPacketSink,
    clock: IReactorTime,
    port: int,
    interface: str = "",
) -> HostPorts:
    """
    Listen on UDP and TCP.

    :param clock: ends strangers' connections and spaces log lines.
    :param port: 0 takes one that is free for all.
    :param interface: an IP address of this machine; empty for all, of IPv4 and of
        whichever of IPv4 and IPv6 the machine has.
    :raises PortInUse: if another process has the port on any of them.
    :raises LocalError: if they cannot be had for another reason.
    """
    sockets = _bindAll(port, interface)
    number = sockets[0].getsockname()[1]
    factory = PacketServerFactory(sink, clock)
    udp = [
        UDPPort(reactor, PacketDatagrams(sink, clock), skt, connects=True)
        for skt in sockets
        if skt.type == socket.SOCK_DGRAM
    ]
    for port_ in udp:
        port_.startListening()
    ports = HostPorts(number, udp, (), factory.strangers)
    try:
        for skt in sockets:
            if skt.type == socket.SOCK_STREAM:
                # By listenTCP, Twisted would take all of IPv4 along with "::".
                adopted = reactor.adoptStreamPort(skt.fileno(), skt.family, factory)
                ports.tcp += (adopted,)
    except OSError as error:
        ports.close()
        raise LocalError(f"cannot listen on port {number}: {error}") from error
    finally:
        for skt in sockets:
            if skt.type == socket.SOCK_STREAM:
                # Twisted has a copy of its own.
                skt.close()
    return ports


def _bindAll(port: int, interface: str) -> list[socket.socket]:
    """
    All sockets or none, all on one number.
    """
    for _ in range(FREE_PORT_TRIES - 1):
        try:
            return _bindOnce(port, interface)
        except PortInUse:
            if port:
                raise
    return _bindOnce(port, interface)


def _bindOnce(port: int, interface: str) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: AddressRefused | None = None
    try:
        for address in [interface] if interface else ["0.0.0.0", "::"]:
            try:
                for kind in _KINDS:
                    skt = bindSocket(kind, address, port)
                    sockets.append(skt)
                    port = skt.getsockname()[1]
            except AddressRefused as error:
                # A machine without this family of addresses.
                missing = error
        if missing is not None and (interface or not sockets):
            raise missing
    except BaseException:
        for skt in sockets:
            skt.close()
        raise
    return sockets
