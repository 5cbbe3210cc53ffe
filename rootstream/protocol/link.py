"""
The conversation with one peer, without input or output of its own.

Packets, the path they came by and the time go in; packets for paths, one timer
and events come out.  A shell repeats one loop: `Link.receive` or
`Link.timerFired`, then `Link.nextEvent` until there is none, then
`Link.packetsToSend`, then sleep until `Link.nextTimer`.

The session belongs to the link, not to a socket.  A path can die, move or be
added, and the session goes on; a session can die, and what INPUT and CONTROL
still owe is delivered under the next one.

It assumes that somebody else (`rootstream.protocol.node`) has found out which
peer a packet is for, and judged whether an INIT may be answered at all.  What
comes inside the packets is read in `rootstream.protocol.inbox`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rootstream.errors import BadPacket, LocalError
from rootstream.interfaces import IPath, Transport
from rootstream.protocol import frames
from rootstream.protocol.constants import (
    CLOSE_DELAYS,
    MAX_CHUNK,
    MAX_PACKET,
    REKEY_JITTER,
    SIMULTANEOUS_GRACE,
    TYPE_DATA,
    TYPE_RESP,
)
from rootstream.protocol.drill import Drill
from rootstream.protocol.events import (
    EV_ABS,
    EV_KEY,
    AudioFrame,
    Closed,
    Control,
    DrillEnded,
    Event,
    Expired,
    Impaired,
    InitAnswered,
    InitLapsed,
    InitSent,
    InputEvent,
    KeyFrameWanted,
    PathNarrow,
    SessionEstablished,
    VideoFrame,
)
from rootstream.protocol.failover import Failover
from rootstream.protocol.frames import FrameType
from rootstream.protocol.handshake import InitPayload, Invitation
from rootstream.protocol.handshakes import Credentials, Dialling, Indices
from rootstream.protocol.inbox import Heard, Inbox
from rootstream.protocol.limiter import Unproven
from rootstream.protocol.liveness import Liveness
from rootstream.protocol.outbox import Outbox
from rootstream.protocol.packing import Batches, Packing
from rootstream.protocol.paths import Paths
from rootstream.protocol.routing import Routing
from rootstream.protocol.session import Session, SessionExhausted
from rootstream.protocol.shared import SharedFrame
from rootstream.protocol.slots import Slot, Slots
from rootstream.protocol.status import LinkStatus
from rootstream.protocol.tally import Tally
from rootstream.protocol.video import chunk

Media = VideoFrame | AudioFrame | Control | Sequence[InputEvent]

#: CLOSE codes (docs/protocol.rst).
GOODBYE = 0
PROTOCOL_VIOLATION = 1
SOURCE_ENDED = 2
NOT_LISTED = 3


def wallClock() -> int:
    """
    Milliseconds since 1970.
    """
    return time.time_ns() // 1_000_000


class Link:
    """
    One peer: handshakes, sessions, paths, media and timers.

    ``remote`` is the peer's X25519 key, ``random`` and ``wallClock`` (ms since
    1970) are what a test replaces; all links of a node share ``unproven``.

    @ivar instance: a random number for this conversation.  A peer that sees
        another one knows that we forgot everything (also in the same process).
    @ivar finished: the conversation is over; the link holds no key.
    """

    def __init__(
        self,
        credentials: Credentials,
        remote: bytes,
        indices: Indices,
        now: float,
        *,
        wallClock: Callable[[], int] = wallClock,
        random: Callable[[int], bytes] = os.urandom,
        unproven: Unproven | None = None,
    ) -> None:
        self._credentials = credentials
        self._unproven = unproven if unproven is not None else Unproven()
        self.remote = remote
        self._indices = indices
        self._random = random
        self.instance = int.from_bytes(random(8), "little")
        self.finished = False
        self._dialling = Dialling(
            credentials, remote, self.instance, indices, self, wallClock, random
        )
        self._dialledAt = now
        self._redial: dict[IPath, None] = {}
        self._answers: list[tuple[IPath, bytes]] = []
        self._slots = Slots(indices)
        self._paths = Paths(random)
        self._liveness = Liveness(now)
        self._inbox = Inbox()
        self._outbox = Outbox()
        failover = Failover(self._paths)
        self._packing = Packing(
            self._slots,
            self._paths,
            self._inbox,
            self._outbox,
            self._liveness,
            failover,
        )
        self._events: list[Event] = []
        self._routing = Routing(
            self._slots,
            self._paths,
            failover,
            self._packing,
            self._inbox,
            self._outbox,
            self._events.append,
        )
        self._peerInstance: int | None = None
        self._closing: tuple[int, str] | None = None
        self._closesAt: list[float] = []
        self._frameId = 0
        self._tally = Tally()
        self._drill: Drill | None = None
        #: Kind and code of what our input has left down, or away from its centre.
        self._held: frozenset[tuple[int, int]] = frozenset()

    # --- towards us ---

    @property
    def established(self) -> bool:
        """
        Whether there is a session to send on.
        """
        return self._slots.current is not None

    @property
    def drained(self) -> bool:
        """
        Whether all that was sent has arrived, or been given up.
        """
        return (
            not self._outbox
            and not self._inbox.unacknowledged
            and all(not slot.sent.resendable for slot in self._slots)
        )

    @property
    def paths(self) -> Sequence[IPath]:
        """
        All paths that the peer was heard on, or that we made ahead of need.
        """
        return tuple(state.path for state in self._paths)

    @property
    def peerInstance(self) -> int | None:
        """
        The peer's random number for this conversation; None before it is known.
        """
        return self._peerInstance

    @property
    def inputWaiting(self) -> int:
        """
        How many messages of input have not arrived yet, as far as we know.
        """
        return self._inbox.inputWaiting

    def silence(self, now: float) -> float:
        """
        Seconds since anything authentic came from the peer, or since the beginning.
        """
        return now - self._liveness.lastHeard

    @property
    def clockOffset(self) -> int | None:
        """
        What to add to our media clock to get the peer's, in microseconds; None before
        it is known.
        """
        return self._inbox.clockOffset.offset

    def connect(self, path: IPath, now: float) -> None:
        """
        Dial on ``path``: INITs go out on it, repeated, until a handshake is
        confirmed or `abandon` is called.  May be called for several paths.
        """
        if self.finished:
            return
        if not self._dialling.active:
            self._dialledAt = now
            self._events.append(InitSent(path))
        if path.transport == Transport.UDP:
            self._redial[path] = None
        self._routing.dialled(path)
        self._dialling.add(path, now)

    @property
    def wantsStandby(self) -> bool:
        """
        Whether the session runs on UDP with nothing to go to when that fails, or has
        lost its last connection.
        """
        return self.established and self._routing.wantsStandby

    def addPath(self, path: IPath, now: float) -> None:
        """
        Make ``path``, which we dialled, a standby path of the session.
        """
        if self.established and not self._closing:
            self._routing.add(path, now)

    def networkChanged(self, now: float) -> None:
        """
        Ask all paths whether they carry: that may have changed.
        """
        self._routing.askAll(now)

    def abandon(self, path: IPath) -> None:
        """
        Dial on ``path`` no more.  Paths of a session stay as they are.
        """
        self._redial.pop(path, None)
        self._dialling.remove(path)

    def send(self, media: Media, now: float) -> bool:
        """
        Send a video frame, an audio frame, a control command or a sequence of
        input events.

        Returns whether it was taken: without a session, or when its path cannot
        keep up, media is refused (INPUT and CONTROL never are).  Raises
        `LocalError` when it is too large or out of range, or when thousands of
        INPUT or CONTROL messages already wait.
        """
        if self._closing or self.finished:
            return False
        self._liveness.mediaMoved(now)
        if self._paths.current is None:
            # There may be another path in a moment, but nothing waits for it for long.
            self._outbox.expire(now)
        match media:
            case VideoFrame():
                return self._sendVideo(media, now)
            case AudioFrame():
                plain = bytes((FrameType.AUDIO,)) + frames.encodeAudio(media)
                current = self._paths.current
                if not self.established or (current and current.congested(now)):
                    return False
                self._outbox.addAudio(plain, now)
            case Control():
                self._inbox.pushControl(media, now)
            case _:
                self._inbox.pushInput(media, now)
                self._hold(media, now)
        return True

    def _hold(self, events: Sequence[InputEvent], now: float) -> None:
        """
        Note what input has put down: until it is up, the peer has to hear us.
        """
        for event in events:
            if event.kind in (EV_KEY, EV_ABS):
                # No set that changes: one that is empty takes 0.2 kB, in each peer.
                self._held -= {(event.kind, event.code)}
                if event.value:
                    self._held |= {(event.kind, event.code)}
        self._liveness.hold(bool(self._held), now)

    def _sendVideo(self, frame: VideoFrame, now: float) -> bool:
        if not self.established:
            # The frames after it refer to it.
            self._outbox.needKey = True
            return False
        current = self._paths.current
        congested = current is not None and current.congested(now)
        size = MAX_CHUNK
        if current is not None:
            size -= MAX_PACKET - current.size
        if isinstance(frame, SharedFrame):
            chunks = frame.chunks(self._frameId, size)
        else:
            chunks = chunk(self._frameId, frame, size)
        if not self._outbox.admitVideo(frame.keyFrame, congested, now):
            return False
        self._frameId = (self._frameId + 1) & 0xFFFFFFFF
        self._tally.framesSent += 1
        self._outbox.addVideo(chunks, now)
        return True

    def pair(self, message: bytes) -> None:
        """
        Send a message of the pairing exchange, which may be lost.
        """
        if self.established and not self._closing:
            self._packing.pair(message)

    def restrict(self) -> None:
        """
        Take no media from this peer: it is here only to pair.
        """
        self._inbox.restricted = True

    def binding(self, viewer: bool) -> bytes:
        """
        What only the two ends of this conversation have in common: both keys and both
        instances, the viewer's first.
        """
        ours = self._credentials.public + self.instance.to_bytes(8, "little")
        theirs = self.remote + (self._peerInstance or 0).to_bytes(8, "little")
        return ours + theirs if viewer else theirs + ours

    def close(self, code: int, text: str, now: float) -> None:
        """
        Say goodbye and end.  `Closed` follows once it was said.
        """
        if self._closing or self.finished:
            return
        # Or a goodbye by a transport that counts as dead would not be heard.
        self.endDrill(now)
        self._closing = code, text
        self._dialling.clear()
        self._outbox.clear()
        self._closesAt = [now + delay for delay in CLOSE_DELAYS]
        current = self._paths.current
        if current is None or not self.established:
            self._finish(code, text, byPeer=False)
        elif current.path.transport != Transport.UDP:
            del self._closesAt[1:]

    def drill(self, transport: Transport, seconds: float, now: float) -> None:
        """
        Rehearse: for so long the session behaves as if ``transport`` were dead, both
        ways.  `DrillEnded` follows, once it is back or had its time to return.

        Raises `LocalError` when one runs already, or there is nothing to rehearse.
        """
        if self._drill is not None:
            raise LocalError("a drill is running already; wait for its end")
        if not self._watching:
            raise LocalError(
                "there is no session to rehearse with; try again once it is connected"
            )
        self._drill = Drill(
            transport,
            seconds,
            self._slots,
            self._paths,
            self._inbox,
            self._liveness,
            now,
        )

    def endDrill(self, now: float) -> None:
        """
        End a rehearsal now, if there is one; its `DrillEnded` follows.
        """
        drill, self._drill = self._drill, None
        if drill is not None:
            self._events.append(DrillEnded(drill.report(now)))

    def _observe(self, now: float) -> None:
        """
        Let a rehearsal note what has just happened.
        """
        if self._drill is not None and self._drill.observe(now):
            self.endDrill(now)

    def discard(self) -> None:
        """
        Forget all keys and everything that waits, without a word to the peer.
        """
        self.finished = True
        self._closesAt = []
        self._dialling.clear()
        self._redial.clear()
        for slot in self._slots:
            self._tally.account(slot.sent)
        self._slots.clear()
        self._answers.clear()
        self._outbox.clear()

    def _finish(self, code: int, text: str, byPeer: bool) -> None:
        self.discard()
        self._events.append(Closed(code, text, byPeer))

    def status(self) -> LinkStatus:
        """
        The counts and measurements of now.
        """
        inbox = self._inbox
        tally = self._tally
        acknowledged, lost, resent = tally.acknowledged, tally.lost, tally.resent
        for slot in self._slots:
            acknowledged += slot.sent.acknowledged
            lost += slot.sent.lost
            resent += slot.sent.resent
        current = self._paths.current
        return LinkStatus(
            path=current.path if current is not None else None,
            impaired=self._liveness.impaired,
            roundTrip=inbox.roundTrip.smoothed,
            jitter=inbox.jitter.seconds,
            clockOffset=inbox.clockOffset.offset,
            framesSent=tally.framesSent,
            framesDropped=self._outbox.dropped,
            framesReceived=inbox.framesReceived,
            framesLost=inbox.framesLost,
            bytesSent=tally.bytesSent,
            bytesReceived=tally.bytesReceived,
            packetsExpected=tally.packetsExpected,
            packetsInOrder=tally.packetsInOrder,
            packetsAcknowledged=acknowledged,
            packetsLost=lost,
            packetsResent=resent,
        )

    @property
    def acknowledgedAt(self) -> float:
        """
        When an acknowledgement last told anything new; 0 when none did.
        """
        return max((slot.sent.progressAt for slot in self._slots), default=0.0)

    @property
    def waiting(self) -> bool:
        """
        Whether media that was sent is not acknowledged, nor given up.
        """
        return any(slot.sent.resendable for slot in self._slots)

    # --- from the network ---

    def invited(
        self, invitation: Invitation, payload: InitPayload, path: IPath, now: float
    ) -> None:
        """
        Answer an INIT of the peer's, found authorised and fresh.

        When both dial at once, the side with the larger key keeps its INIT and
        the other answers (PROTOCOL, section 2).
        """
        if self.finished or self._closing:
            return
        if self._drill is not None and self._drill.blocks(path, now):
            return
        if self._dialling.active:
            if self._credentials.public > self.remote:
                # Unless our own INITs evidently do not get through.
                if now < self._dialledAt + SIMULTANEOUS_GRACE:
                    return
            else:
                # From each INIT on: an answer to it may be under way, and one to
                # ours would make it two sessions, each side with another.
                self._dialling.withdraw()
                self._dialling.heldUntil = now + SIMULTANEOUS_GRACE
        index = self._indices.claim(self)
        packet, sendKey, receiveKey = invitation.respond(
            index, self.instance, self.remote, 0, self._random(32)
        )
        session = Session(sendKey, receiveKey, index, invitation.index, now, False)
        first = not self.established and not self._slots.halfOpen
        self._slots.offer(Slot(session, path, payload.instance, 0.0), now)
        self._answers.append((path, packet))
        current = self._paths.current
        if current is not None and current.path == path:
            # If it hears us again here on the keys that it has, they will do.
            self._liveness.askNow(now)
        if first:
            self._events.append(InitAnswered(path))

    def receive(self, packets: Sequence[bytes], path: IPath, now: float) -> None:
        """
        Take a batch of packets, each DATA, RESP or RETRY, that came by ``path``.
        Whatever does not open is dropped and changes nothing but a count.
        """
        drill = self._drill
        if drill is not None and drill.blocks(path, now):
            return
        run: list[bytes] = []
        same = b""
        for packet in packets:
            if same and packet.startswith(same):
                run.append(packet)
                continue
            if run:
                self._dataReceived(run, path, now)
                run = []
            kind = packet[0]
            same = packet[:5] if kind == TYPE_DATA else b""
            if same:
                run.append(packet)
            elif kind == TYPE_RESP:
                self._respReceived(packet, path, now)
            else:
                self._dialling.retry(packet, now)
        if run:
            self._dataReceived(run, path, now)
        if drill is not None:
            self._observe(now)

    def receiveData(self, packets: Sequence[bytes], path: IPath, now: float) -> bool:
        """
        Take a batch of DATA of one session, as `receive` does, and as most are.

        Returns whether there is anything to do now: mostly there is not, when all it
        said is that what we sent has arrived.
        """
        if self._drill is not None:
            self.receive(packets, path, now)
            return True
        return self._dataReceived(packets, path, now)

    def _dataReceived(self, packets: Sequence[bytes], path: IPath, now: float) -> bool:
        """
        Take DATA of one session; returns as `receiveData` does.
        """
        slot = self._slots.get(int.from_bytes(packets[0][1:5], "little"))
        if slot is None:
            return True
        unproven = (
            path.transport == Transport.UDP
            and self._paths.get(path) is None
            and path != slot.path
        )
        if unproven and not self._unproven.allow(path.address[0], now):
            return False
        session = slot.session
        largest = session.replay.largest
        before = session.bytesReceived
        opened = session.openMany(packets)
        if not opened:
            return True
        if unproven:
            self._unproven.proven(path.address[0])
        size = session.bytesReceived - before
        self._tally.bytesReceived += size
        if slot.confirmsAt:
            slot.confirmsAt = []
        if self._slots.isHalfOpen(slot):
            if opened[0][0] == 0:
                # It left when our RESP came: no repetition to mistake it for.
                self._inbox.roundTrip.sample(now - session.createdAt)
            self._establish(slot, now)
        self._heard(path, size, now)
        heard = Heard(largest)
        violation = None
        try:
            self._inbox.take(opened, heard, path, slot.sent, now)
        except BadPacket as error:
            violation = str(error)
        self._events.extend(heard.events)
        self._tally.packetsInOrder += heard.newest
        self._tally.packetsExpected += heard.largest - largest
        if violation is not None:
            self.close(PROTOCOL_VIOLATION, violation, now)
            return True
        if heard.elicits:
            slot.owesAck(now, heard.elicits, heard.largest - largest > heard.newest)
        if heard.media:
            self._liveness.mediaCame(now)
        if heard.close is not None:
            self.endDrill(now)
            self._finish(heard.close.code, heard.close.text, byPeer=True)
            return True
        self._routing.read(heard, path, slot is self._slots.current, now)
        current = self._paths.current
        return not (
            heard.progress
            and not heard.elicits
            and not heard.responses
            and not self._events
            and not self._outbox
            and not slot.sent.overtaken
            and not self.drained
            and current is not None
            and current.path == path
        )

    def _heard(self, path: IPath, size: int, now: float) -> None:
        self._routing.heard(path, size, now)
        recovered = self._liveness.heard(now)
        if recovered is not None:
            # The keys that we have will do: no new handshake.
            self._dialling.clear()
            self._inbox.resume(now)
            self._routing.recovered()
            self._events.append(recovered)

    def _respReceived(self, packet: bytes, path: IPath, now: float) -> None:
        answered = self._dialling.response(packet)
        if answered is None:
            return
        outstanding, response = answered.outstanding, answered.response
        self._inbox.roundTrip.sample(now - outstanding.sentAt)
        session = Session(
            answered.sendKey,
            answered.receiveKey,
            outstanding.initiation.index,
            response.index,
            now,
            True,
            REKEY_JITTER * int.from_bytes(self._random(2), "little") / 65536,
        )
        # The session goes where we dialled, never where the answer came from.
        where = outstanding.path
        slot = Slot(session, where, response.instance, 0.0)
        self._tally.bytesReceived += len(packet)
        self._establish(slot, now)

    def _establish(self, slot: Slot, now: float) -> None:
        """
        The handshake of ``slot`` is confirmed: by a RESP, or by the first packet.
        """
        known = self._peerInstance
        restarted = known is not None and known != slot.instance
        if restarted:
            self._inbox.reset()
            self._outbox.clear()
            # Its keys go with it, and the frames that they carried.
            if self._slots.current is not None:
                self._tally.account(self._slots.current.sent)
        elif self._liveness.impaired:
            self._inbox.resume(now)
        self._peerInstance = slot.instance
        rekey = self.established and not restarted and not self._liveness.impaired
        if self._slots.previous is not None:
            self._tally.account(self._slots.previous.sent)
        self._slots.establish(slot, now)
        self._dialling.clear()
        self._liveness.restart(slot.session.isInitiator, now)
        state = self._paths.validate(slot.path, now)
        self._routing.use(state, "handshake confirmed", now)
        self._events.append(SessionEstablished(slot.path, rekey, restarted))

    def pathLost(self, path: IPath, reason: str, now: float) -> None:
        """
        The connection under ``path`` ended.  The session goes on: over another
        path if there is one, else it waits for one.
        """
        self._dialling.remove(path)
        if self._routing.lost(path, reason, now):
            self._events.extend(self._liveness.pathsGone(now))

    # --- time ---

    def timerFired(self, now: float) -> None:
        """
        Do what is due.  Early or repeated calls do no harm.
        """
        if self.finished:
            return
        halfOpen = self._slots.halfOpen
        hadKeys = self._slots.keyed
        for slot in self._slots.expire(now):
            self._tally.account(slot.sent)
        if halfOpen and not self._slots.halfOpen and not self.established:
            self._events.append(InitLapsed())
        if hadKeys:
            self._keysHeld(now)
        self._events.extend(self._inbox.timerFired(now))
        self._routing.timerFired(now)
        current = self._paths.current
        if current is not None:
            # Half is left, so that what comes next is not refused again.
            congested = current.congested(now, 0.5)
            if self._outbox.looks(congested, now):
                self._events.append(KeyFrameWanted())
        if self._watching:
            self._routing.watch(now)
        self._observe(now)

    @property
    def _watching(self) -> bool:
        """
        Whether there is a session to keep going.
        """
        return self.established and self._closing is None

    def _keysHeld(self, now: float) -> None:
        roundTrip = self._inbox.roundTrip.smoothed or 0.0
        wasSilent = self._liveness.silent
        for event in self._liveness.timerFired(roundTrip, now):
            if isinstance(event, Impaired):
                event = replace(event, transports=self._routing.transports)
            self._events.append(event)
        if self._liveness.silent and not wasSilent:
            # From here on the reconnect schedule says when to dial.
            self._dialling.clear()
        slot = self._slots.current
        if slot is None:
            self.endDrill(now)
            self._events.append(Expired())
            return
        if self._liveness.impaired:
            if not self._liveness.silent:
                for path in self._redial:
                    self._dialling.add(path, now)
        elif slot.wantsRekey(now) and self._paths.current is not None:
            self._dialling.add(self._paths.current.path, now, rekey=True)

    def nextTimer(self) -> float | None:
        """
        When to call `timerFired` and `packetsToSend` next, if ever.
        """
        if self.finished:
            return None
        times = (
            self._dialling.nextTimer(),
            self._slots.nextTimer(),
            self._inbox.nextTimer(),
            self._packing.nextTimer(),
            min(self._closesAt, default=None),
            self._routing.nextTimer() if self._watching else None,
            self._drill.nextTimer() if self._drill is not None else None,
        )
        return min((at for at in times if at is not None), default=None)

    def nextEvent(self) -> Event | None:
        """
        The next event that the shell has not seen, or None.
        """
        return self._events.pop(0) if self._events else None

    # --- to the network ---

    def packetsToSend(self, now: float) -> list[tuple[IPath, list[bytes]]]:
        """
        Everything that is to be sent now, a batch a path.
        """
        batches: Batches = {}
        if not self.finished:
            dropped = self._outbox.dropped
            current = self._paths.current
            size = current.size if current is not None else 0
            try:
                self._packing.fill(batches, self._farewell(now), now)
            except SessionExhausted:
                # The timer finds the dead keys and the handshakes replace them.
                self.timerFired(now)
            if current is not None and current.size < size:
                self._events.append(PathNarrow(current.path, current.size))
                self._events.append(KeyFrameWanted())
            elif self._outbox.dropped > dropped:
                self._events.append(KeyFrameWanted())
            if self._closing is not None and not self._closesAt:
                self._finish(*self._closing, byPeer=False)
        # After what the session sends: a RESP must not overtake it (`invited`).
        for path, packet in self._answers + self._dialling.due(now):
            batches.setdefault(path, []).append(packet)
        self._answers.clear()
        for batch in batches.values():
            self._tally.bytesSent += sum(map(len, batch))
        leaving = list(batches.items())
        if self._drill is not None:
            leaving = self._drill.passed(leaving, now)
            self._observe(now)
        for path, batch in leaving:
            self._paths.given(path, batch, now)
        if not self._liveness.streaming(now):
            for slot in self._slots:
                slot.session.rest()
        return leaving

    def _farewell(self, now: float) -> bytes | None:
        """
        The CLOSE frame, when one is due.
        """
        if self._closing is None or now < self._closesAt[0]:
            return None
        del self._closesAt[0]
        return bytes((FrameType.CLOSE,)) + frames.encodeClose(*self._closing)
