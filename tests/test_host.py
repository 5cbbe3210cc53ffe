"""
Tests for `rootstream.host`: who gets in, and what is said of those who do not.
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.authorized import INPUT, VIEW, AuthorizedPeers
from rootstream.client import connect
from rootstream.errors import PortInUse
from rootstream.host import LIST_INTERVAL, STRANGERS_LOG_INTERVAL, Host
from rootstream.identity import formatCode
from rootstream.peer import Peer
from rootstream.protocol.link import NOT_LISTED
from rootstream.transport.netwatch import NetworkChange
from tests.doubles import FakePath
from tests.virtual import (
    HOST,
    HOST_PORT,
    Recorder,
    VirtualReactor,
    codeOf,
    identity,
    picture,
)


class HostTests(SynchronousTestCase):
    """
    Tests for `Host`.
    """

    def setUp(self) -> None:
        self.reactor = VirtualReactor()
        self.reactor.surround(self)
        self.receivers: dict[Peer, Recorder] = {}
        self.home = Path(self.mktemp())
        self.home.mkdir(mode=0o700)
        self.peersFile = self.home / "peers"
        self.list(1)

    def list(self, *numbers: int, rights: str = "view") -> None:
        """
        Let the owner rewrite the peers file.
        """
        draft = self.home / "draft"
        draft.write_text(
            "".join(
                f"{formatCode(identity(number).key, None)} rights={rights} "
                f"machine {number}\n"
                for number in numbers
            )
        )
        draft.chmod(0o600)
        os.replace(draft, self.peersFile)

    def receiverFor(self, peer: Peer) -> Recorder:
        return self.receivers.setdefault(peer, Recorder())

    def host(self, port: int = HOST_PORT, allowAny: bool = False) -> Host:
        host = Host(
            self.reactor,
            identity(2),
            AuthorizedPeers(self.peersFile, [], allowAny),
            self.receiverFor,
            port=port,
            interface=HOST,
        )
        self.port = host.listen()
        return host

    def connect(self, number: int) -> Deferred[Peer]:
        """
        Let one of our machines dial the host.
        """
        connecting = connect(
            self.reactor,
            codeOf(identity(2), port=self.port),
            Recorder(),
            identity=identity(number),
            tcp=False,
        )
        self.reactor.elapse()
        return connecting

    def test_listedPeer(self) -> None:
        """
        A listed peer is let in, with the fingerprint and the name of the list, and
        has a receiver of its own.
        """
        host = self.host()
        there = self.successResultOf(self.connect(1))
        [peer] = host.peers
        self.assertEqual(peer.fingerprint, identity(1).key.fingerprint)
        self.assertEqual(peer.name, "machine 1")
        there.sendVideo(picture())
        self.reactor.elapse()
        self.assertEqual(self.receivers[peer].video, [picture()])
        self.assertEqual(
            self.receivers[peer].route, ["HANDSHAKE_RECEIVED", "CONNECTED"]
        )

    def test_severalPeers(self) -> None:
        """
        Several watch one host; each is a peer with its own receiver.
        """
        self.list(1, 3, 4)
        host = self.host()
        for number in (1, 3, 4):
            self.successResultOf(self.connect(number))
        self.assertEqual(
            {peer.name for peer in host.peers}, {"machine 1", "machine 3", "machine 4"}
        )
        self.assertEqual(len(self.receivers), 3)

    def test_freePort(self) -> None:
        """
        Port 0 takes a free one, and says which.
        """
        self.host(port=0)
        self.assertGreater(self.port, 0)
        self.successResultOf(self.connect(1))

    def test_portInUse(self) -> None:
        """
        A second host on the port is refused; closing it anyway does no harm.
        """
        self.host()
        second = Host(
            self.reactor,
            identity(3),
            AuthorizedPeers(None, [], False),
            self.receiverFor,
            port=HOST_PORT,
            interface=HOST,
        )
        self.assertRaises(PortInUse, second.listen)
        self.successResultOf(second.close())

    def test_strangersAreLoggedSeldom(self) -> None:
        """
        However many strangers knock, there is a line about them at most every ten
        seconds, with the fingerprint to allow, and not a byte for them (F13).
        """
        host = self.host()
        strangers = [self.connect(number) for number in range(5, 10)]
        with capturedLogs() as logs:
            self.reactor.elapse(60.0)
        warnings = [
            event["log_format"].format(**event)
            for event in logs
            if "not listed" in event["log_format"]
        ]
        self.assertGreaterEqual(len(warnings), 3)
        self.assertLessEqual(len(warnings), 60 / STRANGERS_LOG_INTERVAL)
        self.assertTrue(warnings[0].startswith("Refused a peer that is not listed"))
        self.assertEqual(host.peers, ())
        for stranger in strangers:
            stranger.addErrback(lambda _: None).cancel()

    def test_allowAny(self) -> None:
        """
        With everyone let in, a stranger is named by the key that it showed.
        """
        host = self.host(allowAny=True)
        self.successResultOf(self.connect(7))
        [peer] = host.peers
        self.assertTrue(peer.fingerprint.startswith("any:"))
        self.assertEqual(peer.name, "")

    def test_listedLater(self) -> None:
        """
        Who is added to the file is let in without a restart.
        """
        self.host()
        connecting = self.connect(3)
        self.assertNoResult(connecting)
        self.list(1, 3)
        self.reactor.elapse(1.0)
        self.successResultOf(connecting)

    def test_revoked(self) -> None:
        """
        Who is taken off the file, and gone, is not let in again.
        """
        host = self.host()
        self.successResultOf(self.connect(1)).close()
        self.reactor.elapse()
        self.assertEqual(host.peers, ())
        self.list()
        again = self.connect(1)
        self.reactor.elapse(2.0)
        self.assertNoResult(again)
        self.assertEqual(host.peers, ())
        again.addErrback(lambda _: None).cancel()

    def test_revokedWhileHere(self) -> None:
        """
        Who is taken off the file loses the session within a second, and is told why;
        who stays on it notices nothing.
        """
        self.list(1, 3)
        host = self.host()
        there, other = (self.successResultOf(self.connect(each)) for each in (1, 3))
        self.list(3)
        self.reactor.elapse(LIST_INTERVAL + 0.5)
        assert there.closed is not None
        self.assertEqual(there.closed.code, NOT_LISTED)
        self.assertEqual(there.closed.text, "you were taken off the list of peers")
        self.assertTrue(other.connected)
        [left] = host.peers
        self.assertEqual(left.name, "machine 3")
        [receiver] = [r for peer, r in self.receivers.items() if peer is not left]
        self.assertIn("taken off the list", receiver.states[-1][2])

    def test_rights(self) -> None:
        """
        A peer has the rights and the name of the file, and those that the file gives
        it later at once when the host is told to look.
        """
        host = self.host()
        self.successResultOf(self.connect(1))
        [peer] = host.peers
        self.assertEqual(peer.rights, VIEW)
        self.list(1, rights="view,input")
        host.refresh()
        self.assertEqual(peer.rights, INPUT)
        self.assertTrue(peer.connected)

    def test_looksSeldomAndCheaply(self) -> None:
        """
        A list that has not changed is not read again, and a closed host looks no more.
        """
        host = self.host()
        looks = []
        self.patch(AuthorizedPeers, "_read", lambda *_: looks.append("read"))
        self.patch(
            AuthorizedPeers, "refresh", lambda _: looks.append("looked") or False
        )
        self.reactor.elapse(10 * LIST_INTERVAL)
        self.assertEqual(set(looks), {"looked"})
        self.assertIn(len(looks), (9, 10))
        host.close()

    def test_brokenPeersFile(self) -> None:
        """
        A file that is broken later leaves the list as it was, and is logged once for
        each fault (F87).
        """
        self.host()
        self.peersFile.write_text("not a code\n")
        stranger = self.connect(3)
        with capturedLogs() as logs:
            self.successResultOf(self.connect(1))
            self.reactor.elapse(3.0)
        self.assertEqual([e for e in logs if "peers file" in e["log_format"]], [])
        self.reactor.elapse(2 * LIST_INTERVAL)
        self.peersFile.write_text("another fault, of another length\n")
        with capturedLogs() as logs:
            self.reactor.elapse(5.0)
        [fault] = [e for e in logs if "peers file" in e["log_format"]]
        self.assertIn("line 1", fault["log_format"].format(**fault))
        stranger.addErrback(lambda _: None).cancel()

    def test_unlistedWhileKnocking(self) -> None:
        """
        Who is taken off between the knock and the introduction is named by key, has no
        rights, and is sent away.
        """
        host = self.host()
        who = host._introduce(identity(9).key.x25519)
        self.assertTrue(who.fingerprint.startswith("any:"))
        self.assertEqual((who.name, who.rights), ("", frozenset()))
        self.patch(host, "_admits", lambda remote: True)
        self.patch(host._station.node, "_admits", lambda remote: True)
        stranger = self.connect(9)
        self.reactor.elapse(0.5)
        self.assertEqual(host.peers, ())
        stranger.addBoth(lambda _: None).cancel()

    def test_networkChanged(self) -> None:
        """
        When the host's network changes its peers get new sockets and are asked at once
        whether they hear it (F64); a host that is closed has nobody to ask.
        """
        host = self.host()
        self.successResultOf(self.connect(1))
        self.reactor.elapse(5.0)
        carried = self.reactor.net.carried
        host_, _ = self.reactor.watching.values()
        host_(NetworkChange("a cable was plugged in"))
        self.assertGreater(self.reactor.net.carried, carried)
        self.assertEqual(self.reactor.renewals, 1)
        host.close()
        self.reactor.elapse(1.0)
        self.assertEqual(self.reactor.watching, {})

    def test_close(self) -> None:
        """
        Closing says goodbye to each peer, then closes the ports.
        """
        host = self.host()
        there = self.successResultOf(self.connect(1))
        closed = host.close("the host was stopped")
        self.assertNoResult(closed)
        self.reactor.elapse(0.2)
        self.successResultOf(closed)
        assert there.closed is not None
        self.assertEqual(there.closed.text, "the host was stopped")
        self.assertEqual(self.reactor.net.ports, {})
        self.assertEqual(self.reactor.tcpListeners, {})
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.successResultOf(host.close())

    def test_garbage(self) -> None:
        """
        What a stranger sends is not answered, whatever it is (F11).
        """
        self.host()
        sink = self.reactor.net.ports[HOST, HOST_PORT].sink
        path = FakePath()
        sink.packetsReceived([bytes([0x21]) * 176, b"", bytes(1400)], path)
        self.assertEqual(path.sent, [])
