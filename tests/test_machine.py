"""
Tests for `rootstream.machine`: the states that users see.
"""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from rootstream.machine import PeerCore, PeerInputs, PeerState, buildPeerMachine

Machine = buildPeerMachine()

INPUTS = (
    "dialled",
    "initSent",
    "initAnswered",
    "initLapsed",
    "confirmed",
    "resumed",
    "attemptFailed",
    "lost",
    "closed",
    "gaveUp",
)

#: How to get into each state.
ROUTES = {
    "DISCOVERED": (),
    "CONNECTING": ("dialled",),
    "HANDSHAKE_SENT": ("dialled", "initSent"),
    "HANDSHAKE_RECEIVED": ("initAnswered",),
    "CONNECTED": ("initAnswered", "confirmed"),
    "DISCONNECTED": ("dialled", "attemptFailed"),
    "FAILED": ("dialled", "attemptFailed", "gaveUp"),
}

#: Where each input leads from each state; what is left out stays where it is.
MOVES = {
    "DISCOVERED": {
        "dialled": "CONNECTING",
        "initSent": "HANDSHAKE_SENT",
        "initAnswered": "HANDSHAKE_RECEIVED",
        "confirmed": "CONNECTED",
        "resumed": "CONNECTED",
        "attemptFailed": "DISCONNECTED",
        "closed": "DISCONNECTED",
        "gaveUp": "FAILED",
    },
    "CONNECTING": {
        "initSent": "HANDSHAKE_SENT",
        "initAnswered": "HANDSHAKE_RECEIVED",
        "confirmed": "CONNECTED",
        "resumed": "CONNECTED",
        "attemptFailed": "DISCONNECTED",
        "closed": "DISCONNECTED",
        "gaveUp": "FAILED",
    },
    "HANDSHAKE_SENT": {
        "initAnswered": "HANDSHAKE_RECEIVED",
        "confirmed": "CONNECTED",
        "resumed": "CONNECTED",
        "attemptFailed": "DISCONNECTED",
        "closed": "DISCONNECTED",
        "gaveUp": "FAILED",
    },
    "HANDSHAKE_RECEIVED": {
        "initLapsed": "DISCONNECTED",
        "confirmed": "CONNECTED",
        "resumed": "CONNECTED",
        "attemptFailed": "DISCONNECTED",
        "closed": "DISCONNECTED",
        "gaveUp": "FAILED",
    },
    "CONNECTED": {
        "lost": "DISCONNECTED",
        "closed": "DISCONNECTED",
    },
    "DISCONNECTED": {
        "dialled": "CONNECTING",
        "initSent": "HANDSHAKE_SENT",
        "initAnswered": "HANDSHAKE_RECEIVED",
        "confirmed": "CONNECTED",
        "resumed": "CONNECTED",
        "gaveUp": "FAILED",
    },
    "FAILED": {},
}


class MachineTests(SynchronousTestCase):
    """
    Tests for the machine that `buildPeerMachine` makes.
    """

    def setUp(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def moved(self, old: PeerState, new: PeerState, cause: str) -> None:
        self.told.append((old.value, new.value, cause))

    def machineIn(self, state: str) -> PeerInputs:
        """
        A machine that was led into a state.
        """
        machine = Machine(PeerCore(self.moved))
        for happening in ROUTES[state]:
            getattr(machine, happening)("on the way")
        self.told.clear()
        return machine

    def test_statesAreThoseOfTheInterface(self) -> None:
        """
        The states are the seven that users are told of, each named by its value.
        """
        self.assertEqual([state.value for state in PeerState], list(ROUTES))
        self.assertEqual([state.name for state in PeerState], list(ROUTES))

    def test_total(self) -> None:
        """
        Every state takes every input, so nothing from the network can raise.
        """
        taken = {
            (old.name, happening)
            for old, happening, _, _ in (
                Machine.__automat_automaton__.allTransitions()  # type: ignore[attr-defined]  # private, and the only witness
            )
        }
        every = set(itertools.product(ROUTES, (*INPUTS, "describe")))
        self.assertEqual(taken, every)

    def test_moves(self) -> None:
        """
        Each input leads from each state where the table says, and nowhere else.
        """
        for state, happening in itertools.product(ROUTES, INPUTS):
            machine = self.machineIn(state)
            self.assertEqual(machine.describe().value, state)
            getattr(machine, happening)("why")
            expected = MOVES[state].get(happening, state)
            self.assertEqual(machine.describe().value, expected, (state, happening))

    def test_eachMoveIsToldWithItsCause(self) -> None:
        """
        A move is told once, with both states and its cause; staying is not.
        """
        for state, happening in itertools.product(ROUTES, INPUTS):
            machine = self.machineIn(state)
            getattr(machine, happening)("a cause in words")
            new = MOVES[state].get(happening)
            expected = [] if new is None else [(state, new, "a cause in words")]
            self.assertEqual(self.told, expected, (state, happening))

    def test_failedIsFinal(self) -> None:
        """
        Nothing brings back a peer that was given up on.
        """
        machine = self.machineIn("FAILED")
        for happening in INPUTS:
            getattr(machine, happening)("too late")
        self.assertIs(machine.describe(), PeerState.FAILED)

    def test_machinesAreApart(self) -> None:
        """
        What happens to one peer moves no other.
        """
        one, other = self.machineIn("DISCOVERED"), self.machineIn("DISCOVERED")
        one.dialled("why")
        self.assertIs(other.describe(), PeerState.DISCOVERED)
