"""
A TCP connection beside a session that runs on UDP.

When UDP stops carrying, a connection that is already there, and known to lead to the
peer, takes over within a few round trips.  One that is dialled only when UDP is
suspect costs the picture a little more, and nothing as long as all is well: that is
the choice between a warm standby path and a cold one.
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

#: Seconds that a connection dialled for a suspicion is kept when UDP carries.
COLD_LIFE = 10.0


class Standby:
    """
    The standby path of one peer.  ``dial`` makes a connection.

    @ivar warm: keep one ready, rather than dial when it is needed.
    """

    def __init__(
        self,
        reactor: Any,
        peer: Peer,
        dial: Callable[[], Deferred[IPath]],
        *,
        warm: bool = True,
    ) -> None:
        self._reactor = reactor
        self._peer = peer
        self._dial = dial
        self.warm = warm
        self._path: IPath | None = None
        self._dialling: Deferred[IPath] | None = None
        self._later: IDelayedCall | None = None
        self._cooling: IDelayedCall | None = None
        self._wait = FIRST_WAIT
        self._connectedAt = 0.0

    def pathsChanged(self) -> None:
        """
        The session has begun, or runs on another path.
        """
        if self.warm:
            self._want()
        elif self._path is not None:
            self._cool()

    def needed(self) -> None:
        """
        Dial at once, if the peer has use for a connection and there is none.
        """
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._want()

    def _want(self) -> None:
        idle = self._dialling is None and self._later is None and self._path is None
        if idle and self._peer.wantsStandby:
            dialling = self._dialling = self._dial()
            # After it is set: it may be over already.
            dialling.addCallbacks(self._connected, self._failed)

    def networkChanged(self) -> None:
        """
        What failed, or is being tried, was on another network: start over.
        """
        self._wait = FIRST_WAIT
        dialling, self._dialling = self._dialling, None
        if dialling is not None:
            dialling.cancel()
        if dialling is not None or self.warm:
            self.needed()

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
        for call in (self._later, self._cooling):
            if call is not None:
                call.cancel()
        self._later = self._cooling = None
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
        if not self.warm:
            self._cool()

    def _cool(self) -> None:
        """
        Close the connection after a while, if it is not in use then.
        """
        if self._cooling is not None:
            self._cooling.cancel()
        self._cooling = self._reactor.callLater(COLD_LIFE, self._cooled)

    def _cooled(self) -> None:
        self._cooling = None
        path = self._path
        if path is not None and self._peer.status().path is not path:
            self._path = None
            path.close()

    def _failed(self, reason: Failure) -> None:
        if self._dialling is not None:
            self._dialling = None
            self._retry()

    def _retry(self) -> None:
        if self.warm:
            self._later = self._reactor.callLater(self._wait, self._again)
            self._wait = min(self._wait * 2, LAST_WAIT)

    def _again(self) -> None:
        self._later = None
        self._want()
