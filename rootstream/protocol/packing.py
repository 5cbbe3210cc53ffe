"""
What goes into packets now: the other half of `rootstream.protocol.inbox`.

Order matters where a path is slow: answers and acknowledgements first, since the
peer's view of the path hangs on them, then messages that may not be missed, then
media that was lost, then new media.
"""

from __future__ import annotations

from rootstream.interfaces import IPath, Transport
from rootstream.protocol import frames
from rootstream.protocol.constants import ACK_BITS, ACK_INTERVAL, MIN_DATA
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
    ) -> None:
        self._slots = slots
        self._paths = paths
        self._inbox = inbox
        self._outbox = outbox
        self._liveness = liveness

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

    def nextTimer(self) -> float | None:
        """
        When `fill` has something to do, if ever.
        """
        # What `fill` would not look at must not wake it: it would wake for ever.
        current = self._slots.current
        if current is None:
            return None
        times = [
            self._liveness.nextTimer(self._roundTrip),
            self._paths.nextTimer(),
        ]
        if self._paths.current is not None:
            times.append(self._outbox.nextTimer())
            times.append(self._inbox.channelTimer(self._timeout))
            times.append(min(current.confirmsAt, default=None))
            for slot in self._slots:
                times.append(slot.ackAt)
                times.append(slot.sent.nextTimer(self._roundTrip, self._timeout))
        return min((at for at in times if at is not None), default=None)

    def fill(self, batches: Batches, farewell: bytes | None, now: float) -> None:
        """
        Add to ``batches`` all that is due, or, with a ``farewell``, that alone
        and what is owed.  Raises `rootstream.protocol.session.SessionExhausted`.
        """
        slot = self._slots.current
        if slot is None:
            return
        for state, data in self._paths.challengesDue(self._timeout, now):
            plain = bytes((FrameType.PATH_CHALLENGE,)) + data
            self._put(batches, slot, state, plain, now)
        for path, data in self._inbox.takeChallenges():
            answering = self._paths.get(path)
            if answering is not None:
                plain = bytes((FrameType.PATH_RESPONSE,)) + data
                self._put(batches, slot, answering, plain, now)
        if self._liveness.pingDue(now):
            plain = bytes((FrameType.PING,)) + frames.encodePing(mediaTime(now))
            for state in self._pingable():
                self._put(batches, slot, state, plain, now)
        current = self._paths.current
        if current is None:
            return
        if slot.confirmsAt and now >= slot.confirmsAt[0]:
            slot.confirmsAt = [at for at in slot.confirmsAt if at > now]
            self._put(batches, slot, current, bytes((FrameType.CONFIRM,)), now)
        self._fillAnswers(batches, slot, current, now)
        if farewell is not None:
            self._seal(batches, slot, current, farewell)
            return
        for plain in self._inbox.messagesDue(self._timeout, now):
            self._put(batches, slot, current, plain, now)
        self._fillAgain(batches, current, now)
        self._fillMedia(batches, slot, current, now)

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

    def _fillAgain(self, batches: Batches, current: PathState, now: float) -> None:
        for each in self._slots:
            again = each.sent.due(self._roundTrip, self._timeout, now)
            if again:
                batches.setdefault(current.path, []).extend(again)
                current.sent += sum(map(len, again))

    def _fillMedia(
        self, batches: Batches, slot: Slot, current: PathState, now: float
    ) -> None:
        paced = current.path.transport == Transport.UDP
        taken = self._outbox.take(now, paced)
        if not taken:
            return
        counter = slot.session.sendCounter
        packets = slot.session.sealMany([plain for plain, _ in taken])
        for packet, (_, deadline) in zip(packets, taken, strict=True):
            slot.sent.sent(counter, packet, now, deadline if paced else None)
            counter += 1
            current.sent += len(packet)
        batches.setdefault(current.path, []).extend(packets)

    def _put(
        self, batches: Batches, slot: Slot, state: PathState, plain: bytes, now: float
    ) -> None:
        """
        Send one packet that asks for an acknowledgement, unless that would make us
        an amplifier.
        """
        if state.allows(len(plain) + MIN_DATA):
            counter = slot.session.sendCounter
            packet = self._seal(batches, slot, state, plain)
            slot.sent.sent(counter, packet, now, None)

    def _seal(
        self, batches: Batches, slot: Slot, state: PathState, plain: bytes
    ) -> bytes:
        packet = slot.session.seal(plain)
        state.sent += len(packet)
        batches.setdefault(state.path, []).append(packet)
        return packet
