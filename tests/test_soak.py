"""
What two peers hold after hours of moves and new keys is what they held before.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from enum import Enum
from types import FunctionType, MethodType, ModuleType

from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import Transport
from rootstream.protocol.events import InputEvent, SessionEstablished, VideoFrame
from tests.wire import Side, Wire, WirePath


def held(root: object) -> int:
    """
    How many bytes hang on an object, but for classes, functions and modules.
    """
    seen: set[int] = set()
    waiting = deque([root])
    size = 0
    while waiting:
        one = waiting.popleft()
        kinds = type | FunctionType | MethodType | ModuleType | Enum | Wire
        if id(one) in seen or isinstance(one, kinds):
            continue
        seen.add(id(one))
        size += sys.getsizeof(one)
        waiting.extend(gc.get_referents(one))
    return size


class SoakTests(SynchronousTestCase):
    """
    F78, shortened.
    """

    def hour(self, wire: Wire, number: int) -> None:
        """
        An hour: twelve times the NAT gives ``a`` another port, keys are replaced every
        two minutes, and now and then somebody says something.
        """
        for turn in range(12):
            wire.a.address = ("192.0.2.1", 2000 + 12 * number + turn)
            for _ in range(10):
                for side in (wire.a, wire.b):
                    self.say(wire, side)
                wire.run(30)
            wire.a.sent.clear()
            wire.b.sent.clear()

    def say(self, wire: Wire, side: Side) -> None:
        link = side.linkTo(wire.other(side))
        link.send(VideoFrame(bytes(3000), int(wire.now * 1e6), True), wire.now)
        link.send([InputEvent(2, 0, 1)], wire.now)
        wire.pump(side)

    def test_flat(self) -> None:
        """
        After an hour, each further one with a dozen moves and thirty new keys adds
        nothing to what either side holds (F78).
        """
        wire = Wire()
        wire.connect()
        sizes = []
        for number in range(3):
            wire.a.events.clear()
            wire.b.events.clear()
            self.hour(wire, number)
            keys = wire.b.eventsOf(SessionEstablished)
            self.assertGreater(len(keys), 20)
            self.assertTrue(wire.a.linkTo(wire.b).established)
            here = WirePath(Transport.UDP, wire.a.address)
            self.assertEqual(wire.b.linkTo(wire.a).status().path, here)
            sizes.append([held(side.node) for side in (wire.a, wire.b)])
        for before, after in zip(sizes[0], sizes[-1], strict=True):
            # Some more paths are known, until there are as many as may be.
            self.assertLess(after, before + 5000)
