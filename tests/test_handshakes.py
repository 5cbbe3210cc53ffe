"""
Tests for `rootstream.protocol.handshakes`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    COOKIE_LIFE,
    DIAL_TIMEOUT,
    INIT_INTERVAL,
    MAX_OUTSTANDING_INITS,
    REKEY_RETRY,
)
from rootstream.protocol.cookies import CookieJar
from rootstream.protocol.handshake import Invitation, cookieKey, mac1Key
from rootstream.protocol.handshakes import Dialling, Indices
from tests.wire import EPOCH, WirePath, credentials

START = 1000.0
US, THEM = credentials(1), credentials(2)
UDP = WirePath(Transport.UDP, ("192.0.2.2", 9876))
TCP = WirePath(Transport.TCP, ("192.0.2.2", 9876))


class CredentialsTests(SynchronousTestCase):
    """
    What a log may show of our keys.
    """

    def test_repr(self) -> None:
        """
        Neither the private key nor the pre-shared one is ever printed.
        """
        keys = credentials(1, bytes(range(32)))
        shown = repr(keys)
        for secret in (keys.private, keys.psk):
            self.assertNotIn(secret.hex()[:8], shown)
            self.assertNotIn(repr(secret)[2:10], shown)
        self.assertIn(keys.public.hex()[:16], shown)


class IndicesTests(SynchronousTestCase):
    """
    The receiver indexes of a node.
    """

    def test_claimed(self) -> None:
        """
        An index has an owner until it is released, and releasing it twice is well.
        """
        indices = Indices(Random(1).randbytes)
        index = indices.claim(self)
        self.assertIs(indices.owner(index), self)
        self.assertEqual(len(indices), 1)
        indices.release(index)
        indices.release(index)
        self.assertIsNone(indices.owner(index))
        self.assertEqual(len(indices), 0)

    def test_unique(self) -> None:
        """
        An index is not 0, and not one that is in use.
        """
        numbers = iter((0, 5, 5, 0, 6))
        indices = Indices(lambda size: next(numbers).to_bytes(size, "little"))
        self.assertEqual([indices.claim(1), indices.claim(2)], [5, 6])


class DiallingTestCase(SynchronousTestCase):
    """
    One side that dials, and the means of the other to answer.
    """

    def setUp(self) -> None:
        self.clock = EPOCH
        self.indices = Indices(Random(1).randbytes)
        self.dialling = Dialling(
            US,
            THEM.public,
            77,
            self.indices,
            self,
            lambda: self.clock,
            Random(2).randbytes,
        )
        self.jar = CookieJar(Random(3).randbytes)

    def inits(self, now: float) -> list[bytes]:
        """
        The INITs that go out at ``now``.
        """
        return [packet for _, packet in self.dialling.due(now)]

    def letPass(self, seconds: float) -> list[float]:
        """
        Dial for a while; returns when INITs went out.
        """
        times = []
        while (at := self.dialling.nextTimer()) is not None and at < START + seconds:
            times += [at] * len(self.dialling.due(at))
            after = self.dialling.nextTimer()
            assert after is not None
            self.assertGreater(after, at)
        return times

    def read(self, packet: bytes) -> Invitation:
        """
        The INIT as the responder sees it.
        """
        invitation = Invitation(packet)
        self.assertTrue(invitation.checkMac1(mac1Key(THEM.public)))
        self.assertEqual(invitation.openStatic(THEM.private, THEM.psk), US.public)
        return invitation

    def timestamp(self, packet: bytes) -> int:
        """
        The timestamp that the responder reads.
        """
        return self.read(packet).openPayload().timestamp

    def answer(self, packet: bytes) -> bytes:
        """
        The RESP to an INIT.
        """
        invitation = self.read(packet)
        invitation.openPayload()
        return invitation.respond(9, 88, US.public)[0]

    def retryTo(self, packet: bytes) -> bytes:
        """
        The RETRY to an INIT.
        """
        return self.jar.retry(packet, UDP, START, cookieKey(THEM.public))

    def takesCookie(self, packet: bytes) -> bool:
        """
        Whether an INIT was made with the cookie of our address.
        """
        return Invitation(packet).checkMac2([self.jar.cookie(UDP, START)])


class SendingTests(DiallingTestCase):
    """
    When INITs go out, and what is in them.
    """

    def test_nothing(self) -> None:
        """
        Without a path nothing is dialled.
        """
        self.assertFalse(self.dialling.active)
        self.assertEqual(self.inits(START), [])
        self.assertIsNone(self.dialling.nextTimer())

    def test_datagrams(self) -> None:
        """
        On UDP an INIT goes out every 250 ms for 5 s, and then every second.
        """
        self.dialling.add(UDP, START)
        times = self.letPass(8)
        quick = [START + INIT_INTERVAL * each for each in range(20)]
        slow = [START + DIAL_TIMEOUT + REKEY_RETRY * each for each in range(3)]
        self.assertEqual(times, quick + slow)

    def test_stream(self) -> None:
        """
        On TCP, which repeats by itself, an INIT goes out every second.
        """
        self.dialling.add(TCP, START)
        self.assertEqual(self.letPass(3), [START, START + 1, START + 2])

    def test_rekey(self) -> None:
        """
        F40: for new keys an INIT goes out every second on UDP, too.
        """
        self.dialling.add(UDP, START, rekey=True)
        self.assertEqual(self.letPass(3), [START, START + 1, START + 2])

    def test_severalPaths(self) -> None:
        """
        All paths are dialled side by side, and adding one twice changes nothing.
        """
        self.dialling.add(UDP, START)
        self.assertEqual([path for path, _ in self.dialling.due(START)], [UDP])
        self.dialling.add(TCP, START + 0.1)
        self.dialling.add(UDP, START + 0.1)
        self.assertEqual(self.dialling.nextTimer(), START + 0.1)
        self.assertEqual([path for path, _ in self.dialling.due(START + 0.1)], [TCP])

    def test_content(self) -> None:
        """
        An INIT carries our instance, no cookie at first, and an index of ours.
        """
        self.dialling.add(UDP, START)
        (packet,) = self.inits(START)
        invitation = self.read(packet)
        payload = invitation.openPayload()
        self.assertEqual(payload.instance, 77)
        self.assertEqual(payload.timestamp, EPOCH)
        self.assertEqual(payload.challenge, bytes(16))
        self.assertEqual(packet[160:], bytes(16))
        self.assertIs(self.indices.owner(invitation.index), self)

    def test_everyInitIsNew(self) -> None:
        """
        No two INITs share an ephemeral key, an index or a timestamp.
        """
        self.dialling.add(UDP, START)
        packets = [*self.inits(START), *self.inits(START + 1)]
        self.assertNotEqual(packets[0][8:40], packets[1][8:40])
        self.assertNotEqual(packets[0][4:8], packets[1][4:8])
        self.assertEqual([self.timestamp(one) for one in packets], [EPOCH, EPOCH + 1])

    def test_clockSetBack(self) -> None:
        """
        F24: timestamps grow strictly, whatever becomes of the wall clock.
        """
        self.dialling.add(UDP, START)
        times = []
        for step, skew in enumerate((0, -86_400_000, 5, 315_360_000_000, 0)):
            self.clock = EPOCH + skew
            times += [self.timestamp(one) for one in self.inits(START + step)]
        late = EPOCH + 315_360_000_000
        self.assertEqual(times, [EPOCH, EPOCH + 1, EPOCH + 5, late, late + 1])

    def test_held(self) -> None:
        """
        F20: while the other side's dial has precedence, ours waits.
        """
        self.dialling.add(UDP, START)
        self.dialling.heldUntil = START + 1
        self.assertEqual(self.inits(START + 0.99), [])
        self.assertEqual(self.dialling.nextTimer(), START + 1)
        self.assertEqual(len(self.inits(START + 1)), 1)

    def test_outstanding(self) -> None:
        """
        F23: at most 8 INITs wait for an answer; the oldest are forgotten, and their
        indexes with them.
        """
        self.dialling.add(UDP, START)
        packets = [self.inits(START + each)[0] for each in range(20)]
        self.assertEqual(len(self.dialling), MAX_OUTSTANDING_INITS)
        self.assertEqual(len(self.indices), MAX_OUTSTANDING_INITS)
        self.assertIsNone(self.dialling.response(self.answer(packets[11])))
        self.assertIsNotNone(self.dialling.response(self.answer(packets[12])))

    def test_streamsOutlastDatagrams(self) -> None:
        """
        An INIT on a slow stream is not forgotten for a datagram, which may be lost.
        """
        self.dialling.add(TCP, START)
        (slow,) = self.inits(START)
        self.dialling.add(UDP, START)
        times = self.letPass(5)
        self.assertGreater(len(times), 2 * MAX_OUTSTANDING_INITS)
        self.assertIsNotNone(self.dialling.response(self.answer(slow)))

    def test_remove(self) -> None:
        """
        A path that is given up is dialled no more, and answers to what went out on
        it come too late; other paths go on.
        """
        self.dialling.add(UDP, START)
        self.dialling.add(TCP, START)
        first, second = self.inits(START)
        self.dialling.remove(UDP)
        self.assertIsNone(self.dialling.response(self.answer(first)))
        self.assertEqual([path for path, _ in self.dialling.due(START + 1)], [TCP])
        self.assertIsNotNone(self.dialling.response(self.answer(second)))

    def test_clear(self) -> None:
        """
        After `clear` nothing is dialled, and no index is held.
        """
        self.dialling.add(UDP, START)
        self.inits(START)
        self.dialling.clear()
        self.assertFalse(self.dialling.active)
        self.assertEqual((len(self.dialling), len(self.indices)), (0, 0))
        self.assertIsNone(self.dialling.nextTimer())

    def test_withdraw(self) -> None:
        """
        INITs that are withdrawn are not answered any more; the dialling goes on.
        """
        self.dialling.add(UDP, START)
        (packet,) = self.inits(START)
        self.dialling.withdraw()
        self.assertEqual((len(self.dialling), len(self.indices)), (0, 0))
        self.assertIsNone(self.dialling.response(self.answer(packet)))
        self.assertEqual(len(self.inits(START + 1)), 1)


class AnswerTests(DiallingTestCase):
    """
    What RESP and RETRY do.
    """

    def setUp(self) -> None:
        super().setUp()
        self.dialling.add(UDP, START)
        (self.init,) = self.inits(START)

    def test_answered(self) -> None:
        """
        A RESP completes the handshake, and its index lives on in the session.
        """
        invitation = self.read(self.init)
        invitation.openPayload()
        packet, theirSend, theirReceive = invitation.respond(9, 88, US.public)
        answered = self.dialling.response(packet)
        assert answered is not None
        self.assertEqual(answered.sendKey, theirReceive)
        self.assertEqual(answered.receiveKey, theirSend)
        self.assertEqual((answered.response.index, answered.response.instance), (9, 88))
        self.assertEqual(answered.outstanding.path, UDP)
        self.assertEqual(answered.outstanding.sentAt, START)
        self.assertEqual(len(self.dialling), 0)
        index = answered.outstanding.initiation.index
        self.assertIs(self.indices.owner(index), self)

    def test_lateAnswer(self) -> None:
        """
        F23: the answer to an older INIT completes the handshake as well.
        """
        self.inits(START + 0.25)
        self.inits(START + 0.5)
        self.assertIsNotNone(self.dialling.response(self.answer(self.init)))
        self.assertEqual(len(self.dialling), 2)

    def test_replayedAnswer(self) -> None:
        """
        F6: a RESP counts once, and one for an unknown index not at all.
        """
        packet = self.answer(self.init)
        self.assertIsNotNone(self.dialling.response(packet))
        self.assertIsNone(self.dialling.response(packet))

    def test_forgedAnswers(self) -> None:
        """
        F7: after any number of forged RESPs the true one still counts.
        """
        packet = self.answer(self.init)
        for position in range(8, len(packet)):
            forged = bytearray(packet)
            forged[position] ^= 1
            self.assertIsNone(self.dialling.response(bytes(forged)))
        self.assertIsNone(self.dialling.response(packet[:-1]))
        self.assertIsNotNone(self.dialling.response(packet))

    def test_retry(self) -> None:
        """
        After a RETRY an INIT with its cookie goes out at once, where the first
        went.
        """
        self.assertTrue(self.dialling.retry(self.retryTo(self.init), START + 0.1))
        self.assertEqual(self.dialling.nextTimer(), START + 0.1)
        ((path, packet),) = self.dialling.due(START + 0.1)
        self.assertEqual(path, UDP)
        self.assertTrue(self.takesCookie(packet))
        payload = self.read(packet).openPayload()
        self.assertEqual(payload.challenge, self.jar.cookie(UDP, START))

    def test_retryOnce(self) -> None:
        """
        F8: a RETRY that is sent to us again makes us send nothing more.
        """
        packet = self.retryTo(self.init)
        self.assertTrue(self.dialling.retry(packet, START))
        self.inits(START)
        self.assertFalse(self.dialling.retry(packet, START))
        self.assertFalse(self.dialling.retry(self.retryTo(self.init), START))
        self.assertEqual(self.inits(START), [])

    def test_forgedRetry(self) -> None:
        """
        F8: a RETRY that does not open, or is for no INIT of ours, changes nothing.
        """
        packet = self.retryTo(self.init)
        for position in range(4, len(packet)):
            forged = bytearray(packet)
            forged[position] ^= 1
            self.assertFalse(self.dialling.retry(bytes(forged), START))
        self.assertFalse(self.dialling.retry(packet[:30], START))
        self.assertEqual(self.inits(START), [])
        self.assertTrue(self.dialling.retry(packet, START))

    def test_cookieExpires(self) -> None:
        """
        F9: a cookie goes into INITs for 120 s, and then no more.
        """
        self.dialling.retry(self.retryTo(self.init), START)
        last = START + COOKIE_LIFE
        self.assertTrue(self.takesCookie(self.inits(last - 0.01)[0]))
        (packet,) = self.inits(last + 1)
        self.assertFalse(self.takesCookie(packet))
        self.assertEqual(self.read(packet).openPayload().challenge, bytes(16))

    def test_cookieIsOfOnePath(self) -> None:
        """
        F9: the cookie of one path is not told on another.
        """
        self.dialling.retry(self.retryTo(self.init), START)
        self.dialling.add(TCP, START)
        packets = dict(self.dialling.due(START))
        self.assertTrue(self.takesCookie(packets[UDP]))
        self.assertFalse(self.takesCookie(packets[TCP]))
