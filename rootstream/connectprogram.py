"""
``rootstream connect``: what one host sends, into one sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from rootstream.client import connect
from rootstream.errors import (
    GaveUp,
    HandshakeTimeout,
    RootstreamError,
    SinkError,
)
from rootstream.eventlog import EventLog, Meter
from rootstream.forwarder import InputForwarder
from rootstream.identity import Code, Identity, formatCode, loadOrCreateIdentity
from rootstream.latency import Latencies
from rootstream.machine import PeerState
from rootstream.media import MediaSink, openSink
from rootstream.networks import NetworkMemory
from rootstream.pairing import pair
from rootstream.peer import Peer
from rootstream.peersfile import PeersFile
from rootstream.protocol.constants import DEFAULT_TLS_PORT
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame
from rootstream.service import EXIT_FAILED, EXIT_FAULT, Program, Watched
from rootstream.transport.clock import boottime
from rootstream.web.address import WebAddress

__all__ = ["ConnectProgram", "ConnectSettings"]


@dataclass(frozen=True, slots=True)
class ConnectSettings:
    """
    The options of ``rootstream connect``.
    """

    home: Path
    code: Code
    sink: str
    udp: bool = True
    tcp: bool = True
    tlsPort: int | None = DEFAULT_TLS_PORT
    standby: bool = True
    #: The phrase that the host shows, to pair before watching.
    pair: str | None = None


class ConnectProgram(Program):
    """
    A host as its viewer sees it, and what the events file says of it.

    Ends with status 0 when the host says goodbye, 3 when it was given up on.
    """

    role = "connect"

    def __init__(
        self,
        reactor: Any,
        settings: ConnectSettings,
        out: IO[str],
        err: IO[str],
        events: str | None = None,
        duration: float | None = None,
        record: str | None = None,
        web: WebAddress | None = None,
    ) -> None:
        super().__init__(reactor, out, err, events, duration, record, web)
        self._settings = settings
        self._connecting: Deferred[None] | None = None
        self._peer: Peer | None = None
        self._meter: Meter | None = None
        self._latencies = Latencies()
        self._sink: MediaSink | None = None
        self._sinkError: SinkError | None = None
        if settings.sink == "-":
            # Before anything is logged: standard output is the stream's from now on.
            self._openSink()

    @property
    def home(self) -> Path:
        return self._settings.home

    @property
    def peers(self) -> Sequence[Peer]:
        return (self._peer,) if self._peer is not None else ()

    @property
    def awaited(self) -> str | None:
        dialling = self._connecting is not None and self._peer is None
        return self._settings.code.key.fingerprint if dialling else None

    def _openSink(self) -> None:
        try:
            self._sink = openSink(
                self._settings.sink,
                reactor=self._reactor,
                failed=self.fault,
                wantKeyFrame=self.wantKeyFrame,
            )
        except SinkError as error:
            self._sinkError = error

    @property
    def inputGoes(self) -> str | None:
        return "sent"

    def wantKeyFrame(self) -> None:
        if self._peer is not None:
            self._peer.sendControl(Control(Command.REQUEST_KEYFRAME))

    def latencyOf(self, frame: VideoFrame | AudioFrame) -> float | None:
        return self._peer.latency(frame) if self._peer is not None else None

    def order(self, peer: Peer, command: Command, value: int) -> None:
        if command is Command.DISCONNECT:
            self.finish(0)
        else:
            peer.sendControl(Control(command, value))

    def begin(self) -> None:
        settings = self._settings
        identity = loadOrCreateIdentity(settings.home)
        if self._sink is None and self._sinkError is None:
            self._openSink()
        if self._sink is None:
            assert self._sinkError is not None
            raise self._sinkError
        if settings.pair is None:
            connecting = self._dial(identity)
        else:
            connecting = self._pair(settings.pair, identity)
        self._connecting = connecting.addCallbacks(
            self._connected, self._neverConnected
        )

    def _pair(self, phrase: str, identity: Identity) -> Deferred[Peer]:
        """
        Prove the phrase first, and keep the host's code by its name.
        """
        settings = self._settings

        def paired(name: str) -> Deferred[Peer]:
            key = settings.code.key
            word = formatCode(key, settings.code.host, settings.code.port)
            peers = PeersFile(settings.home / "peers")
            # It need not be let in here for that.
            peers.add(key, word, frozenset(), name)
            self._events.write(
                "paired",
                key.fingerprint,
                name=name,
                rights="none",
                text=f"paired with {name or 'a machine'}",
            )
            self.say(f"Paired with {key.fingerprint} {name}".rstrip() + ".")
            return self._dial(identity)

        self.say("Pairing: proving the phrase to the host.")
        return pair(
            self._reactor,
            settings.code,
            phrase,
            identity=identity,
            udp=settings.udp,
            tcp=settings.tcp,
            tlsPort=settings.tlsPort,
        ).addCallback(paired)

    def _dial(self, identity: Identity) -> Deferred[Peer]:
        settings = self._settings
        assert self._sink is not None
        fingerprint = settings.code.key.fingerprint
        self._screen = _Screen(self, fingerprint, self._events)
        self.tee.add(self._sink)
        return connect(
            self._reactor,
            settings.code,
            self._screen,
            identity=identity,
            udp=settings.udp,
            tcp=settings.tcp,
            tlsPort=settings.tlsPort,
            standby=settings.standby,
            memory=NetworkMemory(settings.home, identity),
        )

    def _connected(self, peer: Peer) -> None:
        self._peer = peer
        self._meter = Meter(boottime(), sending=False)
        self._forwarder = InputForwarder(peer)

    def _neverConnected(self, reason: Failure) -> None:
        error = reason.value
        if reason.check(CancelledError) or error is None:
            return
        if isinstance(error, RootstreamError):
            away = isinstance(error, (GaveUp, HandshakeTimeout))
            self.fault(error, EXIT_FAILED if away else EXIT_FAULT)
        else:
            reason.raiseException()

    def frameReceived(self, frame: VideoFrame) -> None:
        """
        A picture came.
        """
        self.tee.video(frame)
        latency = self._peer.latency(frame) if self._peer is not None else None
        if latency is not None:
            self._latencies.add(latency)

    def stateChanged(self, new: str, cause: str) -> None:
        """
        The host came or went.
        """
        self.say(f"{new}: {cause}")
        peer = self._peer
        if peer is None:
            # It was never there: `_neverConnected` says how that ends.
            return
        if new == PeerState.FAILED.value:
            self.fault(GaveUp(cause), EXIT_FAILED)
        elif peer.closed is not None and peer.closed.byPeer:
            self.finish(0)

    def tick(self) -> None:
        if self._peer is not None and self._meter is not None:
            latency = self._latencies.takeMedian()
            self.measure(self._peer, self._meter, latency_ms=latency)
            self._screen.look()

    def cleanUp(self) -> Deferred[Any]:
        ending: Deferred[Any] = succeed(None)
        if self._peer is not None:
            ending = self._peer.close("the viewer was stopped")
        elif self._connecting is not None:
            self._connecting.cancel()
        # What comes during the goodbye is still written: it counts as received.
        return ending.addBoth(self._closeSink).addBoth(self._over)

    def _closeSink(self, _: object) -> Deferred[None] | None:
        return self._sink.close() if self._sink is not None else None

    def _over(self, _: object) -> None:
        if self._peer is not None:
            status = self._peer.status()
            self.summarise(
                sent=status.framesSent,
                received=status.framesReceived,
                lost=status.framesLost,
                size=status.bytesReceived,
                path=status.path,
                latency_p50_ms=self._latencies.percentile(0.5),
                latency_p99_ms=self._latencies.percentile(0.99),
            )
        elif self._connecting is not None:
            self.summarise()


class _Screen(Watched):
    """
    What a host sends to a viewer.
    """

    def __init__(
        self,
        program: ConnectProgram,
        fingerprint: str,
        events: EventLog,
    ) -> None:
        super().__init__(fingerprint, events)
        self._program = program

    def videoReceived(self, frame: VideoFrame) -> None:
        super().videoReceived(frame)
        self._program.frameReceived(frame)

    def audioReceived(self, frame: AudioFrame) -> None:
        self._program.tee.audio(frame)

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        super().stateChanged(old, new, cause)
        self._program.stateChanged(new, cause)
