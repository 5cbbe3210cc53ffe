"""
The values that go into and come out of a `rootstream.protocol.link.Link`.

Times called ``timestamp`` are microseconds of the sender's media clock, 0 to
2^48 - 1; times called ``now`` are seconds of the local monotonic clock.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

from rootstream.interfaces import IPath, Transport


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """
    One H.264 access unit in Annex B form.

    ``reorder`` is the number of frames by which the decoder must delay output
    (0 without B frames, at most 16): a muxer needs it to make decoding times.
    """

    data: bytes
    timestamp: int
    keyFrame: bool = False
    reorder: int = 0


@dataclass(frozen=True, slots=True)
class AudioFrame:
    """
    One Opus packet of at most 1354 bytes; ``samples`` a channel at ``sampleRate`` Hz.
    """

    data: bytes
    timestamp: int
    sampleRate: int = 48000
    channels: int = 2
    samples: int = 960


#: Kinds of input events (linux/input-event-codes.h).
EV_SYN: Final = 0
EV_KEY: Final = 1
EV_REL: Final = 2
EV_ABS: Final = 3


@dataclass(frozen=True, slots=True)
class InputEvent:
    """
    One Linux input event: ``kind``, ``code`` and ``value`` as in `input_event(5)`.
    """

    kind: int
    code: int
    value: int


class Command(enum.IntEnum):
    """
    What a CONTROL frame asks for (PROTOCOL, section 3).
    """

    PAUSE = 1
    RESUME = 2
    SET_BITRATE = 3
    SET_FPS = 4
    REQUEST_KEYFRAME = 5
    SET_QUALITY = 6
    DISCONNECT = 7


@dataclass(frozen=True, slots=True)
class Control:
    """
    One control command and its value (bit/s, frames/s, percent, or 0).
    """

    command: Command
    value: int = 0


@dataclass(frozen=True, slots=True)
class InitSent:
    """
    The first INIT of an attempt went out on ``path``.
    """

    path: IPath


@dataclass(frozen=True, slots=True)
class InitAnswered:
    """
    The peer dialled us on ``path`` and was answered; not yet confirmed.
    """

    path: IPath


@dataclass(frozen=True, slots=True)
class InitLapsed:
    """
    Nothing confirmed the INITs that we answered; the half-open slots are gone.
    """


@dataclass(frozen=True, slots=True)
class SessionEstablished:
    """
    A handshake is confirmed on ``path``.

    ``rekey`` when it only renewed the keys of a living session; ``restarted``
    when the peer is a new instance and forgot all that went before.
    """

    path: IPath
    rekey: bool
    restarted: bool


@dataclass(frozen=True, slots=True)
class PathAuthenticated:
    """
    A packet of the peer opened on a path for the first time.
    """

    path: IPath


@dataclass(frozen=True, slots=True)
class PathValidated:
    """
    The peer has answered a challenge on ``path`` for the first time.
    """

    path: IPath


@dataclass(frozen=True, slots=True)
class PathMoved:
    """
    From now on packets go out on ``path``, because of ``cause``, in words.
    """

    path: IPath
    cause: str


@dataclass(frozen=True, slots=True)
class PathDropped:
    """
    The link has no more use for ``path``; its owner may close it.
    """

    path: IPath


@dataclass(frozen=True, slots=True)
class PathNarrow:
    """
    Large packets are lost on ``path``, small ones are not: from now on none has more
    than ``size`` bytes there.
    """

    path: IPath
    size: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """
    ``path``, which is in use, stopped acknowledging for ``silence`` seconds.  Packets
    go out on ``standby`` as well, if there is such a path.
    """

    path: IPath
    standby: IPath | None
    silence: float


@dataclass(frozen=True, slots=True)
class Impaired:
    """
    Nothing authentic came on any path for ``silence`` seconds: dial again.
    ``transports`` are those of the paths that there are; none when the last was lost.
    """

    silence: float
    transports: tuple[Transport, ...] = ()


@dataclass(frozen=True, slots=True)
class Recovered:
    """
    The peer is heard again after ``silence`` seconds, on the keys it had.
    """

    silence: float


@dataclass(frozen=True, slots=True)
class Silent:
    """
    Nothing authentic for 30 s: the peer counts as disconnected.
    """

    silence: float


@dataclass(frozen=True, slots=True)
class Expired:
    """
    The last key is dead and nobody renewed it: the link holds nothing any more.
    """


@dataclass(frozen=True, slots=True)
class VideoReceived:
    """
    A whole video access unit.
    """

    frame: VideoFrame


@dataclass(frozen=True, slots=True)
class VideoLost:
    """
    ``count`` frames were given up before the next one was delivered.
    """

    count: int


@dataclass(frozen=True, slots=True)
class KeyFrameWanted:
    """
    Frames to the peer were dropped on this side, because its path could not take
    them: it can go on only from a key frame.
    """


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """
    An Opus packet.
    """

    frame: AudioFrame


@dataclass(frozen=True, slots=True)
class InputReceived:
    """
    Input events, exactly once and in order.
    """

    events: tuple[InputEvent, ...]


@dataclass(frozen=True, slots=True)
class ControlReceived:
    """
    A control command, exactly once and in order.
    """

    control: Control


@dataclass(frozen=True, slots=True)
class PairingReceived:
    """
    A message of the pairing exchange; it may be lost, or come twice.
    """

    message: bytes


@dataclass(frozen=True, slots=True)
class DrillReport:
    """
    What happened when ``transport`` counted as dead for ``seconds``.  Times in seconds.

    ``pictureGap`` is the longest time without a video frame delivered here, between the
    beginning of the drill and half a second after the return of the session; None when
    no frame came at all.  ``acknowledgementGap`` is the longest time that media sent
    from here waited without any progress of acknowledgements, of which a peer sends one
    in 0.05 s at the best of times; None when none was sent.  ``movedAfter`` says when
    the session left the transport, counted from the beginning, ``movedTo`` for which
    one, and ``backAfter`` when it had returned, counted from when the transport was no
    longer dead; None where that did not happen.
    """

    transport: Transport
    seconds: float
    pictureGap: float | None
    acknowledgementGap: float | None
    movedAfter: float | None
    movedTo: Transport | None
    backAfter: float | None


@dataclass(frozen=True, slots=True)
class DrillEnded:
    """
    A rehearsal is over: ``report`` says what came of it.
    """

    report: DrillReport


@dataclass(frozen=True, slots=True)
class Closed:
    """
    The conversation is over: ``text`` says why, ``byPeer`` who said so.
    """

    code: int
    text: str
    byPeer: bool


Event = (
    InitSent
    | InitAnswered
    | InitLapsed
    | SessionEstablished
    | PathAuthenticated
    | PathValidated
    | PathMoved
    | PathDropped
    | PathNarrow
    | Suspect
    | Impaired
    | Recovered
    | Silent
    | Expired
    | VideoReceived
    | VideoLost
    | KeyFrameWanted
    | AudioReceived
    | InputReceived
    | PairingReceived
    | ControlReceived
    | DrillEnded
    | Closed
)
