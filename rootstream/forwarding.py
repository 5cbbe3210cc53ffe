"""
How packets and bytes go on through the demo's network, as well as its weather allows.

Datagrams go on by a socket for each address that they came from, connections by one of
our own each; nothing is looked into.  Datagrams that the weather does not let through
are lost.  Bytes of a connection wait, as they would in the kernel of whoever has to
send them again: we stop reading, and soon nobody can write.

`rootstream.wind` has the ports that both come in by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.interfaces import IPacketSink, IPath, Transport
from rootstream.transport.udp import listenPackets
from rootstream.weather import DelayLine, Weather

__all__ = ["LOOPBACK", "MAX_WAITING", "Connection", "Flows", "Network"]

LOOPBACK = "127.0.0.1"

#: Addresses that datagrams come from.  A viewer has one or two; others on this machine
#: may try.
MAX_FLOWS = 16

#: Bytes that wait in one direction of a flow or connection: half a second of delay at
#: 64 Mbit/s.  More datagrams are lost, and more of a connection is not read.
MAX_WAITING = 4 << 20


class Network(Shape):
    """
    What there is to know of the network: `rootstream.wind.Wind`.
    """

    @property
    def reactor(self) -> Any:
        """
        The reactor that all of it lives in.
        """

    @property
    def host(self) -> tuple[str, int]:
        """
        The host's address and port.
        """

    @property
    def random(self) -> Callable[[], float]:
        """
        Gives numbers from 0 to 1 for what is left to chance.
        """

    @property
    def weather(self) -> Weather:
        """
        The weather now.
        """


class _Queue:
    """
    A `DelayLine` that makes its calls by itself, and can be held.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._line = DelayLine()
        self._held = False
        self._timer: IDelayedCall | None = None

    @property
    def size(self) -> int:
        """
        The bytes that wait.
        """
        return self._line.size

    def put(self, delay: float, size: int, call: Callable[[], object]) -> None:
        """
        Make a call about so many bytes, after a delay and after those before it.
        """
        if not delay and not self._held and self._line.nextTimer() is None:
            call()
            return
        self._line.put(self._reactor.seconds() + delay, size, call)
        self._run()

    def hold(self, held: bool) -> None:
        """
        Whether calls have to wait, even when their time has come.
        """
        if held is not self._held:
            self._held = held
            self._run()

    def _run(self) -> None:
        # A call may hold us, or close us.
        while not self._held:
            call = self._line.take(self._reactor.seconds())
            if call is None:
                break
            call()
        due = self._line.nextTimer()
        if self._timer is None and due is not None and not self._held:
            wait = max(0.0, due - self._reactor.seconds())
            self._timer = self._reactor.callLater(wait, self._rang)

    def _rang(self) -> None:
        self._timer = None
        self._run()

    def close(self) -> None:
        """
        Forget what waits.
        """
        self._line.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


# --- UDP ------------------------------------------------------------------------


class _Datagrams:
    """
    One direction of a flow of datagrams.
    """

    def __init__(self, network: Network, path: IPath) -> None:
        self._network = network
        self._path = path
        self._queue = _Queue(network.reactor)
        self.close = self._queue.close

    def carry(self, packets: Sequence[bytes]) -> None:
        """
        Send packets on, as well as the weather allows.
        """
        weather = self._network.weather
        if weather.silent(Transport.UDP) or self._queue.size > MAX_WAITING:
            return
        if weather.loss:
            chance = self._network.random
            packets = [packet for packet in packets if chance() >= weather.loss]
        size = sum(map(len, packets))
        wait = weather.wait(self._network.random)
        self._queue.put(wait, size, partial(self._arrive, packets))

    def _arrive(self, packets: Sequence[bytes]) -> None:
        # What was under way when the cable was cut does not arrive either.
        if packets and not self._network.weather.silent(Transport.UDP):
            self._path.sendPackets(packets)


@implementer(IPacketSink)
class _Flow:
    """
    What one address sends to the host, and what it is answered.
    """

    def __init__(self, network: Network, viewer: IPath) -> None:
        self._host = network.host
        self._port = listenPackets(network.reactor, self, 0, LOOPBACK)
        self._toViewer = _Datagrams(network, viewer)
        self._toHost = _Datagrams(network, self._port.pathTo(network.host))
        self.carry = self._toHost.carry

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        if path.address == self._host:
            self._toViewer.carry(packets)

    def pathLost(self, path: IPath, reason: str) -> None:
        # Never called for UDP.
        pass

    def close(self) -> None:
        """
        Let go of the socket.
        """
        self._toViewer.close()
        self._toHost.close()
        self._port.stopListening()


@implementer(IPacketSink)
class Flows:
    """
    The flows of all addresses, told apart.
    """

    def __init__(self, network: Network) -> None:
        self._network = network
        self._flows: dict[IPath, _Flow] = {}

    def packetsReceived(self, packets: Sequence[bytes], path: IPath) -> None:
        flow = self._flows.pop(path, None)
        if flow is None:
            flow = _Flow(self._network, path)
        # The last one is whom we heard last; the first has been quiet longest.
        self._flows[path] = flow
        if len(self._flows) > MAX_FLOWS:
            self._flows.pop(next(iter(self._flows))).close()
        flow.carry(packets)

    def pathLost(self, path: IPath, reason: str) -> None:
        # Never called for UDP.
        pass

    def close(self) -> None:
        """
        Forget all flows.
        """
        for flow in self._flows.values():
            flow.close()
        self._flows.clear()


# --- TCP ------------------------------------------------------------------------


@implementer(IPushProducer)
class _Stream:
    """
    One direction of a connection: reads at one end as fast as the other end writes.
    """

    def __init__(self, network: Network, source: Any, destination: Any) -> None:
        self._network = network
        self._source = source
        self._destination = destination
        self._queue = _Queue(network.reactor)
        self._full = False
        destination.registerProducer(self, True)
        self.adapt()

    def carry(self, data: bytes) -> None:
        """
        Write what was read.
        """
        self._put(len(data), partial(self._write, data))
        self.adapt()

    def finish(self, clean: bool) -> None:
        """
        The source has ended: so does the destination, after what was sent before.
        """
        self._put(0, partial(self._end, clean))

    def adapt(self) -> None:
        """
        Do what weather and fill allow.
        """
        stopped = self._full or self._network.weather.silent(Transport.TCP)
        self._queue.hold(stopped)
        if stopped or self._queue.size > MAX_WAITING:
            self._source.pauseProducing()
        else:
            self._source.resumeProducing()

    def _put(self, size: int, call: Callable[[], object]) -> None:
        network = self._network
        self._queue.put(network.weather.wait(network.random), size, call)

    def _write(self, data: bytes) -> None:
        left = self._queue.size
        self._destination.write(data)
        if left + len(data) > MAX_WAITING >= left:
            self.adapt()

    def _end(self, clean: bool) -> None:
        self._destination.unregisterProducer()
        if clean:
            self._destination.loseConnection()
        else:
            self._destination.abortConnection()

    def pauseProducing(self) -> None:
        self._full = True
        self.adapt()

    def resumeProducing(self) -> None:
        self._full = False
        self.adapt()

    def stopProducing(self) -> None:
        # The destination is lost; nothing can be written any more.
        self._full = True
        self.adapt()
        self._queue.close()


class _End(Protocol):
    """
    One end of a connection.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        #: The direction that begins here, once there is one.
        self.stream: _Stream | None = None
        self.lost = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self._connection.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if self.stream is not None:
            self.stream.carry(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self._connection.ended(self, reason.check(ConnectionDone) is not None)


class Connection:
    """
    A connection of a viewer, and the one to the host that belongs to it.
    """

    def __init__(self, network: Network, forget: Callable[[Connection], None]) -> None:
        """
        :param forget: called when both ends are lost.
        """
        self._network = network
        self._forget = forget
        #: Speaks to the viewer.
        self.viewer = _End(self)
        self._host = _End(self)
        self._dialling: Deferred[Any] | None = None

    def opened(self, end: _End) -> None:
        """
        One of the ends stands.
        """
        if end is self.viewer:
            self._transport(end).pauseProducing()
            self.adapt()
            return
        self._dialling = None
        viewer, host = self._transport(self.viewer), self._transport(end)
        self.viewer.stream = _Stream(self._network, viewer, host)
        end.stream = _Stream(self._network, host, viewer)

    def adapt(self) -> None:
        """
        The weather has changed.
        """
        for end in (self.viewer, self._host):
            if end.stream is not None:
                end.stream.adapt()
        waits = self.viewer.stream is None and self._dialling is None
        if waits and not self._network.weather.silent(Transport.TCP):
            there = TCP4ClientEndpoint(self._network.reactor, *self._network.host)
            self._dialling = connectProtocol(there, self._host)
            self._dialling.addErrback(self._refused)

    def _refused(self, reason: Failure) -> None:
        self._dialling = None
        if not self.viewer.lost:
            self._transport(self.viewer).abortConnection()

    def ended(self, end: _End, clean: bool) -> None:
        """
        One of the ends is lost.
        """
        if self._dialling is not None:
            self._dialling.cancel()
        other = self._host if end is self.viewer else self.viewer
        if other.stream is not None:
            other.stream.stopProducing()
        if end.stream is not None and not other.lost:
            end.stream.finish(clean)
        else:
            self._forget(self)

    def abort(self) -> None:
        """
        Reset both ends.
        """
        for end in (self.viewer, self._host):
            if end.transport is not None and not end.lost:
                self._transport(end).abortConnection()

    def _transport(self, end: _End) -> Any:
        return end.transport
