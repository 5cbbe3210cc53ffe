"""
Tests for `rootstream.reception` and `rootstream.pairing`: two machines that pair.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from rootstream.authorized import INPUT, AuthorizedPeers
from rootstream.client import connect
from rootstream.errors import (
    HandshakeTimeout,
    LocalError,
    PeerClosed,
    WrongPhrase,
)
from rootstream.host import Host
from rootstream.identity import Identity, formatCode
from rootstream.pairing import pair
from rootstream.peer import Peer
from rootstream.peersfile import PeersFile
from rootstream.protocol.events import Command, Control, InputEvent
from rootstream.protocol.link import NOT_LISTED, PROTOCOL_VIOLATION
from rootstream.protocol.pairing import (
    Guest,
    HostPairing,
    ViewerPairing,
    secretOf,
)
from rootstream.reception import PAIRING_TIME, PHRASE_LIFE, TRIES, Reception
from tests.virtual import (
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    codeOf,
    identity,
    picture,
)

PHRASE = "abandon ability able about above zoo"
WRONG = "abandon ability able about above zone"


def named(number: int, name: str) -> Identity:
    return Identity.fromSeed(identity(number).seed, name)


class ReceptionCase(SynchronousTestCase):
    """
    A host that shows a phrase, and viewers that nobody has listed.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.told: list[str] = []
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(mode=0o700)
        self.peersFile = PeersFile(self.home / "peers")
        self.receivers: dict[Peer, Recorder] = {}
        self.reception = Reception(
            self.reactor, named(2, "desk"), self.store, self.tell, PHRASE
        )
        self.host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(self.home / "peers", [], False),
            self.receiverFor,
            port=HOST_PORT,
            interface=HOST,
            reception=self.reception,
        )
        self.host.listen()
        self.addCleanup(self.over)

    def over(self) -> None:
        self.reception.stop()
        closing = self.host.close()
        self.reactor.elapse(1.0)
        self.successResultOf(closing)

    def receiverFor(self, peer: Peer) -> Recorder:
        return self.receivers.setdefault(peer, Recorder())

    def tell(self, text: str, fingerprint: str | None) -> None:
        self.told.append(text)
        self.host.refresh()

    def store(self, guest: Guest) -> None:
        word = formatCode(guest.key, None)
        self.peersFile.add(guest.key, word, INPUT, guest.name)

    def pair(self, phrase: str = PHRASE, number: int = 1) -> Deferred[str]:
        """
        Let one of our machines try to pair.
        """
        return pair(
            self.reactor,
            codeOf(identity(2), port=HOST_PORT),
            phrase,
            identity=named(number, f"laptop {number}"),
            tcp=False,
        )

    def connect(self, number: int = 1) -> Deferred[Peer]:
        return connect(
            self.reactor,
            codeOf(identity(2), port=HOST_PORT),
            Recorder(),
            identity=identity(number),
            tcp=False,
        )

    def fails(self, pairing: Deferred[Any], *kinds: Any) -> str:
        return str(self.failureResultOf(pairing, *kinds).value)


class PairingTests(ReceptionCase):
    """
    What comes of it.
    """

    def test_paired(self) -> None:
        """
        Who knows the phrase is listed, with its name and the rights that the host
        gives, learns the host's name, and may come as any other from then on.
        """
        pairing = self.pair()
        self.reactor.elapse(1.0)
        self.assertEqual(self.successResultOf(pairing), "desk")
        [listed] = self.peersFile.listed()
        self.assertEqual(listed.code.key, identity(1).key)
        self.assertEqual((listed.name, listed.rights), ("laptop 1", INPUT))
        self.assertEqual(
            self.told, [f"Paired with {identity(1).key.fingerprint} laptop 1."]
        )
        self.assertEqual(self.host.peers, ())
        self.assertEqual(self.receivers, {})
        connecting = self.connect()
        self.reactor.elapse(1.0)
        self.successResultOf(connecting)
        [peer] = self.host.peers
        self.assertEqual(peer.rights, INPUT)

    def test_once(self) -> None:
        """
        A phrase pairs one machine; the next is a stranger.
        """
        first = self.pair()
        self.reactor.elapse(1.0)
        self.successResultOf(first)
        self.assertIs(self.reception.phrase, None)
        second = self.pair(number=3)
        self.reactor.elapse(PAIRING_TIME + 1.0)
        said = self.fails(second, HandshakeTimeout)
        self.assertIn("does 'rootstream host --pair' show its phrase", said)
        self.assertEqual(len(self.peersFile.listed()), 1)

    def test_wrongPhrase(self) -> None:
        """
        Both sides say that the phrases differ, at once, and nothing is stored; the
        right one still works.
        """
        pairing = self.pair(WRONG)
        self.reactor.elapse(0.5)
        self.assertIn("another phrase", self.fails(pairing, WrongPhrase))
        [told] = self.told
        self.assertIn("could not pair: another phrase; 2 of 3 tries are left", told)
        self.assertEqual(self.peersFile.listed(), [])
        again = self.pair()
        self.reactor.elapse(0.5)
        self.successResultOf(again)

    def test_threeTries(self) -> None:
        """
        After three wrong tries the phrase is good no more, and the host says so.
        """
        for number in range(TRIES):
            pairing = self.pair(WRONG, number=3 + number)
            self.reactor.elapse(0.5)
            self.fails(pairing, WrongPhrase)
        self.assertEqual(len(self.told), TRIES + 1)
        self.assertIn("3 tries failed", self.told[-1])
        self.assertIs(self.reception.phrase, None)
        late = self.pair()
        self.reactor.elapse(PAIRING_TIME + 1.0)
        self.fails(late, HandshakeTimeout)
        self.assertEqual(self.peersFile.listed(), [])

    def test_expired(self) -> None:
        """
        After two minutes the phrase is good no more, and the host says so.
        """
        self.reactor.elapse(PHRASE_LIFE + 0.5)
        self.assertEqual(len(self.told), 1)
        self.assertIn("two minutes are over", self.told[0])
        late = self.pair()
        self.reactor.elapse(PAIRING_TIME + 1.0)
        self.fails(late, HandshakeTimeout)

    def test_lossy(self) -> None:
        """
        Lost messages are sent again, the viewer's by itself and the host's when asked.
        """
        dropped: list[int] = []
        real = Peer.pair

        def unreliable(peer: Peer, message: bytes) -> None:
            if dropped.count(message[0]) < 2:
                dropped.append(message[0])
            else:
                real(peer, message)

        self.patch(Peer, "pair", unreliable)
        pairing = self.pair()
        self.reactor.elapse(5.0)
        self.assertEqual(self.successResultOf(pairing), "desk")
        self.assertEqual(sorted(dropped), [1, 1, 2, 2, 3, 3, 4, 4])

    def test_cannotStore(self) -> None:
        """
        A host that cannot keep its list says so, to both; nobody is let in.
        """

        def full(guest: Guest) -> None:
            raise LocalError("the disk is full")

        self.reception._store = full
        pairing = self.pair()
        self.reactor.elapse(1.0)
        self.assertIn("cannot store", self.fails(pairing, PeerClosed))
        self.assertEqual(self.told, ["Pairing came to nothing: the disk is full."])

    def test_listedAlready(self) -> None:
        """
        One who is on the list already may pair too, and keeps its session.
        """
        self.peersFile.add(
            identity(1).key, formatCode(identity(1).key, None), INPUT, "Anna"
        )
        pairing = self.pair()
        self.reactor.elapse(1.0)
        self.assertEqual(self.successResultOf(pairing), "desk")
        [listed] = self.peersFile.listed()
        self.assertEqual(listed.name, "Anna")
        self.reactor.elapse(PAIRING_TIME + 1.0)

    def test_cancelled(self) -> None:
        """
        Giving up leaves nothing behind, while dialling and after.
        """
        for wait in (0.0, 0.05):
            self.patch(Peer, "pair", lambda peer, message: None)
            pairing = self.pair()
            self.reactor.elapse(wait)
            pairing.cancel()
            self.failureResultOf(pairing, CancelledError)
            self.reactor.elapse(PAIRING_TIME + 7.0)

    def test_cancelledDuringTheGoodbye(self) -> None:
        """
        Giving up when all but the goodbye is done is giving up.
        """
        goodbyes: list[Deferred[None]] = []
        real = Peer.close

        def slow(peer: Peer, text: str = "", code: int = 0) -> Deferred[None]:
            real(peer, text, code)
            goodbyes.append(Deferred())
            return goodbyes[-1]

        self.patch(Peer, "close", slow)
        pairing = self.pair()
        self.reactor.elapse(1.0)
        self.assertNoResult(pairing)
        pairing.cancel()
        self.failureResultOf(pairing, CancelledError)
        for goodbye in goodbyes:
            goodbye.callback(None)
        self.patch(Peer, "close", real)

    def test_badPhrase(self) -> None:
        """
        What is no phrase is not even sent.
        """
        self.assertRaises(LocalError, self.pair, "abandon")


class StrangerTests(ReceptionCase):
    """
    What a stranger may do while a phrase is shown.
    """

    def test_nothingButPairing(self) -> None:
        """
        A stranger gets no receiver and no media, and one that sends any loses the
        session.
        """
        for send in (
            lambda peer: peer.sendVideo(picture()),
            lambda peer: peer.sendControl(Control(Command.REQUEST_KEYFRAME)),
            lambda peer: peer.sendInput([InputEvent(1, 30, 1)]),
        ):
            connecting = self.connect()
            self.reactor.elapse(0.2)
            stranger = self.successResultOf(connecting)
            [peer] = self.host.peers
            self.assertEqual(peer.rights, frozenset())
            send(stranger)
            self.reactor.elapse(0.5)
            assert stranger.closed is not None
            self.assertEqual(stranger.closed.code, PROTOCOL_VIOLATION)
            self.assertEqual(self.host.peers, ())
        self.assertEqual(self.receivers, {})
        self.assertEqual(self.told, [])

    def test_oneAtATime(self) -> None:
        """
        A second stranger waits until the first is gone, and the first has twenty
        seconds.
        """
        first = self.connect(1)
        self.reactor.elapse(0.2)
        idle = self.successResultOf(first)
        second = self.pair(number=3)
        self.reactor.elapse(1.0)
        self.assertNoResult(second)
        self.assertEqual(len(self.host.peers), 1)
        self.reactor.elapse(PAIRING_TIME - 2.0)
        self.assertIs(idle.closed, None)
        self.reactor.elapse(1.5)
        assert idle.closed is not None
        self.assertEqual(idle.closed.text, "pairing took too long")
        self.reactor.elapse(1.0)
        second.addErrback(lambda _: None).cancel()

    def test_expiresMeanwhile(self) -> None:
        """
        A stranger in the middle of it goes when the phrase does.
        """
        self.reactor.elapse(PHRASE_LIFE - 5.0)
        connecting = self.connect()
        self.reactor.elapse(0.2)
        stranger = self.successResultOf(connecting)
        stranger.pair(b"\1" + bytes(10))
        self.reactor.elapse(0.5)
        assert stranger.closed is not None
        self.assertEqual(stranger.closed.code, PROTOCOL_VIOLATION)
        pending = self.connect()
        self.reactor.elapse(0.2)
        waiting = self.successResultOf(pending)
        self.reactor.elapse(5.0)
        assert waiting.closed is not None
        self.assertEqual(waiting.closed.code, NOT_LISTED)

    def test_stopped(self) -> None:
        """
        A host that ends while somebody pairs leaves no timer.
        """
        connecting = self.connect()
        self.reactor.elapse(0.2)
        self.successResultOf(connecting)
        self.reception.stop()

    def test_ordinaryPeers(self) -> None:
        """
        Without a phrase a pairing message of a peer changes nothing.
        """
        self.peersFile.add(
            identity(1).key, formatCode(identity(1).key, None), INPUT, ""
        )
        connecting = self.connect()
        self.reactor.elapse(0.2)
        there = self.successResultOf(connecting)
        self.reception.phrase = None
        there.pair(b"\1" + bytes(64))
        self.reactor.elapse(0.5)
        self.assertTrue(there.connected)

    def test_proofThatIsWrong(self) -> None:
        """
        A stranger that guesses on after the answer is sent away, and the try counts.
        """
        connecting = self.connect()
        self.reactor.elapse(0.2)
        there = self.successResultOf(connecting)
        exchange = ViewerPairing(
            secretOf(WRONG), identity(1).key, "", identity(2).key, there.binding(True)
        )
        there.pair(exchange.message or b"")
        self.reactor.elapse(0.2)
        there.pair(b"\3" + bytes(32))
        self.reactor.elapse(0.5)
        assert there.closed is not None
        self.assertEqual(there.closed.text, "the phrase is another one")
        [told] = self.told
        self.assertIn("2 of 3", told)

    def test_hostBreaksTheProtocol(self) -> None:
        """
        A host that answers nonsense is left, in words.
        """
        pairing = self.pair()
        self.patch(HostPairing, "receive", lambda *_: b"\5nonsense")
        self.reactor.elapse(1.0)
        said = self.fails(pairing, PeerClosed)
        self.assertIn("the host said a pairing message out of order", said)
