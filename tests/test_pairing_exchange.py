"""
Tests for `rootstream.protocol.pairing`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import BadPacket, RemoteError, WrongPhrase
from rootstream.identity import Identity
from rootstream.protocol.constants import MAX_PAIRING
from rootstream.protocol.pairing import Guest, HostPairing, ViewerPairing, secretOf
from tests.virtual import identity

VIEWER, HOST, EVE = identity(1), identity(2), identity(3)
SECRET = secretOf("abandon ability able about above zoo")
OTHER = secretOf("abandon ability able about above zone")
HERE = b"this session"


def viewer(
    secret: bytes = SECRET,
    who: Identity = VIEWER,
    binding: bytes = HERE,
    name: str = "laptop",
    host: Identity = HOST,
) -> ViewerPairing:
    return ViewerPairing(secret, who.key, name, host.key, binding)


def host(
    secret: bytes = SECRET,
    remote: Identity = VIEWER,
    binding: bytes = HERE,
    who: Identity = HOST,
) -> HostPairing:
    return HostPairing(secret, who.key, remote.key.x25519, binding)


def sent(message: bytes | None) -> bytes:
    """
    A message that there must be, and that fits its frame.
    """
    assert message is not None
    assert 0 < len(message) <= MAX_PAIRING
    return message


class ExchangeTests(SynchronousTestCase):
    """
    A viewer and a host, and what passes between them.
    """

    def test_rightPhrase(self) -> None:
        """
        With one phrase the host learns the viewer's key and name, then the viewer the
        host's name, and neither has more to say.
        """
        here, there = viewer(), host()
        self.assertFalse(there.tried)
        here.receive(sent(there.receive(sent(here.message))))
        self.assertTrue(there.tried)
        self.assertIs(there.guest, None)
        self.assertIs(there.receive(sent(here.message)), None)
        self.assertEqual(there.guest, Guest(VIEWER.key, "laptop"))
        self.assertIs(here.host, None)
        here.receive(there.welcome("desk"))
        self.assertEqual(here.host, "desk")
        self.assertIs(here.message, None)

    def test_secret(self) -> None:
        """
        A phrase has one secret, another phrase another.
        """
        self.assertEqual(SECRET, secretOf("abandon ability able about above zoo"))
        self.assertNotEqual(SECRET, OTHER)

    def test_lossAndCopies(self) -> None:
        """
        A message that comes again is answered as before, and one that comes late
        changes nothing.
        """
        here, there = viewer(), host()
        offer = sent(here.message)
        answer = sent(there.receive(offer))
        self.assertEqual(there.receive(offer), answer)
        here.receive(answer)
        proof = sent(here.message)
        here.receive(answer)
        self.assertEqual(here.message, proof)
        there.receive(proof)
        welcome = there.welcome("desk")
        self.assertEqual(there.receive(proof), welcome)
        self.assertEqual(there.receive(offer), answer)
        for late in (welcome, answer, welcome):
            here.receive(late)
        self.assertEqual(here.host, "desk")

    def test_wrongPhrase(self) -> None:
        """
        With two phrases the viewer finds out first and proves nothing.
        """
        here, there = viewer(OTHER), host()
        answer = sent(there.receive(sent(here.message)))
        self.assertRaises(WrongPhrase, here.receive, answer)
        self.assertEqual(sent(here.message)[0], 1)
        self.assertIs(here.host, None)

    def test_wrongProof(self) -> None:
        """
        A viewer that proves another phrase is refused, and has used up a try; so has
        one that sends nothing, half of the proof, or the host's own one.
        """
        for number in range(4):
            there = host()
            answer = sent(there.receive(sent(viewer().message)))
            proof = (bytes(32), b"", bytes(31), answer[33:])[number]
            self.assertRaises(WrongPhrase, there.receive, b"\3" + proof)
            self.assertTrue(there.tried)
            self.assertIs(there.guest, None)

    def test_secondTry(self) -> None:
        """
        A session has one try.
        """
        there = host()
        there.receive(sent(viewer().message))
        self.assertRaises(BadPacket, there.receive, sent(viewer().message))

    def test_manInTheMiddle(self) -> None:
        """
        One who talks to both and passes everything on is found out by both: the keys
        that it has to show are not those of the ends, and neither are the sessions.
        """
        # The viewer was given Eve's code; she dials the host as herself.
        here = viewer(host=EVE, binding=b"viewer and Eve")
        there = host(remote=EVE, binding=b"Eve and host")
        offer = sent(here.message)
        self.assertRaises(BadPacket, there.receive, offer)
        forged = offer[:33] + EVE.key.ed25519 + offer[65:]
        answer = sent(there.receive(forged))
        self.assertRaises(WrongPhrase, here.receive, answer)
        self.assertIs(there.guest, None)

    def test_binding(self) -> None:
        """
        With the same keys and the same phrase, but in another session, it fails.
        """
        here, there = viewer(binding=b"one"), host(binding=b"two")
        answer = sent(there.receive(sent(here.message)))
        self.assertRaises(WrongPhrase, here.receive, answer)

    def test_anotherHost(self) -> None:
        """
        A host with another key than the code's is found out.
        """
        here, there = viewer(), host(who=EVE)
        answer = sent(there.receive(sent(here.message)))
        self.assertRaises(WrongPhrase, here.receive, answer)

    def test_replay(self) -> None:
        """
        What was recorded of one exchange proves nothing in the next, although phrase,
        keys and session are the same.
        """
        here, there = viewer(), host()
        offer = sent(here.message)
        answer = sent(there.receive(offer))
        here.receive(answer)
        proof = sent(here.message)
        again = host()
        again.receive(offer)
        self.assertRaises(WrongPhrase, again.receive, proof)
        self.assertIs(again.guest, None)
        self.assertRaises(WrongPhrase, viewer().receive, answer)

    def test_reflected(self) -> None:
        """
        A side's own messages, sent back to it, are refused.
        """
        here, there = viewer(), host()
        offer = sent(here.message)
        self.assertRaises(BadPacket, here.receive, offer)
        answer = sent(there.receive(offer))
        self.assertRaises(BadPacket, there.receive, answer)
        share = offer[1:33]
        self.assertRaises(WrongPhrase, here.receive, b"\2" + share + bytes(32))
        here.receive(answer)
        self.assertRaises(BadPacket, here.receive, sent(here.message))

    def test_outOfOrder(self) -> None:
        """
        A proof before the offer, a welcome before the proof and what nobody knows are
        refused.
        """
        for message in (b"\3" + bytes(32), b"\4desk", b"\0", b"\5", b"\xff" * 9):
            self.assertRaises(BadPacket, host().receive, message)
        for message in (b"\4desk", b"\4", b"\0", b"\5", b"\xff" * 9):
            self.assertRaises(BadPacket, viewer().receive, message)

    def test_everyByte(self) -> None:
        """
        A message with a byte that was changed is refused, or the exchange comes to
        nothing; it never ends in another name or key.
        """
        for number in range(len(sent(viewer().message))):
            here, there = viewer(), host()
            offer = bytearray(sent(here.message))
            offer[number] ^= 0x40
            with self.subTest(offer=number), self.assertRaises(RemoteError):
                here.receive(sent(there.receive(bytes(offer))))
        for number in range(65):
            here, there = viewer(), host()
            answer = bytearray(sent(there.receive(sent(here.message))))
            answer[number] ^= 0x40
            with self.subTest(answer=number), self.assertRaises(RemoteError):
                here.receive(bytes(answer))
        for number in range(33):
            here, there = viewer(), host()
            here.receive(sent(there.receive(sent(here.message))))
            proof = bytearray(sent(here.message))
            proof[number] ^= 0x40
            with self.subTest(proof=number), self.assertRaises(RemoteError):
                there.receive(bytes(proof))
            self.assertIs(there.guest, None)

    def test_everyLength(self) -> None:
        """
        A message that was cut is refused, or comes to nothing: the name is part of
        what both must agree on.
        """
        offer = sent(viewer().message)
        for size in range(1, len(offer)):
            here, there = viewer(), host()
            with self.subTest(offer=size), self.assertRaises(RemoteError):
                here.receive(sent(there.receive(sent(here.message)[:size])))
        answer = sent(host().receive(offer))
        for size in range(1, len(answer)):
            self.assertRaises(BadPacket, viewer().receive, answer[:size])
        self.assertRaises(BadPacket, viewer().receive, answer + b"\0")

    def test_names(self) -> None:
        """
        F74: a name has nothing in it that a terminal would obey, whatever the other
        side sends, and too long a one is refused.
        """
        here, there = viewer(name="\x1b[2Jlap\ntop" + "x" * 99), host()
        here.receive(sent(there.receive(sent(here.message))))
        there.receive(sent(here.message))
        assert there.guest is not None
        self.assertEqual(there.guest.name, ("[2Jlap top" + "x" * 99)[:64])
        self.assertRaises(BadPacket, here.receive, b"\4" + b"x" * 65)
        here.receive(b"\4\xff\x1b[2Jdesk")
        self.assertEqual(here.host, "\ufffd[2Jdesk")
        offer = sent(viewer(name="").message)
        self.assertRaises(BadPacket, host().receive, offer + b"x" * 65)
        raw = host()
        raw.receive(offer + b"\xff\x1b")

    def test_otherKeys(self) -> None:
        """
        An offer of a key that is not that of the session, or none, is no try.
        """
        offer = sent(viewer().message)
        unsafe = offer[:33] + b"\1" + bytes(31) + offer[65:]
        for message in (offer[:33] + EVE.key.ed25519, unsafe, offer[:40]):
            there = host()
            self.assertRaises(BadPacket, there.receive, message)
            self.assertFalse(there.tried)
