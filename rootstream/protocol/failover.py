"""
When the path in use stops carrying: notice, double, move; and when the better one
carries again: return (PROTOCOL, section 4).

What decides is progress of acknowledgements, not reception: a path that is blocked
in one direction is dead.  On *suspicion* nothing is given up yet.  What is not
acknowledged goes out again on the standby path, and all that is new goes out on
both, so that the picture goes on whichever of the two is alive; the receiver's
replay window drops the doubles.  Challenges on the suspect path tell whether it
carries after all, because an acknowledgement may have come by the other one.

This keeps the books and decides; `rootstream.protocol.packing` sends.
"""

from __future__ import annotations

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    CHALLENGE_ATTEMPTS,
    DEAD_AFTER,
    MAX_BACKLOG,
    PING_IDLE,
    PROBE_EAGER,
    PROBE_FACTOR,
    PROBE_FIRST,
    PROBE_LAST,
    PROBE_NEXT,
    PROBES_TO_RETURN,
    SUSPECT_AFTER,
)
from rootstream.protocol.paths import Paths, PathState

#: How often a challenge on a suspect path is repeated: until it is dead or not.
_UNTIL_DECIDED = 10


class Failover:
    """
    Which paths packets go out on, and when that changes.

    @ivar suspectSince: since when the path in use is suspect, or None.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.suspectSince: float | None = None
        #: Since when something waits for an acknowledgement, without any progress.
        self._waitingSince: float | None = None
        self._keepAliveAt = 0.0
        # The return to UDP.
        self._probed: PathState | None = None
        self._probeAt = 0.0
        self._probeInterval = PROBE_FIRST
        self._eagerUntil = 0.0
        self._answered = 0

    # --- what happens ---

    def sent(self, now: float) -> None:
        """
        Something that asks for an acknowledgement went out.
        """
        if self._waitingSince is None:
            self._waitingSince = now

    def acknowledged(self, now: float) -> None:
        """
        An acknowledgement told something new: the wait begins with what is sent next.
        While packets go out on two paths it does not tell which of them carried.
        """
        if self.doubled(now) is None:
            self._trust()

    def recovered(self) -> None:
        """
        The network was down, and is not any more: whether the path in use carries is
        to be seen anew.
        """
        self._trust()

    def moved(self, now: float, better: PathState | None = None) -> None:
        """
        Another path is in use: it has had no chance to disappoint yet.  ``better`` is
        one to return to, if there is one.
        """
        self._trust()
        self._probed = better
        self._answered = 0
        self._probeInterval = PROBE_FIRST
        self._probeAt = now + PROBE_FIRST
        self._eagerUntil = now + PROBE_EAGER
        self._keepAliveAt = now + PING_IDLE

    def responded(self, state: PathState, now: float) -> None:
        """
        A challenge on ``state`` came back.
        """
        if state is self._paths.current:
            self._trust()
        elif state is self._probed:
            self._answered += 1
            self._probeAt = now + PROBE_NEXT

    def _trust(self) -> None:
        """
        Nothing speaks against the path in use.
        """
        self.suspectSince = self._waitingSince = None

    # --- what follows ---

    @property
    def standby(self) -> PathState | None:
        """
        The path to go to when the one in use fails: validated, of the other
        transport if there is one, heard last.
        """
        current = self._paths.current
        if len(self._paths) < 2:
            # This is asked with every picture.
            return None
        others = [
            state
            for state in self._paths
            if state.validated and state is not current and state is not self._probed
        ]
        return max(
            others,
            key=lambda state: (
                current is None or state.path.transport != current.path.transport,
                state.lastHeard,
            ),
            default=None,
        )

    def doubled(self, now: float) -> PathState | None:
        """
        The path that all packets go out on as well: one that answers, while the one
        in use is asked whether it still does; or the standby path, while the one in
        use is suspect and not yet dead.
        """
        hopeful = self._paths.hopeful
        if hopeful is not None:
            return hopeful
        at = self._deadAt()
        if at is None or now >= at:
            return None
        standby = self.standby
        # What a dead connection is given only waits in it.
        if standby is None or standby.path.backlog > MAX_BACKLOG:
            return None
        return standby

    @property
    def _alive(self) -> PathState | None:
        """
        The standby path, if the peer was heard on it since the one in use is suspect.
        When neither carries it is the network that is down, and moving would help
        nobody.
        """
        since = self.suspectSince
        if since is None:
            return None
        standby = self.standby
        if standby is None or standby.lastHeard < since:
            return None
        return standby

    def becomesSuspect(self, roundTrip: float, now: float) -> bool:
        """
        Whether the path in use becomes suspect now.
        """
        at = self._suspectAt(roundTrip)
        if at is None or now < at or self._paths.current is None:
            return False
        self.suspectSince = now
        self._paths.challenge(self._paths.current, _UNTIL_DECIDED, now)
        standby = self.standby
        if standby is not None:
            self._paths.challenge(standby, CHALLENGE_ATTEMPTS, now)
        return True

    def silence(self, now: float) -> float:
        """
        For how many seconds something has waited for an acknowledgement.
        """
        return 0.0 if self._waitingSince is None else now - self._waitingSince

    def _suspectAt(self, roundTrip: float) -> float | None:
        if self.suspectSince is not None or self._waitingSince is None:
            return None
        return self._waitingSince + max(2 * roundTrip, SUSPECT_AFTER)

    def _deadAt(self) -> float | None:
        if self.suspectSince is None or self._waitingSince is None:
            return None
        return self._waitingSince + DEAD_AFTER

    def replacement(self, now: float) -> PathState | None:
        """
        The path to move to now, because the one in use is dead and it is not.
        """
        at = self._deadAt()
        return self._alive if at is not None and now >= at else None

    def keepsAlive(self, now: float) -> None:
        """
        Challenge the standby path now and then, so that nothing on its way forgets
        it, and a connection that has not answered so far.
        """
        kept = self._kept
        if kept and now >= self._keepAliveAt:
            self._keepAliveAt = now + PING_IDLE
            for state in kept:
                self._paths.challenge(state, CHALLENGE_ATTEMPTS, now)

    @property
    def _kept(self) -> list[PathState]:
        standby, current = self.standby, self._paths.current
        if len(self._paths) < 2 and current is not None:
            return []
        return [
            state
            for state in self._paths
            if state is standby
            or (
                state is not current
                and state.path.transport != Transport.UDP
                and not state.validated
            )
        ]

    def probe(self, better: PathState, now: float) -> bool:
        """
        Ask whether ``better`` carries again.  Returns True once it is to be used:
        when ``PROBES_TO_RETURN`` challenges in a row came back.
        """
        if self._probed is not better:
            self._probed, self._answered = better, 0
        if self._answered >= PROBES_TO_RETURN:
            return True
        if now < self._probeAt:
            return False
        if better.challenge is not None or not self._answered:
            # The last one did not come back.
            self._answered = 0
            if now >= self._eagerUntil:
                self._probeInterval = min(
                    self._probeInterval * PROBE_FACTOR, PROBE_LAST
                )
        self._probeAt = now + self._probeInterval
        self._paths.challenge(better, 1, now)
        return False

    def probesNow(self, now: float) -> None:
        """
        The network has changed: what did not carry may do so now.
        """
        self._probeInterval = PROBE_FIRST
        self._eagerUntil = now + PROBE_EAGER
        self._probeAt = now

    def nextTimer(self, roundTrip: float) -> float | None:
        """
        When something of this is due, if ever.
        """
        times = [self._suspectAt(roundTrip)]
        if self._alive is not None:
            times.append(self._deadAt())
        if self._kept:
            times.append(self._keepAliveAt)
        if self._probed is not None:
            times.append(self._probeAt)
        return min((at for at in times if at is not None), default=None)
