"""
The library: which names `rootstream` promises.
"""

from __future__ import annotations

import inspect

from twisted.trial.unittest import SynchronousTestCase

import rootstream

PROMISED = [
    "AudioFrame",
    "AuthorizedPeers",
    "Command",
    "Control",
    "DrillReport",
    "Host",
    "IPeerReceiver",
    "Identity",
    "InputEvent",
    "NetworkMemory",
    "Peer",
    "PeerReceiver",
    "PeerState",
    "VideoFrame",
    "__version__",
    "connect",
    "formatCode",
    "loadOrCreateIdentity",
    "parseCode",
]


class ExportsTests(SynchronousTestCase):
    """
    Tests for ``rootstream.__all__``.
    """

    def test_promised(self) -> None:
        """
        Applications rely on these names: one that goes breaks them, and one that
        comes is a promise made on purpose.
        """
        self.assertEqual(rootstream.__all__, PROMISED)

    def test_present(self) -> None:
        """
        Each of them is there.
        """
        for name in PROMISED:
            self.assertTrue(hasattr(rootstream, name), name)

    def test_nothingElse(self) -> None:
        """
        The package shows no other class or function of ours.
        """
        shown = [
            name
            for name, value in vars(rootstream).items()
            if inspect.isclass(value) or inspect.isfunction(value)
        ]
        self.assertEqual(set(shown) - set(PROMISED), set())

    def test_documented(self) -> None:
        """
        Each class and function says what it is for.
        """
        for name in PROMISED:
            value = getattr(rootstream, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                self.assertTrue(inspect.getdoc(value), name)
