"""
Faults and attacks on the conversation of two peers, in memory and on virtual time.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from struct import pack

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    INIT_SIZE,
    MAX_PARTIAL_FRAMES,
    MAX_REASSEMBLY_BYTES,
    MAX_SOURCES,
    REJECT_AFTER_PACKETS,
    REPLAY_WINDOW,
    RESP_SIZE,
    RETRY_SIZE,
    TYPE_DATA,
    TYPE_INIT,
    TYPE_RESP,
    TYPE_RETRY,
)
from rootstream.protocol.cookies import CookieJar
from rootstream.protocol.events import (
    Closed,
    Expired,
    Impaired,
    InitAnswered,
    InitLapsed,
    InitSent,
    InputEvent,
    InputReceived,
    PathAuthenticated,
    PathMoved,
    Recovered,
    SessionEstablished,
    Silent,
    Suspect,
    VideoFrame,
    VideoLost,
)
from rootstream.protocol.frames import FrameType
from rootstream.protocol.handshake import InitPayload, cookieKey, mac1Key
from rootstream.protocol.link import PROTOCOL_VIOLATION, Link
from rootstream.protocol.noise import keyedMac
from rootstream.protocol.session import SessionExhausted
from rootstream.protocol.video import chunk
from tests.forgery import RESP_MAC1, dataWith, initBy, initOf, junkInit, remac
from tests.test_noise import LOW_ORDER, flips
from tests.wire import EPOCH, Side, Wire, WirePath, credentials

ELSEWHERE = WirePath(Transport.UDP, ("198.51.100.7", 4000))
HOUR = 3_600_000
DAY = 24 * HOUR
TEN_YEARS = 3650 * DAY


def pathTo(side: Side, transport: Transport = Transport.UDP) -> WirePath:
    """
    The path on which packets to ``side`` leave, or from it arrive.
    """
    return WirePath(transport, side.address)


def stream(wire: Wire, seconds: float, size: int = 3000) -> list[bytes]:
    """
    Let ``b`` send 30 frames a second to ``a``; returns what it sent.
    """
    link = wire.b.linkTo(wire.a)
    sent = []
    for number in range(round(seconds * 30)):
        data = wire.random.randbytes(size)
        if link.send(VideoFrame(data, int(wire.now * 1e6), number == 0), wire.now):
            sent.append(data)
        wire.pump(wire.b)
        wire.run(1 / 30)
    return sent


def keys(link: Link) -> list[object]:
    """
    All that a link would seal and open with.
    """
    return [slot.session for slot in link._slots]


class HandshakeFaultTests(SynchronousTestCase):
    """
    Attacks on the handshake.
    """

    def test_replayedInit(self) -> None:
        """
        An INIT that was accepted before is answered with nothing (F5).
        """
        wire = Wire()
        _, b = wire.connect()
        [init] = wire.a.packets(TYPE_INIT)
        before = keys(b)
        wire.b.sent.clear()
        for path in (pathTo(wire.a), ELSEWHERE):
            wire.deliver(wire.b, init, path)
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(wire.b.node.refused["replay"], 2)
        self.assertEqual(keys(b), before)

    def test_delayedInit(self) -> None:
        """
        An INIT that is older than one that was accepted gets a RETRY and no RESP,
        and touches nothing (F5).
        """
        wire = Wire()
        wire.a.weather.loss = 1.0
        wire.a.dial(wire.b)
        wire.a.weather.loss = 0.0
        wire.run(0.5)
        b = wire.b.linkTo(wire.a)
        self.assertTrue(b.established)
        before = keys(b)
        wire.b.sent.clear()
        wire.deliver(wire.b, wire.a.packets(TYPE_INIT)[0], ELSEWHERE)
        self.assertEqual([len(packet) for _, _, packet in wire.b.sent], [RETRY_SIZE])
        self.assertEqual(wire.b.node.refused["stale"], 1)
        self.assertEqual(keys(b), before)

    def test_initReplayedAfterRestart(self) -> None:
        """
        A responder that was restarted answers a recorded INIT once, with a
        half-open session that lapses after 5 s; the initiator's session does not
        notice (F5).
        """
        wire = Wire()
        a, _ = wire.connect()
        [init] = wire.a.packets(TYPE_INIT)
        wire.b.restart()
        before = keys(a)
        wire.a.events.clear()
        wire.b.events.clear()
        for _ in range(3):
            wire.deliver(wire.b, init, pathTo(wire.a))
            wire.run(0.5)
        self.assertEqual(len(wire.b.packets(TYPE_RESP)), 2)
        self.assertEqual(wire.a.events, [])
        self.assertEqual(keys(a), before)
        self.assertFalse(wire.b.linkTo(wire.a).established)
        wire.run(5)
        self.assertEqual(keys(wire.b.linkTo(wire.a)), [])
        self.assertEqual(wire.b.events, [InitAnswered(pathTo(wire.a)), InitLapsed()])

    def test_replayedResp(self) -> None:
        """
        A RESP that was taken before, and one to an index that nobody has, change
        nothing; the second costs no cryptography (F6).
        """
        wire = Wire()
        a, _ = wire.connect()
        [resp] = wire.b.packets(TYPE_RESP)
        before, status = keys(a), a.status()
        wire.a.events.clear()
        wire.deliver(wire.a, resp, pathTo(wire.b))
        unknown = bytes(4 * [TYPE_RESP])[:1] + bytes(3) + b"\1\2\3\4" + resp[8:]
        wire.deliver(wire.a, unknown, pathTo(wire.b))
        self.assertEqual(wire.a.node.refused["index"], 1)
        self.assertEqual(keys(a), before)
        self.assertEqual(a.status(), status)
        self.assertEqual(wire.a.events, [])

    def test_forgedResps(self) -> None:
        """
        After hundreds of forged RESPs with a right mac1 the true one completes
        the handshake (F7).
        """
        wire = Wire()
        a = wire.a.dial(wire.b)
        [init] = wire.a.packets(TYPE_INIT)
        for _ in range(300):
            body = b"\x22\0\0\0" + init[4:8] + wire.random.randbytes(80)
            mac = keyedMac(mac1Key(wire.a.keys.public), body)
            self.assertEqual(len(body), RESP_MAC1)
            wire.deliver(wire.a, body + mac, pathTo(wire.b))
        self.assertFalse(a.established)
        wire.run(0.05)
        self.assertTrue(a.established)
        self.assertTrue(wire.b.linkTo(wire.a).established)
        self.assertEqual(len(wire.a.packets(TYPE_INIT)), 1)

    def test_replayedRetry(self) -> None:
        """
        A RETRY leads to one INIT, to the address that was dialled and not to where
        the RETRY came from; the same again, or a forged one, to none (F8).
        """
        wire = Wire()
        wire.b.weather.loss = wire.a.weather.loss = 1.0
        wire.a.dial(wire.b)
        [init] = wire.a.packets(TYPE_INIT)
        public = wire.b.keys.public
        jar = CookieJar(wire.random.randbytes)
        retry = jar.retry(init, pathTo(wire.a), wire.now, cookieKey(public))
        for forged in flips(retry)[:: 8 * 3]:
            wire.deliver(wire.a, forged, ELSEWHERE)
        self.assertEqual(len(wire.a.packets(TYPE_INIT)), 1)
        for _ in range(3):
            wire.deliver(wire.a, retry, ELSEWHERE)
        self.assertEqual(len(wire.a.packets(TYPE_INIT)), 2)
        self.assertEqual({path for _, path, _ in wire.a.sent}, {pathTo(wire.b)})
        cookie = jar.cookie(pathTo(wire.a), wire.now)
        second = wire.a.packets(TYPE_INIT)[1]
        self.assertEqual(second, remac(second, public, cookie))

    def test_strayRetries(self) -> None:
        """
        A RETRY to an index that waits for none, and one that comes after the path
        was abandoned, change nothing (F8).
        """
        wire = Wire()
        wire.a.weather.loss = 1.0
        a = wire.a.dial(wire.b)
        [init] = wire.a.packets(TYPE_INIT)
        key = cookieKey(wire.b.keys.public)
        jar = CookieJar(wire.random.randbytes)
        retry = jar.retry(init, pathTo(wire.a), wire.now, key)
        a.abandon(pathTo(wire.b))
        wire.deliver(wire.a, retry, pathTo(wire.b))
        wire.run(5)
        self.assertEqual(wire.a.packets(TYPE_INIT), [init])
        self.assertIsNone(a.nextTimer())

    def test_cookieOfAnother(self) -> None:
        """
        While under load, a cookie counts only with the address, port and
        transport that it was given to, and for 240 s at most (F9).
        """
        wire = Wire()
        mine = pathTo(wire.a)
        others = [
            WirePath(Transport.UDP, ("192.0.2.99", 1111)),
            WirePath(Transport.UDP, ("192.0.2.1", 1112)),
            WirePath(Transport.TCP, ("192.0.2.1", 1111)),
        ]
        public = wire.b.keys.public

        def attempt(path: WirePath, cookie: bytes, number: int) -> list[int]:
            random = Random(number)
            for _ in range(101):
                wire.b.node.receive([junkInit(public, random)], ELSEWHERE, wire.now)
            wire.b.node.packetsToSend()
            wire.b.sent.clear()
            init = initOf(wire.a.keys, public, EPOCH + number, cookie=cookie)
            wire.deliver(wire.b, init.packet, path)
            return [packet[0] for _, _, packet in wire.b.sent]

        cookie = wire.b.node._cookies.cookie(mine, wire.now)
        for number, path in enumerate(others):
            self.assertEqual(attempt(path, cookie, number), [TYPE_RETRY])
        self.assertEqual(attempt(mine, cookie, 10), [TYPE_RESP])
        wire.now += 240
        self.assertEqual(attempt(mine, cookie, 11), [TYPE_RETRY])

    def test_flippedInits(self) -> None:
        """
        An INIT of which one bit was turned is not answered, although its mac1 was
        made right again; neither is one of another type or version (F10, F26).
        """
        wire = Wire()
        init = initOf(wire.a.keys, wire.b.keys.public, EPOCH).packet
        for changed in flips(init[:144]):
            # Slowly, so that they are not refused for their number.
            wire.now += 0.02
            wire.deliver(wire.b, remac(changed, wire.b.keys.public), pathTo(wire.a))
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(len(wire.b.node), 0)
        refused = wire.b.node.refused
        self.assertEqual(
            sum(refused.values()),
            8 * 144,
        )
        self.assertEqual(refused["mac1"] + refused["source"] + refused["load"], 0)
        wire.deliver(wire.b, init, pathTo(wire.a))
        self.assertEqual(len(wire.b.packets(TYPE_RESP)), 1)

    def test_cutAndExtended(self) -> None:
        """
        Packets of all types, cut anywhere or with more behind them, are dropped
        without an answer or an error (F11).
        """
        wire = Wire()
        a, b = wire.connect()
        [resp] = wire.b.packets(TYPE_RESP)
        wire.a.weather.loss = 1.0
        wire.a.linkTo(wire.b).send([InputEvent(1, 2, 3)], wire.now)
        wire.pump(wire.a)
        data = wire.a.packets(TYPE_DATA)[-1]
        wire.run(0.2)
        init = initOf(wire.a.keys, wire.b.keys.public, EPOCH + DAY).packet
        retry = CookieJar().retry(init, ELSEWHERE, wire.now, b"key" * 8)
        wire.b.sent.clear()
        received = a.status().bytesReceived, b.status().bytesReceived
        for packet in (init, resp, retry, data):
            for size in (*range(len(packet)), *range(len(packet) + 1, 1400, 97)):
                changed = packet.ljust(size, b"\0")[:size]
                for side in (wire.a, wire.b):
                    side.node.receive([changed], ELSEWHERE, wire.now)
        self.assertEqual(wire.b.node.packetsToSend(), [])
        self.assertEqual(wire.a.node.packetsToSend(), [])
        self.assertEqual((a.status().bytesReceived, b.status().bytesReceived), received)
        self.assertEqual(wire.b.eventsOf(InputReceived), [])
        wire.deliver(wire.b, data, pathTo(wire.a))
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), 1)

    def test_wrongResponder(self) -> None:
        """
        Who dials an address under another peer's key hears nothing (F12).
        """
        wire = Wire()
        link = wire.a.node.link(credentials(9).public, wire.now)
        link.connect(pathTo(wire.b), wire.now)
        wire.pump(wire.a)
        wire.run(5.1)
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(wire.b.node.refused["mac1"], len(wire.a.sent))
        self.assertEqual(wire.a.events, [InitSent(pathTo(wire.b))])

    def test_unauthorised(self) -> None:
        """
        A stranger gets zero bytes, costs no memory, and is counted (F13).
        """
        wire = Wire()
        wire.b.admitted.clear()
        wire.a.dial(wire.b)
        wire.run(5.1)
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(len(wire.b.node), 0)
        self.assertEqual(len(wire.b.node._indices), 0)
        self.assertEqual(len(wire.b.node._fresh), 0)
        self.assertEqual(
            wire.b.node.refused, {"unauthorised": len(wire.a.packets(TYPE_INIT))}
        )

    def test_ourselves(self) -> None:
        """
        An INIT under our own key is a stranger's, even where anybody may come in:
        the network can reflect ours (F13, F36).
        """
        wire = Wire()
        wire.b.admitted.add(wire.b.keys.public)
        init = initOf(wire.b.keys, wire.b.keys.public, EPOCH).packet
        wire.deliver(wire.b, init, pathTo(wire.b))
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(wire.b.node.refused, {"unauthorised": 1})

    def test_lowOrderEphemerals(self) -> None:
        """
        INITs with the seven low-order points for an ephemeral key are dropped
        (F14).
        """
        wire = Wire()
        init = initOf(wire.a.keys, wire.b.keys.public, EPOCH).packet
        for point in LOW_ORDER:
            changed = init[:8] + point + init[40:]
            wire.deliver(wire.b, remac(changed, wire.b.keys.public), pathTo(wire.a))
        self.assertEqual(wire.b.sent, [])
        self.assertEqual(wire.b.node.refused, {"handshake": len(LOW_ORDER)})

    def test_wrongPsk(self) -> None:
        """
        With another pre-shared key there is no session, and the initiator answers
        the RESP with nothing that would tell why (F17).
        """
        wire = Wire()
        wire.a.keys = credentials(1, psk=b"s" * 32)
        wire.a.restart()
        wire.a.dial(wire.b)
        wire.run(3)
        self.assertEqual({packet[0] for _, _, packet in wire.a.sent}, {TYPE_INIT})
        self.assertEqual({packet[0] for _, _, packet in wire.b.sent}, {TYPE_RESP})
        self.assertFalse(wire.a.linkTo(wire.b).established)
        self.assertFalse(wire.b.linkTo(wire.a).established)

    def test_stolenResponderKey(self) -> None:
        """
        Who stole the responder's key can make an INIT in anybody's name and gets
        a RESP, but nothing is acted on: the session that was there goes on, on its
        path, with what it had received (F18).
        """
        wire = Wire()
        a, b = wire.connect()
        wire.b.events.clear()
        before, status = keys(b), b.status()
        wire.b.sent.clear()
        payload = InitPayload(EPOCH + TEN_YEARS, bytes(16), instance=99)
        init = initBy(wire.b.keys, wire.a.keys.public, b"e" * 32, payload)
        wire.deliver(wire.b, init, ELSEWHERE)
        self.assertEqual([len(packet) for _, _, packet in wire.b.sent], [RESP_SIZE])
        self.assertEqual(keys(b)[0], before[0])
        self.assertEqual(b.status().path, status.path)
        a.send([InputEvent(1, 1, 1)], wire.now)
        wire.pump(wire.a)
        wire.run(6)
        self.assertEqual(wire.b.events, [InputReceived((InputEvent(1, 1, 1),))])
        self.assertEqual(keys(b), before)

    def test_peerAfterForgery(self) -> None:
        """
        After a forged INIT from the far future, the true peer still connects, one
        round trip later than otherwise (F18, F24).
        """
        wire = Wire()
        payload = InitPayload(EPOCH + TEN_YEARS, bytes(16), instance=99)
        init = initBy(wire.b.keys, wire.a.keys.public, b"e" * 32, payload)
        wire.deliver(wire.b, init, ELSEWHERE)
        wire.a.dial(wire.b)
        wire.run(0.041)
        self.assertTrue(wire.a.linkTo(wire.b).established)
        self.assertEqual(len(wire.b.packets(TYPE_RETRY)), 1)

    def test_keysForgotten(self) -> None:
        """
        180 s after their handshake, keys are gone on both sides, together with
        their indexes: recorded traffic stays closed to whoever comes later (F19,
        F41).
        """
        wire = Wire()
        wire.connect()
        sessions = [wire.a.session(wire.b), wire.b.session(wire.a)]
        packet = wire.forge(wire.a, bytes((FrameType.PING,)) + bytes(8))
        wire.a.weather.loss = wire.b.weather.loss = 1.0
        wire.a.events.clear()
        wire.b.events.clear()
        wire.run(178)
        self.assertTrue(all(session._keys for session in sessions))
        wire.run(3)
        for session in sessions:
            self.assertIsNone(session._keys)
            self.assertIsNone(session._opener)
            self.assertIsNone(session._sealer)
            self.assertRaises(SessionExhausted, session.seal, b"")
        received = wire.b.linkTo(wire.a).status().bytesReceived
        wire.deliver(wire.b, packet, pathTo(wire.a))
        self.assertEqual(wire.b.linkTo(wire.a).status().bytesReceived, received)
        for side in (wire.a, wire.b):
            self.assertEqual(len(side.node._indices), 0)
            kinds = [type(event) for event in side.events]
            self.assertEqual(kinds, [Suspect, Impaired, Silent, Expired])

    def test_longRoundTrip(self) -> None:
        """
        With a round trip of 1.5 s the handshake completes, and never do more than
        8 INITs wait for an answer (F23).
        """
        wire = Wire()
        wire.a.weather.delay = wire.b.weather.delay = 0.75
        a = wire.a.dial(wire.b)
        for _ in range(30):
            wire.run(0.1)
            self.assertLessEqual(len(a._dialling), 8)
            self.assertLessEqual(wire.b.linkTo(wire.a)._slots.halfOpen, 8)
        self.assertTrue(a.established)
        self.assertTrue(wire.b.linkTo(wire.a).established)
        self.assertEqual(len(wire.a.eventsOf(SessionEstablished)), 1)
        self.assertEqual(len(wire.b.eventsOf(SessionEstablished)), 1)

    def test_outstandingInits(self) -> None:
        """
        Who dials for a minute and hears nothing remembers 8 INITs (F23).
        """
        wire = Wire()
        wire.a.weather.loss = 1.0
        a = wire.a.dial(wire.b)
        wire.run(60)
        self.assertEqual(len(a._dialling), 8)
        self.assertEqual(len(wire.a.node._indices), 8)

    def checkClock(self, first: int, second: int) -> None:
        """
        A peer whose wall clock differs by ``second`` after a restart, from
        ``first`` before, gets in again, with one round trip more.
        """
        wire = Wire()
        wire.a.clockSkew = first
        wire.connect()
        wire.a.restart()
        wire.a.clockSkew = second
        a = wire.a.dial(wire.b)
        wire.run(0.021)
        self.assertFalse(a.established)
        wire.run(0.02)
        self.assertTrue(a.established)
        self.assertEqual(len(wire.b.packets(TYPE_RETRY)), 1)
        wire.run(0.5)
        [_, event] = wire.b.eventsOf(SessionEstablished)
        self.assertEqual(event, SessionEstablished(pathTo(wire.a), False, True))
        # What it says now is what counts from now on.
        wire.a.restart()
        a = wire.a.dial(wire.b)
        wire.run(0.021)
        self.assertTrue(a.established)

    def test_clockBack(self) -> None:
        """
        A wall clock that was set back an hour or a day, or ten years forward and
        back again, costs one round trip and locks nobody out (F24).
        """
        self.checkClock(0, -HOUR)
        self.checkClock(0, -DAY)
        self.checkClock(TEN_YEARS, 0)

    def test_clockBackWhileRunning(self) -> None:
        """
        A wall clock that is set back while the process runs is not noticed: its
        timestamps go on increasing (F24).
        """
        wire = Wire()
        wire.connect()
        wire.a.clockSkew = -DAY
        wire.run(140)
        self.assertEqual(len(wire.b.eventsOf(SessionEstablished)), 2)
        self.assertEqual(wire.b.packets(TYPE_RETRY), [])

    def test_restartedResponder(self) -> None:
        """
        A restarted peer drops what it has no keys for, without a word; 1.5 s and a
        round trip later there is a new session (F27).
        """
        wire = Wire()
        a, _ = wire.connect()
        for _ in range(30):
            a.send([InputEvent(1, 1, 1)], wire.now)
            wire.pump(wire.a)
            wire.run(1 / 30)
        wire.b.restart()
        wire.b.sent.clear()
        wire.b.events.clear()
        wire.run(1.4)
        self.assertEqual(wire.b.sent, [])
        self.assertGreater(wire.b.node.refused["index"], 0)
        wire.run(0.15)
        self.assertEqual(
            wire.a.events[-1], SessionEstablished(pathTo(wire.b), False, True)
        )
        self.assertEqual(
            wire.b.events[-1], SessionEstablished(pathTo(wire.a), False, False)
        )


class DataFaultTests(SynchronousTestCase):
    """
    Attacks on the packets of a session.
    """

    def test_replayedData(self) -> None:
        """
        A packet that was opened is dropped when it comes again, by the same path,
        another path or another transport, and makes no path known (F29).
        """
        wire = Wire()
        wire.connect()
        stream(wire, 1 / 30, size=1000)
        packet = max(wire.b.packets(TYPE_DATA), key=len)
        wire.a.events.clear()
        paths = len(wire.a.linkTo(wire.b)._paths)
        for path in (
            pathTo(wire.b),
            ELSEWHERE,
            pathTo(wire.b, Transport.TCP),
        ):
            wire.deliver(wire.a, packet, path)
        self.assertEqual(wire.a.events, [])
        self.assertEqual(len(wire.a.linkTo(wire.b)._paths), paths)
        self.assertEqual(wire.a.session(wire.b).refused["replay"], 3)

    def test_doubledAndReordered(self) -> None:
        """
        With 5 % of the packets doubled and all of them out of order, each frame
        and each input arrives once and in order (F30).
        """
        for seed in range(5):
            wire = Wire(seed)
            a, _ = wire.connect()
            for side in (wire.a, wire.b):
                side.weather.duplication = 0.05
                side.weather.jitter = 0.02
            inputs = [InputEvent(1, number, 1) for number in range(50)]
            for event in inputs:
                a.send([event], wire.now)
            sent = stream(wire, 2)
            wire.run(1)
            self.assertEqual(wire.a.frames, sent)
            self.assertEqual(
                wire.b.eventsOf(InputReceived),
                [InputReceived((event,)) for event in inputs],
            )

    def test_window(self) -> None:
        """
        A packet that is 8128 counters late is taken, one that is later is not
        (F31).
        """
        for late, expected in ((REPLAY_WINDOW, 1), (REPLAY_WINDOW + 1, 0)):
            wire = Wire()
            wire.connect()
            session = wire.b.session(wire.a)
            audio = pack("<BQIHH", FrameType.AUDIO, 0, 48000, 2, 960) + b"opus"
            held = session.seal(audio)
            counter = session.sendCounter - 1
            session.sendCounter = counter + late
            wire.forge(wire.b, bytes((FrameType.CONFIRM,)))
            wire.run(0.02)
            wire.a.events.clear()
            wire.deliver(wire.a, held, pathTo(wire.b))
            self.assertEqual(len(wire.a.events), expected)

    def test_extremeCounters(self) -> None:
        """
        Counters from 2^40 on are refused although authentic; a jump by 2^39 is
        taken once and moves the window (F32).
        """
        wire = Wire()
        a, _ = wire.connect()
        session = wire.b.session(wire.a)
        confirm = bytes((FrameType.CONFIRM,))
        held = dataWith(session, session.sendCounter, confirm)
        largest = wire.a.session(wire.b).replay.largest
        for counter in (1 << 40, (1 << 64) - 1):
            wire.deliver(wire.a, dataWith(session, counter, confirm), pathTo(wire.b))
            self.assertEqual(wire.a.session(wire.b).replay.largest, largest)
        jump = dataWith(session, 1 << 39, confirm)
        before = a.status().bytesReceived
        for packet in (jump, jump, held):
            wire.deliver(wire.a, packet, pathTo(wire.b))
        self.assertEqual(wire.a.session(wire.b).replay.largest, 1 << 39)
        self.assertEqual(a.status().bytesReceived, before + len(jump))

    def test_manyPackets(self) -> None:
        """
        After 2^32 packets there are new keys (F33).
        """
        wire = Wire()
        wire.connect()
        session = wire.a.session(wire.b)
        session.sendCounter = (1 << 32) - 1
        wire.a.linkTo(wire.b).send([InputEvent(1, 2, 3)], wire.now)
        wire.pump(wire.a)
        wire.run(2)
        self.assertIsNot(wire.a.session(wire.b), session)
        self.assertEqual(
            wire.b.events[-1], SessionEstablished(pathTo(wire.a), True, False)
        )

    def test_lastCounter(self) -> None:
        """
        Sending stops at 2^40 packets; no counter wraps, the keys are forgotten and
        the peer is told of as expired (F33).
        """
        wire = Wire()
        a, _ = wire.connect()
        session = wire.a.session(wire.b)
        session.sendCounter = REJECT_AFTER_PACKETS - 2
        for side in (wire.a, wire.b):
            side.weather.filter = lambda packet: packet[0] != TYPE_INIT
        wire.a.sent.clear()
        wire.a.events.clear()
        for number in range(5):
            a.send([InputEvent(1, number, 1)], wire.now)
            wire.pump(wire.a)
            wire.run(0.5)
        counters = [
            int.from_bytes(packet[5:13], "little")
            for packet in wire.a.packets(TYPE_DATA)
        ]
        self.assertEqual(counters, [REJECT_AFTER_PACKETS - 2, REJECT_AFTER_PACKETS - 1])
        self.assertFalse(a.established)
        self.assertEqual(wire.a.events, [Expired()])

    def test_failedOpens(self) -> None:
        """
        2^35 packets with a wrong tag lead to new keys, 2^36 end the old ones at
        once (F35).
        """
        wire = Wire()
        a, _ = wire.connect()
        session = wire.a.session(wire.b)
        session.failedOpens = 1 << 35
        wire.run(20)
        self.assertIsNot(wire.a.session(wire.b), session)
        wire.a.session(wire.b).failedOpens = 1 << 36
        wire.a.events.clear()
        a.timerFired(wire.now)
        wire.pump(wire.a)
        wire.run(16)
        self.assertFalse(a.established)
        self.assertEqual(wire.a.events, [Expired()])

    def test_reflected(self) -> None:
        """
        Our own packet does not open when it comes back, not even with our index
        in it (F36).
        """
        wire = Wire()
        a, _ = wire.connect()
        session = wire.a.session(wire.b)
        packet = wire.forge(wire.a, bytes((FrameType.CONFIRM,)))
        received = a.status().bytesReceived
        index = session.localIndex.to_bytes(4, "little")
        for reflected in (packet, packet[:1] + index + packet[5:]):
            wire.deliver(wire.a, reflected, pathTo(wire.b))
        self.assertEqual(wire.a.node.refused["index"], 1)
        self.assertEqual(a.status().bytesReceived, received)

    def test_otherSession(self) -> None:
        """
        A packet of one session does not open under the index of another (F37).
        """
        wire = Wire()
        a, _ = wire.connect()
        old = wire.b.session(wire.a)
        slot = a._slots.current
        assert slot is not None
        slot.stale = True
        a.timerFired(wire.now)
        wire.pump(wire.a)
        wire.run(1)
        new = wire.b.session(wire.a)
        self.assertIsNot(old, new)
        packet = old.seal(bytes((FrameType.CONFIRM,)))
        index = new.remoteIndex.to_bytes(4, "little")
        received = a.status().bytesReceived
        wire.deliver(wire.a, packet[:1] + index + packet[5:], pathTo(wire.b))
        self.assertEqual(a.status().bytesReceived, received)
        self.assertEqual(wire.a.session(wire.b).failedOpens, 1)
        wire.deliver(wire.a, packet, pathTo(wire.b))
        self.assertEqual(a.status().bytesReceived, received + len(packet))

    def test_typeConfusion(self) -> None:
        """
        The type of a frame is under the seal: no turned bit of a VIDEO packet makes
        an INPUT of it, or anything else (F38).
        """
        wire = Wire()
        wire.connect()
        packet = wire.b.session(wire.a).seal(chunk(0, VideoFrame(b"picture", 0))[0])
        wire.a.events.clear()
        for changed in flips(packet):
            wire.deliver(wire.a, changed, pathTo(wire.b))
        self.assertEqual(wire.a.events, [])
        wire.deliver(wire.a, packet, pathTo(wire.b))
        self.assertEqual(wire.a.frames, [b"picture"])

    def test_violations(self) -> None:
        """
        A packet that breaks the protocol, though authentic, ends the conversation
        with a CLOSE that says so (F39).
        """
        for plain in (
            b"",
            b"\x3f",
            b"\x40",
            b"\x7f" + bytes(20),
            b"\x86\xff\x00",
            b"\x86\xff\xff" + bytes(8),
            b"\x86\x00\x00",
            b"\xc0\x00\x00" * 65,
            b"\x06",
            b"\x07" + bytes(8),
            b"\x08",
            b"\x09" + bytes(9),
            b"\x0a",
            b"\x0b",
            b"\x0c\x00",
            b"\x0d",
            b"\x0e\x00",
            b"\x04" + bytes(3),
            b"\x05" + bytes(4) + b"\xff" + bytes(4),
            b"\x02" + bytes(15),
            b"\x03" + bytes(16),
        ):
            wire = Wire()
            a, b = wire.connect()
            wire.forge(wire.a, plain)
            wire.run(0.2)
            [here] = wire.b.eventsOf(Closed)
            [there] = wire.a.eventsOf(Closed)
            self.assertEqual((here.code, here.byPeer), (PROTOCOL_VIOLATION, False))
            self.assertEqual((there.code, there.byPeer), (PROTOCOL_VIOLATION, True))
            self.assertEqual(here.text, there.text)
            self.assertEqual(keys(a) + keys(b), [])

    def test_skipped(self) -> None:
        """
        Frames of types that a later version may add are skipped when they say
        their length, also empty ones (F39).
        """
        wire = Wire()
        _, b = wire.connect()
        ping = b"\x86\x08\x00" + bytes(8)
        wire.forge(wire.a, b"\xc0\x03\x00abc" + b"\xff\x00\x00" + ping + bytes(9))
        wire.b.sent.clear()
        wire.run(0.2)
        self.assertTrue(b.established)
        self.assertEqual(wire.b.eventsOf(Closed), [])
        self.assertNotEqual(wire.b.sent, [])

    def test_rekeyUnderLoss(self) -> None:
        """
        Keys are replaced under 20 % loss while pictures flow, and not one of them
        is missing (F40).
        """
        for seed in range(3):
            wire = Wire(seed)
            wire.connect()
            wire.run(117)
            for side in (wire.a, wire.b):
                side.weather.loss = 0.2
            sent = stream(wire, 15)
            wire.a.weather.loss = wire.b.weather.loss = 0.0
            wire.run(1)
            self.assertGreater(len(wire.a.eventsOf(SessionEstablished)), 1)
            self.assertEqual(wire.a.eventsOf(VideoLost), [])
            self.assertEqual(wire.a.frames, sent)
            self.assertEqual(len(sent), 450)

    def test_rekeyRetried(self) -> None:
        """
        A rekey that is not answered is tried again each second, while the old
        keys go on (F40).
        """
        wire = Wire()
        wire.connect()
        wire.a.weather.filter = lambda packet: packet[0] != TYPE_INIT
        wire.a.sent.clear()
        wire.run(119)
        stream(wire, 20, size=10)
        times = [at for at, _, packet in wire.a.sent if packet[0] == TYPE_INIT]
        self.assertGreater(len(times), 8)
        for earlier, later in pairwise(times):
            self.assertAlmostEqual(later - earlier, 1.0, 3)
        self.assertEqual(wire.a.eventsOf(Impaired), [])
        wire.a.weather.filter = None
        wire.run(2)
        [_, event] = wire.a.eventsOf(SessionEstablished)
        self.assertTrue(event.rekey)


class PathFaultTests(SynchronousTestCase):
    """
    Attacks on the way that packets take.
    """

    def test_spoofedSource(self) -> None:
        """
        Copies that arrive first, as if from a victim's address, are delivered
        once; sending stays where it was, and the victim gets no more than three
        times the bytes that came in its name (F42).
        """
        wire = Wire()
        a, b = wire.connect()
        came = 0

        def copied(packet: bytes) -> bool:
            nonlocal came
            came += len(packet)
            wire.inject(wire.b, packet, ELSEWHERE, 0.001)
            return True

        wire.a.weather.filter = copied
        inputs = [InputEvent(1, number, 1) for number in range(100)]
        for event in inputs:
            a.send([event], wire.now)
            wire.pump(wire.a)
            stream(wire, 1 / 30)
            self.assertEqual(b.status().path, pathTo(wire.a))
        self.assertEqual(
            wire.b.eventsOf(InputReceived),
            [InputReceived((event,)) for event in inputs],
        )
        self.assertGreater(wire.b.bytesTo(ELSEWHERE), 0)
        self.assertLessEqual(wire.b.bytesTo(ELSEWHERE), 3 * came)
        # Far less, in truth: challenges and no media.
        self.assertLess(wire.b.bytesTo(ELSEWHERE), 3000)
        self.assertEqual(len(wire.a.frames), 100)

    def test_oneSpoofedPacket(self) -> None:
        """
        One small packet in a victim's name brings it three times its bytes at most
        (F42, F43).
        """
        wire = Wire()
        wire.connect()
        wire.a.weather.filter = lambda packet: False
        packet = wire.forge(wire.a, bytes((FrameType.CONFIRM,)))
        wire.deliver(wire.b, packet, ELSEWHERE)
        wire.run(10)
        self.assertGreater(wire.b.bytesTo(ELSEWHERE), 0)
        self.assertLessEqual(wire.b.bytesTo(ELSEWHERE), 3 * len(packet))

    def test_amplification(self) -> None:
        """
        An address that proved nothing gets at most 0.6 times what it sent (F43).
        """
        wire = Wire()
        public = wire.b.keys.public
        init = initOf(wire.a.keys, public, EPOCH + 10).packet
        wire.deliver(wire.b, init, ELSEWHERE)
        self.assertEqual(wire.b.bytesTo(ELSEWHERE), RESP_SIZE)
        self.assertLessEqual(RESP_SIZE, 0.6 * INIT_SIZE)
        wire.b.sent.clear()
        wire.deliver(wire.b, initOf(wire.a.keys, public, EPOCH).packet, ELSEWHERE)
        self.assertEqual(wire.b.bytesTo(ELSEWHERE), RETRY_SIZE)
        wire.run(10)
        self.assertEqual(wire.b.bytesTo(ELSEWHERE), RETRY_SIZE)

    def test_forwarder(self) -> None:
        """
        A forwarder that is faster than the path, in both directions, does not get
        the conversation: the old path is asked and kept (F44).
        """
        wire = Wire()
        a, b = wire.connect()
        wire.forwarders.add(ELSEWHERE.address)

        def copiedTo(side: Side) -> Callable[[bytes], bool]:
            def copied(packet: bytes) -> bool:
                wire.inject(side, packet, ELSEWHERE, 0.001)
                return True

            return copied

        wire.a.weather.filter = copiedTo(wire.b)
        wire.b.weather.filter = copiedTo(wire.a)
        for number in range(100):
            a.send([InputEvent(1, number, 1)], wire.now)
            wire.pump(wire.a)
            stream(wire, 1 / 30)
            self.assertEqual(b.status().path, pathTo(wire.a))
            self.assertEqual(a.status().path, pathTo(wire.b))
        for side in (wire.a, wire.b):
            self.assertGreater(side.bytesTo(ELSEWHERE), 0)
            self.assertEqual(side.eventsOf(PathMoved)[1:], [])
        self.assertEqual(len(wire.b.eventsOf(InputReceived)), 100)

    def test_rebinding(self) -> None:
        """
        When a NAT gives the peer another port or address, sending follows once the
        old path stayed silent; no session is lost and no input (F45).
        """
        wire = Wire()
        a, b = wire.connect()
        inputs: list[InputEvent] = []
        for round_ in range(6):
            host = f"192.0.2.{1 + round_ // 3}"
            wire.a.address = (host, 2000 + round_)
            for _ in range(60):
                inputs.append(InputEvent(1, len(inputs), 1))
                a.send([inputs[-1]], wire.now)
                wire.pump(wire.a)
                stream(wire, 1 / 30)
            self.assertEqual(b.status().path, pathTo(wire.a))
        wire.run(1)
        self.assertEqual(
            wire.b.eventsOf(InputReceived),
            [InputReceived((event,)) for event in inputs],
        )
        self.assertEqual(wire.a.eventsOf(Impaired), [])
        moved = [event for event in wire.b.events if isinstance(event, PathMoved)]
        self.assertEqual(len(moved), 7)
        self.assertEqual(
            moved[-1].cause,
            "the peer is heard from another address, the old one is silent",
        )

    def test_shortHole(self) -> None:
        """
        After 5 s in which nothing came through, pictures are back within 300 ms,
        on the same keys (F53).
        """
        for seed in range(20):
            wire = Wire(seed)
            wire.connect()
            stream(wire, 1)
            before = wire.a.session(wire.b)
            for side in (wire.a, wire.b):
                side.weather.loss = 1.0
            stream(wire, 5 + wire.random.random())
            for side in (wire.a, wire.b):
                side.weather.loss = 0.0
            count = len(wire.a.frames)
            sent = stream(wire, 0.3)
            self.assertGreater(len(wire.a.frames), count)
            sent += stream(wire, 2)
            wire.run(0.1)
            self.assertEqual(wire.a.frames[count:][-len(sent) :], sent)
            self.assertIs(wire.a.session(wire.b), before)
            self.assertEqual(len(wire.a.eventsOf(SessionEstablished)), 1)
            self.assertEqual(len(wire.a.eventsOf(Recovered)), 1)

    def test_longHole(self) -> None:
        """
        A minute of silence shows as impaired after 1.5 s and as silent after 30 s;
        a PING a second goes on, and brings the session back within 1.5 s of the
        network's return, without a handshake (F54).
        """
        wire = Wire()
        wire.connect()
        stream(wire, 2)
        for side in (wire.a, wire.b):
            side.events.clear()
            side.weather.loss = 1.0
        since = wire.now
        before = wire.a.session(wire.b)
        wire.run(1.45)
        self.assertEqual(wire.a.eventsOf(Impaired), [])
        wire.run(0.15)
        self.assertEqual(len(wire.a.eventsOf(Impaired)), 1)
        self.assertEqual(len(wire.b.eventsOf(Impaired)), 1)
        wire.run(28.3)
        self.assertEqual(wire.a.eventsOf(Silent), [])
        wire.run(0.2)
        self.assertEqual(len(wire.a.eventsOf(Silent)), 1)
        self.assertEqual(len(wire.b.eventsOf(Silent)), 1)
        wire.a.sent.clear()
        wire.run(since + 60 - wire.now)
        self.assertEqual(wire.a.packets(TYPE_INIT), [])
        self.assertIn(len(wire.a.packets(TYPE_DATA)), (29, 30, 31))
        for side in (wire.a, wire.b):
            side.weather.loss = 0.0
        wire.run(1.5)
        for side in (wire.a, wire.b):
            [event] = side.eventsOf(Recovered)
            self.assertLess(abs(event.silence - 60.5), 1.1)
            self.assertEqual(side.eventsOf(SessionEstablished), [])
        self.assertIs(wire.a.session(wire.b), before)
        stream(wire, 0.3)
        self.assertGreater(len(wire.a.frames), 0)


class ResourceFaultTests(SynchronousTestCase):
    """
    What a stranger or a peer can make us hold.
    """

    def test_fragmentBomb(self) -> None:
        """
        A peer that begins thousands of frames of 2048 chunks and ends none makes us
        hold the latest few, and no more bytes than it sent (F68).
        """
        wire = Wire()
        wire.connect()
        video = wire.a.linkTo(wire.b)._inbox._video
        sent = 0
        for number in range(2000):
            data = bytes(100)
            sent += len(data)
            body = pack("<BIHHBIH", FrameType.VIDEO, number, 0, 2048, 1, 0, 0) + data
            wire.forge(wire.b, body)
            wire.run(0.011)
            self.assertLessEqual(video.bytesHeld, MAX_PARTIAL_FRAMES * len(data))
        self.assertLess(video.bytesHeld, min(sent, MAX_REASSEMBLY_BYTES))
        wire.run(0.6)
        self.assertEqual(video.bytesHeld, 0)
        self.assertEqual(wire.a.frames, [])
        self.assertEqual(wire.a.linkTo(wire.b).status().framesLost, 2000)

    def test_contradiction(self) -> None:
        """
        Of two chunks for the same place the first wins; a frame whose count
        changes is dropped and counted (F70).
        """
        wire = Wire()
        wire.connect()
        first, last = chunk(0, VideoFrame(b"a" * 1355 + b"b", 0, True))
        other = first[:-1] + b"x"
        for plain in (first, other, last):
            wire.forge(wire.b, plain)
        wire.run(0.02)
        self.assertEqual(wire.a.frames, [b"a" * 1355 + b"b"])
        first, last = chunk(1, VideoFrame(b"c" * 1355 + b"d", 0, True))
        wire.forge(wire.b, first)
        wire.forge(wire.b, last[:7] + pack("<H", 3) + last[9:])
        wire.run(0.02)
        self.assertEqual(len(wire.a.frames), 1)
        self.assertEqual(wire.a.eventsOf(VideoLost), [VideoLost(1)])
        self.assertEqual(wire.a.linkTo(wire.b).status().framesLost, 1)

    def test_frameIds(self) -> None:
        """
        Frame numbers wrap at 2^32, and one from before what was delivered is
        dropped (F71).
        """
        wire = Wire()
        _, b = wire.connect()
        b._frameId = 0xFFFFFFFE
        sent = stream(wire, 0.2)
        self.assertEqual(len(sent), 6)
        self.assertEqual(wire.a.frames, sent)
        self.assertEqual(b._frameId, 4)
        wire.forge(wire.b, chunk(0xFFFFFFFF, VideoFrame(b"old", 0, True))[0])
        wire.forge(wire.b, chunk(2, VideoFrame(b"old", 0, True))[0])
        wire.run(1)
        self.assertEqual(wire.a.frames, sent)

    def test_limiterTable(self) -> None:
        """
        However many sources show a cookie while we are under load, 4096 of them
        are remembered (F4).
        """
        wire = Wire()
        node, public, random = wire.b.node, wire.b.keys.public, Random(4)
        for _ in range(101):
            node.receive([junkInit(public, random)], ELSEWHERE, wire.now)
        for number in range(MAX_SOURCES + 200):
            host = f"10.1.{number >> 8}.{number & 255}"
            path = WirePath(Transport.UDP, (host, 5))
            cookie = node._cookies.cookie(path, wire.now)
            node.receive([junkInit(public, random, cookie)], path, wire.now)
        self.assertEqual(len(node._sources), MAX_SOURCES)
        # And 200 handshakes at most were looked into.
        self.assertEqual(node.refused["handshake"] + node.refused["load"], 4396)
        self.assertEqual(node.refused["handshake"], 200)

    def test_strangersAreForgotten(self) -> None:
        """
        Only configured peers hold state, whoever else knocks (F72).
        """
        wire = Wire()
        wire.connect()
        node = wire.b.node
        for number in range(200):
            init = initOf(credentials(100 + number), wire.b.keys.public, EPOCH)
            wire.now += 0.02
            wire.deliver(wire.b, init.packet, ELSEWHERE)
        self.assertEqual(node.refused["unauthorised"], 200)
        self.assertEqual((len(node), len(node._fresh), len(node._indices)), (1, 1, 1))

    def test_pathsAreForgotten(self) -> None:
        """
        A peer that sends from thousands of addresses makes us remember a few paths
        (F72).
        """
        wire = Wire()
        _, b = wire.connect()
        for number in range(1000):
            packet = wire.a.session(wire.b).seal(bytes((FrameType.CONFIRM,)))
            path = WirePath(Transport.UDP, ("198.51.100.9", 1000 + number))
            wire.deliver(wire.b, packet, path)
        self.assertLess(len(b._paths), 10)
        self.assertEqual(len(wire.b.eventsOf(PathAuthenticated)), 1001)
