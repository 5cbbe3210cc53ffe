"""
One end of a stream that is measured: ``python -m benchmarks.ends``, a process each.

A host says its code in a line of JSON, a viewer connects to it, and at the end each
says what it saw, in another.  They are the whole product, by its public names; only
what stands for a simpler product, without trains or on a port of Twisted's, is patched
in here, since nobody wants it as an option.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from socket import SOCK_DGRAM
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.python.failure import Failure

import rootstream as rs
from rootstream.interfaces import IPacketSink
from rootstream.transport.clock import boottime, mediaClock, useBoottime
from rootstream.transport.sockets import bindSocket
from rootstream.transport.udp import PacketDatagrams, UDPPath

__all__ = ["FRAME", "PACKETS_A_FRAME", "cpuSeconds", "main"]

#: Bytes of a frame, and the packets it takes.
FRAME = 100_000
PACKETS_A_FRAME = -(-FRAME // 1355)
#: Frames under way: 2.4 MB, which the viewer's receive buffer holds.  With 8, less than
#: half went across on a busy machine, whose processes take turns.
WINDOW = 24
#: Seconds until the next look whether there is room for more, when there was none.
LOOK = 0.001
#: A connection refuses frames past 256 KiB.
BACKLOG = 150_000
#: Frames a second where it is the delay that is measured.
FPS = 60
#: Seconds until nothing of the beginning is left.
WARM_UP = 0.5
#: Seconds for what was under way when the measurement ended.
PATIENCE = 5.0


def say(**values: object) -> None:
    """
    Tell whoever started us.
    """
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def cpuSeconds() -> float:
    """
    What this process has used so far, in the kernel too.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True, slots=True)
class Mark:
    """
    How far an end was at a moment.
    """

    at: float
    cpu: float
    frames: int

    def until(self, later: Mark) -> dict[str, float]:
        """
        What passed until a later one.
        """
        return {
            "seconds": later.at - self.at,
            "cpu": later.cpu - self.cpu,
            "bytes": (later.frames - self.frames) * FRAME,
        }


# --- other ports ---


class StockPort:
    """
    A UDP port as Twisted has it, in place of our own.
    """

    def __init__(
        self, reactor: Any, datagrams: PacketDatagrams, skt: Any, **ours: bool
    ) -> None:
        self._reactor = reactor
        self._datagrams = datagrams
        self._socket = skt

    def startListening(self) -> None:
        """
        Let Twisted have the socket.
        """
        self._port = self._reactor.adoptDatagramPort(
            self._socket.fileno(), self._socket.family, self._datagrams
        )

    def pathTo(self, address: tuple[str, int]) -> UDPPath:
        """
        See `PacketDatagrams.pathTo`.
        """
        return self._datagrams.pathTo(address)

    def stopListening(self) -> Any:
        """
        See `twisted.internet.interfaces.IListeningPort`.
        """
        # Twisted has a copy of its own.
        self._socket.close()
        return self._port.stopListening()

    def renew(self) -> None:
        """
        Nothing to renew: there is one socket for all peers.
        """


def listenStock(
    reactor: Any, sink: IPacketSink, port: int = 0, interface: str = ""
) -> StockPort:
    """
    In place of `rootstream.transport.udp.listenPackets`.
    """
    skt = bindSocket(SOCK_DGRAM, interface, port)
    stock = StockPort(reactor, PacketDatagrams(sink, reactor), skt)
    stock.startListening()
    return stock


#: What each kind of port replaces in the product.
PORTS: dict[str, dict[str, Any]] = {
    "trains": {},
    "single": {"rootstream.transport.udp.takesTrains": lambda skt: False},
    "stock": {
        "rootstream.transport.listen.UDPPort": StockPort,
        "rootstream.dialled.listenPackets": listenStock,
    },
}


# --- the host ---


class End(rs.PeerReceiver):
    """
    What both ends share: ``over`` fires when the other one has gone.
    """

    def __init__(self, peer: rs.Peer | None = None) -> None:
        super().__init__(peer)
        self.over: Deferred[None] = Deferred()

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        if new == rs.PeerState.DISCONNECTED.value and not self.over.called:
            self.over.callback(None)


class Echo(End):
    """
    A host's end that answers each input event.
    """

    def inputReceived(self, events: Sequence[rs.InputEvent]) -> None:
        assert self.peer is not None
        self.peer.sendInput(events)


def fill(peer: rs.Peer, data: bytes) -> None:
    """
    Send as many frames as may be under way.
    """
    status = peer.status()
    arrived = status.packetsAcknowledged + status.packetsLost
    room = WINDOW - status.framesSent + arrived // PACKETS_A_FRAME
    path = status.path
    for _ in range(room):
        if path is None or path.backlog > BACKLOG:
            return
        # Each can be shown by itself: nothing waits for the next that can.
        if not peer.sendVideo(rs.VideoFrame(data, mediaClock(), keyFrame=True)):
            return


async def stream(
    reactor: Any, peer: rs.Peer, send: Callable[[], None], interval: float, time: float
) -> None:
    """
    Call ``send`` for a while, and say what it took.  Without an interval that is as
    soon as the reactor has had its turn, or after a moment if nothing was sent.
    """

    def once() -> None:
        before = peer.status().framesSent
        send()
        if not interval:
            sending.interval = 0.0 if peer.status().framesSent > before else LOOK

    sending = LoopingCall(once)
    sending.clock = reactor
    ended = sending.start(interval)
    # A frame that fails must end the measurement, not make it fast.
    failed: list[Failure] = []
    ended.addErrback(failed.append)

    def mark() -> Mark:
        status = peer.status()
        return Mark(boottime(), cpuSeconds(), status.framesSent)

    await deferLater(reactor, WARM_UP)
    began = mark()
    await deferLater(reactor, time)
    finished = mark()
    if failed:
        failed[0].raiseException()
    sending.stop()
    status = peer.status()
    await peer.whenDrained().addTimeout(PATIENCE, reactor)
    say(**began.until(finished), refused=status.framesDropped)


async def host(reactor: Any, options: argparse.Namespace) -> None:
    """
    Listen, and send whoever comes what is to be measured.
    """
    arrived: Deferred[End] = Deferred()

    def receiverFor(peer: rs.Peer) -> End:
        end = Echo(peer) if options.task == "echo" else End(peer)
        arrived.callback(end)
        return end

    identity = rs.Identity.generate("host")
    guests = rs.AuthorizedPeers(None, [], allowAny=True)
    hosting = rs.Host(
        reactor, identity, guests, receiverFor, port=0, interface=options.address
    )
    say(code=rs.formatCode(identity.key, options.address, hosting.listen()))
    end = await arrived
    peer = end.peer
    assert peer is not None
    await peer.whenConnected()
    data = os.urandom(FRAME)
    match options.task:
        case "flood":
            await stream(reactor, peer, lambda: fill(peer, data), 0.0, options.seconds)
        case "frames":

            def one() -> None:
                peer.sendVideo(rs.VideoFrame(data, mediaClock(), keyFrame=True))

            await stream(reactor, peer, one, 1 / FPS, options.seconds)
        case "echo":
            await end.over
    await hosting.close()


# --- the viewer ---


class Watching(End):
    """
    A viewer's end: what comes, and how late.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._frames = 0
        self._first: float | None = None
        self._began: Mark | None = None
        self._ended: Mark | None = None
        self._delays: list[float] = []

    def videoReceived(self, frame: rs.VideoFrame) -> None:
        now = boottime()
        self._frames += 1
        if self._first is None:
            self._first = now
        if self._ended is not None or now < self._first + WARM_UP:
            return
        self._delays.append(((mediaClock() - frame.timestamp) & 0xFFFFFFFFFFFF) / 1e6)
        if self._began is None:
            self._began = Mark(now, cpuSeconds(), self._frames)
        elif now >= self._began.at + self._seconds:
            self._ended = Mark(now, cpuSeconds(), self._frames)

    def report(self, peer: rs.Peer) -> dict[str, Any]:
        """
        All of it, once the stream is over.
        """
        assert self._began is not None, "no frame came"
        # The host stops at about the same time, and may be the first.
        ended = self._ended or Mark(boottime(), cpuSeconds(), self._frames)
        status = peer.status()
        return {
            **self._began.until(ended),
            "packets": status.packetsExpected,
            "late": status.packetsExpected - status.packetsInOrder,
            "frames": status.framesReceived,
            "lost": status.framesLost,
            "delays": self._delays,
        }


class Asking(End):
    """
    A viewer's end that sends one input event after another, each when the one before
    it has come back.
    """

    def __init__(self) -> None:
        super().__init__()
        self._returned: Deferred[None] | None = None

    def inputReceived(self, events: Sequence[rs.InputEvent]) -> None:
        returned, self._returned = self._returned, None
        assert returned is not None
        returned.callback(None)

    async def ask(self, peer: rs.Peer, reactor: Any, seconds: float) -> list[float]:
        """
        The round trips of so many seconds.
        """
        times: list[float] = []
        began = boottime()
        while (sent := boottime()) < began + WARM_UP + seconds:
            returned: Deferred[None] = Deferred()
            self._returned = returned
            peer.sendInput([rs.InputEvent(1, 30, 1)])
            await returned
            if sent >= began + WARM_UP:
                times.append(boottime() - sent)
            # From here, or each answer would be taken within the one before.
            await deferLater(reactor, 0)
        return times


async def viewer(reactor: Any, options: argparse.Namespace) -> None:
    """
    Connect, and say what came.
    """
    asking = options.task == "echo"
    end = Asking() if asking else Watching(options.seconds)
    peer = await rs.connect(
        reactor,
        options.code,
        end,
        identity=rs.Identity.generate("viewer"),
        udp=options.transport == "udp",
        tcp=options.transport == "tcp",
        tlsPort=None,
    )
    if isinstance(end, Asking):
        say(delays=await end.ask(peer, reactor, options.seconds))
        await peer.close()
        return
    await end.over
    say(**end.report(peer))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    The options.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.ends")
    add = parser.add_argument
    add("end", choices=("host", "viewer"))
    add("task", choices=("flood", "frames", "echo"))
    add("--address", default="127.0.0.1", help="of the host (%(default)s)")
    add("--code", default="", help="for the viewer")
    add("--ports", choices=tuple(PORTS), default="trains")
    add("--transport", choices=("udp", "tcp"), default="udp")
    add("--seconds", type=float, default=2.0, help="to measure (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Run one end.
    """
    options = parse(arguments)
    end = host if options.end == "host" else viewer

    def run(reactor: Any) -> Deferred[None]:
        useBoottime(reactor)
        return Deferred.fromCoroutine(end(reactor, options))

    with ExitStack() as patches:
        for name, instead in PORTS[options.ports].items():
            patches.enter_context(mock.patch(name, instead))
        react(run)


if __name__ == "__main__":
    main()
