"""
What a seed lets happen to two nodes: bad weather, blocked transports, restarts, moves,
keys that run out, and somebody on the way who keeps, changes and repeats packets.

Each fault is a method of `Trouble`; `_FAULTS` says how often it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from rootstream.interfaces import IPath, Transport
from rootstream.protocol import constants
from rootstream.protocol.slots import Slot
from tests.wire import Side, WirePath

if TYPE_CHECKING:
    from tests.twin import Twin

UDP, TCP = Transport.UDP, Transport.TCP
BOTH = (UDP, TCP)
#: Where the attacker sends from, and reads what comes, and passes nothing on.
ELSEWHERE = WirePath(UDP, ("203.0.113.66", 666))
#: Where he passes on what comes.
RELAY = WirePath(UDP, ("203.0.113.77", 777))


class Trouble:
    """
    The faults of one run.

    @ivar twin: what they happen to.
    """

    def __init__(self, twin: Twin) -> None:
        self.twin = twin
        self._random = twin.script
        self._sides = twin.a, twin.b
        #: Packets that the attacker keeps, and who sent them.
        self._kept: list[tuple[Side, bytes]] = []
        self._over = False
        self._relayed: set[Side] = set()

    def begin(self) -> bool:
        """
        Say who dials, and what the network is like before that.  Returns whether it
        loses, delays and changes nothing.
        """
        random, twin = self._random, self.twin
        twin.diallers = random.choice(
            ([twin.a], [twin.b], [twin.a, twin.b], [twin.b, twin.a])
        )
        delay = random.choice((0.002, 0.01, 0.01, 0.03, 0.1))
        for side in self._sides:
            side.weather.delay = delay
        calm = random.random() < 0.6
        if not calm:
            self._squall()
        twin.tell(
            "{} dial, {} s away, {}",
            " and ".join(twin.names[side] for side in twin.diallers),
            delay,
            "calm" if calm else "in bad weather",
        )
        return calm

    def strike(self) -> None:
        """
        One fault.
        """
        faults, weights = zip(*_FAULTS, strict=True)
        [fault] = self._random.choices(faults, weights)
        fault(self)

    def heal(self) -> None:
        """
        From here on the network is whole, and nobody meddles.
        """
        self.twin.tell("the network heals")
        self._over = True
        self._relayed.clear()
        self.twin.forwarders.clear()
        for side in self._sides:
            weather = side.weather
            weather.loss = weather.duplication = weather.corruption = 0.0
            weather.jitter = 0.0
            weather.filter = None
            weather.blocked.clear()
        self.twin.unblocked()

    def echo(self) -> None:
        """
        Once more the attacker sends all that he has, now that nobody expects it.
        """
        self._release()
        self._replay()

    def judge(self) -> None:
        """
        F46: nobody was made to flood a third.
        """
        self.twin.witness.checkAmplification(ELSEWHERE)

    # --- the network ---

    def _squall(self) -> None:
        """
        Loss, doubles, delays that reorder, and packets that arrive changed (F30).
        """
        random = self._random
        for side in random.choice((self._sides, self._sides[:1], self._sides[1:])):
            weather = side.weather
            weather.loss = random.choice((0.0, 0.02, 0.1, 0.3))
            weather.duplication = random.choice((0.0, 0.05, 0.3))
            weather.jitter = weather.delay * random.choice((0.0, 0.5, 2.0))
            weather.corruption = random.choice((0.0, 0.0, 0.1))
            self.twin.tell(
                "{}: loss {}, doubles {}, jitter {}, changed {}",
                self.twin.names[side],
                weather.loss,
                weather.duplication,
                weather.jitter,
                weather.corruption,
            )

    def _block(self, transports: Iterable[Transport], sides: Iterable[Side]) -> None:
        for side in sides:
            side.weather.blocked.update(transports)
        self.twin.tell(
            "blocked: {}",
            "; ".join(
                f"{each.name} from {self.twin.names[side]}"
                for side in self._sides
                for each in sorted(side.weather.blocked)
            ),
        )

    def blockUDP(self) -> None:
        """
        F48, F49: in both directions, or in one.
        """
        sides = self._random.choice((self._sides, self._sides[:1], self._sides[1:]))
        self._block([UDP], sides)

    def _blockTCP(self) -> None:
        sides = self._random.choice((self._sides, self._sides[:1], self._sides[1:]))
        self._block([TCP], sides)

    def _cut(self) -> None:
        self._block(BOTH, self._sides)

    def _blink(self) -> None:
        """
        F53: the network goes and comes.
        """
        for number in range(3):
            self._while(0.7 * number + 0.4, self._unblock)
            self._while(0.7 * number, self._cut)

    def _while(self, delay: float, action: Callable[[], None]) -> None:
        """
        Do something later, unless the network was healed meanwhile.
        """

        def act() -> None:
            if not self._over:
                action()

        self.twin.later(delay, act)

    def _unblock(self) -> None:
        for side in self._sides:
            side.weather.blocked.clear()
        self.twin.tell("nothing is blocked")
        self.twin.unblocked()

    def _longCut(self) -> None:
        """
        Beyond the time until the peer counts as gone, or until all keys are dead (F41).
        """
        if self._random.random() < 0.2:
            seconds = self._random.choice((33.0, 33.0, 190.0))
            self._cut()
            for _ in range(5):
                self.twin.say(self._random.choice(self._sides), "INPUT")
                self.twin.run(seconds / 5)
            self._unblock()

    def _reset(self) -> None:
        """
        Somebody resets the TCP connections.
        """
        for stream in list(self.twin.streams.values()):
            self.twin.lose(stream, "reset by peer")

    # --- the sides ---

    def _move(self, port: bool | None = None) -> None:
        """
        F45: a side that dialled is seen at another port, or has another address.
        """
        twin, random = self.twin, self._random
        side = twin.diallers[0]
        host, number = side.address
        if port is None:
            port = random.random() < 0.5
        if not port:
            host = f"198.51.100.{random.randrange(1, 255)}"
            for stream in twin.streams.values():
                stream.dead = True
                lose = partial(twin.lose, stream, "timed out")
                twin.later(random.random() * 3, lose)
        side.address = host, 1024 + (number + random.randrange(1, 60_000)) % 60_000
        twin.tell("{} is seen at {}", twin.names[side], side.address)
        if not port and random.random() < 0.5:
            side.linkTo(twin.other(side)).networkChanged(twin.now)
            twin.pump(side)

    def _rebind(self) -> None:
        """
        F45: another port again and again.
        """
        for number in range(4):
            self._while(0.3 * number, partial(self._move, True))

    def _restart(self) -> None:
        """
        F27: a process ends and starts again, its clock set back perhaps (F24).
        """
        twin, side = self.twin, self._random.choice(self._sides)
        side.clockSkew += self._random.choice((0, 0, 3_600_000, -3_600_000))
        twin.tell("{} starts again", twin.names[side])
        twin.restart(side)

    def _current(self, side: Side) -> Slot | None:
        return side.linkTo(self.twin.other(side))._slots.current

    def _rekey(self) -> None:
        """
        F40: new keys are wanted, by the initiator, or by whoever used the old ones up.
        """
        side = self._random.choice(self._sides)
        slot = self._current(side)
        if slot is None:
            return
        self.twin.tell("{} wants new keys", self.twin.names[side])
        if slot.session.isInitiator:
            slot.stale = True
        else:
            slot.session.bytesSent = constants.REKEY_AFTER_BYTES

    def _jump(self) -> None:
        """
        F31 to F33: many packets later: those before leave the window, and keys end.
        """
        random = self._random
        side = random.choice(self._sides)
        slot = self._current(side)
        if slot is None:
            return
        session = slot.session
        counter = random.choice(
            (
                session.sendCounter + random.randrange(1, 300),
                session.sendCounter + constants.REPLAY_WINDOW,
                session.sendCounter + constants.REPLAY_WINDOW + random.randrange(99),
                constants.REKEY_AFTER_PACKETS,
                constants.REJECT_AFTER_PACKETS - random.randrange(1, 9),
            )
        )
        session.sendCounter = max(session.sendCounter, counter)
        self.twin.tell("{} goes on at {}", self.twin.names[side], session.sendCounter)

    # --- the attacker ---

    def _steal(self) -> None:
        """
        Some packets are kept from now on, and do not arrive.
        """
        side, share = self._random.choice(self._sides), self._random.random() / 2
        self.twin.tell("packets of {} are kept", self.twin.names[side])

        def keep(packet: bytes) -> bool:
            if self._random.random() < share:
                self._kept.append((side, packet))
                return False
            return True

        side.weather.filter = keep

    def _release(self) -> None:
        """
        F29: what was kept arrives late, from its sender, or from elsewhere.
        """
        self._random.shuffle(self._kept)
        kept, self._kept = self._kept[:20], self._kept[20:]
        if kept:
            self.twin.tell("{} packets kept are let go", len(kept))
        for side, packet in kept:
            self._send(side, packet)

    def _replay(self) -> None:
        """
        F29: old packets arrive again, a few of them changed.
        """
        random = self._random
        said = [
            (side, packet)
            for side in self._sides
            for _, path, packet in side.sent[-100:]
            if path != ELSEWHERE
        ]
        self.twin.tell("old packets arrive again")
        for side, packet in random.sample(said, min(len(said), 12)):
            if random.random() < 0.2:
                changed = bytearray(packet)
                changed[random.randrange(len(packet))] ^= 1 << random.randrange(8)
                packet = bytes(changed)
            self._send(side, packet)

    def _send(self, side: Side, packet: bytes) -> None:
        """
        Let a packet of ``side`` arrive at the other, or come back to it (F36).
        """
        random, twin = self._random, self.twin
        to = side if random.random() < 0.1 else twin.other(side)
        paths: list[IPath] = [WirePath(UDP, twin.other(to).address), ELSEWHERE]
        paths += [stream.ends[to] for stream in twin.streams.values()]
        twin.inject(to, packet, random.choice(paths), random.random() * 0.2)

    def _relay(self) -> None:
        """
        F44: somebody passes packets on, faster than the network.
        """
        twin = self.twin
        side = self._random.choice(self._sides)
        self._relayed.add(side)
        twin.forwarders.add(RELAY.address)
        twin.tell("packets of {} come another way too", twin.names[side])

    def passes(self, side: Side, packet: bytes) -> None:
        """
        A datagram of ``side`` comes by: he who blocks it may keep it.
        """
        if UDP in side.weather.blocked and len(self._kept) < 99:
            self._kept.append((side, packet))
        if side in self._relayed:
            to = self.twin.other(side)
            self.twin.inject(to, packet, RELAY, side.weather.delay / 2)


_FAULTS: tuple[tuple[Callable[[Trouble], None], int], ...] = (
    (Trouble._squall, 4),
    (Trouble.blockUDP, 6),
    (Trouble._blockTCP, 3),
    (Trouble._cut, 2),
    (Trouble._blink, 2),
    (Trouble._unblock, 5),
    (Trouble._longCut, 1),
    (Trouble._reset, 3),
    (Trouble._move, 3),
    (Trouble._rebind, 1),
    (Trouble._restart, 4),
    (Trouble._rekey, 4),
    (Trouble._jump, 2),
    (Trouble._steal, 3),
    (Trouble._release, 2),
    (Trouble._replay, 4),
    (Trouble._relay, 2),
)
