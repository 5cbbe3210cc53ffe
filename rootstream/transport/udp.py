"""
UDP: datagrams to batches of packets, and back.

`PacketDatagrams` is an ordinary `DatagramProtocol` and works under
``reactor.listenUDP``.  In use it sits on our own `UDPPort`, because Twisted's
lets the network take it down: its ``doRead`` raises on each errno that it does
not list, its ``write`` on EPERM, ENOBUFS, ENETUNREACH and EAGAIN, and an error
that epoll reports ends it.  A pulled cable or a forged ICMP message must not end
a session, so here such errors are counted, logged at most once a second, and
otherwise the same as loss.

Whether a packet is worth anything is for the sink to find out.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, MessageLengthError
from twisted.internet.interfaces import (
    IListeningPort,
    IReactorFDSet,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.errors import AddressRefused, LocalError, PortInUse
from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.protocol.constants import MAX_PACKET

__all__ = [
    "PacketDatagrams",
    "UDPPath",
    "UDPPort",
    "bindSocket",
    "familyOf",
    "listenPackets",
]

#: Datagrams taken in one go, so that TCP and timers get their turn in a flood.
READ_AT_ONCE = 64

#: The default of 208 KiB lost 6 of 10 back-to-back bursts of 48 kB.
SOCKET_BUFFER = 4 << 20

#: Seconds between two log lines about errors of one port.
LOG_INTERVAL = 1.0

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


def _destination(address: Sequence[Any]) -> Destination:
    """
    The one form of an address that paths compare.

    An IPv6 address brings its zone as a scope number when the kernel reports it,
    as a suffix when a user wrote it, and not at all from Twisted.
    """
    host, port = address[:2]
    if familyOf(host) is socket.AF_INET:
        return host, port
    host, _, zone = host.partition("%")
    if zone:
        try:
            scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
        except OSError:
            raise AddressRefused(
                f"there is no network interface {zone}: check the address {host}%{zone}"
            ) from None
    else:
        scope = address[3] if len(address) > 3 else 0
    return str(ipaddress.IPv6Address(host)), port, 0, scope


@implementer(IPath)
class UDPPath:
    """
    One remote address as seen from one of our sockets.
    """

    __slots__ = ("_datagrams", "_destination", "_hash", "address")

    transport = Transport.UDP
    #: Each datagram leaves from whatever address we have then.
    local = None
    #: What the kernel does not take at once is lost, so nothing ever waits.
    backlog = 0

    def __init__(self, datagrams: PacketDatagrams, destination: Destination) -> None:
        self._datagrams = datagrams
        self._destination = destination
        self._hash = hash((id(datagrams), destination))
        host = destination[0]
        if len(destination) == 4 and destination[3]:
            host = f"{host}%{destination[3]}"
        self.address = (host, destination[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UDPPath):
            return NotImplemented
        return (
            self._datagrams is other._datagrams
            and self._destination == other._destination
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"<UDPPath to {self.address[0]} port {self.address[1]}>"

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        self._datagrams.sendPackets(packets, self._destination)

    def authenticated(self) -> None:
        # Nothing here counts strangers: a datagram's sender holds no state.
        pass

    def chosen(self) -> None:
        pass

    def close(self) -> None:
        # The socket is everybody's.
        pass


class PacketDatagrams(DatagramProtocol):
    """
    Datagrams of one socket, for an `IPacketSink`.

    :ivar errors: how often the socket refused to read or write, by errno name.
    :ivar dropped: datagrams that cannot be packets, ``empty`` and ``oversized``.
    """

    noisy = False
    _log = Logger()

    def __init__(self, sink: IPacketSink, clock: IReactorTime) -> None:
        self._sink = sink
        self._clock = clock
        self.errors: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._quietUntil = float("-inf")

    def pathTo(self, address: tuple[str, int]) -> UDPPath:
        """
        The path to an IP address and port.

        :raises AddressRefused: if it names a network interface that is not there.
        """
        return UDPPath(self, _destination(address))

    def datagramReceived(self, datagram: bytes, addr: Sequence[Any]) -> None:
        self.datagramsReceived([datagram], addr)

    def datagramsReceived(
        self, datagrams: Sequence[bytes], address: Sequence[Any]
    ) -> None:
        """
        Take consecutive datagrams of one source.
        """
        packets = [packet for packet in datagrams if 0 < len(packet) <= MAX_PACKET]
        if len(packets) < len(datagrams):
            empty = sum(not datagram for datagram in datagrams)
            self.dropped["empty"] += empty
            self.dropped["oversized"] += len(datagrams) - len(packets) - empty
        if not packets:
            return
        try:
            self._sink.packetsReceived(packets, UDPPath(self, _destination(address)))
        except Exception:
            # A bug in the sink, which the reactor would answer by ending the port.
            self._log.failure("Packets from {address} were lost.", address=address)

    def sendPackets(self, packets: Sequence[bytes], destination: Destination) -> None:
        """
        Send one datagram a packet.  What the socket refuses is counted and lost.
        """
        transport: Any = self.transport
        if transport is None:
            return
        for packet in packets:
            try:
                transport.write(packet, destination)
            except OSError as error:
                self.refused(error)
            except MessageLengthError:
                # Twisted's name for EMSGSIZE.
                self.refused(OSError(errno.EMSGSIZE, "Message too long"))

    def refused(self, error: OSError) -> None:
        """
        The socket refused to read or write.
        """
        name = errno.errorcode.get(error.errno or 0, "unknown")
        self.errors[name] += 1
        now = self._clock.seconds()
        if now >= self._quietUntil:
            self._quietUntil = now + LOG_INTERVAL
            self._log.warn(
                "UDP: {reason} ({name}, {count} so far).",
                reason=error.strerror,
                name=name,
                count=self.errors[name],
            )


@implementer(IReadDescriptor, IListeningPort)
class UDPPort:
    """
    A bound UDP socket in a reactor, that no network error can end.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactorFDSet, datagrams: PacketDatagrams, skt: socket.socket
    ) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = skt
        self._family = skt.family
        self.datagrams = datagrams

    def startListening(self) -> None:
        self.datagrams.makeConnection(self)  # type: ignore[arg-type]  # its two calls
        self._reactor.addReader(self)

    def stopListening(self) -> Deferred[None]:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None
            self.datagrams.doStop()
        return succeed(None)

    def getHost(self) -> IPv4Address | IPv6Address:
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        if self._family == socket.AF_INET6:
            return IPv6Address("UDP", host, port)
        return IPv4Address("UDP", host, port)

    def pathTo(self, address: tuple[str, int]) -> UDPPath:
        """
        See `PacketDatagrams.pathTo`.
        """
        return self.datagrams.pathTo(address)

    def write(self, packet: bytes, destination: Destination) -> None:
        """
        Send one datagram.

        :raises OSError: if the kernel does not take it; EAGAIN when it is full.
        """
        if self._socket is not None:
            self._socket.sendto(packet, destination)

    def doRead(self) -> None:
        # A batch ends where the source changes: a call a packet would cost more
        # than the cryptography.
        batch: list[bytes] = []
        source: Sequence[Any] = ()
        for _ in range(READ_AT_ONCE):
            # The sink may close the port between two batches.
            if self._socket is None:
                return
            try:
                # One byte more than a packet may have, to see what was cut.
                datagram, address = self._socket.recvfrom(MAX_PACKET + 1)
            except BlockingIOError:
                break
            except OSError as error:
                # Reading an error clears it; what came after it is still there.
                self.datagrams.refused(error)
                continue
            if batch and address != source:
                self.datagrams.datagramsReceived(batch, source)
                batch = []
            source = address
            batch.append(datagram)
        if batch:
            self.datagrams.datagramsReceived(batch, source)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "UDP"

    def connectionLost(self, reason: Failure) -> None:
        if self._socket is not None and reason.check(ConnectionDone):
            # epoll reports a pending error of the socket as the end of what it
            # takes for a connection.  Fetching the error clears it.
            pending = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self.datagrams.refused(OSError(pending, "the socket has an error"))
            self._reactor.addReader(self)
        else:
            # The reactor is shutting down.
            self.stopListening()


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
            _tune(skt)
            skt.bind((interface, port))
    except (OSError, OverflowError) as error:
        if skt is not None:
            skt.close()
        raise _explained(error, interface, port) from error
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


def _tune(skt: socket.socket) -> None:
    """
    Large buffers, and a packet size that no stranger can shrink.
    """
    for force, ordinary in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF),
    ):
        try:
            skt.setsockopt(socket.SOL_SOCKET, force, SOCKET_BUFFER)
        except OSError:
            # Without the privilege the kernel cuts this to what it allows.
            skt.setsockopt(socket.SOL_SOCKET, ordinary, SOCKET_BUFFER)
    if skt.family == socket.AF_INET6:
        skt.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
    else:
        skt.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)


def listenPackets(
    reactor: Any, sink: IPacketSink, port: int = 0, interface: str = ""
) -> UDPPort:
    """
    Bind a UDP socket and read it; port 0 takes any free one.

    :param reactor: an `IReactorFDSet` and `IReactorTime`.
    :raises PortInUse: if another process has the port.
    """
    udp = UDPPort(
        reactor,
        PacketDatagrams(sink, reactor),
        bindSocket(socket.SOCK_DGRAM, interface, port),
    )
    udp.startListening()
    return udp
