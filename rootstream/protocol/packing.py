"""
What goes into packets now: the other half of `rootstream.protocol.inbox`.

Order matters where a path is slow: answers and acknowledgements first, since the
peer's view of the path hangs on them, then messages that may not be missed, then
media that was lost, then new media.
"""

from __future__ import annotations

from rootstream.interfaces import IPath, Transport
from rootstream.protocol import frames
from rootstream.protocol.constants import (
    ACK_BITS,
    ACK_INTERVAL,
    MIN_DATA,
    SMALL_PACKET,
)
from rootstream.protocol.failover import Failover
from rootstream.protocol.frames import Ack, FrameType
from rootstream.protocol.inbox import Inbox, mediaTime
from rootstream.protocol.liveness import Liveness
from rootstream.protocol.outbox import Outbox
from rootstream.protocol.paths import Paths, PathState
from rootstream.protocol.slots import Slot, Slots

Batches = dict[IPath, list[bytes]]

#: What stands for the round trip while none was measured, in seconds.
_UNKNOWN_ROUND_TRIP = 0.25


class Packing:
    """
    Fills packets for one peer from what its parts have to say.
    """

    def __init__(
        self,
        slots: Slots,
        paths: Paths,
        inbox: Inbox,
        outbox: Outbox,
        liveness: Liveness,
        failover: Failover,
    ) -> None:
        self._slots = slots
        self._paths = paths
        self._inbox = inbox
        self._outbox = outbox
        self._liveness = liveness
        self._failover = failover
        self._againOn: PathState | None = None
        self._announcement: bytes | None = None
        self._pairing: bytes | None = None

    @property
    def _roundTrip(self) -> float:
        smoothed = self._inbox.roundTrip.smoothed
        return smoothed if smoothed is not None else _UNKNOWN_ROUND_TRIP

    @property
    def _timeout(self) -> float:
        """
        How long an acknowledgement may take: the peer may sit on it for a while.
        """
        return self._inbox.roundTrip.rto + ACK_INTERVAL

    def again(self, state: PathState) -> None:
        """
        Send all that is not acknowledged once more, on ``state``.
        """
        self._againOn = state

    def announce(self, seq: int) -> None:
        """
        Tell the peer that we move to the path that is used next.
        """
        self._announcement = bytes((FrameType.PATH_USE,)) + frames.encodePathUse(seq)

    def pair(self, message: bytes) -> None:
        """
        Send a message of the pairing exchange, once; of several only the last.
        """
        self._pairing = frames.encodePairing(message)

    def nextTimer(self) -> float | None:
        """
        When `fill` has something to do, if ever.
        """
        # What `fill` would not look at must not wake it: it would wake for ever.
        current = self._slots.current
        if current is None:
            return None
        roundTrip, timeout = self._roundTrip, self._timeout
        times = [
            self._liveness.nextTimer(roundTrip),
            self._paths.nextTimer(),
        ]
        if self._paths.current is not None:
            times.append(self._outbox.lookAt)
            if self._outbox:
                times.append(self._paths.current.pace.nextTimer())
            times.append(self._inbox.channelTimer())
            times.append(min(current.confirmsAt, default=None))
            for slot in self._slots:
                times.append(slot.ackAt)
                if self._paths.current.path.transport == Transport.UDP:
                    times.append(slot.sent.nextTimer(roundTrip, timeout))
        return min((at for at in times if at is not None), default=None)

    def fill(self, batches: Batches, farewell: bytes | None, now: float) -> None:
        """
        Add to ``batches`` all that is due, or, with a ``farewell``, that alone
        and what is owed.  Raises `rootstream.protocol.session.SessionExhausted`.
        """
        slot = self._slots.current
        if slot is None:
            return
        timeout = self._timeout
        for state, data in self._paths.challengesDue(timeout, now):
            plain = bytes((FrameType.PATH_CHALLENGE,)) + data
            self._put(batches, slot, state, plain, now)
        for path, data in self._inbox.takeChallenges():
            answering = self._paths.get(path)
            if answering is not None:
                plain = bytes((FrameType.PATH_RESPONSE,)) + data
                self._put(batches, slot, answering, plain, now)
        quiet = self._liveness.quiet(now)
        if quiet and slot.session.replay.largest >= 0:
            # Of this the peer takes note wherever it comes from; of a PING it does not.
            slot.ackAt = now
        if self._liveness.pingDue(now) or quiet:
            plain = bytes((FrameType.PING,)) + frames.encodePing(mediaTime(now))
            for state in self._pingable():
                self._put(batches, slot, state, plain, now)
        current = self._paths.current
        if current is None:
            return
        if slot.confirmsAt and now >= slot.confirmsAt[0]:
            slot.confirmsAt = [at for at in slot.confirmsAt if at > now]
            self._put(batches, slot, current, bytes((FrameType.CONFIRM,)), now)
        if self._announcement is not None:
            plain, self._announcement = self._announcement, None
            # Not repeated: a copy on another path would tell of that one.
            self._put(batches, slot, current, plain, now)
        if self._pairing is not None:
            plain, self._pairing = self._pairing, None
            self._put(batches, slot, current, plain, now)
        doubled = self._failover.doubled(now)
        before = len(batches.get(current.path, ()))
        self._fillAnswers(batches, slot, current, now)
        if farewell is not None:
            self._seal(batches, slot, current, farewell)
        else:
            for plain in self._inbox.messagesDue(timeout, now):
                self._put(batches, slot, current, plain, now)
            self._fillAgain(batches, current, timeout, now)
            self._fillMedia(batches, slot, current, now)
        if doubled is not None and doubled is not current:
            copies = batches.get(current.path, [])[before:]
            self._extend(batches, doubled, copies)

    def _pingable(self) -> list[PathState]:
        """
        The current path, or every path when the peer does not answer there.
        """
        if self._liveness.impaired or self._paths.current is None:
            return [state for state in self._paths if state.validated]
        return [self._paths.current]

    def _fillAnswers(
        self, batches: Batches, slot: Slot, current: PathState, now: float
    ) -> None:
        """
        PONGs, and what the peer's packets are owed: each session acknowledges its
        own, because counters mean nothing outside it.
        """
        due = [(int(FrameType.PONG), body) for body in self._inbox.takePongs(now)]
        for each in self._slots:
            # A packet that leaves anyway takes the acknowledgement along.
            leaves = bool(due) and each is slot
            if each.ackAt is None or (now < each.ackAt and not leaves):
                continue
            each.ackAt = None
            each.ackCount = 0
            ack = [(int(FrameType.ACK), frames.encodeAck(self._ack(each)))]
            if each is slot:
                ack, due = ack + due, []
            for plain in frames.packFrames(ack):
                self._seal(batches, each, current, plain)
        for plain in frames.packFrames(due):
            self._seal(batches, slot, current, plain)

    def _ack(self, slot: Slot) -> Ack:
        replay = slot.session.replay
        bitmap = replay.received(replay.largest, ACK_BITS)
        return Ack(replay.largest, *self._inbox.expected, bitmap)

    def _fillAgain(
        self, batches: Batches, current: PathState, timeout: float, now: float
    ) -> None:
        target, self._againOn = self._againOn, None
        for each in self._slots:
            if target is not None:
                again = each.sent.unacknowledged(target.size, now)
                self._extend(batches, target, again)
            elif current.path.transport == Transport.UDP:
                # A stream repeats by itself.
                again = each.sent.due(self._roundTrip, timeout, current.size, now)
                self._extend(batches, current, again)
                if again:
                    current.pace.missed(len(again), self._roundTrip, now)
                if each.sent.blackHole.found and current.size > SMALL_PACKET:
                    # What is cut already is too large, and what was sent is lost.
                    current.size = SMALL_PACKET
                    self._outbox.giveUpVideo()

    def _extend(self, batches: Batches, state: PathState, packets: list[bytes]) -> None:
        if packets:
            batches.setdefault(state.path, []).extend(packets)
            state.sent += sum(map(len, packets))

    def _fillMedia(
        self, batches: Batches, slot: Slot, current: PathState, now: float
    ) -> None:
        outbox = self._outbox
        if not outbox:
            return
        paced = current.path.transport == Transport.UDP
        before = slot.session.sendCounter
        for plains, deadline in outbox.take(
            current.pace.allowance(now) if paced else len(outbox), now
        ):
            first = slot.session.sendCounter
            packets = slot.session.sealMany(plains)
            slot.sent.sent(first, packets, now, deadline)
            self._extend(batches, current, packets)
        left = slot.session.sendCounter - before
        if left:
            self._failover.sent(now)
        if paced:
            current.pace.left(left, now)
            if outbox:
                current.pace.strained(self._roundTrip, now)

    def _put(
        self,
        batches: Batches,
        slot: Slot,
        state: PathState,
        plain: bytes,
        now: float,
    ) -> None:
        """
        Send one packet that asks for an acknowledgement, unless that would make us
        an amplifier.  One on another path than the one in use is not waited for: its
        arrival says nothing about that.
        """
        if state.allows(len(plain) + MIN_DATA):
            counter = slot.session.sendCounter
            self._seal(batches, slot, state, plain)
            if state is self._paths.current:
                slot.sent.counted(counter, now)
                self._failover.sent(now)

    def _seal(
        self, batches: Batches, slot: Slot, state: PathState, plain: bytes
    ) -> None:
        packet = slot.session.seal(plain)
        state.sent += len(packet)
        batches.setdefault(state.path, []).append(packet)
