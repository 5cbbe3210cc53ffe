"""
Tests for `rootstream.forwarder`: input on its way to a host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

from rootstream.forwarder import MAX_WAITING, InputForwarder
from rootstream.keys import REPORT
from rootstream.peer import Peer
from rootstream.protocol.events import EV_ABS, EV_KEY, EV_REL, InputEvent
from tests.test_keys import A, S, down, up

MOVE = InputEvent(EV_REL, 0, 5)


class FakePeer:
    """
    What a forwarder needs of a peer.
    """

    def __init__(self) -> None:
        self.connected = True
        self.inputWaiting = 0
        self.sent: list[list[InputEvent]] = []

    def sendInput(self, events: Sequence[InputEvent]) -> bool:
        self.sent.append(list(events))
        return True


class InputForwarderTests(SynchronousTestCase):
    """
    Tests for `InputForwarder`.
    """

    def setUp(self) -> None:
        self.peer = FakePeer()
        self.forwarder = InputForwarder(cast(Peer, self.peer))

    def test_send(self) -> None:
        """
        A group goes out as it is.
        """
        self.forwarder.send([down(A), MOVE, REPORT])
        self.assertEqual(self.peer.sent, [[down(A), MOVE, REPORT]])
        self.assertTrue(self.forwarder.holds)
        self.assertEqual(self.forwarder.dropped, 0)

    def test_unfit(self) -> None:
        """
        What no host would take is not sent, and counted; a group of nothing is not sent
        either.
        """
        self.forwarder.send([InputEvent(EV_KEY, 116, 1), MOVE, REPORT])
        self.forwarder.send([InputEvent(0x11, 0, 1), up(A), REPORT])
        self.assertEqual(self.peer.sent, [[MOVE, REPORT]])
        self.assertEqual(self.forwarder.dropped, 2)

    def test_releaseAll(self) -> None:
        """
        Everything that is held is let go of, once.
        """
        stick = InputEvent(EV_ABS, 0, 7)
        self.forwarder.send([down(A), down(S), stick, REPORT])
        self.forwarder.send([up(A), REPORT])
        self.peer.sent.clear()
        for _ in range(2):
            self.forwarder.releaseAll()
        self.assertEqual(self.peer.sent, [[up(S), InputEvent(EV_ABS, 0, 0), REPORT]])
        self.assertFalse(self.forwarder.holds)

    def test_nobodyThere(self) -> None:
        """
        While the peer is gone, or takes nothing, no key is pressed and nothing moves,
        but what is down is let go of.
        """
        for connected, waiting in ((False, 0), (True, MAX_WAITING)):
            self.peer.connected, self.peer.inputWaiting = True, 0
            self.forwarder.send([down(A), REPORT])
            self.peer.connected, self.peer.inputWaiting = connected, waiting
            self.peer.sent.clear()
            self.forwarder.send([down(S), MOVE, REPORT])
            self.forwarder.send([up(A), up(S), MOVE, REPORT])
            self.assertEqual(self.peer.sent, [[up(A), REPORT]])
            self.assertFalse(self.forwarder.holds)

    def test_large(self) -> None:
        """
        More than fits one message goes out in several.
        """
        self.forwarder.send([MOVE] * 400)
        self.assertEqual([len(each) for each in self.peer.sent], [190, 190, 20])
