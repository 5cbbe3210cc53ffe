"""
UDP: datagrams to batches of packets, and back.

`PacketDatagrams` is an ordinary `DatagramProtocol` and works under
``reactor.listenUDP``.  In use it sits on our own `UDPPort`, because Twisted's
lets the network take it down: its ``doRead`` raises on each errno that it does
not list, its ``write`` on EPERM, ENOBUFS, ENETUNREACH and EAGAIN, and an error
that epoll reports ends it.  A pulled cable or a forged ICMP message must not end
a session, so here such errors are counted, logged at most once a second, and
otherwise the same as loss.

A host's socket takes what anybody sends, and its buffer can be filled by strangers.
So a peer that a session was begun with gets a socket of its own beside it, same
address and port, which the kernel prefers for that peer's datagrams.  Whoever dials
keeps one socket for all: nobody was told of its port, and a connected one would keep
its source address when the machine moves to another network.

Whether a packet is worth anything is for the sink to find out.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

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

from rootstream.errors import AddressRefused
from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.protocol.constants import MAX_PACKET
from rootstream.transport.batch import receiveTrain, sendTrain, takesTrains, trains
from rootstream.transport.filter import attachFilter
from rootstream.transport.sockets import (
    Destination,
    bindSocket,
    connectSocket,
    familyOf,
)

__all__ = [
    "PacketDatagrams",
    "UDPPath",
    "UDPPort",
    "listenPackets",
]

#: Datagrams taken in one go, or one train more, so that TCP and timers get their turn
#: in a flood.
READ_AT_ONCE = 64

#: Sockets of peers beside one of ours; the peers past that share it.
MAX_PEER_SOCKETS = 256

#: What costs one packet, and says nothing against the socket.
_LOST = frozenset((errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ECONNREFUSED))

#: What says that trains do not go this way: a device, or a tunnel, without offload.
_NO_TRAINS = frozenset((errno.EIO, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOPROTOOPT))

#: Seconds between two log lines about errors of one port.
LOG_INTERVAL = 1.0


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
    #: Each datagram leaves from whatever address we have then (`UDPPort.renew`).
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
        self._datagrams.chosen(self._destination)

    def close(self) -> None:
        self._datagrams.closed(self._destination)


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
        packets = datagrams
        sizes = set(map(len, datagrams))
        if not 0 < min(sizes) <= max(sizes) <= MAX_PACKET:
            packets = [packet for packet in datagrams if 0 < len(packet) <= MAX_PACKET]
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
        if isinstance(transport, UDPPort):
            transport.sendPackets(packets, destination)
            return
        for packet in packets:
            try:
                transport.write(packet, destination)
            except OSError as error:
                self.refused(error)
            except MessageLengthError:
                # Twisted's name for EMSGSIZE.
                self.refused(OSError(errno.EMSGSIZE, "Message too long"))

    def chosen(self, destination: Destination) -> None:
        """
        A session sends to ``destination``.
        """
        if isinstance(self.transport, UDPPort):
            self.transport.connect(destination)

    def closed(self, destination: Destination) -> None:
        """
        No session sends to ``destination`` any more.
        """
        if isinstance(self.transport, UDPPort):
            self.transport.disconnect(destination)

    def refused(self, error: OSError, count: int = 1) -> None:
        """
        The socket refused to read, or to write ``count`` datagrams.
        """
        name = errno.errorcode.get(error.errno or 0, "unknown")
        self.errors[name] += count
        if error.errno == errno.ECONNREFUSED:
            # What an ICMP message said: that a peer has ended, or anybody's lie.
            return
        now = self._clock.seconds()
        if now >= self._quietUntil:
            self._quietUntil = now + LOG_INTERVAL
            self._log.warn(
                "UDP: {reason} ({name}, {count} so far).",
                reason=error.strerror,
                name=name,
                count=self.errors[name],
            )


@implementer(IReadDescriptor)
class DatagramSocket:
    """
    A UDP socket in a reactor, that no network error can end.
    """

    def __init__(
        self, reactor: IReactorFDSet, datagrams: PacketDatagrams, skt: socket.socket
    ) -> None:
        self._reactor = reactor
        self._socket: socket.socket | None = skt
        self.datagrams = datagrams
        self._takesTrains = self._sendsTrains = takesTrains(skt)

    def startReading(self) -> None:
        self._reactor.addReader(self)

    def close(self) -> None:
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def doRead(self) -> None:
        # A batch ends where the source changes: a call a packet would cost more
        # than the cryptography.
        batch: list[bytes] = []
        source: Sequence[Any] = ()
        taken = 0
        for _ in range(READ_AT_ONCE):
            # The sink may close the socket between two batches.
            if self._socket is None or taken >= READ_AT_ONCE:
                break
            try:
                datagrams, address = self._receive(self._socket)
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
            batch += datagrams
            taken += len(datagrams)
        if batch:
            self.datagrams.datagramsReceived(batch, source)

    def _receive(self, skt: socket.socket) -> tuple[list[bytes], Any]:
        if self._takesTrains:
            return receiveTrain(skt, MAX_PACKET)
        # One byte more than a packet may have, to see what was cut.
        datagram, address = skt.recvfrom(MAX_PACKET + 1)
        return [datagram], address

    def send(
        self, packets: Sequence[bytes], destination: Destination
    ) -> list[tuple[Sequence[bytes], OSError]]:
        """
        Send packets, in trains if the socket takes them; returns what the kernel does
        not take, with the reason.
        """
        refused: list[tuple[Sequence[bytes], OSError]] = []
        skt = self._socket
        if skt is None:
            return refused
        for train in trains(packets) if self._sendsTrains else (packets,):
            failure = None
            if self._sendsTrains and len(train) > 1:
                try:
                    self._sendTrain(skt, train, destination)
                    continue
                except BlockingIOError as error:
                    # There is no room for one of them either.
                    refused.append((train, error))
                    continue
                except OSError as error:
                    failure = error.errno
            before = len(refused)
            for packet in train:
                try:
                    self._sendOne(skt, packet, destination)
                except OSError as error:
                    refused.append(((packet,), error))
            if failure in _NO_TRAINS and len(refused) == before:
                # Each of them goes, all of them do not: the way has no offload.
                self._sendsTrains = False
        return refused

    def _sendTrain(
        self, skt: socket.socket, train: Sequence[bytes], destination: Destination
    ) -> None:
        sendTrain(skt, train, destination)

    def _sendOne(
        self, skt: socket.socket, packet: bytes, destination: Destination
    ) -> None:
        skt.sendto(packet, destination)

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
            self.close()


class PeerSocket(DatagramSocket):
    """
    A socket connected to one peer.
    """

    def _sendTrain(
        self, skt: socket.socket, train: Sequence[bytes], destination: Destination
    ) -> None:
        sendTrain(skt, train, None)

    def _sendOne(
        self, skt: socket.socket, packet: bytes, destination: Destination
    ) -> None:
        try:
            skt.send(packet)
        except BlockingIOError:
            raise
        except OSError:
            # A connected socket also tells here what ICMP messages said, true or
            # forged, and has forgotten it then.  What is wrong with the packet or
            # with this machine, it says again.
            skt.send(packet)


@implementer(IListeningPort)
class UDPPort(DatagramSocket):
    """
    A bound UDP socket, and beside it those of peers.

    :param connects: whether a peer gets a socket of its own.
    :param filters: whether the kernel is to drop what cannot be a packet.
    :ivar filtered: whether it does.
    """

    def __init__(
        self,
        reactor: IReactorFDSet,
        datagrams: PacketDatagrams,
        skt: socket.socket,
        connects: bool = False,
        filters: bool = False,
    ) -> None:
        super().__init__(reactor, datagrams, skt)
        self._filters = filters
        self.filtered = filters and attachFilter(skt, self._takesTrains)
        self._family = skt.family
        self._connects = connects
        #: The peers that sessions send to; None for one that shares our socket.
        self._peers: dict[Destination, PeerSocket | None] = {}

    def startListening(self) -> None:
        self.datagrams.makeConnection(self)  # type: ignore[arg-type]  # its two calls
        self.startReading()

    def stopListening(self) -> Deferred[None]:
        self.close()
        return succeed(None)

    def close(self) -> None:
        if self._socket is not None:
            for destination in tuple(self._peers):
                self.disconnect(destination)
            super().close()
            self.datagrams.doStop()

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

    def connect(self, destination: Destination) -> None:
        """
        Give a peer a socket of its own, if there is one to be had.
        """
        if not self._connects or self._socket is None:
            return
        if destination not in self._peers and len(self._peers) >= MAX_PEER_SOCKETS:
            return
        if self._peers.get(destination) is not None:
            return
        self._peers[destination] = None
        try:
            skt = connectSocket(self._socket, destination)
        except OSError as error:
            self.datagrams.refused(error)
            return
        own = self._peers[destination] = PeerSocket(self._reactor, self.datagrams, skt)
        if self._filters:
            attachFilter(skt, self._takesTrains)
        own.startReading()

    def disconnect(self, destination: Destination) -> None:
        """
        Forget a peer, and close its socket.
        """
        own = self._peers.pop(destination, None)
        if own is not None:
            own.close()

    def renew(self) -> None:
        """
        Give each peer a new socket: the addresses of this machine have changed, and
        a connected socket keeps the one that it was given.
        """
        for destination in tuple(self._peers):
            self.disconnect(destination)
            self.connect(destination)

    def sendPackets(self, packets: Sequence[bytes], destination: Destination) -> None:
        """
        Send one datagram a packet.  What the kernel refuses is counted and lost.
        """
        own = self._peers.get(destination)
        if own is not None:
            refused = own.send(packets, destination)
            gone = [each for each in refused if each[1].errno not in _LOST]
            if gone:
                # Its address is gone, or the way from it: ours finds another.
                own.close()
                self._peers[destination] = None
                self.datagrams.refused(gone[0][1])
                refused = [each for each in refused if each[1].errno in _LOST]
                again = [packet for train, _ in gone for packet in train]
                refused += self.send(again, destination)
        else:
            refused = self.send(packets, destination)
        for train, error in refused:
            self.datagrams.refused(error, len(train))


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
