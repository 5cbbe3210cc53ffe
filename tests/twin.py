"""
Two nodes and a network on virtual time, and everything that a seed does to them.

A run is: somebody dials, both perhaps at once; media flows both ways, sparsely; faults
happen; the network heals; what was sent arrives, and it is quiet.  The `Witness` looks
on.  ``python -m tests.twin SEED`` plays one run and prints its story;
``python -m tests.twin FIRST STOP STEP`` plays many, and prints a line for each: seed,
seconds from healing until both sides were heard and until both were on UDP,
milliseconds of processor time, and what went wrong, if anything did.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf
from random import Random

from rootstream.interfaces import Transport
from rootstream.protocol.constants import DEAD_AFTER, VIDEO_DEADLINE
from rootstream.protocol.events import (
    Event,
    Expired,
    Impaired,
    InitLapsed,
    PathDropped,
    PathMoved,
    Recovered,
    SessionEstablished,
    Silent,
    Suspect,
)
from tests.streams import Stream, StreamPath, Streams
from tests.trouble import Trouble
from tests.wire import Side, WirePath
from tests.witness import Violation

UDP = Transport.UDP
#: Within how many seconds of healing both sides hear each other, and use UDP, whatever
#: came together before.
WHOLE_AFTER = 8.0
#: And for how long that lasts before we believe it.
LASTING = 0.9
#: What is sent: INPUT and CONTROL are what must not be missed.
_KINDS = ("video", "video", "audio", "INPUT", "INPUT", "CONTROL")


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    How a run went: seconds from healing until both sides were heard, and until both
    were on UDP.
    """

    heard: float
    returned: float


class Twin(Streams):
    """
    One run.

    @ivar script: what decides it, but for what happens to a single packet.
    @ivar diallers: who dials, and dials again.
    """

    def __init__(self, seed: int, tell: Callable[[str], None] | None = None) -> None:
        super().__init__(seed, tell)
        self.script = Random(f"script {seed}")
        self.diallers: list[Side] = []
        #: Who waits before dialling over TCP again, and the connections of those who
        #: look for a session, or have a standby path.
        self._waits: set[Side] = set()
        self._trials: dict[Side, Stream] = {}
        self._standbys: dict[Side, Stream] = {}
        self.trouble = Trouble(self)

    # --- what a shell does ---

    def happened(self, side: Side, event: Event) -> None:
        """
        As `rootstream.peer` and `rootstream.dialled` do, in short.
        """
        super().happened(side, event)
        link = side.linkTo(self.other(side))
        dials = side in self.diallers
        match event:
            case PathDropped(StreamPath() as path):
                stream = self.streams.get(path.number)
                if stream is not None:
                    self.lose(stream, "of no more use")
            case Impaired() if dials:
                self.dialTCP(side)
            case Silent() | Expired() if dials:
                self.dialUDP(side)
                self.later(0.3, partial(self.dialTCP, side))
            case InitLapsed() | Expired() if not dials:
                side.node.forget(link)
                self.witness.forgotten(side)
            case SessionEstablished() | Recovered() if dials:
                self._reached(side)
                self._wantStandby(side)
            case PathMoved() | Suspect() if dials:
                self._wantStandby(side)

    def passes(self, side: Side, packet: bytes) -> None:
        self.trouble.passes(side, packet)

    def lose(self, stream: Stream, reason: str) -> None:
        for side, trial in list(self._trials.items()):
            if trial is stream:
                del self._trials[side]
        super().lose(stream, reason)

    def restart(self, side: Side) -> None:
        self._trials.clear()
        super().restart(side)
        if side in self.diallers:
            self.dialUDP(side)
            self.later(0.3, partial(self.dialTCP, side))

    def dialUDP(self, side: Side) -> None:
        """
        Send INITs until there is a session.
        """
        self.tell("{}: dials", self.names[side])
        link = side.linkTo(self.other(side))
        link.connect(WirePath(UDP, self.other(side).address), self.now)
        self.pump(side)

    def dialTCP(self, side: Side) -> None:
        """
        Dial over TCP too, every second, while there is no session that is heard.
        """
        if side not in self._waits and self._unheard(side):
            self._waits.add(side)
            if self._trials.get(side) is None:
                self.connectTCP(side, partial(self._try, side))
            self.later(1.0, partial(self._waited, side, self.dialTCP))

    def _waited(self, side: Side, dial: Callable[[Side], None]) -> None:
        self._waits.discard(side)
        dial(side)

    def _unheard(self, side: Side) -> bool:
        link = side.linkTo(self.other(side))
        return not link.established or link.status().impaired

    def _try(self, side: Side, stream: Stream) -> None:
        if self._unheard(side):
            self._trials[side] = stream
            link = side.linkTo(self.other(side))
            link.connect(stream.ends[side], self.now)
        else:
            self.lose(stream, "not needed")

    def _reached(self, side: Side) -> None:
        """
        There is a session that is heard: the connection that was to bring one is
        closed, unless it did.
        """
        stream = self._trials.pop(side, None)
        if stream is None:
            return
        if side.linkTo(self.other(side)).status().path == stream.ends[side]:
            self._standbys[side] = stream
        else:
            self.lose(stream, "not needed")

    def _wantStandby(self, side: Side) -> None:
        """
        Keep one connection beside the session.
        """
        standby = self._standbys.get(side)
        if standby is not None and standby.number in self.streams:
            return
        wanted = side.linkTo(self.other(side)).wantsStandby
        if side not in self._waits and wanted:
            self._waits.add(side)
            self.connectTCP(side, partial(self._standby, side))
            self.later(1.0, partial(self._waited, side, self._wantStandby))

    def _standby(self, side: Side, stream: Stream) -> None:
        self._standbys[side] = stream
        side.linkTo(self.other(side)).addPath(stream.ends[side], self.now)

    # --- media ---

    def say(self, side: Side, kind: str, awaited: bool = False) -> bool:
        """
        Send something from ``side``.  Returns whether it knows whom to send to.
        ``awaited`` frames must arrive; messages must anyway.
        """
        link = side.linkTo(self.other(side))
        if not link.established and side not in self.diallers:
            return False
        if kind in ("video", "audio"):
            size = self.script.choice((50, 900, 2500)) if kind == "video" else 60
            link.send(self.witness.media(kind, size, awaited), self.now)
        else:
            link.send(self.witness.message(side, link, kind), self.now)
        self.pump(side)
        return True

    def stream(self, seconds: float) -> None:
        """
        Send this and that for ``seconds``: a few at once, then a while nothing.
        """
        random = self.script
        end = self.now + seconds
        while self.now < end:
            for _ in range(random.randrange(1, 5)):
                self.say(random.choice((self.a, self.b)), random.choice(_KINDS))
            self.run(min(random.uniform(0.1, 1.0), end - self.now + 1e-6))
        for side in (self.a, self.b):
            self.witness.checkBounds(side)

    # --- a run ---

    @property
    def returned(self) -> bool:
        """
        Whether both sides use UDP, each to where the other is.
        """
        for side in (self.a, self.b):
            other = self.other(side)
            path = side.linkTo(other).status().path
            if path != WirePath(UDP, other.address):
                return False
        return True

    def play(self) -> Outcome:
        """
        The whole run.  Raises `Violation`.
        """
        with self.witness.watch():
            trouble = self.trouble
            if self.dial(trouble.begin()) and self.script.random() < 0.4:
                self.drill()
            for _ in range(self.script.randrange(1, 6)):
                trouble.strike()
                self.stream(self.script.choice((0.05, 0.2, 0.4, 0.8, 1.2)))
            trouble.heal()
            outcome = self.recover()
            self.sayAll()
            # A frame may wait for one that was lost before it.
            end = self.now + VIDEO_DEADLINE + 0.3
            while self.witness.missing:
                self.run(0.1)
                if self.now > end:
                    raise Violation(f"lost in calm weather: {self.witness.missing}")
            trouble.judge()
            if self.script.random() < 0.3:
                self.part()
        return outcome

    def dial(self, calm: bool) -> bool:
        """
        Somebody dials, or both do; when the network is calm there is one session two
        round trips later (F20).  Returns whether it is calm.
        """
        roundTrip = self.a.weather.delay + self.b.weather.delay
        for side in self.diallers:
            self.dialUDP(side)
            if side is not self.diallers[-1]:
                self.run(self.script.random() * roundTrip)
        if calm:
            self.run(2 * roundTrip + 0.001)
            if self.witness.disagreement:
                raise Violation(f"two round trips later {self.witness.disagreement}")
            for side in self.diallers:
                if side.linkTo(self.other(side))._slots.previous is not None:
                    raise Violation("two round trips later there are two sessions")
        else:
            for side in self.diallers:
                self.later(0.3, partial(self.dialTCP, side))
            self.stream(self.script.choice((0.1, 0.6, 2.0)))
        return calm

    def drill(self) -> None:
        """
        UDP alone is blocked when a connection is ready: nothing is lost (F48, F49).
        """
        self.run(8 * self.a.weather.delay)
        self.trouble.blockUDP()
        self.sayAll()
        self.run(0.2)
        self.sayAll()
        self.run(DEAD_AFTER)
        if self.witness.missing:
            raise Violation(f"lost, although TCP carried: {self.witness.missing}")

    def sayAll(self) -> None:
        """
        Send something of each kind both ways, which has to arrive.
        """
        for side in (self.a, self.b):
            for kind in ("video", "INPUT", "CONTROL"):
                self.say(side, kind, awaited=True)

    def recover(self) -> Outcome:
        """
        The network is whole: both sides hear each other soon, use UDP, and are quiet.
        """
        start, heard, returned = self.now, inf, inf
        silent = [self.a, self.b]
        while True:
            if heard == inf:
                silent = [side for side in silent if not self.say(side, "INPUT")]
                self.say(self.script.choice((self.a, self.b)), "CONTROL")
            self.run(0.1)
            passed = self.now - start
            if heard == inf and not silent and not self.witness.missing:
                heard = passed
                self.trouble.echo()
            returned = min(returned, passed) if self.returned else inf
            for at, words in ((heard, self.witness.missing), (returned, "not on UDP")):
                if at == inf and passed > WHOLE_AFTER:
                    raise Violation(f"after {passed:.1f} s: {words}")
            if passed > max(heard, returned) + LASTING:
                restless = self.restless
                if not restless:
                    return Outcome(heard, returned)
                if passed > 2 * WHOLE_AFTER:
                    raise Violation(f"after {passed:.1f} s: {restless}")

    @property
    def restless(self) -> str:
        """
        What is still to come, in words; empty when all has arrived, there is one
        session, and nothing waits.
        """
        if self.witness.missing:
            return self.witness.missing
        for side in (self.a, self.b):
            link = side.linkTo(self.other(side))
            if link._dialling.active:
                return f"{self.names[side]} dials"
            slot = link._slots.current
            if slot is not None and (slot.stale or slot.session.needsRekey(self.now)):
                return f"{self.names[side]} needs new keys"
            if not link.drained or len(link._outbox) or link._inbox._video._frames:
                return f"{self.names[side]} holds something"
            self.witness.checkBounds(side)
        return self.witness.disagreement

    def part(self) -> None:
        """
        One says goodbye: both forget all keys.
        """
        self.witness.closing = True
        side = self.script.choice((self.a, self.b))
        side.linkTo(self.other(side)).close(0, "", self.now)
        self.pump(side)
        self.run(0.5)
        for each in (self.a, self.b):
            [link] = each.node.links
            if not link.finished or len(each.node._indices):
                raise Violation(f"{self.names[each]} holds keys after the goodbye")


def play(seed: int, tell: Callable[[str], None] | None = None) -> Outcome:
    """
    The run of one seed.  Raises `Violation`.
    """
    return Twin(seed, tell).play()


def main(arguments: list[str]) -> None:
    """
    The command.
    """
    numbers = [int(each) for each in arguments]
    if len(numbers) == 1:
        print(play(numbers[0], print))
        return
    for seed in range(*numbers):
        began = time.process_time()
        words, outcome = "", Outcome(inf, inf)
        try:
            outcome = play(seed)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
        spent = (time.process_time() - began) * 1000
        print(seed, f"{outcome.heard:.2f} {outcome.returned:.2f} {spent:.1f}", words)


if __name__ == "__main__":
    main(sys.argv[1:])
