"""
RootStream: encrypted, direct streaming of a screen, sound and input, that does not
stop when the network turns hostile.

What is listed in ``__all__`` is the library; every other name is ours to change.
"""

from rootstream.authorized import AuthorizedPeers
from rootstream.client import connect
from rootstream.host import Host
from rootstream.identity import (
    Identity,
    formatCode,
    loadOrCreateIdentity,
    parseCode,
)
from rootstream.interfaces import IPeerReceiver
from rootstream.machine import PeerState
from rootstream.networks import NetworkMemory
from rootstream.peer import Peer
from rootstream.protocol.events import (
    AudioFrame,
    Command,
    Control,
    DrillReport,
    InputEvent,
    VideoFrame,
)
from rootstream.receiver import PeerReceiver

__version__ = "0.1.0"

__all__ = [
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
