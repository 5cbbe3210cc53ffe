"""
TCP: records to batches of packets, and back.

A record is ``len u16 big-endian`` (30 to 1400) and a packet.  One dataReceived
gives one batch, and at most one incomplete record is kept.  A stranger gets
little: few connections, five seconds, and no second chance after a bad length.

The end of a connection ends its path, never the session.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPullProducer,
    IReactorTime,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.protocol.constants import (
    MAX_PACKET,
    MAX_STRANGERS,
    MAX_STRANGERS_PER_SOURCE,
    MIN_RECORD,
    RECORD_HEADER,
    STRANGER_TIMEOUT,
)
from rootstream.protocol.limiter import parseAddress

__all__ = [
    "PacketClientFactory",
    "PacketServerFactory",
    "PacketStream",
    "Strangers",
    "TCPPath",
    "Unsent",
    "tune",
]

#: Bytes handed to Twisted at a time, at least; also what the kernel may hold unsent.
#: More would hide from `TCPPath.backlog` how far behind the network is.
CHUNK = 16 << 10

#: And at most.  A large chunk costs hardly more than a small one, so one that is taken
#: within ``PROMPT`` seconds makes the next one larger: on a fast connection that hides
#: milliseconds, on a slow one it would hide half a second.
LARGE_CHUNK = 64 << 10
PROMPT = 0.005

#: Bytes that a peer who does not read can make us hold.
MAX_UNSENT = 4 << 20

#: Milliseconds that sent bytes may stay unacknowledged.
USER_TIMEOUT = 10_000

#: What stands in front of a packet, by its size.
_HEADERS: Final = tuple(
    size.to_bytes(RECORD_HEADER, "big") for size in range(MAX_PACKET + 1)
)


@implementer(IPath)
class TCPPath:
    """
    One TCP connection.
    """

    transport = Transport.TCP
    local: str | None = None

    def __init__(self, stream: PacketStream, address: tuple[str, int]) -> None:
        self._stream = stream
        self.address = address

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"<{name} to {self.address[0]} port {self.address[1]}>"

    @property
    def backlog(self) -> int:
        return self._stream.unsent

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        self._stream.sendPackets(packets)

    def authenticated(self) -> None:
        self._stream.authenticated()

    def chosen(self) -> None:
        # It is one of its own.
        pass

    def close(self) -> None:
        self._stream.close()


@implementer(IPullProducer)
class Unsent:
    """
    The bytes that a connection has still to send, and how many they are.

    They stay in a buffer of our own, and Twisted pulls them out of it a chunk at a
    time, each when the kernel has taken the last.  Twisted's own buffer would tell
    nothing of its size, short of private attributes, and a push producer hears of it
    only past 64 KiB.
    """

    def __init__(
        self, transport: Any, seconds: Callable[[], float] = time.monotonic
    ) -> None:
        self.transport = transport
        self._seconds = seconds
        self._waiting = bytearray()
        self._chunk = CHUNK
        self._handedOver = 0
        self._handedOverAt = 0.0
        self._producing = False
        self._stopped = False

    @property
    def size(self) -> int:
        """
        How many: exact but for the last chunk, which counts whole until all of it is
        gone.
        """
        return len(self._waiting) + self._handedOver

    def write(self, data: bytes | bytearray) -> None:
        """
        Send ``data`` after all that waits; nothing, once it was stopped.
        """
        if self._stopped:
            return
        self._waiting += data
        if self._waiting and not self._producing:
            self._producing = True
            self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        now = self._seconds()
        if now > self._handedOverAt + PROMPT:
            self._chunk = CHUNK
        elif self._handedOver == self._chunk < LARGE_CHUNK:
            self._chunk += CHUNK
        with memoryview(self._waiting) as waiting:
            chunk = bytes(waiting[: self._chunk])
        del self._waiting[: self._chunk]
        self._handedOver = len(chunk)
        self._handedOverAt = now
        if chunk:
            self.transport.write(chunk)
        else:
            # As long as a producer is registered, Twisted does not close.
            self._producing = False
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self._waiting.clear()
        self._handedOver = 0
        self._stopped = True


class PacketStream(Protocol):
    """
    Both directions of one connection.

    :ivar path: the connection as a path, once it is made.
    :ivar ended: fires with a reason in words when the connection is lost.
    """

    #: Twisted types it as ITransport, which can neither pull nor abort.
    transport: Any = None

    pathType = TCPPath

    def __init__(self, sink: IPacketSink, strangers: Strangers | None = None) -> None:
        self._sink = sink
        self._strangers = strangers
        self._partial = b""
        self._closing = False
        self._why = ""
        self._below: Unsent
        self.path: TCPPath | None = None
        self.ended: Deferred[str] = Deferred()

    @property
    def unsent(self) -> int:
        """
        Bytes that the kernel has not taken.
        """
        return self._below.size

    def connectionMade(self) -> None:
        peer = self.transport.getPeer()
        self.path = self.pathType(self, (peer.host, peer.port))
        self._below = self.prepare()
        if self._strangers is not None:
            self._strangers.arrived(self)
        self.path.local = self.transport.getHost().host

    def prepare(self) -> Unsent:
        """
        Make the connection ready; returns where its bytes wait for the kernel.
        """
        tune(self.transport)
        return Unsent(self.transport)

    def dataReceived(self, data: bytes) -> None:
        if self._closing:
            return
        assert self.path is not None
        data = self._partial + data
        packets = []
        size = len(data)
        # Always the start of a packet, that is, behind its length.
        start = RECORD_HEADER
        wrong = None
        while start <= size:
            length = data[start - 2] << 8 | data[start - 1]
            if not MIN_RECORD <= length <= MAX_PACKET:
                wrong = length
                break
            end = start + length
            if end > size:
                break
            packets.append(data[start:end])
            start = end + RECORD_HEADER
        self._partial = data[start - RECORD_HEADER :] if wrong is None else b""
        if packets:
            self._sink.packetsReceived(packets, self.path)
        if wrong is not None:
            self.abort(f"a record of {wrong} bytes, which no packet has")

    def sendPackets(self, packets: Sequence[bytes]) -> None:
        """
        Send one record a packet.
        """
        if self._closing or self.path is None:
            return
        records = [b""] * (2 * len(packets))
        records[::2] = [_HEADERS[len(packet)] for packet in packets]
        records[1::2] = packets
        self.write(b"".join(records))
        if self.unsent > MAX_UNSENT:
            self.abort("the peer does not read what it is sent")

    def write(self, records: bytes | bytearray) -> None:
        """
        Send whole records.
        """
        self._below.write(records)

    def discard(self) -> None:
        """
        Send nothing of what waits.
        """
        self._below.stopProducing()

    def authenticated(self) -> None:
        """
        Whoever is at the other end is not a stranger.
        """
        if self._strangers is not None:
            self._strangers.left(self)
            self._strangers = None

    def close(self, reason: str = "closed by this side") -> None:
        """
        End the connection after what was already sent.
        """
        if self._closing:
            return
        self._closing = True
        self._why = reason
        self.transport.loseConnection()

    def abort(self, reason: str) -> None:
        """
        End the connection at once.
        """
        self._closing = True
        self._why = reason
        self.discard()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        path = self.path
        assert path is not None
        self._closing = True
        self._partial = b""
        self.discard()
        if self._strangers is not None:
            self._strangers.left(self)
            self._strangers = None
        if not self._why:
            self._why = self.explain(reason)
        # Path and stream refer to each other; a peer given up must be freed.
        self.path = None
        self.ended.callback(self._why)
        self._sink.pathLost(path, self._why)

    def explain(self, reason: Failure) -> str:
        """
        Why the connection was lost, in words.
        """
        if reason.check(ConnectionDone):
            return "the peer closed the connection"
        return "the connection was reset or timed out"


def tune(transport: Any) -> None:
    """
    Let nothing delay packets, notice a vanished peer in seconds, and let bytes wait
    where we can count them.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
    if ISystemHandle.providedBy(transport):
        skt: Any = transport.getHandle()
        for option, value in (
            (socket.TCP_USER_TIMEOUT, USER_TIMEOUT),
            (socket.TCP_NOTSENT_LOWAT, CHUNK),
        ):
            try:
                skt.setsockopt(socket.IPPROTO_TCP, option, value)
            except OSError:
                # The connection is already over, and says so soon.
                return


class Strangers:
    """
    The connections of a host that nobody known has spoken on yet.

    At most 64 in all and 4 a source address (an IPv6 /64), each for five seconds
    after it was accepted, whatever it sends: a connection that sends a byte a
    second gets no more time than a silent one.

    :ivar refused: connections not let in, by the limit that they met.
    :ivar lapsed: connections ended because their time was over.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._deadlines: dict[PacketStream, tuple[str, IDelayedCall]] = {}
        self._sources: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.lapsed = 0

    def __len__(self) -> int:
        return len(self._deadlines)

    def admits(self, host: str) -> bool:
        """
        May one more connection come from ``host``?
        """
        if len(self) >= MAX_STRANGERS:
            self.refused["all"] += 1
        elif self._sources[_source(host)] >= MAX_STRANGERS_PER_SOURCE:
            self.refused["source"] += 1
        else:
            return True
        return False

    def arrived(self, stream: PacketStream) -> None:
        """
        A stranger's connection was made: its time begins.
        """
        assert stream.path is not None
        source = _source(stream.path.address[0])
        deadline = self._clock.callLater(STRANGER_TIMEOUT, self._expire, stream)
        self._deadlines[stream] = (source, deadline)
        self._sources[source] += 1

    def left(self, stream: PacketStream) -> None:
        """
        A connection was lost, or is no stranger's any more.
        """
        source, deadline = self._deadlines.pop(stream)
        if deadline.active():
            deadline.cancel()
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def _expire(self, stream: PacketStream) -> None:
        self.lapsed += 1
        stream.abort("nobody known spoke on it in time")


def _source(host: str) -> str:
    """
    Who is limited together: whoever has one address of an IPv6 /64 has them all.
    """
    address = parseAddress(host)
    return host if address.version == 4 else address.packed[:8].hex()


class _Refused(Protocol):
    """
    A connection too many.  Reset: an orderly end would hold kernel memory for it.
    """

    transport: Any = None

    def connectionMade(self) -> None:
        self.transport.abortConnection()


class PacketServerFactory(Factory[Protocol]):
    """
    Streams of a listening port, strangers until a path is `authenticated`.
    """

    noisy = False

    def __init__(
        self,
        sink: IPacketSink,
        strangers: Strangers,
        streamType: type[PacketStream] = PacketStream,
    ) -> None:
        self._sink = sink
        self._strangers = strangers
        self._streamType = streamType

    def buildProtocol(self, addr: Any) -> Protocol:
        if not self._strangers.admits(addr.host):
            return _Refused()
        return self._streamType(self._sink, self._strangers)


class PacketClientFactory(Factory[PacketStream]):
    """
    Streams that we dialled.
    """

    noisy = False

    def __init__(
        self, sink: IPacketSink, streamType: type[PacketStream] = PacketStream
    ) -> None:
        self._sink = sink
        self._streamType = streamType

    def buildProtocol(self, addr: IAddress | None) -> PacketStream:
        return self._streamType(self._sink)
