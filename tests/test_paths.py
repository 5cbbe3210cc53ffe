"""
Tests for `rootstream.protocol.paths`.
"""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.constants import (
    CHALLENGE_ATTEMPTS,
    MAX_UNVALIDATED_PATHS,
    MAX_VALIDATED_PATHS,
    PATH_PROBE_HOLD,
)
from rootstream.protocol.paths import Paths, PathState
from tests.wire import WirePath, respond

START = 1000.0
PATIENCE = 0.3
INTERVAL = 0.1


def udp(number: int) -> WirePath:
    """
    One of many UDP paths.
    """
    return WirePath(Transport.UDP, ("192.0.2.1", number))


def tcp(number: int) -> WirePath:
    """
    One of many TCP paths.
    """
    return WirePath(Transport.TCP, ("192.0.2.1", number))


OLD, NEW, THIRD = udp(1), udp(2), udp(3)


class PathTestCase(SynchronousTestCase):
    """
    Paths of a peer that made a handshake over ``OLD``.
    """

    def setUp(self) -> None:
        self.paths = Paths(Random(1).randbytes)
        self.paths.use(self.paths.validate(OLD, START))

    def known(self, path: WirePath) -> PathState:
        """
        The books of a path that there must be.
        """
        state = self.paths.get(path)
        assert state is not None
        return state

    def challenges(self, now: float) -> dict[WirePath, bytes]:
        """
        The challenges due now, by path.
        """
        return {
            state.path: data for state, data in self.paths.challengesDue(INTERVAL, now)
        }

    def arrives(self, path: WirePath, now: float = START) -> None:
        """
        An authentic packet that says where the peer wants to be reached.
        """
        self.paths.heard(path, 100, now)
        self.paths.question(path, PATIENCE, now)


class BookTests(PathTestCase):
    """
    What is known of each path.
    """

    def test_handshake(self) -> None:
        """
        A path that carried a handshake is validated and may be sent on freely.
        """
        state = self.known(OLD)
        self.assertIs(self.paths.current, state)
        self.assertTrue(state.validated)
        self.assertTrue(state.allows(1 << 40))
        self.assertEqual(len(self.paths), 1)
        self.assertEqual(list(self.paths), [state])
        self.assertIsNone(self.paths.nextTimer())

    def test_unknown(self) -> None:
        """
        A path on which nothing authentic came has no books.
        """
        self.assertIsNone(self.paths.get(NEW))

    def test_amplification(self) -> None:
        """
        F43: before validation, three times the bytes received may be sent, and not
        one more.
        """
        self.assertIsNone(self.paths.heard(NEW, 100, START))
        state = self.known(NEW)
        self.assertFalse(state.validated)
        self.assertTrue(state.allows(300))
        self.assertFalse(state.allows(301))
        state.sent += 200
        self.assertTrue(state.allows(100))
        self.assertFalse(state.allows(101))
        self.paths.heard(NEW, 1, START + 1)
        self.assertTrue(state.allows(103))
        self.assertEqual((state.received, state.lastHeard), (101, START + 1))

    def test_handshakeOnAKnownPath(self) -> None:
        """
        A handshake validates a path that was known already, and ends its challenge.
        """
        self.arrives(NEW)
        self.assertIs(self.paths.validate(NEW, START), self.known(NEW))
        self.assertTrue(self.known(NEW).validated)
        self.assertIsNone(self.known(NEW).challenge)

    def test_unvalidatedPathsAreFew(self) -> None:
        """
        Of five paths that proved nothing, the one heard longest ago is forgotten.
        """
        for number in range(10, 10 + MAX_UNVALIDATED_PATHS):
            self.assertIsNone(self.paths.heard(udp(number), 100, START + number))
        self.paths.heard(udp(10), 100, START + 50)
        forgotten = self.paths.heard(udp(20), 100, START + 60)
        assert forgotten is not None
        self.assertEqual(forgotten.path, udp(11))
        self.assertIsNone(self.paths.get(udp(11)))
        self.assertEqual(len(self.paths), 1 + MAX_UNVALIDATED_PATHS)

    def test_whatIsBeingAskedIsNotForgotten(self) -> None:
        """
        F42: strangers' paths do not push out the one that is being asked, and it
        counts among the few.
        """
        self.arrives(NEW)
        for number in range(10, 30):
            self.paths.heard(udp(number), 100, START + number)
            self.assertLessEqual(len(self.paths), 1 + MAX_UNVALIDATED_PATHS)
        self.assertIsNotNone(self.paths.get(NEW))

    def test_validatedPathsAreFew(self) -> None:
        """
        F45: a peer that roams for ever leaves a bounded number of paths behind, and
        the one in use and its connections are not among the forgotten.
        """
        tls = WirePath(Transport.TLS, ("192.0.2.1", 443))
        self.paths.validate(tcp(1), START)
        self.paths.validate(tls, START)
        for number in range(10, 100):
            now = START + number
            self.paths.validate(udp(number), now)
            self.paths.heard(udp(number), 100, now)
            self.assertLessEqual(len(self.paths), MAX_VALIDATED_PATHS)
        self.assertIsNotNone(self.paths.get(OLD))
        self.assertIsNotNone(self.paths.get(tcp(1)))
        self.assertIsNotNone(self.paths.get(tls))
        self.assertIsNotNone(self.paths.get(udp(99)))
        self.assertIsNone(self.paths.get(udp(90)))

    def test_distrustedPathsAreFew(self) -> None:
        """
        F45: paths that were validated and stopped carrying count among those that
        are not: the one heard longest ago goes, but never what we chose ourselves.
        """
        chosen = self.paths.add(udp(9))
        states = []
        for number in range(10, 14):
            self.paths.heard(udp(number), 100, START + number)
            states.append(self.paths.validate(udp(number), START + number))
        forgotten = [self.paths.distrust(state) for state in states]
        self.assertEqual(forgotten, [None, None, None, states[0]])
        self.assertIs(self.paths.get(chosen.path), chosen)

    def test_chosenPathsAreFew(self) -> None:
        """
        However many paths we choose ourselves, few are kept.
        """
        for number in range(10, 20):
            self.paths.trim(self.paths.add(udp(number)))
        self.assertEqual(len(self.paths), 1 + MAX_UNVALIDATED_PATHS)
        self.assertIsNotNone(self.paths.get(udp(19)))

    def test_connectionsAreFew(self) -> None:
        """
        Connections are bounded as well; those heard longest ago go first.
        """
        forgotten = []
        for number in range(10, 30):
            self.paths.validate(tcp(number), START + number)
            state = self.paths.heard(tcp(number), 100, START + number)
            if state is not None:
                forgotten.append(state.path)
        self.assertEqual(len(self.paths), MAX_VALIDATED_PATHS)
        self.assertEqual(forgotten, [tcp(each) for each in range(10, 23)])


class LostTests(PathTestCase):
    """
    What becomes of the session when a connection ends.
    """

    def test_unknown(self) -> None:
        """
        Losing a path that nobody knew changes nothing.
        """
        self.assertFalse(self.paths.lost(NEW))
        self.assertIs(self.paths.current, self.known(OLD))

    def test_another(self) -> None:
        """
        Losing a path that was not in use changes nothing but the books.
        """
        self.paths.validate(NEW, START)
        self.assertFalse(self.paths.lost(NEW))
        self.assertIsNone(self.paths.get(NEW))
        self.assertIs(self.paths.current, self.known(OLD))

    def test_current(self) -> None:
        """
        F59: when the current path is lost, the validated one heard last replaces it.
        """
        self.paths.validate(NEW, START + 1)
        self.paths.validate(THIRD, START + 2)
        self.paths.heard(udp(4), 100, START + 3)
        self.assertTrue(self.paths.lost(OLD))
        self.assertIs(self.paths.current, self.known(THIRD))

    def test_last(self) -> None:
        """
        When the last validated path is lost there is none to send on.
        """
        self.paths.heard(NEW, 100, START)
        self.assertTrue(self.paths.lost(OLD))
        self.assertIsNone(self.paths.current)

    def test_candidate(self) -> None:
        """
        When the new path is lost while it is being asked, the question is over, and
        the next one may follow.
        """
        self.arrives(NEW)
        self.assertFalse(self.paths.lost(NEW))
        self.challenges(START)
        self.assertIsNone(self.paths.decide(START + 10))
        self.arrives(THIRD, START + 10)
        self.assertIn(THIRD, self.challenges(START + 10))

    def test_afterTheLast(self) -> None:
        """
        Without a current path, a new one is used as soon as it is validated.
        """
        self.paths.lost(OLD)
        self.paths.heard(NEW, 100, START)
        self.paths.question(NEW, 0.0, START)
        self.assertIsNone(self.paths.decide(START))
        self.paths.abandoned(NEW)
        respond(self.paths, self.challenges(START)[NEW])
        self.assertIs(self.paths.decide(START), self.known(NEW))


class MoveTests(PathTestCase):
    """
    The peer's packets come by another path than before.
    """

    def test_bothAreAsked(self) -> None:
        """
        The old path and the new one get a challenge each, and they differ.
        """
        self.arrives(NEW)
        self.assertEqual(self.paths.nextTimer(), START)
        challenges = self.challenges(START)
        self.assertEqual(set(challenges), {OLD, NEW})
        self.assertEqual({len(data) for data in challenges.values()}, {8})
        self.assertNotEqual(challenges[OLD], challenges[NEW])
        self.assertIsNone(self.paths.decide(START))

    def test_oldAnswers(self) -> None:
        """
        F44: when the old path answers, sending stays there, even though the new
        one answered as well; and it is not asked again for a while.
        """
        self.arrives(NEW)
        challenges = self.challenges(START)
        respond(self.paths, challenges[NEW])
        respond(self.paths, challenges[OLD])
        decided = self.paths.decide(START + PATIENCE)
        self.assertIs(decided, self.known(OLD))
        self.assertIs(self.paths.current, self.known(OLD))
        held = START + PATIENCE + PATH_PROBE_HOLD
        self.arrives(NEW, held - 0.01)
        self.assertEqual(self.challenges(held - 0.01), {})
        self.assertIsNone(self.paths.nextTimer())
        self.arrives(NEW, held)
        self.assertEqual(set(self.challenges(held)), {OLD})

    def test_hopeful(self) -> None:
        """
        F45: the new path is hopeful from its answer on, until the old one has answered
        as well.
        """
        self.assertIsNone(self.paths.hopeful)
        self.arrives(NEW)
        challenges = self.challenges(START)
        self.assertIsNone(self.paths.hopeful)
        respond(self.paths, challenges[NEW])
        self.assertIs(self.paths.hopeful, self.known(NEW))
        respond(self.paths, challenges[OLD])
        self.assertIsNone(self.paths.hopeful)

    def test_oldIsSilent(self) -> None:
        """
        When only the new path answers, sending moves there once the old one had
        its time.
        """
        self.arrives(NEW)
        respond(self.paths, self.challenges(START)[NEW])
        self.assertIsNone(self.paths.decide(START + PATIENCE - 0.01))
        target = self.paths.decide(START + PATIENCE)
        assert target is not None
        self.assertIs(target, self.known(NEW))
        self.paths.use(target)
        self.assertIs(self.paths.current, target)
        self.assertIsNone(self.paths.decide(START + 10))

    def test_newIsSilent(self) -> None:
        """
        F42: a path that does not answer is never used, however silent the old one
        is.
        """
        self.arrives(NEW)
        now = START
        while (at := self.paths.nextTimer()) is not None:
            now = at
            self.challenges(now)
            self.assertIsNone(self.paths.decide(now))
        self.assertAlmostEqual(now, START + CHALLENGE_ATTEMPTS * INTERVAL)
        self.assertFalse(self.known(NEW).validated)
        self.assertIs(self.paths.current, self.known(OLD))

    def test_oldSaysGoodbye(self) -> None:
        """
        When the peer gives the old path up, it is not waited for.
        """
        self.arrives(NEW)
        respond(self.paths, self.challenges(START)[NEW])
        self.paths.abandoned(OLD)
        self.assertIs(self.paths.decide(START + 0.01), self.known(NEW))

    def test_anotherSaysGoodbye(self) -> None:
        """
        That a third path is given up means nothing for the current one.
        """
        self.arrives(NEW)
        respond(self.paths, self.challenges(START)[NEW])
        self.paths.abandoned(THIRD)
        self.assertIsNone(self.paths.decide(START + 0.01))

    def test_repeats(self) -> None:
        """
        A challenge goes out three times, with the same data, and then lapses: a
        late answer proves nothing any more.
        """
        self.arrives(NEW)
        first = self.challenges(START)
        self.assertEqual(self.challenges(START + INTERVAL / 2), {})
        at = START
        for _ in range(CHALLENGE_ATTEMPTS - 1):
            at = self.paths.nextTimer() or at
            self.assertEqual(self.challenges(at), first)
        self.assertEqual(self.challenges(at + INTERVAL), {})
        respond(self.paths, first[NEW])
        self.assertFalse(self.known(NEW).validated)

    def test_oneQuestionAtATime(self) -> None:
        """
        While one path is being asked, packets on a third begin nothing.
        """
        self.arrives(NEW)
        self.arrives(THIRD)
        self.assertEqual(set(self.challenges(START)), {OLD, NEW})

    def test_validatedIsNotAskedAgain(self) -> None:
        """
        A path that is validated already needs no challenge, the old one does.
        """
        self.paths.validate(NEW, START)
        self.arrives(NEW)
        self.assertEqual(set(self.challenges(START)), {OLD})
        self.assertIs(self.paths.decide(START + PATIENCE), self.known(NEW))

    def test_inventedAnswer(self) -> None:
        """
        An answer to no challenge of ours validates nothing.
        """
        respond(self.paths, bytes(8))
        self.arrives(NEW)
        self.challenges(START)
        respond(self.paths, bytes(8))
        self.assertFalse(self.known(NEW).validated)

    def test_neverSpins(self) -> None:
        """
        Whatever comes when, once all is done the timer is in the future or gone.
        """
        for seed in range(100):
            self.setUp()
            random, now = Random(seed), START
            sent: list[bytes] = [bytes(8)]
            for _ in range(200):
                now += random.choice((0.0, 0.01, 0.1, 0.5))
                path = udp(random.randrange(5))
                match random.randrange(6):
                    case 0:
                        self.paths.validate(path, now)
                    case 1:
                        self.paths.lost(path)
                    case 2:
                        self.paths.abandoned(path)
                    case 3:
                        respond(self.paths, random.choice(sent))
                    case 4:
                        self.arrives(path, now)
                target = self.paths.decide(now)
                if target is not None:
                    self.assertTrue(target.validated)
                    self.paths.use(target)
                sent = [*sent[-5:], *self.challenges(now).values()]
                at = self.paths.nextTimer()
                self.assertTrue(at is None or at > now, "a timer in the past")
