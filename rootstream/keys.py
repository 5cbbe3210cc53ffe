"""
Which input events are any good, and what they leave held down.

Nothing here knows peers or devices: events go in, and those to be passed on come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from rootstream.protocol.events import EV_ABS, EV_KEY, EV_REL, EV_SYN, InputEvent

__all__ = [
    "AXES",
    "BUTTONS",
    "KEYS",
    "PAD_BUTTONS",
    "REPORT",
    "WHEELS",
    "Held",
    "isFit",
]

#: The end of a group: what was before it happens at once.
REPORT: Final = InputEvent(EV_SYN, 0, 0)

#: What would switch the machine or its radio off or send it to sleep, and the key that
#: speaks to its kernel: no peer needs them.  KEY_SYSRQ, KEY_POWER, KEY_SLEEP,
#: KEY_WAKEUP, KEY_SUSPEND, KEY_WLAN, KEY_RFKILL, KEY_POWER2, KEY_RESTART
#: (linux/input-event-codes.h, as are all numbers here).
_FORBIDDEN: Final = frozenset({99, 116, 142, 143, 205, 238, 247, 0x164, 0x198})

#: KEY_ESC to KEY_MICMUTE, and from KEY_OK up to the buttons of a cross.
KEYS: Final = frozenset({*range(1, 249), *range(0x160, 0x220)}) - _FORBIDDEN
#: BTN_LEFT to BTN_TASK, of a mouse.
BUTTONS: Final = frozenset(range(0x110, 0x118))
#: BTN_SOUTH to BTN_THUMBR, and those of a cross.
PAD_BUTTONS: Final = frozenset({*range(0x130, 0x13F), *range(0x220, 0x224)})
_PRESSED: Final = KEYS | BUTTONS | PAD_BUTTONS

#: REL_X, REL_Y; REL_HWHEEL, REL_WHEEL and both in high resolution.
WHEELS: Final = frozenset({0, 1, 6, 8, 0x0B, 0x0C})
_FARTHEST: Final = 32767

#: What an axis of a gamepad takes, least and most; 0 is where it rests.  Sticks,
#: triggers (ABS_Z, ABS_RZ), and the cross.
AXES: Final[Mapping[int, tuple[int, int]]] = {
    **dict.fromkeys((0, 1, 3, 4), (-32767, 32767)),
    **dict.fromkeys((2, 5), (0, 255)),
    **dict.fromkeys((0x10, 0x11), (-1, 1)),
}


def isFit(event: InputEvent) -> bool:
    """
    Whether an event means something that a peer may do.
    """
    code, value = event.code, event.value
    if event.kind == EV_KEY:
        return code in _PRESSED and 0 <= value <= 2
    if event.kind == EV_REL:
        return code in WHEELS and abs(value) <= _FARTHEST
    if event.kind == EV_ABS:
        least, most = AXES.get(code, (1, 0))
        return least <= value <= most
    return event == REPORT


class Held:
    """
    The keys and buttons of one source that are down, and its axes that are not at rest.

    Being false means that nothing is.
    """

    def __init__(self) -> None:
        self._down: dict[tuple[int, int], None] = {}

    def __len__(self) -> int:
        return len(self._down)

    def __contains__(self, event: InputEvent) -> bool:
        """
        Whether the key or axis of an event is held.
        """
        return (event.kind, event.code) in self._down

    def take(self, events: Iterable[InputEvent]) -> list[InputEvent]:
        """
        Take note of events; returns those that change anything.  A key that is not down
        goes neither up nor on, and one that is down does not go down again.
        """
        kept = []
        for event in events:
            key = event.kind, event.code
            if event.kind == EV_KEY and (event.value == 1) is (key in self._down):
                continue
            if event.kind in (EV_KEY, EV_ABS):
                if event.value:
                    self._down[key] = None
                else:
                    self._down.pop(key, None)
            kept.append(event)
        return kept

    def release(self) -> list[InputEvent]:
        """
        The events that let go of all that is held, in a group; nothing is held then.
        """
        freed = [InputEvent(kind, code, 0) for kind, code in self._down]
        self._down.clear()
        return [*freed, REPORT] if freed else []
