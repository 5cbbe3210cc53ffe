"""
The network's weather in the demo: what it can be, and when it changes.

Nothing here knows sockets or reactors; `rootstream.wind` does what the weather says.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rootstream.errors import LocalError
from rootstream.interfaces import Transport
from rootstream.protocol.frames import cleanText

__all__ = [
    "Change",
    "DelayLine",
    "Forecast",
    "Planned",
    "Weather",
    "parseChange",
    "parseScript",
]

#: Seconds.  Longer cuts and delays teach nothing; a script ends within a day.
MAX_CUT = 3600.0
MAX_DELAY = 5.0
MAX_TIME = 86_400.0

#: Changes in a script.
MAX_PLANNED = 1000

#: Characters of a wrong text that are shown.
_SHOWN = 60

#: A timer may ring so many seconds early: sums of floats seldom hit a time exactly.
_EARLY = 1e-6


@dataclass(frozen=True, slots=True)
class Weather:
    """
    What the network does to what goes through it, in both directions.

    :ivar cut: seconds that nothing passes, from when it was cut; 0 when it is whole.
    :ivar loss: the share of datagrams that vanish, from 0 to 1.  A TCP of the kernel
        would mend it, so connections lose nothing.
    :ivar delay: seconds that everything takes longer, each way.
    :ivar jitter: seconds up to which it takes longer still, by chance; what is late
        holds up what comes after it, so the order stays.
    :ivar offline: the host is gone: no datagram arrives, and connections are reset and
        refused.
    """

    udpBlocked: bool = False
    tcpBlocked: bool = False
    cut: float = 0.0
    loss: float = 0.0
    delay: float = 0.0
    offline: bool = False
    jitter: float = 0.0

    def wait(self, chance: Callable[[], float]) -> float:
        """
        The seconds that something takes longer now; ``chance`` gives numbers from 0
        to 1.
        """
        return self.delay + self.jitter * chance() if self.jitter else self.delay

    def silent(self, transport: Transport) -> bool:
        """
        Whether nothing passes over a transport.
        """
        blocked = self.udpBlocked if transport is Transport.UDP else self.tcpBlocked
        return blocked or self.cut > 0 or self.offline

    def __str__(self) -> str:
        """
        The weather in words.
        """
        words = {
            "host offline": self.offline,
            f"network cut for {self.cut:g} s": self.cut,
            "UDP blocked": self.udpBlocked,
            "TCP blocked": self.tcpBlocked,
            f"UDP loss {self.loss * 100:g}%": self.loss,
            f"delay {self.delay * 1000:g} ms each way": self.delay,
            f"jitter up to {self.jitter * 1000:g} ms": self.jitter,
        }
        return ", ".join(word for word, holds in words.items() if holds) or "clear"


@dataclass(frozen=True, slots=True)
class Change:
    """
    One setting of the weather, and what it becomes; without a setting, all is clear.
    """

    setting: str | None
    value: bool | float = False

    def applied(self, weather: Weather) -> Weather:
        """
        The weather after this change.
        """
        if self.setting is None:
            return Weather()
        fields: dict[str, Any] = {self.setting: self.value}
        return replace(weather, **fields)


@dataclass(frozen=True, slots=True)
class Planned:
    """
    A change, and how many seconds after the start it comes.
    """

    at: float
    change: Change


#: What is written as it stands.
_FIXED = {
    "block udp": Change("udpBlocked", True),
    "unblock udp": Change("udpBlocked", False),
    "block tcp": Change("tcpBlocked", True),
    "unblock tcp": Change("tcpBlocked", False),
    "host offline": Change("offline", True),
    "host online": Change("offline", False),
    "clear": Change(None),
}

#: What takes a quantity: its pattern, and how much it may be.
_MEASURED = {
    "cut": (re.compile(r"cut (.+)"), MAX_CUT),
    "loss": (re.compile(r"loss ([0-9.]{1,12}) ?%"), 100.0),
    "delay": (re.compile(r"delay (.+)"), MAX_DELAY),
    "jitter": (re.compile(r"jitter (.+)"), MAX_DELAY),
}

_TIME = re.compile(r"([0-9.]{1,12}) ?(ms|s|)")

_CHOICES = (
    "block udp, unblock udp, block tcp, unblock tcp, cut 5s, loss 5%, delay 100ms, "
    "jitter 20ms, host offline, host online or clear"
)


def _seconds(text: str, unitless: bool = False) -> float:
    """
    The seconds that a text like ``5s`` or ``100ms`` means.

    :raises ValueError: if it means none.
    """
    found = _TIME.fullmatch(text)
    if found is None or not (found[2] or unitless):
        raise ValueError(text)
    return float(found[1]) / (1000 if found[2] == "ms" else 1)


def parseChange(text: str) -> Change:
    """
    The change that a text like ``block udp`` or ``cut 5s`` means.

    :raises LocalError: if it means none.
    """
    words = " ".join(text.lower().split()) if len(text) < 1000 else ""
    if words in _FIXED:
        return _FIXED[words]
    for setting, (pattern, most) in _MEASURED.items():
        found = pattern.fullmatch(words)
        if found is None:
            continue
        try:
            value = float(found[1]) if setting == "loss" else _seconds(found[1])
        except ValueError:
            break
        # A cut of no time would never end, since it never began.
        if value > most or (setting == "cut" and value <= 0):
            unit = "%" if setting == "loss" else " s"
            least = "above 0" if setting == "cut" else "from 0"
            raise LocalError(f"{setting} takes {least} to {most:g}{unit}")
        return Change(setting, value / 100 if setting == "loss" else value)
    shown = cleanText(text.strip(), _SHOWN)
    raise LocalError(f"no such weather: '{shown}'; say {_CHOICES}")


def parseScript(text: str) -> tuple[Planned, ...]:
    """
    The changes of a script like ``5s: block udp; 10s: cut 5s``, in the order of their
    times.

    :raises LocalError: if it is not one.
    """
    planned: list[Planned] = []
    for part in filter(None, map(str.strip, text.split(";"))):
        if len(planned) == MAX_PLANNED:
            raise LocalError(f"a weather script has {MAX_PLANNED} changes at most")
        when, colon, what = part.partition(":")
        try:
            at = _seconds(when.strip().lower(), unitless=True)
            if not colon or at > MAX_TIME:
                raise ValueError(when)
        except ValueError:
            raise LocalError(
                f"'{cleanText(part, _SHOWN)}' in the weather script begins with no "
                "time within a day; write it like '5s: block udp; 10s: cut 5s'"
            ) from None
        planned.append(Planned(at, parseChange(what)))
    if not planned:
        raise LocalError(
            "the weather script is empty; write it like '5s: block udp; 10s: cut 5s'"
        )
    return tuple(sorted(planned, key=lambda each: each.at))


class Forecast:
    """
    The weather now, and what will become of it by itself.

    :ivar weather: the weather now.
    """

    def __init__(self, script: Sequence[Planned] = ()) -> None:
        self.weather = Weather()
        self._ahead = deque(script)
        self._start = 0.0
        self._mended: float | None = None

    def begin(self, now: float) -> None:
        """
        The times of the script count from now on.
        """
        self._start = now

    def change(self, change: Change, now: float) -> None:
        """
        The weather changes at once.
        """
        self.weather = change.applied(self.weather)
        if change.setting in (None, "cut"):
            self._mended = now + self.weather.cut if self.weather.cut else None

    def nextTimer(self) -> float | None:
        """
        When `timerFired` wants to be called.
        """
        due = [] if self._mended is None else [self._mended]
        if self._ahead:
            due.append(self._start + self._ahead[0].at)
        return min(due, default=None)

    def timerFired(self, now: float) -> None:
        """
        Let the weather become what it is by now.
        """
        while (due := self.nextTimer()) is not None and due <= now + _EARLY:
            if due == self._mended:
                self.change(Change("cut", 0.0), due)
            else:
                self.change(self._ahead.popleft().change, due)


class DelayLine:
    """
    Calls that wait for their time, in the order in which they came.

    :ivar size: the bytes that they are about.
    """

    def __init__(self) -> None:
        self.size = 0
        self._waiting: deque[tuple[float, int, Callable[[], object]]] = deque()

    def put(self, at: float, size: int, call: Callable[[], object]) -> None:
        """
        Append a call for a time; it comes after those that are there, even when they
        are for later.
        """
        if self._waiting:
            at = max(at, self._waiting[-1][0])
        self._waiting.append((at, size, call))
        self.size += size

    def take(self, now: float) -> Callable[[], object] | None:
        """
        Take out the first call if its time has come.
        """
        if not self._waiting or self._waiting[0][0] > now + _EARLY:
            return None
        _, size, call = self._waiting.popleft()
        self.size -= size
        return call

    def nextTimer(self) -> float | None:
        """
        When the first call may be taken.
        """
        return self._waiting[0][0] if self._waiting else None

    def clear(self) -> None:
        """
        Forget all calls.
        """
        self._waiting.clear()
        self.size = 0
