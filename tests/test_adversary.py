"""
Link against Link, with the network in the hands of one who wants harm.

The twin (`tests.twin`) lets accidents happen; here Hypothesis plays an adversary that
chooses what to do next: drop, copy, reorder, delay, change and inject what it has seen,
while both sides dial, talk, move and lose paths, and time passes.  The `Witness` looks
on: no packet is accepted twice or was never sent, INPUT and CONTROL arrive once and in
order, nothing more than an ACK goes out under other keys than the current ones, nothing
holds more than it may, and nothing raises.  When the adversary goes, both sides are
soon under the same keys.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from random import Random
from typing import Final

from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from twisted.trial.unittest import SynchronousTestCase

from rootstream.interfaces import IPath, Transport
from rootstream.protocol.channel import ReliableReceiver
from rootstream.protocol.handshakes import Dialling, Indices
from rootstream.protocol.replay import ReplayWindow
from rootstream.protocol.slots import Slot, Slots
from tests.trouble import ELSEWHERE
from tests.twin import Twin
from tests.wire import Side, WirePath
from tests.witness import Violation

UDP, TCP = Transport.UDP, Transport.TCP
#: Packets that the adversary remembers, and those that it keeps back.
MEMORY: Final = 300

#: How it is searched.  Nothing is drawn by chance, so that all runs are the same one.
SEARCH: Final = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    stateful_step_count=40,
    suppress_health_check=list(HealthCheck),
)
#: Enough to find each of the mistakes below, which are not made smaller.
GLANCE: Final = settings(
    SEARCH,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    verbosity=Verbosity.quiet,
)

sides = st.sampled_from("ab")
which = st.integers(0, MEMORY - 1)
delays = st.sampled_from((0.0, 0.001, 0.05, 0.4))


class Network(Twin):
    """
    The twin's two sides, and all packets through the adversary's hands.

    @ivar seen: what was sent, and by whom.
    @ivar caught: what was kept from arriving.
    """

    def __init__(self) -> None:
        super().__init__(0)
        self.seen: list[tuple[Side, bytes]] = []
        self.caught: list[tuple[Side, bytes]] = []

    def _carry(self, side: Side, path: IPath, packet: bytes) -> None:
        self.seen.append((side, packet))
        del self.seen[:-MEMORY]
        super()._carry(side, path, packet)

    def catch(self, side: Side) -> None:
        """
        From now on no datagram of ``side`` arrives.
        """

        def keep(packet: bytes) -> bool:
            self.caught.append((side, packet))
            del self.caught[:-MEMORY]
            return False

        side.weather.filter = keep

    def put(self, side: Side, packet: bytes, way: int, delay: float) -> None:
        """
        Let a packet of ``side`` arrive: where it was going, from its sender, from
        elsewhere or by a connection, or back where it came from (F36).
        """
        to = side if way == 3 else self.other(side)
        path: IPath = WirePath(UDP, self.other(to).address)
        if way == 1:
            path = ELSEWHERE
        elif way == 2 and self.streams:
            path = max(self.streams.items())[1].ends[to]
        self.inject(to, packet, path, delay)


class Adversary(RuleBasedStateMachine):
    """
    What can happen next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = Network()
        self.watching = ExitStack()
        self.watching.enter_context(self.network.witness.watch())

    def side(self, name: str) -> Side:
        """
        The side of that name.
        """
        return self.network.a if name == "a" else self.network.b

    # --- the two sides ---

    @initialize(
        who=st.sampled_from(("a", "b", "ab", "ba")), gap=delays, calm=st.booleans()
    )
    def begins(self, who: str, gap: float, calm: bool) -> None:
        """
        One side dials, or both do; the adversary is there at once, or a moment later.
        """
        self.network.diallers = [self.side(name) for name in who]
        for side in self.network.diallers:
            self.network.dialUDP(side)
            self.network.run(gap)
        if calm:
            self.network.stream(0.5)

    @rule(name=sides, tcp=st.booleans())
    def dials(self, name: str, tcp: bool) -> None:
        """
        A side that dials does it once more.
        """
        side = self.side(name)
        if side in self.network.diallers:
            dial = self.network.dialTCP if tcp else self.network.dialUDP
            dial(side)

    @rule(
        name=sides,
        kind=st.sampled_from(("INPUT", "CONTROL", "video", "audio")),
        times=st.integers(1, 5),
        pause=st.sampled_from((0.011, 0.0, 0.1)),
    )
    def says(self, name: str, kind: str, times: int, pause: float) -> None:
        """
        A side sends something.
        """
        for _ in range(times):
            self.network.say(self.side(name), kind)
        self.network.run(pause)

    @rule(seconds=st.sampled_from((0.2, 1.0)))
    def talk(self, seconds: float) -> None:
        """
        Both send this and that.
        """
        self.network.stream(seconds)

    @rule(seconds=st.sampled_from((0.001, 0.02, 0.1, 0.3, 1.0, 2.0, 16.0, 40.0)))
    def waits(self, seconds: float) -> None:
        """
        Time passes.
        """
        self.network.run(seconds)

    @rule(
        name=sides,
        what=st.sampled_from(("keys", "port", "address", "restart", "reset")),
    )
    def befalls(self, name: str, what: str) -> None:
        """
        The keys are used up, who dialled has another port or address, a process ends
        and begins anew, or the connections are reset.
        """
        side = self.side(name)
        match what:
            case "keys":
                slot = side.linkTo(self.network.other(side))._slots.current
                if slot is not None and slot.session.isInitiator:
                    slot.stale = True
            case "restart":
                self.network.restart(side)
            case "reset":
                for stream in list(self.network.streams.values()):
                    self.network.lose(stream, "reset by peer")
            case _:
                self.network.trouble._move(what == "port")

    # --- the network ---

    @rule(name=sides, transport=st.sampled_from((UDP, TCP)))
    def blocks(self, name: str, transport: Transport) -> None:
        """
        A transport carries nothing any more.
        """
        self.side(name).weather.blocked.add(transport)

    @rule()
    def relents(self) -> None:
        """
        Everything carries again, and nothing is kept back or spoilt.
        """
        for side in (self.network.a, self.network.b):
            weather = side.weather
            weather.blocked.clear()
            weather.filter = None
            weather.loss = weather.duplication = weather.jitter = 0.0
            weather.corruption = 0.0
        self.network.unblocked()

    @rule(
        name=sides,
        loss=st.sampled_from((0.0, 0.1, 0.5)),
        copies=st.sampled_from((0.0, 0.5, 1.0)),
        jitter=st.sampled_from((0.0, 0.02, 0.3)),
        changed=st.sampled_from((0.0, 0.1, 0.5)),
    )
    def spoils(
        self, name: str, loss: float, copies: float, jitter: float, changed: float
    ) -> None:
        """
        Of what a side sends from now on some is dropped, copied, delayed and changed.
        """
        weather = self.side(name).weather
        weather.loss, weather.duplication = loss, copies
        weather.jitter, weather.corruption = jitter, changed

    # --- packets ---

    @rule(name=sides)
    def catches(self, name: str) -> None:
        """
        What a side sends from now on is kept.
        """
        self.network.catch(self.side(name))

    @rule(order=st.integers(0, 9), share=st.integers(1, 20), way=st.integers(0, 2))
    def letsGo(self, order: int, share: int, way: int) -> None:
        """
        Some of what was kept arrives, late and in another order; the rest does not yet.
        """
        caught = self.network.caught
        if order:
            Random(order).shuffle(caught)
        self.network.caught = caught[share:]
        for side, packet in caught[:share]:
            self.network.put(side, packet, way, 0.001)

    @rule(first=which, number=st.integers(1, 30), way=st.integers(0, 3), delay=delays)
    def repeats(self, first: int, number: int, way: int, delay: float) -> None:
        """
        Old packets arrive again.
        """
        for side, packet in self.network.seen[::-1][first : first + number]:
            self.network.put(side, packet, way, delay)

    @rule(
        place=which,
        at=st.integers(0, 1399),
        bit=st.integers(0, 7),
        cut=st.integers(0, 40),
        way=st.integers(0, 3),
    )
    def changes(self, place: int, at: int, bit: int, cut: int, way: int) -> None:
        """
        An old packet arrives again, changed, and shorter perhaps.
        """
        for side, packet in self.network.seen[::-1][place : place + 1]:
            made = bytearray(packet)
            made[at % len(made)] ^= 1 << bit
            self.network.put(side, bytes(made[: len(made) - cut]), way, 0.0)

    @rule(place=which, rest=st.binary(max_size=200), way=st.integers(0, 3))
    def makesUp(self, place: int, rest: bytes, way: int) -> None:
        """
        What begins like an old packet arrives, and is none.
        """
        for side, packet in self.network.seen[::-1][place : place + 1]:
            self.network.put(side, packet[:13] + rest, way, 0.0)

    # --- what holds ---

    @invariant()
    def isBounded(self) -> None:
        """
        Nothing has grown past its limit.
        """
        for side in (self.network.a, self.network.b):
            self.network.witness.checkBounds(side)
            assert len(side.node._replies) == 0
            for link in side.node.links:
                assert not link._events

    def teardown(self) -> None:
        """
        The adversary goes: soon all that was sent has arrived, and both sides are under
        the same keys, which both forget at the goodbye.
        """
        with self.watching:
            network = self.network
            if sys.exc_info()[0] is not None or not network.diallers:
                return
            network.trouble.heal()
            network.recover()
            network.sayAll()
            network.run(1.0)
            assert not network.witness.missing, network.witness.missing
            assert not network.witness.disagreement, network.witness.disagreement
            network.witness.checkAmplification(ELSEWHERE)
            network.part()


class AdversaryTests(SynchronousTestCase):
    """
    What no adversary on the way can bring about.
    """

    def test_harmless(self) -> None:
        """
        Whatever it does, the two have one session when it is gone; nothing is accepted
        twice, lost or out of order, and nothing grows (F20, F29, F30, F36, F40, F45).
        """
        run_state_machine_as_test(Adversary, settings=SEARCH)


class SearchTests(SynchronousTestCase):
    """
    The adversary finds what it is there for.
    """

    def assertFound(self, words: str) -> None:
        """
        It brings about what these words say.
        """
        error = self.assertRaises(
            Violation, run_state_machine_as_test, Adversary, settings=GLANCE
        )
        self.assertIn(words, str(error))

    def test_replay(self) -> None:
        """
        F29: without a replay window it has a packet accepted twice.
        """
        self.patch(ReplayWindow, "check", lambda window, counter: True)
        self.assertFound("accepted twice")

    def test_doubleMessage(self) -> None:
        """
        A message that is delivered whenever it comes is delivered again.
        """
        self.patch(ReliableReceiver, "receive", lambda receiver, seq, body: [body])
        self.assertFound("arrived")

    def test_indices(self) -> None:
        """
        An index that is never released is there after the goodbye.
        """
        self.patch(Indices, "release", lambda indices, index: None)
        self.assertFound("holds keys")

    def test_disagreement(self) -> None:
        """
        When each side of a double dial keeps its own INIT, as it would without an order
        of the keys, there is no one session, or not by rights.
        """
        self.patch(Slots, "establish", _keepsFirst(Slots.establish))
        self.assertFound("keys")

    def test_raises(self) -> None:
        """
        What is raised anywhere comes out.
        """

        def breaks(dialling: Dialling, packet: bytes) -> None:
            raise ZeroDivisionError("planted")

        self.patch(Dialling, "response", breaks)
        self.assertRaises(
            ZeroDivisionError, run_state_machine_as_test, Adversary, settings=GLANCE
        )


def _keepsFirst(establish: Callable[[Slots, Slot, float], None]) -> object:
    """
    A session that is there stays the current one.
    """

    def keeps(slots: Slots, slot: Slot, now: float) -> None:
        before = slots.current
        establish(slots, slot, now)
        if before is not None and slots.previous is before:
            slots.current, slots.previous = before, slot

    return keeps
