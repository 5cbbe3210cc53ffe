"""
A peer: the thin shell around a `Link`, and what an application holds of it.

It repeats one loop, `Peer.pump`: hand the link's events over, send its packets,
arm its one timer.  Packets do not pass through the state machine; only what
changes a peer's state does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from rootstream.errors import LocalError
from rootstream.interfaces import IPath, IPeerReceiver, Transport
from rootstream.machine import PeerCore, PeerState, buildPeerMachine
from rootstream.protocol.events import (
    AudioFrame,
    AudioReceived,
    Closed,
    Command,
    Control,
    ControlReceived,
    DrillEnded,
    DrillReport,
    Event,
    Expired,
    Impaired,
    InitAnswered,
    InitLapsed,
    InitSent,
    InputEvent,
    InputReceived,
    KeyFrameWanted,
    PairingReceived,
    PathAuthenticated,
    PathDropped,
    PathMoved,
    PathNarrow,
    PathValidated,
    Recovered,
    SessionEstablished,
    Silent,
    Suspect,
    VideoFrame,
    VideoLost,
    VideoReceived,
)
from rootstream.protocol.link import GOODBYE, Link
from rootstream.protocol.status import LinkStatus
from rootstream.receiver import IRedialler, PeerReceiver, describePath
from rootstream.transport.netwatch import NetworkChange

__all__ = ["Peer"]

#: A timer that is early by more seconds is moved; one that is not fires in vain, which
#: costs less than to move it with every packet of a stream.
EARLY = 1.0

#: Seconds between two looks whether a stream has taken our goodbye.
FLUSH_INTERVAL = 0.01

_PeerMachine = buildPeerMachine()


class Peer:
    """
    One peer, connected or not.

    @ivar fingerprint: of its key, as users compare it.
    @ivar name: what its owner calls it; may be empty.
    @ivar rights: what a peer that dials us may do, by our list of peers.
    @ivar redialler: who dials it when it is gone; None for a peer that dials us.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        now: Callable[[], float],
        link: Link,
        fingerprint: str,
        name: str,
        forget: Callable[[Link], None],
    ) -> None:
        self._clock = clock
        self._now = now
        self._link = link
        self.fingerprint = fingerprint
        self.name = name
        self.rights: frozenset[str] = frozenset()
        #: Who takes part in a pairing exchange with this peer.
        self.pairing: Callable[[bytes], None] | None = None
        self._forget = forget
        self._receiver: IPeerReceiver = PeerReceiver()
        self.redialler: IRedialler | None = None
        self._machine = _PeerMachine(PeerCore(self._moved))
        self._moves: list[tuple[str, str, str]] = []
        self._timer: IDelayedCall | None = None
        self._timerAt = 0.0
        self._pumping = False
        self._again = False
        self._impaired = False
        self._handshakes: dict[IPath, Deferred[None]] = {}
        self._joining: dict[IPath, Deferred[None]] = {}
        self._whenConnected: list[Deferred[Peer]] = []
        self._whenClosed: list[Deferred[None]] = []
        self._whenDrained: list[Deferred[None]] = []
        self._drill: Deferred[DrillReport] | None = None
        #: Why the conversation ended, once it has.
        self.closed: Closed | None = None

    def __repr__(self) -> str:
        return f"<Peer {self.fingerprint} {self.state.value}>"

    # --- what applications call ---

    @property
    def state(self) -> PeerState:
        """
        The state now.
        """
        return self._machine.describe()

    @property
    def remote(self) -> bytes:
        """
        The peer's X25519 key.
        """
        return self._link.remote

    @property
    def connected(self) -> bool:
        """
        Whether media can be sent.
        """
        return self.state is PeerState.CONNECTED

    @property
    def silence(self) -> float:
        """
        Seconds since anything authentic came from the peer.
        """
        return self._link.silence(self._now())

    @property
    def instance(self) -> int | None:
        """
        A number that is another one when the peer has forgotten all that went before.
        """
        return self._link.peerInstance

    @property
    def inputWaiting(self) -> int:
        """
        How many calls of `sendInput` the peer has not acknowledged.
        """
        return self._link.inputWaiting

    def setReceiver(self, receiver: Any) -> None:
        """
        Hand everything that comes to ``receiver``, an `IPeerReceiver`.
        """
        self._receiver = receiver

    def sendVideo(self, frame: VideoFrame) -> bool:
        """
        Send one access unit; the first, and the first after a False, must be a
        key frame.

        Returns whether it was taken: False without a session, or when the path
        cannot keep up.  Raises `rootstream.errors.LocalError` when it is too large.
        """
        return self._send(frame)

    def sendAudio(self, frame: AudioFrame) -> bool:
        """
        Send one Opus packet.  Returns and raises as `sendVideo` does.
        """
        return self._send(frame)

    def sendInput(self, events: Sequence[InputEvent]) -> bool:
        """
        Send input events.  They arrive once and in order, also when the path
        changes meanwhile; False only when the conversation is over.
        """
        return self._send(tuple(events))

    def sendControl(self, control: Control) -> bool:
        """
        Send a command.  It arrives once and in order, as input does.
        """
        return self._send(control)

    def _send(
        self, media: VideoFrame | AudioFrame | Control | Sequence[InputEvent]
    ) -> bool:
        taken = self._link.send(media, self._now())
        self.pump()
        return taken

    def status(self) -> LinkStatus:
        """
        The counts and measurements of now.
        """
        return self._link.status()

    @property
    def acknowledgedAt(self) -> float:
        """
        When an acknowledgement last told anything new; 0 when none did.
        """
        return self._link.acknowledgedAt

    @property
    def waiting(self) -> bool:
        """
        Whether media that was sent is not acknowledged, nor given up.
        """
        return self._link.waiting

    def latency(self, frame: VideoFrame | AudioFrame) -> float | None:
        """
        Seconds from the capture of ``frame`` until now, or None before the peer's
        clock is known.  As exact as half the difference of the two directions'
        delays.
        """
        offset = self._link.clockOffset
        if offset is None:
            return None
        there = int(self._now() * 1_000_000) + offset
        ahead = (there - frame.timestamp) & 0xFFFFFFFFFFFF
        # A little ahead of us is an error of measurement, not nine years.
        return 0.0 if ahead >> 47 else ahead / 1e6

    def whenConnected(self) -> Deferred[Peer]:
        """
        Fires when the peer is connected; fails when it never will be.
        """
        waiting: Deferred[Peer] = Deferred(
            lambda cancelled: self._whenConnected.remove(cancelled)
        )
        self._whenConnected.append(waiting)
        if self.connected:
            self._fireConnected()
        return waiting

    def whenDrained(self) -> Deferred[None]:
        """
        Fires when all that was sent has arrived, or cannot any more.
        """
        waiting: Deferred[None] = Deferred(
            lambda cancelled: self._whenDrained.remove(cancelled)
        )
        self._whenDrained.append(waiting)
        self.pump()
        return waiting

    def drill(self, seconds: float = 3.0) -> Deferred[DrillReport]:
        """
        Rehearse a failure: for so long the session behaves as if UDP were dead, and
        what that does to it is measured.

        Fires once the session is back on UDP, at most 10 s after that time, or when
        the conversation ends.  Fails with `rootstream.errors.LocalError` when a drill
        runs already, or the session does not run on UDP.  Cancelling it lets UDP carry
        at once.
        """
        try:
            self._link.drill(Transport.UDP, seconds, self._now())
        except LocalError:
            return fail()
        waiting: Deferred[DrillReport] = Deferred(lambda _: self._endDrill())
        self._drill = waiting
        self.pump()
        return waiting

    def _endDrill(self) -> None:
        self._drill = None
        self._link.endDrill(self._now())
        self.pump()

    def close(self, text: str = "goodbye", code: int = GOODBYE) -> Deferred[None]:
        """
        Say goodbye.  Fires when that is sent; the peer is of no more use then.
        """
        waiting: Deferred[None] = Deferred()
        if self._link.finished:
            waiting.callback(None)
            return waiting
        self._whenClosed.append(waiting)
        self._link.close(code, text, self._now())
        self.pump()
        return waiting

    # --- what its owner calls ---

    def pair(self, message: bytes) -> None:
        """
        Send a message of the pairing exchange, which may be lost.
        """
        self._link.pair(message)
        self.pump()

    def restrict(self) -> None:
        """
        Let the peer do nothing but pair: media that it sends ends the session.
        """
        self._link.restrict()

    def binding(self, viewer: bool) -> bytes:
        """
        What only the two ends of this session have in common.
        """
        return self._link.binding(viewer)

    def dialled(self, cause: str) -> None:
        """
        An attempt begins.
        """
        self._happened(self._machine.dialled, cause)

    def attemptFailed(self, cause: str) -> None:
        """
        An attempt failed.
        """
        self._happened(self._machine.attemptFailed, cause)

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        """
        The next attempt is due.
        """
        self._tell("attemptScheduled", attempt, of, wait)

    def gaveUp(self, error: Exception) -> None:
        """
        The last attempt failed.  Whoever waits for a connection gets ``error``.
        """
        self._happened(self._machine.gaveUp, str(error))
        waiting, self._whenConnected = self._whenConnected, []
        for one in waiting:
            one.errback(error)
        self.abandon()

    def abandon(self) -> None:
        """
        Forget everything, without a word to the peer.
        """
        self._disarm()
        # First, or what is cancelled next would count as a failed attempt.
        redialler, self.redialler = self.redialler, None
        if redialler is not None:
            redialler.over()
        for path in list(self._handshakes):
            self._handshakes.pop(path).cancel()
        for path in self._link.paths:
            path.close()
        self._forget(self._link)
        for connected in list(self._whenConnected):
            connected.cancel()
        drained, self._whenDrained = self._whenDrained, []
        for one in drained:
            one.callback(None)
        if self._drill is not None:
            self._link.endDrill(self._now())
            self.pump()
        self._fireClosed()

    def _fireClosed(self) -> None:
        """
        Tell whoever closed us, once the kernel has the goodbye: the process may end
        next, and what is in a buffer of ours would go with it.
        """
        path = self._link.status().path
        if self._whenClosed and path is not None and path.backlog:
            self._clock.callLater(FLUSH_INTERVAL, self._fireClosed)
            return
        closed, self._whenClosed = self._whenClosed, []
        for one in closed:
            one.callback(None)

    def handshake(self, path: IPath) -> Deferred[None]:
        """
        Send INITs on ``path`` until the session is confirmed.  Cancelling stops
        that.  (`rootstream.transport.dial.IHandshaker`.)
        """
        waiting: Deferred[None] = Deferred(lambda _: self._abandonPath(path))
        self._handshakes[path] = waiting
        self._link.connect(path, self._now())
        self.pump()
        return waiting

    def _abandonPath(self, path: IPath) -> None:
        self._handshakes.pop(path, None)
        self._link.abandon(path)

    def join(self, path: IPath) -> Deferred[None]:
        """
        Make ``path``, which we dialled, a standby path of the session; fires when the
        peer has answered on it.  (`rootstream.transport.dial.IHandshaker`.)
        """

        def cancelled(_: Deferred[None]) -> None:
            self._joining.pop(path, None)

        waiting: Deferred[None] = Deferred(cancelled)
        self._joining[path] = waiting
        self._link.addPath(path, self._now())
        self.pump()
        return waiting

    @property
    def wantsStandby(self) -> bool:
        """
        Whether the session needs a TCP connection, beside UDP or at all.
        """
        return self.connected and self._link.wantsStandby

    def networkChanged(self, change: NetworkChange) -> None:
        """
        Ask all paths whether they carry.  Connections from an address that is gone
        do not, and would say so only after seconds.
        """
        for path in self._link.paths:
            if path.local in change.gone:
                path.close()
                self.pathLost(path, f"our address {path.local} is gone")
        self._link.networkChanged(self._now())
        self.pump()

    def pathLost(self, path: IPath, reason: str) -> None:
        """
        A connection ended.
        """
        if self.redialler is not None:
            self.redialler.pathLost(path)
        self._link.pathLost(path, reason, self._now())
        self.pump()

    def pump(self) -> None:
        """
        Let the link speak: events, packets, timer.  Call it after the link was
        given something.
        """
        if self._pumping:
            # An application that sends from within an event.
            self._again = True
            return
        self._pumping = True
        try:
            self._again = True
            while self._again:
                self._again = False
                self._pumpOnce()
        finally:
            self._pumping = False
        self._arm()

    def _pumpOnce(self) -> None:
        link = self._link
        while (event := link.nextEvent()) is not None:
            self._eventHappened(event)
        for path, packets in link.packetsToSend(self._now()):
            path.sendPackets(packets)
        while (event := link.nextEvent()) is not None:
            self._again = True
            self._eventHappened(event)
        if self._whenDrained and (link.drained or link.finished):
            waiting, self._whenDrained = self._whenDrained, []
            for one in waiting:
                one.callback(None)

    def _arm(self) -> None:
        at = self._link.nextTimer()
        if at is None:
            self._disarm()
            return
        early = at - self._timerAt
        if self._timer is not None and 0.0 <= early <= EARLY:
            return
        self._timerAt = at
        wait = max(0.0, at - self._now())
        if self._timer is not None:
            if early > 0.0:
                self._timer.reset(wait)
                return
            # To move it forward, the reactor would look for it among all timers.
            self._timer.cancel()
        self._timer = self._clock.callLater(wait, self._timerFired)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timerFired(self) -> None:
        self._timer = None
        self._link.timerFired(self._now())
        self.pump()

    # --- what the link tells ---

    def _eventHappened(self, event: Event) -> None:
        match event:
            case VideoReceived(frame):
                self._tell("videoReceived", frame)
            case AudioReceived(frame):
                self._tell("audioReceived", frame)
            case InputReceived(events):
                self._tell("inputReceived", events)
            case ControlReceived(control):
                if control.command is Command.REQUEST_KEYFRAME:
                    self._tell("keyFrameWanted")
                self._tell("controlReceived", control)
            case PairingReceived(message):
                if self.pairing is not None:
                    self.pairing(message)
            case KeyFrameWanted():
                self._tell("keyFrameWanted")
            case VideoLost():
                # Counted in the status; the link asks for a key frame itself.
                pass
            case PathAuthenticated(path):
                path.authenticated()
            case PathValidated(path):
                joined = self._joining.pop(path, None)
                if joined is not None:
                    joined.callback(None)
            case PathDropped(path):
                path.close()
            case PathMoved(path, cause):
                path.chosen()
                self._tell("pathChanged", *describePath(path), cause)
                if self.redialler is not None:
                    self.redialler.pathsChanged()
            case PathNarrow(path, size):
                self._log.info(
                    "Peer {peer}: large packets are lost on the way to {address}, "
                    "small ones are not: at most {size} bytes from now on.",
                    peer=self.fingerprint,
                    address=describePath(path)[1],
                    size=size,
                )
            case InitSent(path):
                transport, address = describePath(path)
                self._happened(
                    self._machine.initSent, f"INIT sent over {transport} to {address}"
                )
            case InitAnswered(path):
                transport, address = describePath(path)
                self._happened(
                    self._machine.initAnswered,
                    f"the peer dialled over {transport} from {address}",
                )
            case InitLapsed():
                self._happened(
                    self._machine.initLapsed, "the peer did not confirm its handshake"
                )
                if self.redialler is None:
                    self.abandon()
            case SessionEstablished():
                self._established(event)
            case Suspect():
                self._suspected(event)
            case Impaired():
                self._impairedBy(event)
            case Recovered(silence):
                cause = f"heard again after {silence:.1f} s"
                self._recovered(cause)
                self._happened(self._machine.resumed, cause)
                self._reached(None)
            case Silent(silence):
                self._lost(f"nothing heard for {silence:.0f} s")
            case Expired():
                self._lost("its keys are too old to use")
                if self.redialler is None:
                    self.abandon()
            case DrillEnded(report):
                waiting, self._drill = self._drill, None
                if waiting is not None:
                    waiting.callback(report)
            case Closed():
                self._closedBy(event)

    def _suspected(self, event: Suspect) -> None:
        cause = f"no acknowledgement for {event.silence:.2f} s"
        if event.standby is not None:
            transport, _ = describePath(event.standby)
            cause += f": everything goes out on {transport} as well"
        self._tell("pathSuspected", *describePath(event.path), cause)
        if event.standby is None and self.redialler is not None:
            self.redialler.suspect()

    def _impairedBy(self, event: Impaired) -> None:
        """
        What silence on all paths means: that they are not blocked one by one.
        """
        if event.transports:
            names = " and ".join(each.name for each in event.transports)
            verb = "are" if len(event.transports) > 1 else "is"
            cause = (
                f"{names} {verb} silent for {event.silence:.1f} s: "
                "the network or the peer is down"
            )
        else:
            cause = "the last connection was lost"
        self._log.info("Peer {peer}: {cause}.", peer=self.fingerprint, cause=cause)
        self._impaired = True
        self._tell("impaired", cause)
        if self.redialler is not None:
            self.redialler.impaired()

    def _recovered(self, cause: str) -> None:
        if self._impaired:
            self._impaired = False
            self._tell("recovered", cause)

    def _established(self, event: SessionEstablished) -> None:
        transport, _ = describePath(event.path)
        cause = f"handshake confirmed over {transport}"
        if event.restarted:
            cause += ", with a new instance of the peer"
        self._recovered(cause)
        self._happened(self._machine.confirmed, cause)
        self._reached(event.path)
        if event.restarted:
            self._tell("keyFrameWanted")

    def _reached(self, path: IPath | None) -> None:
        """
        Whoever dials has what he wanted.  The path that the session uses first:
        the dialler closes the others.
        """
        waiting = list(self._handshakes)
        waiting.sort(key=lambda one: one != path)
        for one in waiting:
            confirmed = self._handshakes.pop(one, None)
            if confirmed is not None:
                confirmed.callback(None)
        self._fireConnected()
        if self.redialler is not None:
            self.redialler.recovered()

    def _fireConnected(self) -> None:
        waiting, self._whenConnected = self._whenConnected, []
        for each in waiting:
            each.callback(self)

    def _lost(self, cause: str) -> None:
        self._happened(self._machine.lost, cause)
        if self.redialler is not None:
            self.redialler.lost(cause)

    def _closedBy(self, event: Closed) -> None:
        self.closed = event
        who = "the peer" if event.byPeer else "this side"
        self._happened(self._machine.closed, f"{who} closed: {event.text}")
        self.abandon()

    def _happened(self, tell: Callable[[str], None], cause: str) -> None:
        """
        Tell the machine, and the application where it moved once it is at rest:
        while it moves it cannot be asked for its state.
        """
        tell(cause)
        while self._moves:
            self._tell("stateChanged", *self._moves.pop(0))

    def _moved(self, old: PeerState, new: PeerState, cause: str) -> None:
        self._log.info(
            "Peer {peer}: {old} -> {new}: {cause}.",
            peer=self.fingerprint,
            old=old.value,
            new=new.value,
            cause=cause,
        )
        self._moves.append((old.value, new.value, cause))

    def _tell(self, what: str, *values: object) -> None:
        """
        Call the application.  Its bugs are logged and end nothing.
        """
        try:
            getattr(self._receiver, what)(*values)
        except Exception:
            self._log.failure(
                "The receiver of peer {peer} failed.", peer=self.fingerprint
            )
