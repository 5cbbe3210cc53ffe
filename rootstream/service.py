"""
What the programs ``host``, ``connect`` and ``demo`` share: they start and stop in
order, say what happens, and write it down.

A fault of this side is said in one line, and the program ends with status 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rootstream import __version__
from rootstream.control import ControlSocket, Question
from rootstream.errors import LocalError, RootstreamError
from rootstream.eventlog import Entry, EventLog, Meter
from rootstream.forwarder import InputForwarder
from rootstream.interfaces import IPath
from rootstream.machine import PeerState
from rootstream.orders import orderPeers
from rootstream.peer import Peer
from rootstream.pictures import PictureWatch
from rootstream.protocol.events import AudioFrame, Command, InputEvent, VideoFrame
from rootstream.receiver import PeerReceiver, describePath
from rootstream.recording import Recordings
from rootstream.rehearsal import drillPeers
from rootstream.status import PeerStatus, ProgramStatus
from rootstream.tee import Tee
from rootstream.transport.clock import boottime
from rootstream.transport.netwatch import NetworkChange, watchNetwork
from rootstream.web.address import WebAddress
from rootstream.web.server import WebServer

__all__ = ["EXIT_FAILED", "EXIT_FAULT", "Program", "Watched"]

EXIT_FAULT = 1
EXIT_FAILED = 3

#: Peers of which the last event is kept, until those who are gone are forgotten.
MAX_MOVED = 256
#: Seconds that goodbyes and half-written files may take at the end.
STOP_TIMEOUT = 1.5


class Program(Service):
    """
    What the three programs share: events, statistics, duration, commands, recording,
    and an end.

    @ivar exitStatus: what the ``rootstream`` command exits with.
    @ivar tee: the stream, for all who take it here.
    @ivar commands: what a program that runs can be asked, by name: functions that are
        given the object that came and return a Deferred of the one to answer.  They
        raise `RootstreamError` in words.
    """

    _log = Logger()
    #: What `ProgramStatus.role` says.
    role = ""

    def __init__(
        self,
        reactor: Any,
        out: IO[str],
        err: IO[str],
        events: str | None = None,
        duration: float | None = None,
        record: str | None = None,
        web: WebAddress | None = None,
    ) -> None:
        self._reactor = reactor
        self._record = record
        self._webAddress = web
        self._web: WebServer | None = None
        self._out: IO[str] | None = out
        self._err = err
        self._eventsPath = events
        self._events = EventLog(None)
        self._duration = duration
        self._statistics: LoopingCall | None = None
        self._end: IDelayedCall | None = None
        self._unwatch: Callable[[], None] | None = None
        self._control: ControlSocket | None = None
        self._startedAt = 0.0
        self._ending = False
        self._measured: dict[str, Mapping[str, Any]] = {}
        self._moved: dict[str, Entry] = {}
        self._forwarder: InputForwarder | None = None
        self.exitStatus = 0
        self.tee = Tee(self.wantKeyFrame)
        self.recordings = Recordings(self.tee, reactor, self._recordingChanged)
        self.commands: dict[str, Question] = {
            "status": self._tellStatus,
            "events": self._tellEvents,
            "drill": lambda asked: drillPeers(self.peers, asked, self._events),
            "control": lambda asked: orderPeers(self.peers, asked, self.order),
            "record": lambda asked: self.recordings.ask(asked, self.recordingsIn),
        }

    def startService(self) -> None:
        super().startService()
        self._startedAt = boottime()
        try:
            self._events = EventLog(self._eventsPath)
            self._events.subscribe(self._happened)
            # Before anybody acts on a change, it is written down.
            self._unwatch = watchNetwork(self._reactor, self._networkChanged)
            self.begin()
            if self._record is not None:
                # As whoever asks from elsewhere can find it.
                self.recordings.start(str(Path(self._record).absolute()))
            self._openPage()
        except RootstreamError as error:
            self.fault(error)
            return
        self._statistics = LoopingCall(self.tick)
        self._statistics.clock = self._reactor
        self._statistics.start(1.0, now=False)
        if self._duration is not None:
            self._end = self._reactor.callLater(self._duration, self.finish, 0)
        if self.home is not None:
            self._control = ControlSocket(self._reactor, self.home, self.commands)
            self._control.open()

    @property
    def home(self) -> Path | None:
        """
        The directory in which the program can be reached while it runs, if any.
        """
        return None

    @property
    def peers(self) -> Sequence[Peer]:
        """
        The peers that there are.
        """
        return ()

    @property
    def events(self) -> EventLog:
        """
        What happened; another one once the program has started.
        """
        return self._events

    @property
    def recordingsIn(self) -> Path:
        """
        The directory for recordings that are given no path.
        """
        return self.home / "recordings" if self.home is not None else Path()

    def _openPage(self) -> None:
        if self._webAddress is None:
            return
        self._web = WebServer(self._reactor, self, self._webAddress, self.home)
        # Said, and nowhere written down: the link lets in whoever has it (F95).
        self.say(f"Page: {self._web.open()}")

    def latencyOf(self, frame: VideoFrame | AudioFrame) -> float | None:
        """
        Seconds since a frame of the tee was captured, where that is known.
        """
        return None

    def wantKeyFrame(self) -> None:
        """
        Somebody can take the stream only from a key frame on.
        """
        raise NotImplementedError

    def order(self, peer: Peer, command: Command, value: int) -> None:
        """
        The user of this program wants something done about the stream of a peer.
        """
        raise NotImplementedError

    def sendInput(self, events: Sequence[InputEvent]) -> None:
        """
        Send what the user of this program does to the host that it watches.

        :raises LocalError: if it watches none.
        """
        if self._forwarder is None:
            raise LocalError("there is no host to send input to")
        self._forwarder.send(events)

    def releaseInput(self) -> None:
        """
        That user went away: let go of all that is held.
        """
        if self._forwarder is not None:
            self._forwarder.releaseAll()

    def _networkChanged(self, change: NetworkChange) -> None:
        self._events.write("network", cause=change.cause)

    def _recordingChanged(self, text: str, file: str | None, failed: bool) -> None:
        self._events.write("recording", file=file, text=text)
        if failed:
            self._log.warn("{text}.", text=text)
        self.say(f"{text}.")

    def _happened(self, entry: Entry) -> None:
        if entry["event"] in ("state", "path", "picture"):
            self._moved[entry["peer"]] = entry
            if len(self._moved) > MAX_MOVED:
                # Also when nobody asks how it goes, strangers cannot make it grow.
                self._forgetGone()

    # --- what it is doing ---

    def status(self) -> ProgramStatus:
        """
        What the program is doing now.
        """
        self._forgetGone()
        peers = tuple(map(self._statusOf, self.peers))
        if not peers and self.awaited is not None:
            peers = (self._statusOfAwaited(self.awaited),)
        return ProgramStatus(
            role=self.role,
            version=__version__,
            uptime_s=round(self.seconds, 3),
            peers=peers,
            recording=self.recordings.file,
            input=self.inputGoes,
            weather=self.weather,
        )

    def _forgetGone(self) -> None:
        """
        What is known of those who are gone is of no more use.
        """
        there = {peer.fingerprint for peer in self.peers} | {self.awaited}
        for known in (self._measured, self._moved):
            for gone in known.keys() - there:
                del known[gone]

    @property
    def awaited(self) -> str | None:
        """
        The fingerprint of a peer that has not been reached yet, if there is one.
        """
        return None

    @property
    def inputGoes(self) -> str | None:
        """
        What becomes of input events, if anything.
        """
        return None

    @property
    def weather(self) -> str | None:
        """
        What the network is like, where that is this program's doing.
        """
        return None

    def _statusOf(self, peer: Peer) -> PeerStatus:
        link = peer.status()
        fields = self._measured.get(peer.fingerprint, {}) if peer.connected else {}
        moved = self._moved.get(peer.fingerprint)
        transport, address = None, None
        if link.path is not None and peer.connected:
            transport, address = describePath(link.path)
        roundTrip = link.roundTrip
        return PeerStatus(
            fingerprint=peer.fingerprint,
            name=peer.name,
            state=peer.state.value,
            transport=transport,
            address=address,
            rtt_ms=round(roundTrip * 1000, 3) if roundTrip is not None else None,
            jitter_ms=fields.get("jitter_ms"),
            loss=fields.get("loss"),
            mbit_s=fields.get("mbit_s"),
            fps=fields.get("fps"),
            latency_ms=fields.get("latency_ms"),
            frames=fields.get("frames", 0),
            lost=link.framesLost + link.framesDropped,
            bytes=fields.get("bytes", 0),
            since=round(boottime() - moved["mono"], 3) if moved is not None else None,
            cause=moved["text"] if moved is not None else "",
            rights=tuple(sorted(getattr(peer, "rights", ()))),
        )

    def _statusOfAwaited(self, fingerprint: str) -> PeerStatus:
        moved = self._moved.get(fingerprint)
        return PeerStatus(
            fingerprint=fingerprint,
            name="",
            state=(moved or {}).get("to", PeerState.DISCOVERED.value),
            transport=None,
            address=None,
            rtt_ms=None,
            jitter_ms=None,
            loss=None,
            mbit_s=None,
            fps=None,
            latency_ms=None,
            frames=0,
            lost=0,
            bytes=0,
            since=round(boottime() - moved["mono"], 3) if moved is not None else None,
            cause=moved["text"] if moved is not None else "",
        )

    def _tellStatus(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        return succeed(self.status().asDict())

    def _tellEvents(self, asked: Mapping[str, Any]) -> Deferred[Any]:
        return succeed({"events": list(self._events.history)})

    def reload(self) -> None:
        """
        Read again what its user may have changed.
        """

    def begin(self) -> None:
        """
        Start; raises `RootstreamError` when that cannot be.
        """
        raise NotImplementedError

    def tick(self) -> None:
        """
        A second has passed.
        """
        raise NotImplementedError

    def cleanUp(self) -> Deferred[Any]:
        """
        Say goodbye, finish files, write the summary.
        """
        raise NotImplementedError

    def say(self, line: str) -> None:
        """
        Tell the user one line.
        """
        if self._out is None:
            return
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except OSError:
            # Whoever read it went away (`| head`); the stream goes on.
            self._out = None

    def fault(self, error: BaseException, status: int = EXIT_FAULT) -> None:
        """
        Something went wrong: say it in one line and end.
        """
        self._events.write("error", message=str(error))
        self._err.write(f"rootstream: {error}\n")
        self._err.flush()
        self.finish(status)

    def finish(self, status: int) -> None:
        """
        End the program, once.
        """
        # Also of what fails while it ends, such as the last write to a full disk.
        self.exitStatus = self.exitStatus or status
        if self._ending:
            return
        self._ending = True
        # The reactor may not be running yet, and then cannot be stopped.
        self._reactor.callWhenRunning(self._stopReactor)

    def _stopReactor(self) -> None:
        if self._reactor.running:
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._ending = True
        if self._control is not None:
            self._control.close()
        if self._statistics is not None and self._statistics.running:
            self._statistics.stop()
        if self._end is not None and self._end.active():
            self._end.cancel()
        if self._unwatch is not None:
            self._unwatch()
        # What takes too long is left: the process must end.
        endings = [self.cleanUp(), self.recordings.stop()]
        if self._web is not None:
            endings.append(self._web.close())
        over = DeferredList(endings, consumeErrors=True)
        over.addTimeout(STOP_TIMEOUT, self._reactor)
        return over.addBoth(lambda _: self._events.close())

    def measure(self, peer: Peer, meter: Meter, **more: object) -> dict[str, object]:
        """
        Write the ``stats`` event of one peer, with the fields of ``more`` as well, and
        return what was measured.
        """
        fields = meter.take(peer.status(), boottime())
        self._measured[peer.fingerprint] = {**fields, **more}
        self._events.write("stats", peer.fingerprint, **fields, **more)
        return fields

    def summarise(
        self,
        *,
        sent: int = 0,
        received: int = 0,
        lost: int = 0,
        size: int = 0,
        path: IPath | None = None,
        **more: object,
    ) -> None:
        """
        Write the ``summary`` event: video frames sent, received and lost, and bytes
        of the direction that the media flowed in; with the fields of ``more`` as well.
        """
        self._events.write(
            "summary",
            None,
            frames_sent=sent,
            frames_received=received,
            frames_lost=lost,
            bytes=size,
            seconds=round(self.seconds, 3),
            transport=path.transport.name.lower() if path is not None else None,
            **more,
        )

    @property
    def seconds(self) -> float:
        """
        How long the program has run.
        """
        return boottime() - self._startedAt


class Watched(PeerReceiver):
    """
    A receiver that writes a peer's history into the events file.
    """

    def __init__(
        self, fingerprint: str, events: EventLog, peer: Peer | None = None
    ) -> None:
        super().__init__(peer)
        self._fingerprint = fingerprint
        self._events = events
        self._pictures = PictureWatch(self._pictureStopped)

    def videoReceived(self, frame: VideoFrame) -> None:
        self._pictures.came(boottime())

    def look(self) -> None:
        """
        A second has passed.
        """
        self._pictures.look(boottime())

    def _pictureStopped(self, gap: float, cause: str) -> None:
        self._stopped(gap, cause, "pictures")

    def _stopped(self, gap: float, cause: str, what: str) -> None:
        self._events.write(
            "picture", self._fingerprint, gap_s=round(gap, 3), gap_of=what, cause=cause
        )

    def _disturbed(self, event: str, **fields: object) -> str:
        """
        Something happened to the way to the peer.  Returns it in words.
        """
        words: str = self._events.write(event, self._fingerprint, **fields)["text"]
        self._pictures.disturbed(words, boottime())
        return words

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        self._events.write(
            "state", self._fingerprint, **{"from": old, "to": new, "cause": cause}
        )

    def pathChanged(self, transport: str, address: str, cause: str) -> None:
        self._disturbed("path", transport=transport, address=address, cause=cause)

    def pathSuspected(self, transport: str, address: str, cause: str) -> None:
        self._disturbed("suspect", transport=transport, address=address, cause=cause)

    def impaired(self, cause: str) -> None:
        self._disturbed("impaired", cause=cause)

    def recovered(self, cause: str) -> None:
        self._disturbed("recovered", cause=cause)

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        self._events.write("attempt", self._fingerprint, n=attempt, of=of, wait_s=wait)
