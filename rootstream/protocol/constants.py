"""
The numbers of the protocol.

The first part is the wire: both sides must agree on it.  The second part is our
own choice and may differ between two versions that still understand each other.
Times are in seconds, sizes in bytes unless a name says otherwise.
"""

from __future__ import annotations

from typing import Final

# --- The wire (docs/protocol.rst) ---------------------------------------------

VERSION: Final = 2
DEFAULT_PORT: Final = 9876
#: Where a viewer looks for TLS: what passes where nothing else does.
DEFAULT_TLS_PORT: Final = 443
MAX_PACKET: Final = 1400
#: The smallest packet that a TCP record may carry: DATA with one frame type byte.
MIN_RECORD: Final = 30
#: In front of a packet in a stream: its length.
RECORD_HEADER: Final = 2
#: type, receiver index and counter before, tag after the frames.
DATA_HEADER: Final = 13
TAG: Final = 16
MIN_DATA: Final = DATA_HEADER + TAG
#: All frames of one packet together.
MAX_FRAMES: Final = MAX_PACKET - MIN_DATA

TYPE_INIT: Final = 0x21
TYPE_RESP: Final = 0x22
TYPE_RETRY: Final = 0x23
TYPE_DATA: Final = 0x24
INIT_SIZE: Final = 176
RESP_SIZE: Final = 104
RETRY_SIZE: Final = 56

#: Counters at or past this are refused and never sent (PROTOCOL, section 3).
REJECT_AFTER_PACKETS: Final = 1 << 40
#: RFC 6479 ring: 8192 bits less one 64-bit word being recycled (wireguard-go).
REPLAY_BITS: Final = 8192
REPLAY_WINDOW: Final = REPLAY_BITS - 64
REJECT_AFTER_TIME: Final = 180.0
MAX_SEQ: Final = (1 << 32) - 1
MAX_CHUNKS: Final = 2048
#: INPUT and CONTROL packets are padded to a multiple of this.
PADDING: Final = 64
#: A packet with more frames is refused, so that its work is bounded.
MAX_FRAME_COUNT: Final = 64
#: In front of a video chunk's data, without the frame type.
VIDEO_HEADER: Final = 15
MAX_CHUNK: Final = MAX_FRAMES - 1 - VIDEO_HEADER
#: H.264 never delays output by more frames (ITU-T H.264, max_dec_frame_buffering).
MAX_REORDER: Final = 16
AUDIO_HEADER: Final = 16
MAX_AUDIO: Final = MAX_FRAMES - 1 - AUDIO_HEADER
MAX_INPUT_EVENTS: Final = 190
ACK_BITMAP: Final = 128
#: INPUT and CONTROL numbers this far past the next one expected are dropped.
CHANNEL_WINDOW: Final = 1024
#: Of a message of the pairing exchange.
MAX_PAIRING: Final = 192
#: Of the text of a CLOSE, in UTF-8.
MAX_TEXT: Final = 64

# --- Our own choice -----------------------------------------------------------

REKEY_AFTER_TIME: Final = 120.0
#: A random share of this is added, so that two peers do not rekey in step.
REKEY_JITTER: Final = 5.0
REKEY_AFTER_PACKETS: Final = 1 << 32
REKEY_AFTER_BYTES: Final = 64 << 30
REKEY_RETRY: Final = 1.0
PREVIOUS_KEY_LIFE: Final = 15.0
FAILED_OPENS_REKEY: Final = 1 << 35
FAILED_OPENS_KILL: Final = 1 << 36

INIT_INTERVAL: Final = 0.25
DIAL_TIMEOUT: Final = 5.0
MAX_OUTSTANDING_INITS: Final = 8
HALF_OPEN_LIFE: Final = 5.0
#: How long the side that wins a simultaneous dial waits for its own INIT to be
#: answered before it answers the other's after all.
SIMULTANEOUS_GRACE: Final = 1.0
REMEMBERED_EPHEMERALS: Final = 16
CONFIRM_DELAYS: Final = (0.1, 0.25, 0.5)

COOKIE_LIFE: Final = 120.0
LOAD_HANDSHAKES_PER_SECOND: Final = 100
LOAD_HOLD: Final = 1.0
MAX_HANDSHAKES_PER_SECOND: Final = 200
SOURCE_RATE: Final = 20.0
SOURCE_BURST: Final = 5
MAX_SOURCES: Final = 4096
#: Batches of DATA that are opened though they come from where the session has no path:
#: a second, from one source and from all (F34).  A peer that roams needs one.
UNPROVEN_RATE: Final = 20.0
UNPROVEN_BURST: Final = 20
MAX_UNPROVEN_PER_SECOND: Final = 500

ACK_INTERVAL: Final = 0.05
ACK_EVERY_PACKETS: Final = 64
PING_STREAMING: Final = 1.0
PING_IDLE: Final = 15.0
#: So the initiator of an idle session PINGs first, and the other need not.
PING_LEADING: Final = 14.0
IMPAIRED_AFTER: Final = 1.5
DISCONNECTED_AFTER: Final = 30.0

VIDEO_DEADLINE: Final = 0.5
AUDIO_DEADLINE: Final = 0.2
#: F68 says 4; with lost chunks sent again that gives up frames that were about to be
#: whole (docs/design.rst).  The byte limit holds the memory.
MAX_PARTIAL_FRAMES: Final = 32
MAX_REASSEMBLY_BYTES: Final = 8 << 20
#: Whole frames that wait for an earlier one: 0.5 s at 240 frames/s is 120.
MAX_WAITING_FRAMES: Final = 256
#: INPUT or CONTROL messages that the peer has not acknowledged.
MAX_UNACKNOWLEDGED: Final = 4096
#: Input events and commands a second that a peer may send, and how many at once: what
#: has waited for a network that was gone comes in one go.
INPUT_RATE: Final = 1000
INPUT_BURST: Final = 60_000
CONTROL_RATE: Final = 50
CONTROL_BURST: Final = MAX_UNACKNOWLEDGED
#: Between two sendings of the same INPUT or CONTROL message.
MAX_RESEND_WAIT: Final = 1.0
#: More bytes waiting in a stream than this, or for more seconds, and video is dropped;
#: when it is half of either, a key frame is asked for.  That is looked for this often.
MAX_BACKLOG: Final = 256 << 10
MAX_BACKLOG_DELAY: Final = 0.25
BACKLOG_LOOK: Final = 0.05
#: How fast a stream drains is not judged by less time than this.
MIN_BACKLOG_AGE: Final = 0.05
#: What a stream was given within this time is one mark in its books, and how many
#: marks there are at most.
BACKLOG_STEP: Final = 0.005
MAX_BACKLOG_MARKS: Final = 256

HEAD_START: Final = 0.3
TLS_HEAD_START: Final = 1.0
TCP_CONNECT_TIMEOUT: Final = 5.0
RECONNECT_INITIAL: Final = 0.1
RECONNECT_FACTOR: Final = 2.0
RECONNECT_MAXIMUM: Final = 30.0
RECONNECT_ATTEMPTS: Final = 10

MAX_STRANGERS: Final = 64
MAX_STRANGERS_PER_SOURCE: Final = 4
STRANGER_TIMEOUT: Final = 5.0

MAX_UNVALIDATED_PATHS: Final = 4
#: A peer that roams leaves paths behind which nobody takes away.
MAX_VALIDATED_PATHS: Final = 8
#: Bytes that may be sent on a path not yet validated, a byte received on it
#: (RFC 9000, section 8.1).
AMPLIFICATION: Final = 3
CHALLENGE_ATTEMPTS: Final = 3
#: After a probe that ended with the old path answering, how long until packets
#: on another path start the next.
PATH_PROBE_HOLD: Final = 1.0
CHALLENGE_SIZE: Final = 8

#: A packet is missing when one sent this much later has arrived (RFC 9002, 6.1.1).
LOSS_REORDER: Final = 3
#: And not before this (RFC 9002, 6.1.2: kGranularity).
MINIMUM_PATIENCE: Final = 0.001
#: What every path is taken to pass: IPv6 passes 1280 bytes, headers included.
SMALL_PACKET: Final = 1200
#: So many larger ones lost, in so many rounds with small ones that arrived, and none
#: that arrived: the path swallows them (`rootstream.protocol.blackhole`).
BLACK_HOLE_LOSSES: Final = 16
BLACK_HOLE_ROUNDS: Final = 3
#: Of one round no more count: a moment's outage loses any number.
BLACK_HOLE_ROUND_LOSSES: Final = 8
#: How long a packet that is not resent is waited for before it counts as lost.
SENT_LIFE: Final = 2.0
MAX_SENT_BYTES: Final = 16 << 20
#: Records of packets sent together that all have arrived, beyond those that have not.
MAX_SPENT_FLIGHTS: Final = 64
#: Counters before the largest that an ACK reports on: what is sent in two round
#: trips, so that a copy sent for a hole is still told of.  With 256, a stream of
#: 40 Mbit/s over 100 ms that lost one in twenty was sent four copies a hole.
ACK_BITS: Final = 8 * ACK_BITMAP
#: How long a hole in the counters may go untold.
ACK_HOLE_DELAY: Final = 0.005
#: Packets that may leave at once: a train longer than this overruns a receive buffer
#: of the default size.  How many a second after that is for each path to find out:
#: where it starts, and from where to where it goes.  One that was found to take more
#: takes what is due in so many seconds at once, up to so many packets: a frame of
#: 100 kB need not wait for its last tenth there.
BURST_PACKETS: Final = 64
BURST_SECONDS: Final = 0.001
BURST_MOST: Final = 128
PACE_START: Final = 64_000
PACE_LEAST: Final = 16_000
PACE_MOST: Final = 400_000
#: By this it grows, once a round trip at the most, and not more often than this many
#: seconds.
PACE_GROWTH: Final = 1.125
PACE_STEP: Final = 0.01
#: So many packets missing at once are no chance: the end of a train had no room.
PACE_MISSED: Final = 32
#: Media counts as flowing this long after its last frame.
STREAMING_FOR: Final = 5.0
#: After a PING without answer: how long until the peer counts as impaired.
PING_PATIENCE: Final = 0.5
SILENT_PING: Final = 1.0
CLOSE_DELAYS: Final = (0.0, 0.03, 0.06)
KEYFRAME_REQUEST_INTERVAL: Final = 0.5
#: When media has come in and then none does for this long, whoever received it speaks
#: up, and again after twice as long, and so on.  He that only listens would not be
#: found again by the sender, once a NAT has forgotten him, before the next PING.
QUIET_AFTER: Final = 0.05
#: What took longer waited in a connection that was blocked: it tells nothing of a path.
LONGEST_ROUND_TRIP: Final = 3.0
#: While a key that we sent is down, a PING goes out this often: of several one arrives
#: in time, before the other side lets go of it.
HELD_PING: Final = 0.1
#: Between the first PING into a silence and the verdict: ask again this often.
PING_REPEAT: Final = 0.25
#: PINGs and challenges of one peer that wait for their answer.
MAX_OWED_ANSWERS: Final = 16
#: How long the old path may take to answer at least, before we move.
OLD_PATH_PATIENCE: Final = 0.3
#: Seconds that a rehearsal may last, and that the session has to return after it.
MAX_DRILL: Final = 60.0
DRILL_PATIENCE: Final = 10.0
#: Conversations at once.  Only --allow-any lets strangers come near it.
MAX_LINKS: Final = 16384
#: Peers whose last timestamp is remembered, so that replays are told.
MAX_REMEMBERED_PEERS: Final = 4096

#: No progress of acknowledgements for this long, or two round trips: the path is
#: suspect.  An acknowledgement may take ``ACK_INTERVAL`` besides the round trip.
SUSPECT_AFTER: Final = 0.15
DEAD_AFTER: Final = 1.0
#: UDP is probed this often at first, and for ``PROBE_EAGER`` seconds; then ever more
#: seldom, up to ``PROBE_LAST``.  After one answer the next probe follows quickly.
PROBE_FIRST: Final = 1.0
PROBE_EAGER: Final = 60.0
PROBE_FACTOR: Final = 1.5
PROBE_LAST: Final = 30.0
PROBE_NEXT: Final = 0.1
PROBES_TO_RETURN: Final = 3
#: Paths of ours that are remembered for probing.
MAX_KNOWN_PATHS: Final = 8
