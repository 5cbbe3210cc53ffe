"""
What the frames of a peer's packets say, and what they are owed.

Everything here outlives a session: INPUT and CONTROL are numbered apart from the
packets that carry them, so that a message sent under one session is delivered
once under the next.  `Inbox.reset` is for a peer that forgot everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rootstream.errors import BadPacket
from rootstream.interfaces import IPath
from rootstream.protocol import frames
from rootstream.protocol.channel import ReliableReceiver, ReliableSender
from rootstream.protocol.constants import (
    CONTROL_BURST,
    CONTROL_RATE,
    INPUT_BURST,
    INPUT_RATE,
    KEYFRAME_REQUEST_INTERVAL,
    MAX_OWED_ANSWERS,
    MIN_DATA,
    PADDING,
    SMALL_PACKET,
)
from rootstream.protocol.events import (
    AudioReceived,
    Command,
    Control,
    ControlReceived,
    Event,
    InputEvent,
    InputReceived,
    PairingReceived,
    VideoLost,
    VideoReceived,
)
from rootstream.protocol.frames import FrameType
from rootstream.protocol.health import ClockOffset, Jitter, RoundTrip
from rootstream.protocol.limiter import Bucket
from rootstream.protocol.recovery import SentPackets
from rootstream.protocol.video import Reassembler

_VIDEO = int(FrameType.VIDEO)
_ROOM = SMALL_PACKET - MIN_DATA
_MEDIA = frozenset(
    (FrameType.VIDEO, FrameType.AUDIO, FrameType.INPUT, FrameType.CONTROL)
)
#: Whoever sends these does not wait for an acknowledgement.
_NOT_ELICITING = frozenset(
    (FrameType.PADDING, FrameType.ACK, FrameType.PONG, FrameType.CLOSE)
)
#: These alone say nothing about where the peer wants to be reached (RFC 9000,
#: section 9.1, calls them probing).
_PROBING = frozenset(
    (
        FrameType.PADDING,
        FrameType.PING,
        FrameType.PONG,
        FrameType.PATH_CHALLENGE,
        FrameType.PATH_RESPONSE,
        FrameType.PATH_DROP,
    )
)


def mediaTime(now: float) -> int:
    """
    ``now`` on the media clock: microseconds, 48 bits.
    """
    return int(now * 1_000_000) & 0xFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class CloseReceived:
    """
    The peer said goodbye.
    """

    code: int
    text: str


@dataclass(slots=True)
class Heard:
    """
    What the packets of a batch came to: ``events`` for the application, and for the
    link how many were sent after all before them (``newest``, up to the counter
    ``largest``) and how many ask for an acknowledgement, and whether there was media,
    one of the newest said where the peer wants to be reached (``moving``), challenges
    were answered, the path was given up or moved to (``use``), something new was
    acknowledged, or the peer said goodbye.
    """

    largest: int
    events: list[Event] = field(default_factory=list)
    newest: int = 0
    elicits: int = 0
    media: bool = False
    moving: bool = False
    responses: list[bytes] = field(default_factory=list)
    dropped: bool = False
    use: int | None = None
    progress: bool = False
    close: CloseReceived | None = None


def _limit(limit: Bucket, count: int, what: str, now: float) -> None:
    """
    Whoever sends that much does it on purpose.
    """
    if not limit.take(count, now):
        raise BadPacket(f"too much {what}")


class Inbox:
    """
    The frames of one peer, read; and the messages to it that it may not miss.

    @ivar roundTrip: of handshakes and of PING and PONG.
    """

    def __init__(self) -> None:
        self.roundTrip = RoundTrip()
        self.jitter = Jitter()
        self.clockOffset = ClockOffset()
        #: Media is a breach of the protocol: the peer is here only to pair.
        self.restricted = False
        self.framesReceived = 0
        self.framesLost = 0
        self._video = Reassembler()
        self._inputIn = ReliableReceiver()
        self._controlIn = ReliableReceiver()
        self._inputLimit = Bucket(INPUT_RATE, INPUT_BURST)
        self._controlLimit = Bucket(CONTROL_RATE, CONTROL_BURST)
        self._inputOut = ReliableSender()
        self._controlOut = ReliableSender()
        self._pings: list[int] = []
        self._challenges: list[tuple[IPath, bytes]] = []
        self._requestAt = 0.0
        #: PONGs to what was asked before tell nothing: media time.
        self._askedSince = 0

    def reset(self) -> None:
        """
        The peer is a new instance: what was half received or not acknowledged
        belonged to the old one.
        """
        self._video.reset()
        for end in (self._inputIn, self._controlIn):
            end.reset()
        for start in (self._inputOut, self._controlOut):
            start.reset()
        self._pings.clear()
        self._challenges.clear()

    # --- frames that came ---

    def take(
        self,
        opened: Sequence[tuple[int, bytes]],
        heard: Heard,
        path: IPath,
        sent: SentPackets,
        now: float,
    ) -> None:
        """
        Read packets that came by ``path``, counter and frames of each, and add to
        ``heard`` what they say; ``sent`` is what an ACK in them speaks of.

        Raises `BadPacket` when the peer broke the protocol; what was before it is in
        ``heard``.
        """
        if self.restricted:
            _refuseMedia(opened)
        chunks: list[bytes] = []
        largest = heard.largest
        for counter, plain in opened:
            newest = counter > largest
            if newest:
                heard.largest = largest = counter
                heard.newest += 1
            if plain and plain[0] == _VIDEO:
                chunks.append(plain)
                if newest:
                    heard.moving = True
                continue
            if chunks:
                heard.elicits += len(chunks)
                self._videoReceived(chunks, heard, now)
                chunks = []
            self._read(plain, newest, heard, path, sent, now)
            if heard.close is not None:
                return
        if chunks:
            heard.elicits += len(chunks)
            self._videoReceived(chunks, heard, now)

    def _read(
        self,
        plain: bytes,
        newest: bool,
        heard: Heard,
        path: IPath,
        sent: SentPackets,
        now: float,
    ) -> None:
        events = heard.events
        elicits = False
        for kind, body in frames.parseFrames(plain):
            if kind not in _NOT_ELICITING:
                elicits = True
            if kind not in _PROBING:
                heard.moving |= newest
            if kind in _MEDIA:
                heard.media = True
            match kind:
                case FrameType.VIDEO:
                    self._videoReceived([plain[:1] + body], heard, now)
                case FrameType.AUDIO:
                    events.append(AudioReceived(frames.decodeAudio(body)))
                case FrameType.INPUT:
                    for message in self._ordered(self._inputIn, body):
                        inputs = frames.decodeInput(message)
                        _limit(self._inputLimit, len(inputs), "INPUT", now)
                        events.append(InputReceived(inputs))
                case FrameType.CONTROL:
                    for message in self._ordered(self._controlIn, body):
                        _limit(self._controlLimit, 1, "CONTROL", now)
                        events.append(ControlReceived(frames.decodeControl(message)))
                case FrameType.ACK:
                    ack = frames.decodeAck(body)
                    heard.progress |= self._ackReceived(ack, sent, now)
                case FrameType.PING:
                    if len(self._pings) < MAX_OWED_ANSWERS:
                        self._pings.append(frames.decodePing(body))
                case FrameType.PONG:
                    self._pongReceived(*frames.decodePong(body), now)
                case FrameType.PATH_CHALLENGE:
                    if len(self._challenges) < MAX_OWED_ANSWERS:
                        challenge = frames.decodeChallenge(body)
                        self._challenges.append((path, challenge))
                case FrameType.PATH_RESPONSE:
                    heard.responses.append(frames.decodeChallenge(body))
                case FrameType.PATH_DROP:
                    frames.decodeChallenge(body)
                    heard.dropped = True
                case FrameType.PATH_USE:
                    heard.use = max(heard.use or 0, frames.decodePathUse(body))
                case FrameType.CONFIRM:
                    frames.decodeConfirm(body)
                case FrameType.PAIRING:
                    events.append(PairingReceived(frames.decodePairing(body)))
                case _:
                    # CLOSE: `parseFrames` lets no other type pass.
                    heard.close = CloseReceived(*frames.decodeClose(body))
        heard.elicits += elicits

    def _ordered(self, channel: ReliableReceiver, body: bytes) -> list[bytes]:
        seq, message = frames.decodeNumbered(body)
        return channel.receive(seq, message)

    def _videoReceived(self, chunks: Sequence[bytes], heard: Heard, now: float) -> None:
        heard.media = True
        delivered: list[VideoReceived | VideoLost] = []
        try:
            self._video.receiveMany(chunks, delivered, now)
        finally:
            heard.events.extend(self._noted(delivered, now))

    def _noted(
        self, delivered: Sequence[VideoReceived | VideoLost], now: float
    ) -> list[Event]:
        for event in delivered:
            if isinstance(event, VideoReceived):
                self.framesReceived += 1
                self.jitter.sample(now, event.frame.timestamp)
            else:
                self.framesLost += event.count
                self._requestKeyFrame(now)
        return list(delivered)

    def _requestKeyFrame(self, now: float) -> None:
        if now >= self._requestAt:
            self._requestAt = now + KEYFRAME_REQUEST_INTERVAL
            self.pushControl(Control(Command.REQUEST_KEYFRAME), now)

    def _ackReceived(self, ack: frames.Ack, sent: SentPackets, now: float) -> bool:
        progress = sent.received(ack, now)
        self._inputOut.acknowledged(ack.inputNext)
        self._controlOut.acknowledged(ack.controlNext)
        return progress

    def _pongReceived(self, stamp: int, clock: int, now: float) -> None:
        received = mediaTime(now)
        if 0 <= received - stamp < 60_000_000 and stamp >= self._askedSince:
            self.roundTrip.sample((received - stamp) / 1e6)
            self.clockOffset.sample(stamp, clock, received)

    # --- what is owed ---

    @property
    def expected(self) -> tuple[int, int]:
        """
        The next INPUT and CONTROL numbers: what an ACK acknowledges.
        """
        return self._inputIn.next, self._controlIn.next

    def takePongs(self, now: float) -> list[bytes]:
        """
        The PONG bodies that answer the PINGs received.
        """
        pings, self._pings = self._pings, []
        return [frames.encodePong(stamp, mediaTime(now)) for stamp in pings]

    def takeChallenges(self) -> list[tuple[IPath, bytes]]:
        """
        The challenges to answer, each on the path that it came by.
        """
        challenges, self._challenges = self._challenges, []
        return challenges

    # --- messages that may not be missed ---

    def pushInput(self, events: Sequence[InputEvent], now: float) -> None:
        """
        Send input events; raises `LocalError` when they do not fit.
        """
        self._inputOut.push(frames.encodeInput(events), now)

    def pushControl(self, control: Control, now: float) -> None:
        """
        Send a control command; raises `LocalError` when it is out of range.
        """
        self._controlOut.push(frames.encodeControl(control), now)

    @property
    def inputWaiting(self) -> int:
        """
        How many INPUT messages the peer has not acknowledged.
        """
        return len(self._inputOut)

    @property
    def unacknowledged(self) -> int:
        """
        How many messages the peer has not acknowledged.
        """
        return len(self._inputOut) + len(self._controlOut)

    def messagesDue(self, timeout: float, now: float) -> list[bytes]:
        """
        Plaintexts with the messages to send, or to send again after ``timeout``.
        They are padded, so that their size does not tell a keystroke, and small, so
        that any path passes them.
        """
        # This and the timer below are asked with every picture.
        if not self.unacknowledged:
            return []
        due: list[tuple[int, bytes]] = []
        for kind, channel in self._channels():
            for seq, message in channel.due(now, timeout):
                due.append((kind, frames.encodeNumbered(seq, message)))
        return frames.packFrames(due, PADDING, _ROOM) if due else []

    def _channels(self) -> tuple[tuple[FrameType, ReliableSender], ...]:
        return (
            (FrameType.INPUT, self._inputOut),
            (FrameType.CONTROL, self._controlOut),
        )

    def channelTimer(self) -> float | None:
        """
        When `messagesDue` has something to say, if ever.
        """
        if not self.unacknowledged:
            return None
        times = [channel.nextTimer() for _, channel in self._channels()]
        return min((at for at in times if at is not None), default=None)

    # --- time ---

    def resume(self, now: float) -> None:
        """
        The peer is heard again after it was impaired.
        """
        self._video.resume()
        # PINGs that a blocked connection held back are answered now, all of them.
        self._askedSince = mediaTime(now)

    def timerFired(self, now: float) -> list[Event]:
        """
        Give up the video frames whose time is over.
        """
        return self._noted(self._video.timerFired(now), now)

    def nextTimer(self) -> float | None:
        """
        When `timerFired` has something to do, if ever.
        """
        return self._video.nextTimer()


def _refuseMedia(opened: Sequence[tuple[int, bytes]]) -> None:
    for _, plain in opened:
        if any(kind in _MEDIA for kind, _ in frames.parseFrames(plain)):
            raise BadPacket("media of one who is here to pair")
