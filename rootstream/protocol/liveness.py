"""
Whether the peer is still there (PROTOCOL, section 4).

Only an authentic packet counts as a sign of life.  While media flows, a second
of silence makes us ask, and one and a half make the peer *impaired*: it is time
to look for another way.  After thirty it is *silent*: disconnected.  A peer that
streams nothing is asked after fifteen seconds of silence.

Whoever receives media speaks up at the first moment of quiet: when a NAT has forgotten
him, nothing reaches him before he does.

The PINGs that go out between the questions are for measuring.  While nothing streams
they keep the session alive, and the initiator's do for both: he sends them a second
before the other would ask, and whoever is behind a NAT is mostly he.

Whoever has sent a key down and not yet up says many times a second that he is there:
the other side lets go of it when it hears nothing (`rootstream.inputgate`).
"""

from __future__ import annotations

from rootstream.protocol.constants import (
    DISCONNECTED_AFTER,
    HELD_PING,
    IMPAIRED_AFTER,
    PING_IDLE,
    PING_LEADING,
    PING_PATIENCE,
    PING_REPEAT,
    PING_STREAMING,
    QUIET_AFTER,
    SILENT_PING,
    STREAMING_FOR,
)
from rootstream.protocol.events import Impaired, Recovered, Silent


class Liveness:
    """
    When to ask whether the peer is there, and what to make of no answer.

    @ivar impaired: set from `Impaired` to `Recovered`.
    @ivar silent: set from `Silent` to `Recovered`.
    """

    def __init__(self, now: float) -> None:
        self.lastHeard = now
        self.impaired = False
        self.silent = False
        #: Whether we began the session.
        self._leads = True
        self._streamingUntil = now
        #: Whether the peer has a key of ours down.
        self._held = False
        #: When media last came in, and after how much quiet since then to speak up.
        self._mediaAt = now
        self._quiet = PING_STREAMING
        #: When to send a PING, if no question is due before.
        self._pingAt = now
        #: When the first question since the last sign of life was asked.
        self._askedAt: float | None = None

    def streaming(self, now: float) -> bool:
        """
        Whether media or input flowed, in either direction, just now.
        """
        return self._held or now < self._streamingUntil

    def mediaMoved(self, now: float) -> None:
        """
        Media or input was sent or received.
        """
        if now >= self._streamingUntil:
            # Out of the long idle interval, at once.
            self._pingAt = min(self._pingAt, now + PING_STREAMING)
        self._streamingUntil = now + STREAMING_FOR

    def hold(self, held: bool, now: float) -> None:
        """
        Whether what we sent leaves a key down at the peer's.
        """
        self._held = held
        if held:
            self._pingAt = min(self._pingAt, now + HELD_PING)

    def mediaCame(self, now: float) -> None:
        """
        Media or input was received.
        """
        self.mediaMoved(now)
        self._mediaAt = now
        self._quiet = QUIET_AFTER

    def heard(self, now: float) -> Recovered | None:
        """
        An authentic packet arrived.
        """
        silence = now - self.lastHeard
        self.lastHeard = now
        self._askedAt = None
        if not self._leads and not self.streaming(now) and now < self._pingAt:
            self._pingAt = now + PING_IDLE
        if not self.impaired:
            return None
        self.impaired = self.silent = False
        self._pingAt = now
        return Recovered(silence)

    def pathsGone(self, now: float) -> list[Impaired]:
        """
        There is no path left to hear the peer on.
        """
        if self.impaired:
            return []
        self.impaired = True
        return [Impaired(now - self.lastHeard)]

    def restart(self, leads: bool, now: float) -> None:
        """
        A handshake, begun by us if we lead, proved the peer alive, and it counts from
        here.
        """
        self._leads = leads
        self.lastHeard = now
        self._askedAt = None
        self.impaired = self.silent = False
        self._pingAt = now

    def askNow(self, now: float) -> None:
        """
        Let the next PING be due.
        """
        self._pingAt = now

    def pingDue(self, now: float) -> bool:
        """
        Whether to send a PING now; the answer counts as sending it.
        """
        if now < self._nextPing():
            return False
        if self._askedAt is None and now >= self._questionAt():
            self._askedAt = now
        self._pingAt = now + self._interval(now)
        return True

    def quiet(self, now: float) -> bool:
        """
        Whether media should be coming in and nothing does: say something now.  The
        answer counts as saying it.
        """
        at = self._quietAt()
        if at is None or now < at:
            return False
        self._quiet *= 2
        return True

    def _quietAt(self) -> float | None:
        # From there on a PING is due anyway.
        return self._mediaAt + self._quiet if self._quiet < PING_STREAMING else None

    def _nextPing(self) -> float:
        if self._askedAt is not None:
            return self._pingAt
        return min(self._pingAt, self._questionAt())

    def _questionAt(self) -> float:
        at = self.lastHeard + PING_STREAMING
        # Unless nothing flowed any more when that second was over.
        if self._held or at < self._streamingUntil:
            return at
        return self.lastHeard + PING_IDLE

    def _interval(self, now: float) -> float:
        if self.impaired:
            return SILENT_PING
        if self._held:
            return HELD_PING
        if self._askedAt is not None:
            return PING_REPEAT
        if self.streaming(now):
            return PING_STREAMING
        return PING_LEADING if self._leads else PING_IDLE

    def _impairedAt(self, roundTrip: float) -> float | None:
        if self.impaired or self._askedAt is None:
            return None
        patience = max(PING_PATIENCE, 2 * roundTrip)
        return max(self._askedAt + patience, self.lastHeard + IMPAIRED_AFTER)

    def timerFired(self, roundTrip: float, now: float) -> list[Impaired | Silent]:
        """
        What the silence has come to.
        """
        events: list[Impaired | Silent] = []
        impairedAt = self._impairedAt(roundTrip)
        if impairedAt is not None and now >= impairedAt:
            self.impaired = True
            events.append(Impaired(now - self.lastHeard))
        silentAt = self.lastHeard + DISCONNECTED_AFTER
        if self.impaired and not self.silent and now >= silentAt:
            self.silent = True
            events.append(Silent(now - self.lastHeard))
        return events

    def nextTimer(self, roundTrip: float) -> float:
        """
        When `pingDue`, `quiet` or `timerFired` have something to say.
        """
        at = self._nextPing()
        quietAt = self._quietAt()
        if quietAt is not None:
            at = min(at, quietAt)
        impairedAt = self._impairedAt(roundTrip)
        if impairedAt is not None:
            at = min(at, impairedAt)
        if self.impaired and not self.silent:
            at = min(at, self.lastHeard + DISCONNECTED_AFTER)
        return at
