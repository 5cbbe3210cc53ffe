"""
Tests for `rootstream.protocol.link`, and for what it is made of: packing, inbox and
status.
"""

from __future__ import annotations

from dataclasses import replace
from struct import pack
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    BURST_PACKETS,
    CONTROL_BURST,
    CONTROL_RATE,
    INPUT_BURST,
    INPUT_RATE,
    MAX_BACKLOG,
    MAX_INPUT_EVENTS,
    MAX_OWED_ANSWERS,
    MAX_UNACKNOWLEDGED,
    PACE_GROWTH,
    PACE_START,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
    UNPROVEN_BURST,
    VIDEO_DEADLINE,
)
from rootstream.protocol.events import (
    AudioFrame,
    AudioReceived,
    Closed,
    Command,
    Control,
    ControlReceived,
    Expired,
    Impaired,
    InitAnswered,
    InitLapsed,
    InitSent,
    InputEvent,
    InputReceived,
    KeyFrameWanted,
    PairingReceived,
    PathAuthenticated,
    PathDropped,
    PathMoved,
    Recovered,
    SessionEstablished,
    Silent,
    Suspect,
    VideoFrame,
    VideoLost,
    VideoReceived,
)
from rootstream.protocol.frames import Ack, FrameType, encodeAck, encodeClose
from rootstream.protocol.handshakes import Indices
from rootstream.protocol.link import (
    GOODBYE,
    PROTOCOL_VIOLATION,
    SOURCE_ENDED,
    Link,
    wallClock,
)
from rootstream.protocol.video import chunk
from tests.wire import Side, Wire, WirePath, credentials

CONFIRM = bytes((FrameType.CONFIRM,))
PING = bytes((FrameType.PING,)) + bytes(8)


def pathTo(side: Side, transport: Transport = Transport.UDP) -> WirePath:
    """
    The path on which packets to ``side`` leave, or from it arrive.
    """
    return WirePath(transport, side.address)


def picture(wire: Wire, size: int = 3000, keyFrame: bool = False) -> VideoFrame:
    """
    A frame of noise, stamped with the time.
    """
    return VideoFrame(wire.random.randbytes(size), int(wire.now * 1e6), keyFrame)


def send(wire: Wire, side: Side, media: VideoFrame | list[InputEvent]) -> bool:
    """
    Send from ``side`` to the other, now.
    """
    taken = side.linkTo(wire.other(side)).send(media, wire.now)
    wire.pump(side)
    return taken


def clear(wire: Wire) -> None:
    """
    Forget what happened so far.
    """
    for side in (wire.a, wire.b):
        side.events.clear()
        side.sent.clear()


def loss(wire: Wire, share: float) -> None:
    """
    Let the network lose packets, both ways.
    """
    wire.a.weather.loss = wire.b.weather.loss = share


def rekey(wire: Wire) -> None:
    """
    Let ``a`` renew the keys.
    """
    slot = wire.a.linkTo(wire.b)._slots.current
    assert slot is not None
    slot.stale = True
    wire.a.linkTo(wire.b).timerFired(wire.now)
    wire.pump(wire.a)


class DialTests(SynchronousTestCase):
    """
    From nothing to a session.
    """

    def test_events(self) -> None:
        """
        Both sides tell the steps of a handshake in their order.
        """
        wire = Wire()
        a, b = wire.connect()
        to, fro = pathTo(wire.b), pathTo(wire.a)
        self.assertEqual(
            wire.a.events,
            [
                InitSent(to),
                PathAuthenticated(to),
                PathMoved(to, "handshake confirmed"),
                SessionEstablished(to, False, False),
            ],
        )
        self.assertEqual(
            wire.b.events,
            [
                InitAnswered(fro),
                PathAuthenticated(fro),
                PathMoved(fro, "handshake confirmed"),
                SessionEstablished(fro, False, False),
            ],
        )
        self.assertTrue(a.established and b.established)
        self.assertAlmostEqual(a.status().roundTrip or 0, 0.02, 4)

    def test_twoPaths(self) -> None:
        """
        UDP and TCP can be dialled side by side; the one that works carries the
        session, and the attempt is told of once.
        """
        wire = Wire()
        for side in (wire.a, wire.b):
            side.weather.blocked.add(Transport.UDP)
        wire.a.dial(wire.b)
        wire.run(0.3)
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.1)
        self.assertTrue(a.established)
        self.assertEqual(a.status().path, pathTo(wire.b, Transport.TCP))
        self.assertEqual(
            wire.b.linkTo(wire.a).status().path, pathTo(wire.a, Transport.TCP)
        )
        self.assertEqual(wire.a.eventsOf(InitSent), [InitSent(pathTo(wire.b))])
        clear(wire)
        wire.run(5)
        self.assertEqual(wire.a.packets(TYPE_INIT), [])

    def test_firstAnswerWins(self) -> None:
        """
        When both paths work, the first to answer carries the one session.
        """
        wire = Wire()
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.a.dial(wire.b)
        wire.run(1)
        self.assertEqual(len(wire.a.eventsOf(SessionEstablished)), 1)
        self.assertEqual(len(wire.b.eventsOf(SessionEstablished)), 1)
        self.assertEqual(a.status().path, pathTo(wire.b, Transport.TCP))

    def test_underLoss(self) -> None:
        """
        Under 30 % loss both ways each of 50 attempts succeeds, all but one within
        3 s (F21).
        """
        times = []
        for seed in range(50):
            wire = Wire(seed)
            loss(wire, 0.3)
            a = wire.a.dial(wire.b)
            start = wire.now
            while not (a.established and wire.b.linkTo(wire.a).established):
                wire.run(0.05)
                self.assertLess(wire.now - start, 10)
            times.append(wire.now - start)
        self.assertLess(sorted(times)[-2], 3)

    def test_confirmRepeated(self) -> None:
        """
        CONFIRM is sent at once and after 100, 250 and 500 ms, until something comes
        under the new keys.
        """
        wire = Wire()
        wire.a.weather.filter = lambda packet: packet[0] != TYPE_DATA
        start = wire.now + 0.02
        wire.a.dial(wire.b)
        wire.run(0.9)
        slot = wire.a.linkTo(wire.b)._slots.current
        assert slot is not None
        times = [
            round(at - start, 3)
            for at, _, packet in wire.a.sent
            if packet[0] == TYPE_DATA and len(packet) == 30
        ]
        self.assertEqual(times, [0.0, 0.1, 0.25, 0.5])
        wire = Wire()
        wire.connect()
        confirms = [packet for packet in wire.a.packets(TYPE_DATA) if len(packet) == 30]
        self.assertEqual(len(confirms), 1)

    def test_answererKnowsRoundTrip(self) -> None:
        """
        Who answered learns the round trip from the first packet under the new keys, so
        a far peer is not suspected when it is sent the first picture (F23).
        """
        wire = Wire()
        wire.a.weather.delay = wire.b.weather.delay = 0.75
        wire.a.dial(wire.b)
        b = wire.b.linkTo(wire.a)
        while not b.established:
            wire.run(0.01)
        self.assertAlmostEqual(b.status().roundTrip or 0, 1.5, 3)
        send(wire, wire.b, picture(wire, keyFrame=True))
        wire.run(3)
        self.assertEqual(len(wire.a.frames), 1)
        self.assertEqual(wire.b.eventsOf(Suspect), [])

    def test_repeatedConfirmMeasuresNothing(self) -> None:
        """
        When the first packet under the new keys is lost, a later one does not tell
        when it was asked for: the round trip stays unknown.
        """
        wire = Wire()
        wire.a.weather.filter = lambda packet: packet[5:13] != bytes(8)
        wire.a.dial(wire.b)
        b = wire.b.linkTo(wire.a)
        while not b.established:
            wire.run(0.01)
        self.assertIsNone(b.status().roundTrip)

    def test_abandoned(self) -> None:
        """
        A path that is abandoned gets no more INITs, and a late answer to one is
        not taken.
        """
        wire = Wire()
        a = wire.a.dial(wire.b)
        a.abandon(pathTo(wire.b))
        wire.run(2)
        self.assertEqual(len(wire.a.packets(TYPE_INIT)), 1)
        self.assertFalse(a.established)
        self.assertEqual(len(wire.a.node._indices), 0)

    def test_lapsed(self) -> None:
        """
        A peer that never confirms is told of, and its keys are forgotten after 5 s.
        """
        wire = Wire()
        wire.a.dial(wire.b)
        wire.a.linkTo(wire.b).abandon(pathTo(wire.b))
        wire.run(4.9)
        self.assertEqual(wire.b.events, [InitAnswered(pathTo(wire.a))])
        wire.run(0.2)
        self.assertEqual(wire.b.events, [InitAnswered(pathTo(wire.a)), InitLapsed()])
        self.assertIsNone(wire.b.linkTo(wire.a).nextTimer())

    def test_nothingToDo(self) -> None:
        """
        A new link has no timer, no packets and no events.
        """
        link = Link(credentials(1), credentials(2).public, Indices(bytes), 5.0)
        self.assertIsNone(link.nextTimer())
        self.assertIsNone(link.nextEvent())
        self.assertEqual(link.packetsToSend(5.0), [])
        link.timerFired(5.0)
        self.assertIsNone(link.nextEvent())

    def test_wallClock(self) -> None:
        """
        The wall clock is milliseconds since 1970.
        """
        with mock.patch("time.time_ns", lambda: 1_800_000_000_123_456_789):
            self.assertEqual(wallClock(), 1_800_000_000_123)


class SizeTests(SynchronousTestCase):
    """
    What one link of thousands takes.
    """

    def test_attributes(self) -> None:
        """
        It has no more attributes than objects of a class can share the names of: one
        more, and each takes 1.3 kB more.
        """
        wire = Wire()
        wire.connect()
        link = wire.a.linkTo(wire.b)
        self.assertLessEqual(len(vars(link)), 30)


class SendTests(SynchronousTestCase):
    """
    Media, input and control.
    """

    def test_allKinds(self) -> None:
        """
        What is sent arrives as it was, in either direction.
        """
        for sides in ("ab", "ba"):
            wire = Wire()
            wire.connect()
            clear(wire)
            one, other = (getattr(wire, name) for name in sides)
            link = one.linkTo(other)
            audio = AudioFrame(b"opus", 99, 48000, 1, 480)
            control = Control(Command.SET_FPS, 25)
            events = (InputEvent(1, 30, 1), InputEvent(0, 0, 0))
            video = picture(wire, 5000)
            for media in (video, audio, control, events):
                self.assertTrue(link.send(media, wire.now))
            wire.pump(one)
            wire.run(0.1)
            self.assertEqual(other.frames, [video.data])
            self.assertEqual(
                other.eventsOf(ControlReceived), [ControlReceived(control)]
            )
            self.assertEqual(other.eventsOf(InputReceived), [InputReceived(events)])
            self.assertEqual(other.eventsOf(AudioReceived), [AudioReceived(audio)])

    def test_withoutSession(self) -> None:
        """
        Without a session, media is refused, and INPUT and CONTROL wait for one.
        """
        wire = Wire()
        a = wire.a.linkTo(wire.b)
        self.assertFalse(a.send(picture(wire), wire.now))
        self.assertFalse(a.send(AudioFrame(b"opus", 0), wire.now))
        self.assertTrue(a.send(Control(Command.PAUSE), wire.now))
        self.assertTrue(a.send([InputEvent(1, 2, 3)], wire.now))
        wire.connect()
        self.assertEqual(
            wire.b.eventsOf(ControlReceived), [ControlReceived(Control(Command.PAUSE))]
        )
        self.assertEqual(
            wire.b.eventsOf(InputReceived), [InputReceived((InputEvent(1, 2, 3),))]
        )
        # The refused picture is one that others refer to.
        self.assertEqual(len(wire.a.eventsOf(KeyFrameWanted)), 1)
        self.assertFalse(a.send(picture(wire), wire.now))
        self.assertTrue(a.send(picture(wire, keyFrame=True), wire.now))
        self.assertTrue(a.send(picture(wire), wire.now))

    def test_refusedWhileExpired(self) -> None:
        """
        When pictures were refused because the keys had died, a key frame is asked
        for as soon as there are new ones, also on the path that was used before.
        """
        wire = Wire()
        a, _ = wire.connect()
        loss(wire, 1.0)
        wire.run(185)
        self.assertFalse(send(wire, wire.a, picture(wire)))
        loss(wire, 0.0)
        clear(wire)
        wire.a.dial(wire.b)
        wire.run(0.5)
        self.assertTrue(a.established)
        self.assertEqual(len(wire.a.eventsOf(KeyFrameWanted)), 1)
        self.assertEqual(wire.a.eventsOf(PathMoved), [])

    def test_wrongUse(self) -> None:
        """
        What does not fit is our own mistake, and leaves the session alone.
        """
        wire = Wire()
        a, _ = wire.connect()
        for media in (
            VideoFrame(b"", 0),
            VideoFrame(b"x", -1),
            AudioFrame(bytes(1356), 0),
            Control(Command.SET_FPS, 0),
            [],
            [InputEvent(1, 2, 3)] * (MAX_INPUT_EVENTS + 1),
        ):
            self.assertRaises(LocalError, a.send, media, wire.now)
        self.assertTrue(send(wire, wire.a, [InputEvent(1, 2, 3)]))
        wire.run(0.1)
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), 1)

    def test_tooMuchInput(self) -> None:
        """
        At most 4096 messages wait for a peer that does not answer.
        """
        wire = Wire()
        a = wire.a.linkTo(wire.b)
        for number in range(MAX_UNACKNOWLEDGED):
            a.send([InputEvent(1, number, 1)], wire.now)
        self.assertRaises(LocalError, a.send, [InputEvent(1, 2, 3)], wire.now)
        wire.connect()
        wire.run(2)
        self.assertTrue(a.drained)
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), MAX_UNACKNOWLEDGED)

    def test_sizes(self) -> None:
        """
        One key pressed and ten keys pressed are packets of the same size; no packet
        is larger than 1400 bytes.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        sizes = []
        for count in (1, 5):
            wire.run(0.2)
            wire.a.sent.clear()
            send(wire, wire.a, [InputEvent(1, 2, 3)] * count)
            sizes.append([len(packet) for packet in wire.a.packets(TYPE_DATA)])
        self.assertEqual(sizes, [[93], [93]])
        send(wire, wire.a, picture(wire, 100_000))
        wire.run(0.1)
        self.assertEqual(max(map(len, wire.a.packets(TYPE_DATA))), 1400)

    def test_exactlyOnce(self) -> None:
        """
        INPUT and CONTROL arrive exactly once and in order, under loss, doubling and
        reordering, while the peer's address changes, keys are renewed and sessions
        replaced.
        """
        for seed in range(40):
            wire = Wire(seed)
            wire.connect()
            clear(wire)
            for side in (wire.a, wire.b):
                side.weather.loss = 0.2
                side.weather.duplication = 0.1
                side.weather.jitter = 0.03
            sent: dict[str, list[InputEvent]] = {"a": [], "b": []}
            for turn in range(60):
                for name, side in (("a", wire.a), ("b", wire.b)):
                    event = InputEvent(1, turn, wire.random.getrandbits(16))
                    sent[name].append(event)
                    send(wire, side, [event])
                    link = side.linkTo(wire.other(side))
                    link.send(Control(Command.SET_QUALITY, turn), wire.now)
                    wire.pump(side)
                match wire.random.randrange(12):
                    case 0:
                        wire.a.address = ("192.0.2.1", 3000 + turn)
                    case 1:
                        rekey(wire)
                    case 2:
                        wire.b.dial(wire.a)
                    case 3:
                        wire.a.dial(wire.b)
                wire.run(wire.random.random() * 0.2)
            loss(wire, 0.0)
            wire.run(5)
            for name, side in (("b", wire.a), ("a", wire.b)):
                self.assertEqual(
                    side.eventsOf(InputReceived),
                    [InputReceived((event,)) for event in sent[name]],
                    seed,
                )
                self.assertEqual(
                    side.eventsOf(ControlReceived),
                    [
                        ControlReceived(Control(Command.SET_QUALITY, turn))
                        for turn in range(60)
                    ],
                    seed,
                )
            self.assertTrue(wire.a.linkTo(wire.b).drained)

    def test_flood(self) -> None:
        """
        A peer that sends more input or commands than anybody does loses the session;
        what it sent before is delivered (F73).
        """
        for what, most, rate in (
            ([InputEvent(2, 0, 1)] * MAX_INPUT_EVENTS, INPUT_BURST, INPUT_RATE),
            (Control(Command.PAUSE), CONTROL_BURST, CONTROL_RATE),
        ):
            wire = Wire()
            a, _ = wire.connect()
            size = len(what) if isinstance(what, list) else 1
            kinds = InputReceived | ControlReceived
            began = wire.now
            while not wire.b.eventsOf(Closed):
                for _ in range(50):
                    a.send(what, wire.now)
                wire.pump(wire.a)
                wire.run(0.1)
                allowed = most + rate * (wire.now - began)
                came = [each for each in wire.b.events if isinstance(each, kinds)]
                self.assertLessEqual(size * len(came), allowed)
            self.assertGreater(size * (len(came) + 1), most)
            (closed,) = wire.b.eventsOf(Closed)
            self.assertEqual(closed.code, PROTOCOL_VIOLATION)
            self.assertIn("too much", closed.text)

    def test_heldKey(self) -> None:
        """
        A key that is down is not forgotten by whoever sent it: he is heard at least
        every 0.2 s until it is up, although nothing else flows; the other side knows
        how long he was silent.
        """
        wire = Wire()
        a, b = wire.connect()
        wire.run(10)
        self.assertGreater(b.silence(wire.now), 1.0)
        longest: list[float] = []
        for value in (1, 0):
            send(wire, wire.a, [InputEvent(1, 30, value), InputEvent(0, 0, 0)])
            self.assertEqual(a.inputWaiting, 1)
            wire.run(7)
            self.assertEqual(a.inputWaiting, 0)
            longest.append(0.0)
            for _ in range(300):
                wire.run(0.01)
                longest[-1] = max(longest[-1], b.silence(wire.now))
        self.assertLess(longest[0], 0.2)
        self.assertGreater(longest[1], 1.0)
        self.assertEqual(b.peerInstance, a.instance)

    def test_acrossSilence(self) -> None:
        """
        Input that was sent into a network that had gone arrives when it is back,
        also under keys that came later.
        """
        wire = Wire()
        wire.connect()
        loss(wire, 1.0)
        events = [InputEvent(1, number, 1) for number in range(200)]
        for event in events:
            send(wire, wire.a, [event])
            wire.run(1)
        self.assertEqual(len(wire.a.eventsOf(Expired)), 1)
        loss(wire, 0.0)
        wire.a.dial(wire.b)
        wire.run(3)
        self.assertEqual(
            wire.b.eventsOf(InputReceived), [InputReceived((each,)) for each in events]
        )

    def test_drained(self) -> None:
        """
        A link is drained when nothing that it was given is still on its way.
        """
        wire = Wire()
        a, _ = wire.connect()
        self.assertTrue(a.drained)
        send(wire, wire.a, [InputEvent(1, 2, 3)])
        self.assertFalse(a.drained)
        wire.run(0.2)
        self.assertTrue(a.drained)
        a.send(picture(wire, 500_000), wire.now)
        self.assertFalse(a.drained)
        wire.run(0.005)
        self.assertFalse(a.drained)
        wire.run(0.2)
        self.assertTrue(a.drained)

    def test_drainedWithoutAnswer(self) -> None:
        """
        Media that nobody acknowledges is given up after its deadline.
        """
        wire = Wire()
        a, _ = wire.connect()
        loss(wire, 1.0)
        send(wire, wire.a, picture(wire))
        wire.run(0.4)
        self.assertFalse(a.drained)
        wire.run(0.6)
        self.assertTrue(a.drained)
        status = a.status()
        self.assertGreaterEqual(status.packetsLost, 3)
        self.assertGreaterEqual(status.packetsResent, 3)

    def test_paced(self) -> None:
        """
        On UDP a long frame leaves as a train of 64 packets and then 64 a
        millisecond; on TCP it leaves at once.
        """
        for transport in (Transport.UDP, Transport.TCP):
            wire = Wire()
            wire.a.dial(wire.b, transport)
            wire.run(0.5)
            clear(wire)
            start = wire.now
            send(wire, wire.a, picture(wire, 640 * 1355))
            first = len(wire.a.packets(TYPE_DATA))
            wire.run(0.05)
            times = [at - start for at, _, packet in wire.a.sent if len(packet) == 1400]
            self.assertGreaterEqual(len(times), 640)
            if transport == Transport.TCP:
                self.assertEqual(first, 640)
                continue
            self.assertEqual(first, BURST_PACKETS)
            for later in range(1, 10):
                count = sum(at <= later / 1000 + 1e-5 for at in times)
                self.assertLessEqual(count, BURST_PACKETS * (later + 1))
            self.assertLess(times[639], 0.0105)
            self.assertEqual(len(wire.b.frames), 1)

    def test_backlog(self) -> None:
        """
        With more than 256 KiB waiting in its transport, video is dropped.  When half of
        that is gone a key frame is asked for once, and until it comes no other frame is
        taken.
        """
        wire = Wire()
        a = wire.a.linkTo(wire.b)
        path = pathTo(wire.b, Transport.TCP)
        a.connect(path, wire.now)
        wire.pump(wire.a)
        wire.run(0.5)
        clear(wire)
        self.assertTrue(send(wire, wire.a, picture(wire)))
        object.__setattr__(path, "backlog", MAX_BACKLOG + 1)
        for keyFrame in (False, True, False):
            self.assertFalse(send(wire, wire.a, picture(wire, keyFrame=keyFrame)))
        object.__setattr__(path, "backlog", MAX_BACKLOG // 2 + 1)
        wire.run(0.2)
        self.assertEqual(wire.a.events, [])
        object.__setattr__(path, "backlog", 0)
        wire.run(0.2)
        self.assertEqual(wire.a.events, [KeyFrameWanted()])
        self.assertFalse(send(wire, wire.a, picture(wire)))
        self.assertTrue(send(wire, wire.a, picture(wire, keyFrame=True)))
        self.assertTrue(send(wire, wire.a, picture(wire)))
        # Input never waits behind a decision about video.
        self.assertTrue(send(wire, wire.a, [InputEvent(1, 2, 3)]))
        wire.run(0.1)
        self.assertEqual(len(wire.b.frames), 3)
        self.assertEqual(wire.b.eventsOf(VideoLost), [])
        status = a.status()
        self.assertEqual((status.framesSent, status.framesDropped), (3, 4))

    def test_queueTooLong(self) -> None:
        """
        Frames that waited longer than their deadline are dropped whole, and a key
        frame is asked for.
        """
        wire = Wire()
        for side in (wire.a, wire.b):
            # So that the rate grows once at the most.
            side.weather.delay = 0.2
        a, _ = wire.connect()
        clear(wire)
        size = 2000 * 1355
        frames = [picture(wire, size, number == 0) for number in range(25)]
        for frame in frames:
            self.assertTrue(a.send(frame, wire.now))
        wire.pump(wire.a)
        wire.run(1)
        self.assertEqual(wire.a.eventsOf(KeyFrameWanted)[:1], [KeyFrameWanted()])
        arrived = len(wire.b.frames)
        self.assertGreater(arrived, 10)
        self.assertEqual(wire.b.frames, [frame.data for frame in frames[:arrived]])
        rate = PACE_START * PACE_GROWTH
        self.assertLess(arrived, round(VIDEO_DEADLINE * rate / 2000) + 1)
        self.assertFalse(a.send(picture(wire), wire.now))
        self.assertTrue(a.send(picture(wire, keyFrame=True), wire.now))

    def test_dataForAnInit(self) -> None:
        """
        DATA under an index that only an INIT of ours has is nobody's.
        """
        wire = Wire()
        loss(wire, 1.0)
        link = wire.a.dial(wire.b)
        [init] = wire.a.packets(TYPE_INIT)
        packet = bytes((TYPE_DATA,)) + init[4:8] + bytes(40)
        self.assertEqual(
            wire.a.node.receive([packet], pathTo(wire.b), wire.now), [link]
        )
        self.assertFalse(link.established)
        self.assertEqual(link.status().bytesReceived, 0)

    def test_acknowledgementsAlone(self) -> None:
        """
        An acknowledgement gives nothing to do while more is under way, unless it shows
        a hole, or is the last, or comes on another path.
        """
        wire = Wire()
        link, _ = wire.connect()
        wire.a.weather.loss = 1.0
        session = wire.b.session(wire.a)
        begin = wire.a.session(wire.b).sendCounter
        send(wire, wire.a, picture(wire, 20 * 1355))
        udp, tcp = Transport.UDP, Transport.TCP
        for first, last, transport, links in (
            (0, 4, udp, []),
            (6, 8, udp, [link]),
            (0, 8, udp, []),
            (9, 14, tcp, [link]),
            (15, 19, udp, [link]),
        ):
            ack = Ack(begin + last, 0, 0, (1 << (last - first)) - 1)
            packet = session.seal(bytes((FrameType.ACK,)) + encodeAck(ack))
            path = pathTo(wire.b, transport)
            self.assertEqual(wire.a.node.receive([packet], path, wire.now), links)

    def test_batches(self) -> None:
        """
        A batch is as good as its packets: pictures among other frames, packets of
        nobody's in between, holes and doubles.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        session = wire.a.session(wire.b)
        audio = bytes((FrameType.AUDIO,)) + pack("<QIHH", 1, 9, 1, 1) + b"x"
        first = chunk(0, VideoFrame(bytes(3000), 5, True))
        second = chunk(1, VideoFrame(bytes(2000), 6))
        packets = session.sealMany([*first, audio, *second, PING])
        stray = bytes((TYPE_DATA,)) + bytes(40)
        batch = [*packets[:2], stray, *packets[1:4], b"", *packets[5:], packets[0]]
        before = wire.b.linkTo(wire.a).status()
        wire.b.node.receive(batch, pathTo(wire.a), wire.now)
        wire.pump(wire.b)
        kinds = [type(event) for event in wire.b.events]
        self.assertEqual(kinds, [VideoReceived, AudioReceived])
        status = wire.b.linkTo(wire.a).status()
        self.assertEqual(status.packetsExpected - before.packetsExpected, 7)
        self.assertEqual(status.packetsInOrder - before.packetsInOrder, 6)
        wire.b.node.receive([packets[4]], pathTo(wire.a), wire.now)
        wire.pump(wire.b)
        self.assertEqual(len(wire.b.frames), 2)

    def test_violationInABatch(self) -> None:
        """
        What came before a broken packet is delivered; what came after it is not.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        [good] = chunk(0, VideoFrame(b"picture", 5, True))
        [late] = chunk(1, VideoFrame(b"late", 6))
        packets = wire.a.session(wire.b).sealMany([good, good[:10], late])
        wire.b.node.receive(packets, pathTo(wire.a), wire.now)
        wire.run(1)
        self.assertEqual(wire.b.frames, [b"picture"])
        [closed] = wire.b.eventsOf(Closed)
        self.assertEqual(closed.text, "a video chunk without data")

    def test_goodbyeInABatch(self) -> None:
        """
        Nothing counts after a goodbye.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        [good] = chunk(0, VideoFrame(b"picture", 5, True))
        goodbye = bytes((FrameType.CLOSE,)) + encodeClose(0, "")
        packets = wire.a.session(wire.b).sealMany([goodbye, good])
        wire.b.node.receive(packets, pathTo(wire.a), wire.now)
        wire.pump(wire.b)
        self.assertEqual([type(event) for event in wire.b.events], [Closed])

    def test_manyFramesInAPacket(self) -> None:
        """
        A peer may put several frames into one packet, pictures too, in any order.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        audio = pack("<QIHH", 1, 9, 1, 1) + b"x"
        [video] = chunk(0, VideoFrame(b"picture", 5, True))
        body = video[1:]
        plain = pack("<BH", 0x80 | FrameType.AUDIO, len(audio)) + audio
        plain += pack("<BH", 0x80 | FrameType.VIDEO, len(body)) + body
        plain += pack("<BH", 0x80 | FrameType.PADDING, 2) + bytes(2)
        wire.forge(wire.a, plain + PING)
        wire.run(0.04)
        self.assertEqual(wire.b.frames, [b"picture"])
        self.assertEqual(len(wire.b.eventsOf(AudioReceived)), 1)
        # The PING in it was answered, and with it all was acknowledged.
        self.assertEqual(len(wire.b.packets(TYPE_DATA)), 1)

    def test_resent(self) -> None:
        """
        A lost picture packet is sent again, the same bytes, and the picture is
        whole less than two round trips later.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        lost: list[bytes] = []

        def once(packet: bytes) -> bool:
            if len(packet) == 1400 and not lost:
                lost.append(packet)
                return False
            return True

        wire.b.weather.filter = once
        send(wire, wire.b, picture(wire, 8 * 1355))
        wire.run(0.045)
        self.assertEqual(len(wire.a.frames), 1)
        self.assertEqual(wire.b.packets(TYPE_DATA).count(lost[0]), 2)

    def test_keyFrameAskedFor(self) -> None:
        """
        Who lost a frame asks the sender for a key frame, at most twice a second.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        for number in range(30):
            wire.b.weather.loss = 1.0 if number in (5, 10, 24) else 0.0
            for link in (wire.b.linkTo(wire.a),):
                link.send(picture(wire), wire.now)
                # So that it is not sent again.
                batches = link.packetsToSend(wire.now)
                for slot in link._slots:
                    slot.sent.clear()
                if not wire.b.weather.loss:
                    for _, packets in batches:
                        for packet in packets:
                            wire.inject(wire.a, packet, pathTo(wire.b), 0.01)
            wire.b.weather.loss = 0.0
            wire.run(1 / 15)
        wire.run(1)
        self.assertEqual(wire.a.eventsOf(VideoLost), [VideoLost(1)] * 3)
        asked = ControlReceived(Control(Command.REQUEST_KEYFRAME))
        self.assertEqual(wire.b.eventsOf(ControlReceived), [asked] * 2)


class CloseTests(SynchronousTestCase):
    """
    The end.
    """

    def test_close(self) -> None:
        """
        CLOSE goes out three times on UDP, the other side learns the reason, and
        both hold no key, index or timer any more.
        """
        wire = Wire()
        a, b = wire.connect()
        clear(wire)
        a.close(SOURCE_ENDED, "the film is over", wire.now)
        wire.pump(wire.a)
        self.assertEqual(wire.a.events, [])
        a.close(GOODBYE, "again", wire.now)
        wire.run(1)
        self.assertEqual(len(wire.a.packets(TYPE_DATA)), 3)
        text = "the film is over"
        self.assertEqual(wire.a.events, [Closed(SOURCE_ENDED, text, False)])
        self.assertEqual(wire.b.events, [Closed(SOURCE_ENDED, text, True)])
        for link, side in ((a, wire.a), (b, wire.b)):
            self.assertTrue(link.finished)
            self.assertFalse(link.established)
            self.assertIsNone(link.nextTimer())
            self.assertEqual(len(side.node._indices), 0)
            self.assertFalse(link.send([InputEvent(1, 2, 3)], wire.now))
            link.close(GOODBYE, "again", wire.now)
            link.connect(pathTo(wire.b), wire.now)
            link.timerFired(wire.now)
            self.assertEqual(link.packetsToSend(wire.now), [])
            self.assertIsNone(link.nextEvent())

    def test_closeUnderLoss(self) -> None:
        """
        One of the three is enough.
        """
        for arrives in range(3):
            wire = Wire()
            a, _ = wire.connect()
            clear(wire)
            verdicts = [number == arrives for number in range(3)]
            wire.a.weather.filter = lambda packet, rest=verdicts: rest.pop(0)
            a.close(GOODBYE, "bye", wire.now)
            wire.pump(wire.a)
            wire.run(0.1)
            self.assertEqual(verdicts, [])
            self.assertEqual(wire.b.events, [Closed(GOODBYE, "bye", True)])

    def test_closeOnTCP(self) -> None:
        """
        On TCP one CLOSE is enough.
        """
        wire = Wire()
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.5)
        clear(wire)
        a.close(GOODBYE, "bye", wire.now)
        wire.pump(wire.a)
        self.assertEqual(len(wire.a.sent), 1)
        self.assertEqual(wire.a.events, [Closed(GOODBYE, "bye", False)])
        wire.run(0.1)
        self.assertEqual(wire.b.events, [Closed(GOODBYE, "bye", True)])

    def test_closeWithoutSession(self) -> None:
        """
        Who has no session, or no path, ends at once and in silence, and stops
        dialling.
        """
        wire = Wire()
        loss(wire, 1.0)
        a = wire.a.dial(wire.b)
        clear(wire)
        a.close(GOODBYE, "bye", wire.now)
        wire.pump(wire.a)
        wire.run(5)
        self.assertEqual(wire.a.sent, [])
        self.assertEqual(wire.a.events, [Closed(GOODBYE, "bye", False)])
        wire = Wire()
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.5)
        a.pathLost(pathTo(wire.b, Transport.TCP), "reset", wire.now)
        a.close(GOODBYE, "bye", wire.now)
        wire.pump(wire.a)
        self.assertTrue(a.finished)

    def test_closeWhileDialling(self) -> None:
        """
        While the goodbye is being said, nothing else is: queued media is dropped,
        nothing is taken and no INIT answered.
        """
        wire = Wire()
        a, _ = wire.connect()
        a.send(picture(wire, 500_000), wire.now)
        a.close(GOODBYE, "bye", wire.now)
        clear(wire)
        self.assertFalse(a.send(picture(wire), wire.now))
        wire.b.dial(wire.a)
        wire.run(1)
        self.assertEqual(wire.a.packets(TYPE_RESP), [])
        self.assertEqual(len(wire.a.packets(TYPE_DATA)), 3)

    def test_bothClose(self) -> None:
        """
        Two goodbyes that cross end both sides once.
        """
        wire = Wire()
        a, b = wire.connect()
        clear(wire)
        a.close(1000, "here", wire.now)
        b.close(2000, "there", wire.now)
        for side in (wire.a, wire.b):
            wire.pump(side)
        wire.run(1)
        self.assertEqual(wire.a.events, [Closed(2000, "there", True)])
        self.assertEqual(wire.b.events, [Closed(1000, "here", True)])

    def test_closeBeforeConfirm(self) -> None:
        """
        A link that was closed does not answer an INIT, nor a half-open peer's data.
        """
        wire = Wire()
        b = wire.b.linkTo(wire.a)
        b.close(GOODBYE, "bye", wire.now)
        wire.a.dial(wire.b)
        wire.run(2)
        self.assertEqual(wire.b.sent, [])

    def test_closeWithDeadKeys(self) -> None:
        """
        When the keys die while the goodbye is said, it ends all the same.
        """
        wire = Wire()
        a, _ = wire.connect()
        wire.a.session(wire.b).sendCounter = 1 << 40
        clear(wire)
        a.close(GOODBYE, "bye", wire.now)
        wire.pump(wire.a)
        wire.run(1)
        self.assertEqual(wire.a.sent, [])
        self.assertEqual(wire.a.eventsOf(Closed), [Closed(GOODBYE, "bye", False)])

    def test_discarded(self) -> None:
        """
        A link that is discarded says nothing, to the peer or to us, and holds
        nothing.
        """
        wire = Wire()
        a, _ = wire.connect()
        a.send(picture(wire), wire.now)
        clear(wire)
        a.discard()
        wire.pump(wire.a)
        self.assertEqual((wire.a.sent, wire.a.events), ([], []))
        self.assertEqual(len(wire.a.node._indices), 0)

    def test_afterTheEnd(self) -> None:
        """
        What follows a CLOSE in one batch is dropped.
        """
        wire = Wire()
        _, b = wire.connect()
        session = wire.a.session(wire.b)
        close = bytes((FrameType.CLOSE,)) + pack("<H", 7) + b"\x1b[31mred"
        packets = [session.seal(close), session.seal(CONFIRM)]
        clear(wire)
        b.receive(packets, pathTo(wire.a), wire.now)
        wire.pump(wire.b)
        self.assertEqual(wire.b.events, [Closed(7, "\\x1b[31mred", True)])


class KeysTests(SynchronousTestCase):
    """
    Sessions that follow one another.
    """

    def test_rekey(self) -> None:
        """
        After two minutes the side that dialled first renews the keys; the old ones
        are forgotten 15 s later.
        """
        wire = Wire()
        a, b = wire.connect()
        old = wire.a.session(wire.b)
        clear(wire)
        wire.run(140)
        self.assertIsNot(wire.a.session(wire.b), old)
        for side, other in ((wire.a, wire.b), (wire.b, wire.a)):
            self.assertEqual(
                side.events, [SessionEstablished(pathTo(other), True, False)]
            )
        self.assertEqual(wire.b.packets(TYPE_INIT), [])
        wire.run(16)
        self.assertIsNone(old._opener)
        self.assertEqual((len(a._slots), len(b._slots)), (1, 1))
        self.assertEqual(len(wire.a.node._indices), 1)

    def test_oldKeysReceive(self) -> None:
        """
        What was under way under the old keys still arrives, and is acknowledged
        under them.
        """
        wire = Wire()
        wire.connect()
        old = wire.b.session(wire.a)
        packet = old.seal(bytes((FrameType.AUDIO,)) + pack("<QIHH", 1, 9, 1, 1) + b"x")
        rekey(wire)
        wire.run(0.2)
        clear(wire)
        before = wire.a.linkTo(wire.b)._slots.previous
        assert before is not None
        wire.deliver(wire.a, packet, pathTo(wire.b))
        self.assertEqual(len(wire.a.events), 1)
        wire.run(0.1)
        under = before.session.remoteIndex.to_bytes(4, "little")
        acks = [each for each in wire.a.packets(TYPE_DATA) if each[1:5] == under]
        self.assertEqual(len(acks), 1)

    def test_twoInABatch(self) -> None:
        """
        A batch may have packets of the session before and of the one that is.
        """
        wire = Wire()
        _, link = wire.connect()
        before = wire.a.session(wire.b)
        rekey(wire)
        wire.run(0.5)
        after = wire.a.session(wire.b)
        self.assertIsNot(before, after)
        packets = [*before.sealMany([PING, PING]), *after.sealMany([PING])]
        received = link.status().bytesReceived
        wire.b.node.receive(packets, pathTo(wire.a), wire.now)
        self.assertEqual(link.status().bytesReceived - received, sum(map(len, packets)))

    def test_manyRekeys(self) -> None:
        """
        Keys that are replaced quickly, one after another, leave nothing behind, and
        the counts go on.
        """
        wire = Wire()
        a, _ = wire.connect()
        sent = 0
        for _ in range(10):
            send(wire, wire.a, picture(wire))
            sent += 3
            wire.run(0.1)
            rekey(wire)
            wire.run(0.1)
        self.assertEqual(len(a._slots), 2)
        self.assertEqual(len(wire.a.node._indices), 2)
        wire.run(1)
        self.assertGreaterEqual(a.status().packetsAcknowledged, sent)
        self.assertEqual(len(wire.b.frames), 10)

    def test_restartedPeer(self) -> None:
        """
        A peer that forgot everything is told as such: what was not acknowledged is
        dropped, both count messages and frames from anew.
        """
        wire = Wire()
        wire.connect()
        for number in range(3):
            send(wire, wire.a, [InputEvent(1, number, 1)])
            send(wire, wire.b, picture(wire))
        wire.run(0.1)
        wire.b.restart()
        loss(wire, 1.0)
        send(wire, wire.a, [InputEvent(1, 100, 1)])
        send(wire, wire.a, picture(wire))
        loss(wire, 0.0)
        clear(wire)
        wire.b.dial(wire.a)
        wire.run(0.2)
        self.assertIn(SessionEstablished(pathTo(wire.b), False, True), wire.a.events)
        self.assertTrue(wire.a.linkTo(wire.b).drained)
        frame = picture(wire, keyFrame=True)
        send(wire, wire.a, [InputEvent(1, 7, 1)])
        send(wire, wire.b, [InputEvent(1, 8, 1)])
        send(wire, wire.b, frame)
        wire.run(0.2)
        self.assertEqual(
            wire.b.eventsOf(InputReceived), [InputReceived((InputEvent(1, 7, 1),))]
        )
        self.assertEqual(
            wire.a.eventsOf(InputReceived), [InputReceived((InputEvent(1, 8, 1),))]
        )
        self.assertEqual(wire.a.frames, [frame.data])
        self.assertEqual(wire.a.eventsOf(VideoLost), [])

    def test_keptFromTheInstanceBefore(self) -> None:
        """
        F29: what somebody kept of an instance of the peer that is gone does not open
        any more: its messages have the numbers of the new instance's.
        """
        wire = Wire()
        wire.connect()
        kept = wire.a.session(wire.b).seal(b"\x04" + bytes(4) + b"\x01" + bytes(6))
        wire.a.restart()
        wire.a.dial(wire.b)
        wire.run(0.2)
        clear(wire)
        wire.deliver(wire.b, kept, pathTo(wire.a))
        self.assertEqual(wire.b.events, [])
        send(wire, wire.a, [InputEvent(1, 7, 1)])
        wire.run(0.2)
        self.assertEqual(
            wire.b.eventsOf(InputReceived), [InputReceived((InputEvent(1, 7, 1),))]
        )

    def test_confirmedLate(self) -> None:
        """
        F40: the first packet of a session comes when the peer has already begun the
        next: both sides go on with that one.
        """
        wire = Wire()
        wire.a.weather.filter = lambda packet: packet[0] == TYPE_INIT
        wire.a.dial(wire.b)
        wire.run(0.025)
        late = wire.a.packets(TYPE_DATA)[0]
        rekey(wire)
        wire.run(0.015)
        self.assertEqual(wire.b.linkTo(wire.a)._slots.halfOpen, 2)
        wire.deliver(wire.b, late, pathTo(wire.a))
        wire.a.weather.filter = None
        wire.run(1)
        for side in (wire.a, wire.b):
            clear(wire)
            send(wire, side, [InputEvent(1, 7, 1)])
            wire.run(0.1)
            self.assertEqual(len(wire.other(side).eventsOf(InputReceived)), 1)

    def test_exhausted(self) -> None:
        """
        When the keys are used up, sending stops; media that is offered is refused.
        """
        wire = Wire()
        a, _ = wire.connect()
        wire.a.session(wire.b).sendCounter = 1 << 40
        clear(wire)
        a.send(picture(wire), wire.now)
        wire.pump(wire.a)
        self.assertEqual(wire.a.sent, [])
        self.assertEqual(wire.a.events, [Expired()])
        self.assertFalse(a.send(picture(wire), wire.now))

    def test_exhaustedWithPrevious(self) -> None:
        """
        Older keys that still live are no reason to wait when the current ones are
        used up: there is nothing to answer with.
        """
        wire = Wire()
        a, _ = wire.connect()
        rekey(wire)
        wire.run(0.2)
        wire.a.session(wire.b).sendCounter = 1 << 40
        clear(wire)
        send(wire, wire.a, picture(wire))
        self.assertEqual(len(a._slots), 0)
        self.assertEqual(wire.a.events, [Expired()])

    def test_expiredWhileHalfOpen(self) -> None:
        """
        The end of the last keys is told although the peer dials just then; if it
        does not go on, that is told as well.
        """
        wire = Wire()
        a, b = wire.connect()
        clear(wire)
        wire.a.weather.filter = lambda packet: packet[0] == TYPE_INIT
        rekey(wire)
        wire.run(0.1)
        a.abandon(pathTo(wire.b))
        wire.b.session(wire.a).failedOpens = 1 << 36
        b.timerFired(wire.now)
        wire.run(6)
        self.assertEqual(wire.b.events, [Expired(), InitLapsed()])

    def test_newAddress(self) -> None:
        """
        After a move to another IP address the side that began the session renews
        the keys, not after a move to another port.
        """
        for host, renewed in (("192.0.2.9", 1), ("192.0.2.2", 0)):
            wire = Wire()
            wire.connect()
            clear(wire)
            wire.b.address = (host, 9999)
            send(wire, wire.b, [InputEvent(1, 2, 3)])
            wire.run(0.35)
            send(wire, wire.b, [InputEvent(1, 2, 3)])
            wire.run(2)
            self.assertEqual(wire.a.linkTo(wire.b).status().path, pathTo(wire.b))
            self.assertEqual(len(wire.a.eventsOf(SessionEstablished)), renewed)

    def test_peerMovesAway(self) -> None:
        """
        The side that answered leaves the renewal to the one that began.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        wire.a.address = ("192.0.2.77", 5)
        send(wire, wire.a, [InputEvent(1, 2, 3)])
        wire.run(2)
        self.assertEqual(wire.b.linkTo(wire.a).status().path, pathTo(wire.a))
        self.assertEqual(wire.b.packets(TYPE_INIT), [])


class PathTests(SynchronousTestCase):
    """
    Where packets go.
    """

    def onTCP(self) -> tuple[Wire, Link]:
        """
        A session over TCP.
        """
        wire = Wire()
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.5)
        clear(wire)
        return wire, a

    def test_pathLost(self) -> None:
        """
        When its only connection ends, a link is impaired at once and says nothing;
        on a new path the session goes on, with the input that waited.
        """
        wire, a = self.onTCP()
        path = pathTo(wire.b, Transport.TCP)
        send(wire, wire.a, picture(wire))
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.b.weather.loss = 1.0
        wire.run(0.05)
        wire.a.sent.clear()
        a.pathLost(path, "reset by peer", wire.now)
        a.pathLost(path, "reset by peer", wire.now)
        wire.pump(wire.a)
        [event] = wire.a.events
        self.assertIsInstance(event, Impaired)
        self.assertIsNone(a.status().path)
        self.assertTrue(a.status().impaired)
        # There may be another path in a moment.
        self.assertTrue(send(wire, wire.a, picture(wire)))
        self.assertTrue(send(wire, wire.a, [InputEvent(1, 2, 2)]))
        wire.run(3)
        self.assertEqual(wire.a.sent, [])
        wire.b.weather.loss = 0.0
        wire.a.dial(wire.b)
        wire.run(2)
        self.assertEqual(
            wire.b.eventsOf(InputReceived)[-1], InputReceived((InputEvent(1, 2, 2),))
        )
        self.assertEqual(a.status().path, pathTo(wire.b))
        self.assertEqual(len(wire.a.eventsOf(KeyFrameWanted)), 1)

    def test_pathLostTwice(self) -> None:
        """
        A link that was impaired before its connection ended tells it once.
        """
        wire, a = self.onTCP()
        loss(wire, 1.0)
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(3)
        self.assertEqual(len(wire.a.eventsOf(Impaired)), 1)
        a.pathLost(pathTo(wire.b, Transport.TCP), "timed out", wire.now)
        wire.run(1)
        self.assertEqual(len(wire.a.eventsOf(Impaired)), 1)

    def test_otherPathTakesOver(self) -> None:
        """
        When the current connection ends and another path is known to lead to the
        peer, that one takes over at once.
        """
        wire, a = self.onTCP()
        wire.a.dial(wire.b)
        wire.run(0.5)
        self.assertEqual(a.status().path, pathTo(wire.b))
        wire.a.dial(wire.b, Transport.TCP)
        wire.run(0.5)
        clear(wire)
        a.pathLost(pathTo(wire.b, Transport.TCP), "end of file", wire.now)
        wire.pump(wire.a)
        self.assertEqual(wire.a.events, [PathMoved(pathTo(wire.b), "end of file")])
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(0.1)
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), 1)

    def test_unusedPathLost(self) -> None:
        """
        The end of a connection that was only dialled on changes nothing for the
        session.
        """
        wire = Wire()
        wire.a.weather.blocked.add(Transport.TCP)
        a = wire.a.dial(wire.b, Transport.TCP)
        wire.a.dial(wire.b)
        wire.run(0.5)
        clear(wire)
        a.pathLost(pathTo(wire.b, Transport.TCP), "refused", wire.now)
        wire.run(1)
        self.assertEqual(wire.a.events, [])
        self.assertEqual(wire.a.packets(TYPE_INIT), [])

    def test_withoutPath(self) -> None:
        """
        A peer that calls on a new path while we have none is challenged there and
        then sent to, without a handshake.
        """
        wire, _ = self.onTCP()
        b = wire.b.linkTo(wire.a)
        b.pathLost(pathTo(wire.a, Transport.TCP), "reset", wire.now)
        session = wire.a.session(wire.b)
        # The peer heard nothing of it, and goes on over UDP.
        a = wire.a.linkTo(wire.b)
        state = a._paths.validate(pathTo(wire.b), wire.now)
        a._routing.use(state, "as decided", wire.now)
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(0.5)
        self.assertEqual(b.status().path, pathTo(wire.a))
        self.assertIs(wire.a.session(wire.b), session)
        self.assertFalse(b.status().impaired)

    def test_probingDoesNotMove(self) -> None:
        """
        Packets that only probe a path, or came late, do not ask for a move.
        """
        wire = Wire()
        _, b = wire.connect()
        session = wire.a.session(wire.b)
        late = session.seal(CONFIRM)
        wire.deliver(wire.b, session.seal(CONFIRM), pathTo(wire.a))
        clear(wire)
        other = WirePath(Transport.UDP, ("192.0.2.5", 5))
        wire.deliver(wire.b, session.seal(PING), other)
        wire.deliver(wire.b, late, other)
        wire.run(2)
        self.assertEqual(wire.b.bytesTo(other), 0)
        self.assertEqual(b.status().path, pathTo(wire.a))

    def test_oldPathGivenUp(self) -> None:
        """
        A PATH_DROP on the old path shortens the wait: sending moves as soon as the
        new path has answered.
        """
        wire = Wire()
        _, b = wire.connect()
        session = wire.a.session(wire.b)
        drop = session.seal(bytes((FrameType.PATH_DROP,)) + bytes(8))
        old = pathTo(wire.a)
        wire.a.address = ("192.0.2.1", 4444)
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(0.025)
        self.assertEqual(b.status().path, old)
        wire.deliver(wire.b, drop, old)
        wire.run(0.02)
        self.assertEqual(b.status().path, pathTo(wire.a))

    def test_pathUse(self) -> None:
        """
        PATH_USE is understood, and asks for the path that it comes by.
        """
        wire = Wire()
        _, b = wire.connect()
        wire.a.address = ("192.0.2.1", 4444)
        wire.forge(wire.a, bytes((FrameType.PATH_USE,)) + pack("<I", 1))
        wire.run(0.5)
        self.assertEqual(b.status().path, pathTo(wire.a))

    def test_challengeAnswered(self) -> None:
        """
        A challenge is answered on the path that it came by, unless that path is
        gone by then; a connection that is new is challenged there as well.
        """
        wire = Wire()
        _, b = wire.connect()
        other = WirePath(Transport.TCP, ("192.0.2.5", 5))
        session = wire.a.session(wire.b)
        for lost, expected in ((False, 2 * 38), (True, 0)):
            clear(wire)
            challenge = bytes((FrameType.PATH_CHALLENGE,)) + b"12345678"
            wire.b.node.receive([session.seal(challenge)], other, wire.now)
            if lost:
                b.pathLost(other, "gone", wire.now)
            wire.pump(wire.b)
            self.assertEqual(wire.b.bytesTo(other), expected)

    def test_tooManyQuestions(self) -> None:
        """
        Of thousands of PINGs and challenges, sixteen each are answered.
        """
        wire = Wire()
        wire.connect()
        session = wire.a.session(wire.b)
        challenge = bytes((FrameType.PATH_CHALLENGE,)) + bytes(8)
        batch = [session.seal(plain) for _ in range(50) for plain in (PING, challenge)]
        clear(wire)
        wire.b.node.receive(batch, pathTo(wire.a), wire.now)
        inbox = wire.b.linkTo(wire.a)._inbox
        self.assertEqual(len(inbox._pings), MAX_OWED_ANSWERS)
        wire.pump(wire.b)
        sizes = [len(packet) for packet in wire.b.packets(TYPE_DATA)]
        self.assertEqual(sizes.count(38), MAX_OWED_ANSWERS)
        self.assertEqual(inbox._pings, [])

    def test_pathsMakeRoom(self) -> None:
        """
        Paths that had to make room for others are told of.
        """
        wire = Wire()
        wire.connect()
        clear(wire)
        session = wire.a.session(wire.b)
        paths = [WirePath(Transport.UDP, ("192.0.2.5", port)) for port in range(1, 10)]
        for path in paths:
            wire.deliver(wire.b, session.seal(PING), path)
        self.assertEqual(
            wire.b.eventsOf(PathDropped), [PathDropped(path) for path in paths[:5]]
        )


class LivenessTests(SynchronousTestCase):
    """
    Silence, and what is done about it.
    """

    def test_idle(self) -> None:
        """
        In an idle session the side that began it sends a PING each 14 s, the other
        answers, and that is all; neither keeps a cipher ready meanwhile.
        """
        wire = Wire()
        wire.connect()
        wire.run(10)
        clear(wire)
        wire.run(100)
        self.assertEqual((wire.a.events, wire.b.events), ([], []))
        self.assertIn(len(wire.a.sent), (7, 8))
        self.assertEqual(len(wire.b.sent), len(wire.a.sent))
        for here, there in ((wire.a, wire.b), (wire.b, wire.a)):
            self.assertIsNone(here.session(there)._sealer)
            self.assertIsNone(here.session(there)._opener)

    def test_redialled(self) -> None:
        """
        An impaired link dials again where it dialled before, on UDP; when the peer
        is heard again on the old keys, that stops.
        """
        wire = Wire()
        a, _ = wire.connect()
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(0.5)
        loss(wire, 1.0)
        clear(wire)
        wire.run(1.9)
        self.assertEqual(len(wire.a.eventsOf(Impaired)), 1)
        self.assertGreater(len(wire.a.packets(TYPE_INIT)), 1)
        self.assertEqual(wire.b.packets(TYPE_INIT), [])
        packet = wire.b.session(wire.a).seal(CONFIRM)
        wire.deliver(wire.a, packet, pathTo(wire.b))
        [event] = wire.a.eventsOf(Recovered)
        self.assertGreater(event.silence, 1.5)
        self.assertFalse(a._dialling.active)

    def test_silent(self) -> None:
        """
        After 30 s of silence the link stops dialling by itself, but dials when it
        is told to.
        """
        wire = Wire()
        a, _ = wire.connect()
        loss(wire, 1.0)
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(31)
        self.assertEqual(len(wire.a.eventsOf(Silent)), 1)
        clear(wire)
        wire.run(5)
        self.assertEqual(wire.a.packets(TYPE_INIT), [])
        a.connect(pathTo(wire.b), wire.now)
        wire.pump(wire.a)
        wire.run(1)
        self.assertGreater(len(wire.a.packets(TYPE_INIT)), 3)

    def test_handshakeWhileImpaired(self) -> None:
        """
        A handshake that completes while the link is impaired is a return, not a
        renewal.
        """
        wire = Wire()
        a, _ = wire.connect()
        wire.a.weather.filter = lambda packet: packet[0] != TYPE_DATA
        wire.b.weather.filter = lambda packet: packet[0] != TYPE_DATA
        clear(wire)
        send(wire, wire.a, [InputEvent(1, 1, 1)])
        wire.run(1.7)
        [suspect, impaired, established] = wire.a.events
        self.assertIsInstance(suspect, Suspect)
        self.assertIsInstance(impaired, Impaired)
        self.assertEqual(established, SessionEstablished(pathTo(wire.b), False, False))
        self.assertFalse(a.status().impaired)


class StatusTests(SynchronousTestCase):
    """
    What a link tells of itself.
    """

    def test_counts(self) -> None:
        """
        Bytes, frames and packets are counted alike on both sides.
        """
        wire = Wire()
        a, b = wire.connect()
        for number in range(30):
            send(wire, wire.b, picture(wire, 3000, number == 0))
            wire.run(1 / 30)
        wire.run(1)
        here, there = a.status(), b.status()
        self.assertEqual(there.framesSent, 30)
        self.assertEqual(there.framesDropped, 0)
        self.assertEqual(here.framesReceived, 30)
        self.assertEqual(here.framesLost, 0)
        self.assertEqual(here.bytesSent, there.bytesReceived + 176)
        self.assertEqual(there.bytesSent, here.bytesReceived)
        self.assertEqual(here.packetsExpected, here.packetsInOrder)
        self.assertEqual(here.packetsExpected, len(wire.b.packets(TYPE_DATA)))
        self.assertGreaterEqual(there.packetsAcknowledged, 90)
        self.assertEqual((there.packetsLost, there.packetsResent), (0, 0))
        self.assertLess(here.jitter, 0.001)
        self.assertEqual(here.path, pathTo(wire.b))
        self.assertFalse(here.impaired)
        self.assertEqual(replace(here), here)

    def test_clockOffset(self) -> None:
        """
        PING and PONG measure the round trip and the distance of the two media
        clocks; a PONG to no PING of ours is not believed.
        """
        wire = Wire()
        wire.a.weather.delay = wire.b.weather.delay = 0.04
        a, _ = wire.connect()
        wire.run(20)
        status = a.status()
        self.assertAlmostEqual(status.roundTrip or 0, 0.08, 3)
        self.assertLess(abs(status.clockOffset or 0), 10)
        assert status.clockOffset is not None
        for stamp in (0, (1 << 64) - 1):
            pong = bytes((FrameType.PONG,)) + pack("<QQ", stamp, 5)
            wire.forge(wire.b, pong)
        wire.run(1)
        self.assertEqual(a.status().clockOffset, status.clockOffset)

    def test_unknown(self) -> None:
        """
        Before anything was measured, nothing is claimed.
        """
        status = Wire().a.linkTo(Wire().b).status()
        self.assertIsNone(status.path)
        self.assertIsNone(status.roundTrip)
        self.assertIsNone(status.clockOffset)
        self.assertEqual(status.bytesSent, 0)

    def test_lossAtFirstSight(self) -> None:
        """
        Loss shows in what came in order of what was expected, although everything
        was mended by sending it again.
        """
        wire = Wire()
        wire.connect()
        wire.b.weather.loss = 0.1
        for number in range(90):
            send(wire, wire.b, picture(wire, 3000, number == 0))
            wire.run(1 / 30)
        status = wire.a.linkTo(wire.b).status()
        share = 1 - status.packetsInOrder / status.packetsExpected
        self.assertLess(abs(share - 0.1), 0.05)
        self.assertEqual(status.framesLost, 0)

    def test_ackOfNothing(self) -> None:
        """
        An ACK of packets that were never sent is authentic nonsense, and harmless.
        """
        wire = Wire()
        _, b = wire.connect()
        ack = encodeAck(Ack(1 << 30, 5, 5, (1 << 200) - 1))
        wire.forge(wire.a, bytes((FrameType.ACK,)) + ack)
        wire.run(0.1)
        send(wire, wire.b, [InputEvent(1, 2, 3)])
        send(wire, wire.b, picture(wire))
        wire.run(0.2)
        self.assertEqual(len(wire.a.eventsOf(InputReceived)), 1)
        self.assertEqual(len(wire.a.frames), 1)
        self.assertTrue(b.drained)


class UnprovenTests(SynchronousTestCase):
    """
    DATA from where the session has no path.
    """

    def test_forgeries(self) -> None:
        """
        F34: forged DATA from elsewhere is opened a few times and then dropped unopened,
        while the stream goes on; a peer that comes from there a moment later is heard.
        """
        wire = Wire()
        _, link = wire.connect()
        slot = link._slots.current
        assert slot is not None
        opened = slot.session.failedOpens
        index = slot.session.localIndex.to_bytes(4, "little")
        elsewhere = WirePath(Transport.UDP, ("192.0.2.66", 1))
        for number in range(1000):
            forged = b"\x24" + index + (number + 999).to_bytes(8, "little") + bytes(40)
            link.receive([forged], elsewhere, wire.now)
        self.assertEqual(slot.session.failedOpens - opened, UNPROVEN_BURST)
        self.assertEqual(link._unproven.refused, 1000 - UNPROVEN_BURST)
        clear(wire)
        send(wire, wire.a, picture(wire, keyFrame=True))
        wire.run(0.5)
        self.assertEqual(len(wire.b.frames), 1)

    def test_own(self) -> None:
        """
        What comes by a path of the session is always opened, forged or not.
        """
        wire = Wire()
        _, link = wire.connect()
        slot = link._slots.current
        assert slot is not None
        opened = slot.session.failedOpens
        index = slot.session.localIndex.to_bytes(4, "little")
        for number in range(1000):
            forged = b"\x24" + index + (number + 999).to_bytes(8, "little") + bytes(40)
            link.receive([forged], pathTo(wire.a), wire.now)
        self.assertEqual(slot.session.failedOpens - opened, 1000)


class PairingMessageTests(SynchronousTestCase):
    """
    Messages of the pairing exchange.
    """

    def test_pair(self) -> None:
        """
        One comes to the other side; there is none without a session.
        """
        wire = Wire()
        a, _ = wire.connect()
        clear(wire)
        a.pair(b"hello")
        wire.pump(wire.a)
        wire.run(0.5)
        self.assertIn(PairingReceived(b"hello"), wire.b.events)
        a.close(0, "", wire.now)
        a.pair(b"too late")
        wire.pump(wire.a)
        wire.run(0.5)
        self.assertNotIn(PairingReceived(b"too late"), wire.b.events)

    def test_binding(self) -> None:
        """
        Both ends agree on what binds the exchange, and each conversation has another.
        """
        wire = Wire()
        a, b = wire.connect()
        self.assertEqual(a.binding(True), b.binding(False))
        self.assertEqual(b.binding(True), a.binding(False))
        self.assertNotEqual(a.binding(True), a.binding(False))
        other, _ = Wire(seed=1).connect()
        self.assertNotEqual(a.binding(True)[32:40], other.binding(True)[32:40])

    def test_restricted(self) -> None:
        """
        Media of a peer that is here only to pair is a breach of the protocol; the rest
        is not.
        """
        wire = Wire()
        a, b = wire.connect()
        b.restrict()
        a.pair(b"hello")
        wire.pump(wire.a)
        wire.run(2.0)
        self.assertFalse(b.finished)
        send(wire, wire.a, [InputEvent(1, 30, 1)])
        wire.run(0.5)
        self.assertTrue(b.finished)
