"""
Noticing that the network has changed, or that the machine has slept.

A session finds out by itself that a path carries no more, and after a while that it
carries again.  Being told is faster: a new address, a cable plugged in, a lid opened
are known to the kernel at once.

There is one watch for each reactor, however many peers it has, and none while
nobody asks for it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from rootstream.transport.clock import boottime
from rootstream.transport.netlink import subscribe
from rootstream.transport.network import Snapshot, describeChange, takeSnapshot

__all__ = ["NetworkChange", "NetworkWatch", "watchNetwork"]

#: Seconds from the kernel's first word to our look.  A change is a burst of messages
#: (link, addresses, routes), and the first of them is not the time to dial. [P]
SETTLING = 0.1

#: Seconds between two looks whether the machine has slept.
SLEEP_CHECK = 1.0
#: Two clocks that are not read at the same time differ by less. [P]
SLEEP_MINIMUM = 0.5

#: Of messages that came while the network settled, thrown away at a time.
_DRAINED_AT_ONCE = 1024
_MESSAGE = 64 << 10


@dataclass(frozen=True, slots=True)
class NetworkChange:
    """
    The network is not what it was: why we think so, in words, and the addresses that
    this machine had and has no more.
    """

    cause: str
    gone: frozenset[str] = frozenset()


def slept() -> float:
    """
    Seconds that the machine has spent in suspend since it was booted.
    """
    return boottime() - time.clock_gettime(time.CLOCK_MONOTONIC)


@implementer(IReadDescriptor)
class NetworkWatch:
    """
    Tells its subscribers when the network has changed.

    Where netlink is missing or forbidden it notices suspend alone, and says so once.
    ``look``, ``subscribe`` and ``slept`` are what a test replaces.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        look: Callable[[], Snapshot] = takeSnapshot,
        subscribe: Callable[[], socket.socket] = subscribe,
        slept: Callable[[], float] = slept,
    ) -> None:
        self._reactor = reactor
        self._look = look
        self._subscribe = subscribe
        self._slept = slept
        self._subscribers: dict[object, Callable[[NetworkChange], None]] = {}
        self._socket: socket.socket | None = None
        self._snapshot = Snapshot()
        self._settling: IDelayedCall | None = None
        self._sleptBefore = 0.0
        self._sleepCheck = LoopingCall(self._checkSleep)
        self._sleepCheck.clock = reactor

    def add(self, changed: Callable[[NetworkChange], None]) -> Callable[[], None]:
        """
        Tell ``changed`` of each change from now on; returns what ends that.  The
        first one to be added starts the watch, the last one to end stops it.
        """
        if not self._subscribers:
            self._start()
        # The same function may be added twice.
        token = object()
        self._subscribers[token] = changed

        def end() -> None:
            if self._subscribers.pop(token, None) and not self._subscribers:
                self._stop()

        return end

    @property
    def watching(self) -> bool:
        """
        Whether anybody wants to be told.
        """
        return bool(self._subscribers)

    def _start(self) -> None:
        self._sleptBefore = self._slept()
        self._sleepCheck.start(SLEEP_CHECK, now=False)
        try:
            # In this order: what changes in between makes the socket readable.
            self._socket = self._subscribe()
            self._snapshot = self._look()
        except OSError as error:
            self._blind(error)
        else:
            self._reactor.addReader(self)

    def _stop(self) -> None:
        self._sleepCheck.stop()
        self._close()

    def _close(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        skt, self._socket = self._socket, None
        if skt is not None:
            self._reactor.removeReader(self)
            skt.close()

    def _blind(self, error: OSError) -> None:
        self._close()
        self._log.warn(
            "Changes of the network are not noticed here ({reason}): a return to "
            "it may take seconds longer.",
            reason=error.strerror,
        )

    # --- the kernel has something to say ---

    def doRead(self) -> None:
        # What it is follows from the next look, so nothing is read until then: a
        # storm of changes costs no more than one.
        self._reactor.removeReader(self)
        if self._settling is None:
            self._settling = self._reactor.callLater(SETTLING, self._settled)

    def _settled(self) -> None:
        self._settling = None
        try:
            self._drain()
            before, self._snapshot = self._snapshot, self._look()
        except OSError as error:
            self._blind(error)
            return
        self._reactor.addReader(self)
        after = self._snapshot
        if after != before:
            self._tell(
                NetworkChange(describeChange(before, after), before.own - after.own)
            )

    def _drain(self) -> None:
        assert self._socket is not None
        for _ in range(_DRAINED_AT_ONCE):
            try:
                self._socket.recv(_MESSAGE)
            except BlockingIOError:
                return
            except OSError:
                # ENOBUFS: there was more than the socket could hold.  The look that
                # follows tells all the same.
                continue

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:
        return "Network"

    def connectionLost(self, reason: Failure) -> None:
        if self._socket is not None and reason.check(ConnectionDone):
            # epoll's word for a pending error, of which ENOBUFS is the only one.
            self.doRead()
        else:
            # The reactor is shutting down.
            self._close()

    # --- the machine has slept ---

    def _checkSleep(self) -> None:
        before, self._sleptBefore = self._sleptBefore, self._slept()
        seconds = self._sleptBefore - before
        if seconds >= SLEEP_MINIMUM:
            self._tell(NetworkChange(f"resumed from suspend after {seconds:.0f} s"))

    def _tell(self, change: NetworkChange) -> None:
        self._log.info("The network changed: {cause}.", cause=change.cause)
        for token, changed in list(self._subscribers.items()):
            if token not in self._subscribers:
                # Ended by what another one did.
                continue
            try:
                changed(change)
            except Exception:
                self._log.failure("A change of the network was not taken.")


#: The watches in use, by reactor.  An application has one.
_watches: dict[Any, NetworkWatch] = {}


def watchNetwork(
    reactor: Any, changed: Callable[[NetworkChange], None]
) -> Callable[[], None]:
    """
    Tell ``changed`` of each change of the network, until what is returned is called;
    calling that again does no harm.
    """
    watch = _watches.get(reactor)
    if watch is None:
        watch = _watches[reactor] = NetworkWatch(reactor)
    end = watch.add(changed)

    def ended() -> None:
        end()
        if not watch.watching and _watches.get(reactor) is watch:
            del _watches[reactor]

    return ended
