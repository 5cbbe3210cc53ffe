"""
Tests for `rootstream.client`: from a code to a peer, on virtual time.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from rootstream.authorized import AuthorizedPeers
from rootstream.client import connect
from rootstream.errors import BadCode, GaveUp, LocalError, NoTransport
from rootstream.host import Host
from rootstream.identity import Code, Identity, formatCode
from rootstream.peer import Peer
from tests.virtual import (
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    codeOf,
    identity,
    picture,
)


class ConnectTests(SynchronousTestCase):
    """
    Tests for `connect`.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        # Not in tearDown, which comes after the surroundings are gone.
        self.addCleanup(self.assertNothingLeft)
        self.receiver = Recorder()
        self.hostReceiver = Recorder()
        self.host: Host | None = None

    def assertNothingLeft(self) -> None:
        """
        Whatever happened, it leaves no timer and no socket.
        """
        if self.host is not None:
            self.host.close()
        self.reactor.elapse(0.2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.net.ports, {})

    def listen(self, psk: bytes = bytes(32), tlsPort: int | None = None) -> None:
        self.host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(None, [identity(1).key], False),
            lambda peer: self.hostReceiver,
            port=HOST_PORT,
            interface=HOST,
            tlsPort=tlsPort,
            psk=psk,
        )
        self.host.listen()

    def connect(
        self, code: str | Code = "", me: Identity | None = None, **options: Any
    ) -> Deferred[Peer]:
        return connect(
            self.reactor,
            code or codeOf(identity(2)),
            self.receiver,
            identity=me or identity(1),
            **options,
        )

    def test_connected(self) -> None:
        """
        Fires with the peer, which has the host's fingerprint and talks both ways.
        """
        self.listen()
        connecting = self.connect()
        self.assertNoResult(connecting)
        self.reactor.elapse()
        peer = self.successResultOf(connecting)
        self.assertEqual(peer.fingerprint, identity(2).key.fingerprint)
        self.assertTrue(peer.sendVideo(picture()))
        assert self.host is not None
        [there] = self.host.peers
        self.assertTrue(there.sendVideo(picture(1)))
        self.reactor.elapse()
        self.assertEqual(self.hostReceiver.video, [picture()])
        self.assertEqual(self.receiver.video, [picture(1)])

    def test_codeInWords(self) -> None:
        """
        The code may be the text that a user copies.
        """
        self.listen()
        connecting = self.connect(formatCode(identity(2).key, HOST, HOST_PORT))
        self.reactor.elapse()
        self.successResultOf(connecting)

    def test_onlyTCP(self) -> None:
        """
        Where UDP is forbidden the session runs over TCP, and no datagram is sent.
        """
        self.listen()
        connecting = self.connect(udp=False)
        self.reactor.elapse()
        self.successResultOf(connecting)
        self.assertEqual(self.reactor.net.carried, 0)
        self.assertEqual(self.receiver.paths[0][0], "tcp")

    def test_onlyTLS(self) -> None:
        """
        Where neither UDP nor TCP gets through, the session runs over TLS, both ways,
        within 1.5 s (F47).
        """
        self.listen(tlsPort=443)
        self.reactor.blockUDP()
        self.reactor.blockedPorts.add(HOST_PORT)
        connecting = self.connect()
        self.reactor.elapse(1.5)
        peer = self.successResultOf(connecting)
        [(transport, address, _)] = self.receiver.paths
        self.assertEqual((transport, address), ("tls", f"{HOST}:443"))
        assert self.host is not None
        self.assertEqual(self.host.tlsPort, 443)
        [there] = self.host.peers
        self.assertTrue(peer.sendVideo(picture()))
        self.assertTrue(there.sendVideo(picture(1)))
        self.reactor.elapse()
        self.assertEqual(self.hostReceiver.video, [picture()])
        self.assertEqual(self.receiver.video, [picture(1)])
        peer.close()

    def test_standbyOverTLS(self) -> None:
        """
        Where TCP does not get through, a TLS connection stands by for UDP, takes over
        when that is blocked, and hands back when it carries again (F48).
        """
        self.listen(tlsPort=443)
        self.reactor.blockedPorts.add(HOST_PORT)
        connecting = self.connect()
        self.reactor.elapse(3.0)
        peer = self.successResultOf(connecting)
        self.assertEqual([path[0] for path in self.receiver.paths], ["udp"])
        assert self.host is not None
        [there] = self.host.peers

        def stream(seconds: float) -> None:
            for _ in range(round(seconds * 30)):
                number = len(sent)
                sent.append(there.sendVideo(picture(number, number == 0)))
                self.reactor.elapse(1 / 30)

        sent: list[bool] = []
        stream(1.0)
        self.reactor.blockUDP()
        stream(3.0)
        self.assertEqual([path[0] for path in self.receiver.paths], ["udp", "tls"])
        self.reactor.unblockUDP()
        stream(5.0)
        self.assertEqual(
            [path[0] for path in self.receiver.paths], ["udp", "tls", "udp"]
        )
        self.assertTrue(all(sent))
        self.assertEqual(len(self.receiver.video), len(sent))
        peer.close()

    def test_neverTLS(self) -> None:
        """
        Without a port for it, or without TCP at all, TLS is never dialled.
        """
        self.listen(tlsPort=443)
        self.reactor.blockUDP()
        self.reactor.blockedPorts.add(HOST_PORT)
        for options in ({"tlsPort": None}, {"tcp": False}):
            connecting = self.connect(**options)
            self.reactor.elapse(3.0)
            self.assertNoResult(connecting)
            connecting.addErrback(lambda _: None).cancel()

    def test_psk(self) -> None:
        """
        A pre-shared key lets in who has it, and nobody else (F17).
        """
        self.listen(psk=b"k" * 32)
        outside, inside = self.connect(), self.connect(psk=b"k" * 32)
        self.reactor.elapse(1.0)
        self.assertNoResult(outside)
        self.successResultOf(inside).close()
        outside.addErrback(lambda _: None).cancel()

    def test_cancelled(self) -> None:
        """
        Cancelling gives up at once: no attempt is left, nor told of as failed.
        """
        connecting = self.connect()
        self.reactor.elapse(1.0)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        self.assertEqual(self.receiver.route, ["CONNECTING", "HANDSHAKE_SENT"])
        self.assertEqual(self.receiver.attempts, [])

    def test_cancelledInAWait(self) -> None:
        """
        Cancelling while an attempt is due cancels the attempt.
        """
        connecting = self.connect()
        while not self.receiver.attempts:
            self.reactor.elapse(0.05)
        connecting.cancel()
        self.failureResultOf(connecting, CancelledError)
        states = len(self.receiver.states)
        self.reactor.elapse(10.0)
        self.assertEqual(len(self.receiver.states), states)

    def test_gaveUp(self) -> None:
        """
        A host that never answers is given up on after the whole schedule.
        """
        connecting = self.connect()
        self.reactor.elapse(150.0)
        error = self.failureResultOf(connecting, GaveUp).value
        self.assertIn("no answer, or not authorised there", str(error))
        self.assertEqual(len(self.receiver.attempts), 10)

    def test_unauthorised(self) -> None:
        """
        A host that does not know us is as silent as none.
        """
        self.listen()
        connecting = self.connect(me=identity(3))
        self.reactor.elapse(150.0)
        error = self.failureResultOf(connecting, GaveUp).value
        self.assertIn("no answer, or not authorised there", str(error))
        self.assertEqual(self.hostReceiver.states, [])

    def test_noTransport(self) -> None:
        """
        With UDP and TCP both off it fails at once, with what to do.
        """
        connecting = self.connect(udp=False, tcp=False)
        self.failureResultOf(connecting, NoTransport)

    def test_badCodes(self) -> None:
        """
        A code that cannot be used fails the Deferred, and nothing is begun.
        """
        for code, me, text in (
            ("nonsense", identity(1), "does not begin with a key"),
            (Code(identity(2).key, None, 9876), identity(1), "names no host"),
            (codeOf(identity(2)), identity(2), "the code is our own"),
        ):
            error = self.failureResultOf(self.connect(code, me), BadCode).value
            self.assertIn(text, str(error))
        self.assertEqual(self.receiver.states, [])

    def test_badPsk(self) -> None:
        """
        A pre-shared key of the wrong size fails the Deferred.
        """
        self.failureResultOf(self.connect(psk=b"pin"), LocalError)
