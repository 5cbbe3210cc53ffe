"""
The devices on which a host repeats its peers' input: Linux's uinput, by python-evdev.

A keyboard with a mouse, and a gamepad apart from it: a program takes a device that has
the axes of a stick for one, and would not read a keyboard from it.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from rootstream.errors import LocalError
from rootstream.keys import AXES, BUTTONS, KEYS, PAD_BUTTONS, REPORT, WHEELS
from rootstream.protocol.events import EV_ABS, EV_KEY, EV_REL, InputEvent

__all__ = ["UinputDevices"]

#: At rest a stick is seldom quite in the middle: fuzz and flat, as the kernel's own
#: drivers have it for sticks.
_STICK = 16, 128
#: The most of an axis that is no stick.
_SMALL = 255


def _evdev() -> Any:
    try:
        return importlib.import_module("evdev")
    except ImportError:
        raise LocalError(
            "--input uinput needs python-evdev: install rootstream[input], "
            "or use --input log"
        ) from None


class UinputDevices:
    """
    A virtual keyboard and mouse, and a virtual gamepad.

    :raises LocalError: if there are none to be had here.
    """

    _log = Logger()

    def __init__(self) -> None:
        evdev = _evdev()
        self._devices: list[Any] = []
        try:
            self._desk = self._make(
                evdev,
                "RootStream keyboard and mouse",
                {EV_KEY: sorted(KEYS | BUTTONS), EV_REL: sorted(WHEELS)},
            )
            self._pad = self._make(
                evdev,
                "RootStream gamepad",
                {EV_KEY: sorted(PAD_BUTTONS), EV_ABS: _axes(evdev.AbsInfo)},
            )
        except (OSError, evdev.UInputError) as error:
            self.close()
            raise LocalError(
                f"--input uinput cannot make a device: {error}; load the module "
                "(modprobe uinput) and let this user write /dev/uinput, "
                "or use --input log"
            ) from None
        self._failed = False

    def _make(self, evdev: Any, name: str, events: dict[int, Any]) -> Any:
        device = evdev.UInput(events, name=name)
        self._devices.append(device)
        return device

    def take(self, fingerprint: str, events: Sequence[InputEvent]) -> None:
        pad = [event for event in events if _isOfPad(event)]
        desk = [event for event in events if event not in pad]
        try:
            _write(self._pad, pad)
            _write(self._desk, desk)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.error(
                    "Input does not reach the devices: {reason}.", reason=str(error)
                )

    def close(self) -> None:
        for device in self._devices:
            device.close()
        self._devices.clear()


def _axes(absInfo: Any) -> list[tuple[int, Any]]:
    """
    Each axis and its ``AbsInfo``: value, least, most, fuzz, flat, resolution.
    """
    return [
        (code, absInfo(0, least, most, *(_STICK if most > _SMALL else (0, 0)), 0))
        for code, (least, most) in sorted(AXES.items())
    ]


def _isOfPad(event: InputEvent) -> bool:
    return event.kind == EV_ABS or (event.kind == EV_KEY and event.code in PAD_BUTTONS)


def _write(device: Any, events: Sequence[InputEvent]) -> None:
    """
    Write what there is for a device, and that it is all.
    """
    if all(event == REPORT for event in events):
        return
    for event in (*events, REPORT) if events[-1] != REPORT else events:
        device.write(event.kind, event.code, event.value)
