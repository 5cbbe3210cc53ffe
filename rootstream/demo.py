"""
``rootstream demo``: a host and a viewer on loopback, with identities of the moment.

Everything that a real stream goes through is in between: encoder, handshake,
encryption, sockets, and a network whose weather can be changed (`rootstream.wind`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.python.failure import Failure

from rootstream.authorized import AuthorizedPeers
from rootstream.broadcast import Broadcast
from rootstream.client import connect
from rootstream.errors import LocalError, RootstreamError, SourceError
from rootstream.eventlog import Entry, EventLog, Meter
from rootstream.forwarder import InputForwarder
from rootstream.host import Host
from rootstream.hostprogram import Viewer, openGate
from rootstream.identity import Code, Identity
from rootstream.inputgate import InputGate
from rootstream.latency import Latencies
from rootstream.media import openSource
from rootstream.media.h264 import parameterSets, parseSps
from rootstream.peer import Peer
from rootstream.protocol.events import AudioFrame, Command, Control, VideoFrame
from rootstream.service import Program, Watched
from rootstream.tee import Tee
from rootstream.transport.clock import boottime, mediaClock
from rootstream.weather import Forecast, Planned
from rootstream.web.address import WebAddress
from rootstream.wind import Wind

__all__ = ["DemoProgram"]

#: Events that the terminal shows, each in its words.
SHOWN = frozenset(("path", "impaired", "recovered", "picture"))


class DemoProgram(Program):
    """
    Both ends of one stream, and a line a second on how it goes.
    """

    role = "demo"

    def __init__(
        self,
        reactor: Any,
        out: IO[str],
        err: IO[str],
        events: str | None = None,
        duration: float | None = None,
        record: str | None = None,
        web: WebAddress | None = None,
        script: Sequence[Planned] = (),
        input: str = "off",
    ) -> None:
        super().__init__(reactor, out, err, events, duration, record, web)
        self._forecast = Forecast(script)
        self._wind: Wind | None = None
        self._input = input
        self._gate: InputGate | None = None
        self.commands["weather"] = self._askWeather
        self._host: Host | None = None
        self._broadcast: Broadcast | None = None
        self._viewer: Peer | None = None
        self._screen: _Screen | None = None
        self._connecting: Deferred[None] | None = None
        self._meter = Meter(0.0, sending=False)
        self._hostMeters: dict[Peer, Meter] = {}

    @property
    def peers(self) -> Sequence[Peer]:
        return (self._viewer,) if self._viewer is not None else ()

    def wantKeyFrame(self) -> None:
        if self._viewer is not None:
            self._viewer.sendControl(Control(Command.REQUEST_KEYFRAME))

    def latencyOf(self, frame: VideoFrame | AudioFrame) -> float | None:
        return self._viewer.latency(frame) if self._viewer is not None else None

    def order(self, peer: Peer, command: Command, value: int) -> None:
        if command is Command.DISCONNECT:
            self.finish(0)
        else:
            peer.sendControl(Control(command, value))

    def begin(self) -> None:
        here = Identity.generate("demo host")
        there = Identity.generate("demo viewer")
        self._host = Host(
            self._reactor,
            here,
            AuthorizedPeers(None, (), False, [there.key]),
            self._receiverFor,
            port=0,
            interface="127.0.0.1",
        )
        port = self._host.listen()
        self._events.write("listening", udp=port, tcp=port)
        self._gate = openGate(self._input, self._reactor, self._events)
        source = openSource("test", reactor=self._reactor, clock=mediaClock)
        self._broadcast = Broadcast(
            self._reactor, source, self._sourceEnded, Tee(lambda: None)
        )
        self._broadcast.open()
        self.say(f"Host {here.key.fingerprint} on 127.0.0.1, port {port}, UDP and TCP.")
        self.say(f"Viewer {there.key.fingerprint}; both keys are of this moment.")
        self.say("A moving test picture with sound, end to end. Ctrl-C ends it.")
        self._events.subscribe(partial(self._happening, here.key.fingerprint))
        self._screen = _Screen(here.key.fingerprint, self._events, self.tee)
        self._wind = Wind(self._reactor, port, self._forecast, self._weatherChanged)
        self._connecting = connect(
            self._reactor,
            Code(here.key, "127.0.0.1", self._wind.listen()),
            self._screen,
            identity=there,
            tlsPort=None,
        ).addCallbacks(self._connected, self._neverConnected)

    def _happening(self, host: str, entry: Entry) -> None:
        """
        Show what becomes of the stream, as its viewer sees it.
        """
        if entry["event"] in SHOWN and entry["peer"] == host:
            self.say(f"{entry['text']}.")

    @property
    def inputGoes(self) -> str | None:
        return self._input if self._gate is not None else None

    @property
    def weather(self) -> str:
        """
        What the network between the two does now, in words.
        """
        return str(self._forecast.weather)

    def setWeather(self, text: str) -> str:
        """
        Change the weather as a text like ``block udp`` says; returns `weather`.

        :raises LocalError: if the text means no weather, or the demo does not run.
        """
        if self._wind is None:
            raise LocalError("the demo has not begun: change its weather when it runs")
        return self._wind.change(text)

    def _askWeather(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        text = asked.get("text")
        if not isinstance(text, str):
            raise LocalError('"text" is the weather that there is to be')
        return succeed({"weather": self.setWeather(text)})

    def _weatherChanged(self, text: str) -> None:
        self._events.write("weather", text=text)
        self.say(f"Weather: {text}.")

    def _receiverFor(self, peer: Peer) -> Viewer:
        assert self._broadcast is not None
        return Viewer(
            peer,
            self._broadcast,
            self._events,
            self._came,
            self._gone,
            gate=self._gate,
        )

    def _came(self, peer: Peer) -> None:
        self._hostMeters[peer] = Meter(boottime(), sending=True)

    def _gone(self, peer: Peer, cause: str) -> None:
        self._hostMeters.pop(peer, None)

    def _connected(self, peer: Peer) -> None:
        self._viewer = peer
        assert self._screen is not None
        self._screen.peer = peer
        self._meter = Meter(boottime(), sending=False)
        self._forwarder = InputForwarder(peer)

    def _neverConnected(self, reason: Failure) -> None:
        if isinstance(reason.value, RootstreamError):
            self.fault(reason.value)

    def _sourceEnded(self, error: SourceError | None) -> None:
        if error is not None:
            self.fault(error)

    def tick(self) -> None:
        for peer, meter in self._hostMeters.items():
            self.measure(peer, meter)
        if self._viewer is None or self._screen is None:
            self.say("connecting")
            return
        latency = self._screen.latencies.takeMedian()
        fields = self.measure(self._viewer, self._meter, latency_ms=latency)
        self._screen.look()
        self.say(
            f"{self._viewer.state.value} {fields['transport']} "
            f"{self._screen.resolution} {fields['fps']:.0f} fps "
            f"{fields['mbit_s']:.2f} Mbit/s "
            f"RTT {_number(fields['rtt_ms'])} ms loss {fields['loss']:.1%} "
            f"latency {_number(latency)} ms"
        )

    def cleanUp(self) -> Deferred[Any]:
        endings: list[Deferred[Any]] = []
        if self._broadcast is not None:
            endings.append(self._broadcast.stop())
        if self._viewer is not None:
            endings.append(self._viewer.close("the demo is over"))
        elif self._connecting is not None:
            self._connecting.cancel()
        if self._host is not None:
            endings.append(self._host.close("the demo is over"))
        return DeferredList(endings, consumeErrors=True).addCallback(self._over)

    def _over(self, _: object) -> Deferred[None] | None:
        if self._gate is not None:
            self._gate.close()
        self._sumUp()
        # Not before: goodbyes go through it.
        return self._wind.close() if self._wind is not None else None

    def _sumUp(self) -> None:
        if self._viewer is None or self._broadcast is None:
            return
        if self._gate is not None:
            self.say(self._gate.describe())
        status = self._viewer.status()
        sent = self._broadcast.framesSent
        self.summarise(
            sent=sent,
            received=status.framesReceived,
            lost=status.framesLost,
            size=status.bytesReceived,
            path=status.path,
        )
        self.say(
            f"In {self.seconds:.1f} s: {sent} frames sent, "
            f"{status.framesReceived} received, {status.framesLost} lost, "
            f"{status.bytesReceived / 1e6:.1f} MB, all of it encrypted."
        )


def _number(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, float) else "?"


class _Screen(Watched):
    """
    The viewer's end: nothing is shown, but measured.
    """

    def __init__(self, fingerprint: str, events: EventLog, tee: Tee) -> None:
        super().__init__(fingerprint, events)
        self._tee = tee
        self.resolution = "?"
        self.latencies = Latencies()

    def audioReceived(self, frame: AudioFrame) -> None:
        self._tee.audio(frame)

    def videoReceived(self, frame: VideoFrame) -> None:
        super().videoReceived(frame)
        self._tee.video(frame)
        if self.peer is not None:
            latency = self.peer.latency(frame)
            if latency is not None:
                self.latencies.add(latency)
        if frame.keyFrame:
            sets = parameterSets(frame.data)
            info = parseSps(sets[0]) if sets is not None else None
            if info is not None:
                self.resolution = f"{info.width}x{info.height}"
