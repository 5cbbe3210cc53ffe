"""
What the programs ``host``, ``connect`` and ``demo`` share: they start and stop in
order, say what happens, and write it down.

A fault of this side is said in one line, and the program ends with status 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall

from rootstream.control import ControlSocket
from rootstream.errors import RootstreamError
from rootstream.eventlog import EventLog, Meter
from rootstream.interfaces import IPath
from rootstream.peer import Peer, PeerReceiver
from rootstream.rehearsal import drillPeers
from rootstream.transport.clock import boottime
from rootstream.transport.netwatch import NetworkChange, watchNetwork

__all__ = ["EXIT_FAILED", "EXIT_FAULT", "Program", "Watched"]

EXIT_FAULT = 1
EXIT_FAILED = 3

#: Seconds that goodbyes and half-written files may take at the end.
STOP_TIMEOUT = 1.5


class Program(Service):
    """
    What the three programs share: events, statistics, duration, and an end.

    @ivar exitStatus: what the ``rootstream`` command exits with.
    """

    def __init__(
        self,
        reactor: Any,
        out: IO[str],
        err: IO[str],
        events: str | None = None,
        duration: float | None = None,
    ) -> None:
        self._reactor = reactor
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
        self.exitStatus = 0

    def startService(self) -> None:
        super().startService()
        self._startedAt = boottime()
        try:
            self._events = EventLog(self._eventsPath)
            # Before anybody acts on a change, it is written down.
            self._unwatch = watchNetwork(self._reactor, self._networkChanged)
            self.begin()
        except RootstreamError as error:
            self.fault(error)
            return
        self._statistics = LoopingCall(self.tick)
        self._statistics.clock = self._reactor
        self._statistics.start(1.0, now=False)
        if self._duration is not None:
            self._end = self._reactor.callLater(self._duration, self.finish, 0)
        if self.home is not None:
            self._control = ControlSocket(
                self._reactor,
                self.home,
                {"drill": lambda asked: drillPeers(self.peers, asked, self._events)},
            )
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

    def _networkChanged(self, change: NetworkChange) -> None:
        self._events.write("network", cause=change.cause)

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
        over = self.cleanUp().addTimeout(STOP_TIMEOUT, self._reactor)
        return over.addBoth(lambda _: self._events.close())

    def measure(self, peer: Peer, meter: Meter, **more: object) -> dict[str, object]:
        """
        Write the ``stats`` event of one peer, with the fields of ``more`` as well, and
        return what was measured.
        """
        fields = meter.take(peer.status(), boottime())
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

    def stateChanged(self, old: str, new: str, cause: str) -> None:
        self._events.write(
            "state", self._fingerprint, **{"from": old, "to": new, "cause": cause}
        )

    def pathChanged(self, transport: str, address: str, cause: str) -> None:
        self._events.write(
            "path",
            self._fingerprint,
            transport=transport,
            address=address,
            cause=cause,
        )

    def pathSuspected(self, transport: str, address: str, cause: str) -> None:
        self._events.write(
            "suspect",
            self._fingerprint,
            transport=transport,
            address=address,
            cause=cause,
        )

    def impaired(self, cause: str) -> None:
        self._events.write("impaired", self._fingerprint, cause=cause)

    def recovered(self, cause: str) -> None:
        self._events.write("recovered", self._fingerprint, cause=cause)

    def attemptScheduled(self, attempt: int, of: int, wait: float) -> None:
        self._events.write("attempt", self._fingerprint, n=attempt, of=of, wait_s=wait)
