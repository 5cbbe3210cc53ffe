"""
A TCP connection kept ready beside a session that runs on UDP.

When UDP stops carrying, a connection that is already there, and known to lead to the
peer, takes over within a few round trips; one that has to be dialled first costs the
picture most of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from rootstream.interfaces import IPath
from rootstream.peer import Peer

__all__ = ["Standby"]

#: Seconds until a connection that failed, or was lost, is dialled again: the first
#: wait, and what doubling ends at.
FIRST_WAIT = 1.0
LAST_WAIT = 60.0


class Standby:
    """
    Keeps one standby path of one peer.  ``dial`` makes a connection.
    """

    def __init__(
        self, reactor: Any, peer: Peer, dial: Callable[[], Deferred[IPath]]
    ) -> None:
        self._reactor = reactor
        self._peer = peer
        self._dial = dial
        self._path: IPath | None = None
        self._dialling: Deferred[IPath] | None = None
        self._later: IDelayedCall | None = None
        self._wait = FIRST_WAIT
        self._connectedAt = 0.0

    def want(self, atOnce: bool = False) -> None:
        """
        Dial, if the peer has use for a standby path and there is none.  ``atOnce``
        ends the wait after a failure.
        """
        if atOnce and self._later is not None:
            self._later.cancel()
            self._later = None
        idle = self._dialling is None and self._later is None and self._path is None
        if idle and self._peer.wantsStandby:
            dialling = self._dialling = self._dial()
            # After it is set: it may be over already.
            dialling.addCallbacks(self._connected, self._failed)

    def networkChanged(self) -> None:
        """
        What failed, or is being tried, was about another network: start over.
        """
        self._wait = FIRST_WAIT
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        self.want(atOnce=True)

    def lost(self, path: IPath) -> None:
        """
        A connection ended.
        """
        if path is self._path:
            self._path = None
            if self._reactor.seconds() >= self._connectedAt + LAST_WAIT:
                # It was of use: what ended it is not what ended the ones before.
                self._wait = FIRST_WAIT
            self._retry()

    def stop(self) -> None:
        """
        Dial no more.
        """
        if self._later is not None:
            self._later.cancel()
            self._later = None
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        path, self._path = self._path, None
        if path is not None:
            path.close()

    def _connected(self, path: IPath) -> None:
        self._dialling = None
        self._path = path
        self._connectedAt = self._reactor.seconds()
        self._peer.addPath(path)

    def _failed(self, reason: Failure) -> None:
        if self._dialling is not None:
            self._dialling = None
            self._retry()

    def _retry(self) -> None:
        self._later = self._reactor.callLater(self._wait, self._again)
        self._wait = min(self._wait * 2, LAST_WAIT)

    def _again(self) -> None:
        self._later = None
        self.want()
