"""
Sockets as both transports need them: bound to what users ask for, or refused in
words; with large buffers, and a packet size that no stranger can shrink.
"""

from __future__ import annotations

import errno
import socket

from twisted.internet.abstract import isIPAddress, isIPv6Address

from rootstream.errors import AddressRefused, LocalError, PortInUse

__all__ = ["Destination", "bindSocket", "connectSocket", "familyOf"]

#: The default of 208 KiB lost 6 of 10 back-to-back bursts of 48 kB.
SOCKET_BUFFER = 4 << 20

#: Of a socket that only one peer sends to: a host receives input and acknowledgements.
PEER_BUFFER = 1 << 20

# Not in the socket module; the numbers are Linux's (asm-generic/socket.h,
# linux/in.h, linux/in6.h).  FORCE may exceed net.core.rmem_max, given CAP_NET_ADMIN.
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
#: Never fragment, and never believe an ICMP message about the path's MTU.
_PMTUDISC_PROBE = 3

#: What a socket's own functions take: two fields for IPv4, four for IPv6.
Destination = tuple[str, int] | tuple[str, int, int, int]


def familyOf(interface: str) -> socket.AddressFamily:
    """
    The address family of an IP address; an empty one is all of IPv4, as in Twisted.
    """
    return socket.AF_INET6 if ":" in interface else socket.AF_INET


def bindSocket(kind: socket.SocketKind, interface: str, port: int) -> socket.socket:
    """
    A non-blocking socket bound to an IP address of this machine.

    IPv6 sockets take IPv6 only, so that both families can have the same port and
    no IPv4 address arrives in IPv6 clothes.

    :raises PortInUse: if another process has the port.
    :raises LocalError: if it cannot be bound for another reason.
    """
    if interface and not isIPAddress(interface) and not isIPv6Address(interface):
        # bind() would ask the name service, and wait for it.
        raise AddressRefused(f"{interface} is not an IP address of this machine")
    family = familyOf(interface)
    skt = None
    try:
        skt = socket.socket(family, kind)
        skt.setblocking(False)
        if family is socket.AF_INET6:
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind is socket.SOCK_STREAM:
            # Past connections in TIME_WAIT must not keep a restarted host from its
            # port.  On UDP the same option would let two processes share one.
            skt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            skt.bind((interface, port))
            # Two sockets of that option may both bind; only one may listen.
            skt.listen(socket.SOMAXCONN)
        else:
            _tune(skt, SOCKET_BUFFER)
            skt.bind((interface, port))
    except (OSError, OverflowError) as error:
        if skt is not None:
            skt.close()
        raise _explained(error, interface, port) from error
    return skt


def connectSocket(listening: socket.socket, destination: Destination) -> socket.socket:
    """
    A non-blocking UDP socket for one peer, on the address and port of ``listening``.

    The kernel prefers a connected socket for the datagrams of whom it is connected
    to, so that they do not wait in a buffer which strangers can fill.  Between bind
    and connect it may get what others sent.

    :raises OSError: if there is none to be had.
    """
    # Not before ``listening`` was bound: then another process could have bound the
    # same port, and nobody would have told the user.  From here on none can either,
    # unless it is ours and means to.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    skt = socket.socket(listening.family, socket.SOCK_DGRAM)
    try:
        skt.setblocking(False)
        if skt.family == socket.AF_INET6:
            skt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _tune(skt, PEER_BUFFER)
        skt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        skt.bind(listening.getsockname())
        skt.connect(destination)
    except OSError:
        skt.close()
        raise
    return skt


def _explained(error: Exception, interface: str, port: int) -> LocalError:
    """
    What to tell the user when a socket cannot be bound.
    """
    where = interface or "0.0.0.0"
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return PortInUse(
                f"port {port} on {where} is in use by another process: "
                "stop it, or choose another port"
            )
        case errno.EACCES | errno.EPERM:
            return LocalError(
                f"not allowed to listen on port {port} of {where}: "
                "choose a port above 1023"
            )
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return AddressRefused(
                f"this machine does not have the address {where}: "
                "choose one that it has, or leave the interface out"
            )
        case _:
            return LocalError(f"cannot listen on {where} port {port}: {error}")


def _tune(skt: socket.socket, size: int) -> None:
    """
    Buffers of ``size`` bytes, and a packet size that no stranger can shrink.
    """
    for force, ordinary in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        try:
            skt.setsockopt(socket.SOL_SOCKET, force, size)
        except OSError:
            # Without the privilege the kernel cuts this to what it allows.
            skt.setsockopt(socket.SOL_SOCKET, ordinary, size)
    if skt.family == socket.AF_INET6:
        skt.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        skt.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
