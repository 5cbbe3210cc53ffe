"""
Tests for `rootstream.inputgate`: who may send input, and what becomes of held keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.eventlog import EventLog
from rootstream.forwarder import InputForwarder
from rootstream.inputgate import LOG_INTERVAL, InputGate, InputLog
from rootstream.keys import REPORT
from rootstream.peer import Peer
from rootstream.protocol.events import EV_ABS, EV_REL, InputEvent
from tests.test_hostprogram import HostProgramCase
from tests.test_keys import A, S, down, up
from tests.virtual import identity

MOVE = InputEvent(EV_REL, 0, 5)


class FakePeer:
    """
    What the gate needs of a peer.
    """

    def __init__(self, fingerprint: str = "1111") -> None:
        self.fingerprint = fingerprint
        self.rights = frozenset({"view", "input"})
        self.silence = 0.0
        self.instance = 1


class FakeTaker:
    """
    Remembers what it was given.
    """

    def __init__(self) -> None:
        self.taken: list[tuple[str, list[InputEvent]]] = []
        self.closed = 0

    @property
    def events(self) -> list[InputEvent]:
        """
        All events but ends of groups, since the last time that somebody asked.
        """
        taken, self.taken = self.taken, []
        return [each for _, group in taken for each in group if each != REPORT]

    def take(self, fingerprint: str, events: Sequence[InputEvent]) -> None:
        self.taken.append((fingerprint, list(events)))

    def close(self) -> None:
        self.closed += 1


class InputGateTests(SynchronousTestCase):
    """
    Tests for `InputGate`.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.taker = FakeTaker()
        self.log = EventLog(None)
        self.gate = InputGate(self.clock, self.taker, self.log)
        self.peer = FakePeer()
        self.addCleanup(self.finish)

    def finish(self) -> None:
        self.gate.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def receive(self, *events: InputEvent, peer: FakePeer | None = None) -> None:
        self.gate.received(cast(Peer, peer or self.peer), [*events, REPORT])

    def released(self) -> list[str]:
        """
        What the events say of keys that were let go of.
        """
        return [e["text"] for e in self.log.history if e["event"] == "released"]

    def test_passed(self) -> None:
        """
        What a peer with the right sends is passed on, with who sent it.
        """
        self.receive(down(A), MOVE)
        self.assertEqual(self.taker.taken, [("1111", [down(A), MOVE, REPORT])])
        self.assertEqual(self.gate.taken, 3)

    def test_unfit(self) -> None:
        """
        What means nothing is dropped and counted; what is left of the group is passed,
        if anything is.
        """
        self.receive(InputEvent(0x11, 0, 1), InputEvent(1, 116, 1), MOVE)
        self.assertEqual(self.taker.taken, [("1111", [MOVE, REPORT])])
        self.receive(InputEvent(1, 99, 1))
        self.receive(up(A))
        self.assertEqual(len(self.taker.taken), 1)
        self.assertEqual(self.gate.dropped, 3)
        self.assertEqual(
            self.gate.describe(),
            "Input: 2 events taken, 0 refused, 3 of no meaning.",
        )

    def test_withoutRight(self) -> None:
        """
        The input of a peer that may only watch is refused and counted, and told of
        once in ten seconds.
        """
        self.peer.rights = frozenset({"view"})
        with capturedLogs() as logs:
            for _ in range(5):
                self.receive(down(A))
            self.clock.advance(LOG_INTERVAL)
            self.receive(down(A))
        self.assertEqual(self.taker.taken, [])
        self.assertEqual(self.gate.refused, 12)
        self.assertEqual([each["peer"] for each in logs], ["1111", "1111"])

    def test_silence(self) -> None:
        """
        Half a second after the last sign of life all that a peer held is released,
        axes included, and that is written down; while it is heard nothing is.
        """
        self.receive(down(A), InputEvent(EV_ABS, 0, 700))
        self.clock.pump([0.1] * 30)
        self.assertEqual(len(self.taker.events), 2)
        self.peer.silence = 0.49
        self.clock.advance(0.1)
        self.assertEqual(self.taker.events, [])
        self.peer.silence = 0.5
        self.clock.advance(0.1)
        self.assertEqual(self.taker.events, [up(A), InputEvent(EV_ABS, 0, 0)])
        self.assertEqual(
            self.released(), ["released 2 held by it: nothing heard for 0.5 s"]
        )
        # Nothing is held: nothing to look after.
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.receive(up(A))
        self.assertEqual(self.taker.events, [])

    def test_nothingHeld(self) -> None:
        """
        Nobody is watched who holds nothing.
        """
        self.receive(MOVE)
        self.receive(down(A), up(A))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_rightLost(self) -> None:
        """
        Who loses the right loses what it holds, also when it says nothing more.
        """
        self.receive(down(A))
        self.peer.rights = frozenset({"view"})
        self.clock.advance(0.1)
        self.assertEqual(self.taker.events, [down(A), up(A)])
        self.assertIn("may not send", self.released()[0])

    def test_left(self) -> None:
        """
        Who leaves lets go of everything at once; who holds nothing just leaves.
        """
        self.receive(down(A))
        for _ in range(2):
            self.gate.left(cast(Peer, self.peer), "gone")
        self.assertEqual(self.taker.events, [down(A), up(A)])
        self.assertEqual(self.released(), ["released 1 held by it: gone"])
        self.gate.left(cast(Peer, FakePeer()), "never there")
        self.clock.advance(0.1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_begunAnew(self) -> None:
        """
        A peer that was started again holds nothing of what it held before, whether it
        sends input or not.
        """
        self.receive(down(A))
        self.peer.instance = 2
        self.receive(down(S))
        self.assertEqual(self.taker.events, [down(A), up(A), down(S)])
        self.peer.instance = 3
        self.clock.advance(0.1)
        self.assertEqual(self.taker.events, [up(S)])

    def test_together(self) -> None:
        """
        A key that two peers hold goes up with the last of them.
        """
        other = FakePeer("2222")
        self.receive(down(A))
        self.receive(down(A), peer=other)
        self.receive(up(A))
        self.assertNotIn(up(A), self.taker.events)
        self.receive(up(A), peer=other)
        self.assertEqual(self.taker.events, [up(A)])

    def test_close(self) -> None:
        """
        At the end everything is let go of, and then the taker is closed.
        """
        self.receive(down(A))
        self.gate.close()
        self.assertEqual(self.taker.events, [down(A), up(A)])
        self.assertEqual(self.taker.closed, 1)


class InputLogTests(SynchronousTestCase):
    """
    Tests for `InputLog`.
    """

    def test_take(self) -> None:
        """
        A group is an event in the file, in numbers; what is kept to be shown has no
        room for it.
        """
        path = self.mktemp()
        log = EventLog(path)
        taker = InputLog(log)
        taker.take("1111", [down(A), REPORT])
        taker.close()
        log.close()
        (line,) = map(json.loads, Path(path).read_text("utf-8").splitlines())
        self.assertEqual(line["event"], "input")
        self.assertEqual(line["peer"], "1111")
        self.assertEqual(line["events"], [[1, A, 1], [0, 0, 0]])
        self.assertEqual(list(log.history), [])


class HeldKeyTests(HostProgramCase):
    """
    A host, a viewer, and the network between them, on virtual time.
    """

    def setUp(self) -> None:
        super().setUp()
        self.hosting = self.start(allow=(), allowInput=(identity(1).key,), input="log")
        self.peer = self.view()
        self.forwarder = InputForwarder(self.peer)
        self.reactor.elapse(6.0)

    def keys(self) -> list[tuple[int, int]]:
        """
        Code and value of the keys, in the order in which the host took them.
        """
        groups = [line["events"] for line in self.written("input")]
        return [
            (code, value) for group in groups for kind, code, value in group if kind
        ]

    def act(self, *events: InputEvent, seconds: float = 0.1) -> None:
        """
        Do something, and let some time pass.
        """
        self.forwarder.send([*events, REPORT])
        self.reactor.elapse(seconds)

    def released(self) -> list[dict[str, Any]]:
        return self.written("released")

    def test_held(self) -> None:
        """
        A key may be held for as long as one likes, although nothing else flows.
        """
        self.assertEqual(self.hosting.inputGoes, "log")
        self.act(down(A), seconds=60.0)
        self.assertEqual(self.keys(), [(A, 1)])
        self.act(up(A))
        self.assertEqual(self.keys(), [(A, 1), (A, 0)])
        self.assertEqual(self.released(), [])

    def test_outage(self) -> None:
        """
        When the network goes, a held key is up on the host within 0.7 s.  What was done
        meanwhile arrives once it is back, each press with its release: nothing sticks,
        and what is still held then is down.
        """
        self.act(down(A), seconds=2.0)
        self.reactor.cut()
        self.reactor.elapse(0.7)
        self.assertEqual(self.keys(), [(A, 1), (A, 0)])
        self.act(up(A))
        self.act(down(S))
        self.act(up(S))
        self.act(down(S))
        self.act(up(S))
        self.act(down(32), seconds=4.0)
        self.assertEqual(len(self.keys()), 2)
        self.reactor.mend()
        self.reactor.elapse(5.0)
        self.assertEqual(self.keys()[2:], [(S, 1), (S, 0), (S, 1), (S, 0), (32, 1)])
        (entry,) = self.released()
        self.assertEqual(entry["count"], 1)
        self.act(up(32))
        self.assertEqual(self.keys()[-1], (32, 0))

    def test_heldThroughout(self) -> None:
        """
        A key that was held all the time stays up after an outage, until it is pressed
        again.
        """
        self.act(down(A), seconds=1.0)
        self.reactor.cut()
        self.reactor.elapse(5.0)
        self.reactor.mend()
        self.reactor.elapse(3.0)
        self.assertEqual(self.keys(), [(A, 1), (A, 0)])
        self.act(up(A))
        self.act(down(A))
        self.assertEqual(self.keys(), [(A, 1), (A, 0), (A, 1)])

    def test_loss(self) -> None:
        """
        A network that loses one packet in ten does not make a host let go.
        """
        self.act(down(A))
        self.reactor.net.loss = 0.1
        self.reactor.elapse(30.0)
        self.assertEqual(self.keys(), [(A, 1)])

    def test_goodbye(self) -> None:
        """
        A viewer that leaves holds nothing any more.
        """
        self.act(down(A))
        self.peer.close()
        self.reactor.elapse(0.1)
        self.assertEqual(self.keys(), [(A, 1), (A, 0)])

    def test_stopped(self) -> None:
        """
        A host that is stopped lets go of everything, and says what it took.
        """
        self.act(down(A))
        self.stop(self.hosting)
        self.assertEqual(self.keys(), [(A, 1), (A, 0)])
        self.assertIn("Input: 2 events taken, 0 refused, 0 of", self.out.getvalue())
