"""
Tests for `rootstream.orders`: what the user of a program orders.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.orders import ACTIONS, orderPeers
from rootstream.protocol.events import Command


class Guest:
    """
    As much of a peer as can be ordered.
    """

    def __init__(self, fingerprint: str, connected: bool = True) -> None:
        self.fingerprint = fingerprint
        self.connected = connected


class OrderTests(SynchronousTestCase):
    """
    Tests for `orderPeers`.
    """

    def setUp(self) -> None:
        self.peers: list[Any] = [Guest("a"), Guest("b"), Guest("c", connected=False)]
        self.ordered: list[tuple[str, Command, int]] = []

    def order(self, **asked: Any) -> Any:
        def note(peer: Any, command: Command, value: int) -> None:
            self.ordered.append((peer.fingerprint, command, value))

        return self.successResultOf(orderPeers(self.peers, asked, note))

    def refused(self, **asked: Any) -> str:
        error = self.assertRaises(LocalError, self.order, **asked)
        self.assertEqual(self.ordered, [])
        return str(error)

    def test_all(self) -> None:
        """
        Without a peer an order is for all that are connected.
        """
        self.assertEqual(self.order(action="pause"), {"peers": ["a", "b"]})
        self.assertEqual(
            self.ordered, [("a", Command.PAUSE, 0), ("b", Command.PAUSE, 0)]
        )

    def test_one(self) -> None:
        """
        Or for one of them, with its value.
        """
        self.order(action="bitrate", peer="b", value=2e6)
        self.assertEqual(self.ordered, [("b", Command.SET_BITRATE, 2_000_000)])

    def test_refused(self) -> None:
        """
        What makes no sense is refused in words, and nothing is ordered.
        """
        names = ", ".join(ACTIONS)
        for action in (None, 7, "fly"):
            self.assertEqual(self.refused(action=action), f'"action" is one of {names}')
        for value in (None, "fast", True, 0, 241, float("nan")):
            self.assertEqual(
                self.refused(action="fps", value=value),
                'fps takes a "value" from 1 to 240',
            )
        self.assertEqual(
            self.refused(action="pause", peer="c"), "that peer is not connected"
        )
        self.peers.clear()
        self.assertEqual(self.refused(action="pause"), "nobody is connected")
