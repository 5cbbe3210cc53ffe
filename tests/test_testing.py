"""
Tests for `rootstream.testing`: two peers joined in memory.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rootstream.interfaces import IPath
from rootstream.testing import JoinedPeers
from tests.virtual import Recorder, picture


class JoinedPeersTests(SynchronousTestCase):
    """
    Tests for `JoinedPeers`.
    """

    def setUp(self) -> None:
        self.joined = JoinedPeers()
        self.receiver = Recorder()
        self.joined.b.setReceiver(self.receiver)

    def test_connected(self) -> None:
        """
        Both are connected from the start, by the keys of each other.
        """
        self.assertTrue(self.joined.a.connected)
        self.assertTrue(self.joined.b.connected)
        self.assertNotEqual(self.joined.a.fingerprint, self.joined.b.fingerprint)

    def test_run(self) -> None:
        """
        What was sent arrives when time passes, and not before.
        """
        self.joined.a.sendVideo(picture())
        self.assertEqual(self.receiver.video, [])
        self.joined.run()
        self.assertEqual(self.receiver.video, [picture()])

    def test_cut(self) -> None:
        """
        While the network is cut nothing arrives; afterwards the session goes on.
        """
        self.joined.connected = False
        self.joined.a.sendVideo(picture())
        self.joined.run(2.0)
        self.assertEqual(self.receiver.video, [])
        self.joined.connected = True
        self.joined.run(2.0)
        self.joined.a.sendVideo(picture(1))
        self.joined.run(1.0)
        self.assertEqual(self.receiver.video, [picture(1)])
        self.assertEqual(self.receiver.route, [])

    def test_encrypted(self) -> None:
        """
        What is carried shows nothing of what was sent.
        """
        carried: list[bytes] = []
        carry = self.joined.carry

        def watch(there: int, packets: list[bytes]) -> None:
            carried.extend(packets)
            carry(there, packets)

        self.patch(self.joined, "carry", watch)
        self.joined.a.sendVideo(picture())
        self.joined.run()
        self.assertEqual(self.receiver.video, [picture()])
        self.assertFalse(any(picture().data in packet for packet in carried))

    def test_paths(self) -> None:
        """
        What joins them is a path like any other: closing it costs nothing.
        """
        path = self.joined.a.status().path
        assert path is not None
        verifyObject(IPath, path)
        path.authenticated()
        path.close()
        self.joined.a.sendVideo(picture())
        self.joined.run()
        self.assertEqual(len(self.receiver.video), 1)
