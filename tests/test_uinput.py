"""
Tests for `rootstream.uinput`: virtual devices, without a kernel that has them.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.keys import REPORT
from rootstream.protocol.events import EV_ABS, EV_KEY, EV_REL, InputEvent
from rootstream.uinput import UinputDevices
from tests.test_keys import BTN_LEFT, BTN_SOUTH, A, down, up


class UInputError(Exception):
    """
    What python-evdev raises where there is no /dev/uinput.
    """


class FakeDevice:
    """
    A device of python-evdev.
    """

    def __init__(self, events: dict[int, Any], name: str) -> None:
        self.name = name
        self.can = events
        self.written: list[tuple[int, int, int]] = []
        self.closed = 0
        self.fault: OSError | None = None

    def write(self, kind: int, code: int, value: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.written.append((kind, code, value))

    def close(self) -> None:
        self.closed += 1


class UinputDevicesTests(SynchronousTestCase):
    """
    Tests for `UinputDevices`.
    """

    def setUp(self) -> None:
        self.made: list[FakeDevice] = []
        self.most = 2
        fake = SimpleNamespace(
            UInput=self.make,
            UInputError=UInputError,
            AbsInfo=lambda *numbers: numbers,
        )
        self.patch(sys, "modules", {**sys.modules, "evdev": fake})

    def make(self, events: dict[int, Any], name: str) -> FakeDevice:
        if len(self.made) == self.most:
            raise UInputError('"/dev/uinput" does not exist')
        self.made.append(FakeDevice(events, name))
        return self.made[-1]

    def test_devices(self) -> None:
        """
        There is a keyboard with a mouse and, apart from it, a gamepad, which alone has
        axes, each of six numbers.
        """
        UinputDevices()
        desk, pad = self.made
        self.assertEqual(desk.name, "RootStream keyboard and mouse")
        self.assertEqual(set(desk.can), {EV_KEY, EV_REL})
        self.assertTrue({A, BTN_LEFT} <= set(desk.can[EV_KEY]))
        self.assertEqual(set(pad.can), {EV_KEY, EV_ABS})
        self.assertIn(BTN_SOUTH, pad.can[EV_KEY])
        self.assertEqual(set(desk.can[EV_KEY]) & set(pad.can[EV_KEY]), set())
        axes = dict(pad.can[EV_ABS])
        self.assertEqual(axes[0], (0, -32767, 32767, 16, 128, 0))
        self.assertEqual(axes[0x10], (0, -1, 1, 0, 0, 0))

    def test_take(self) -> None:
        """
        Each device gets what it can do, and the end of each group; a device with
        nothing to do hears nothing.
        """
        devices = UinputDevices()
        desk, pad = self.made
        devices.take("f", [down(A), REPORT])
        self.assertEqual(desk.written, [(1, A, 1), (0, 0, 0)])
        self.assertEqual(pad.written, [])
        desk.written.clear()
        devices.take("f", [InputEvent(EV_ABS, 0, 5), down(BTN_SOUTH), up(A), REPORT])
        self.assertEqual(pad.written, [(3, 0, 5), (1, BTN_SOUTH, 1), (0, 0, 0)])
        self.assertEqual(desk.written, [(1, A, 0), (0, 0, 0)])
        devices.close()
        self.assertEqual([desk.closed, pad.closed], [1, 1])

    def test_unwritable(self) -> None:
        """
        A device that fails later is told of once, until it works again, and ends
        nothing.
        """
        devices = UinputDevices()
        desk = self.made[0]
        desk.fault = OSError(19, "No such device")
        with capturedLogs() as logs:
            for _ in range(3):
                devices.take("f", [down(A), REPORT])
            desk.fault = None
            devices.take("f", [up(A), REPORT])
        self.assertEqual(len(logs), 1)
        self.assertIn("No such device", logs[0]["reason"])

    def test_withoutEvdev(self) -> None:
        """
        Without python-evdev one line says what to install.
        """
        self.patch(sys, "modules", {**sys.modules, "evdev": None})
        error = self.assertRaises(LocalError, UinputDevices)
        self.assertIn("rootstream[input]", str(error))

    def test_withoutDevice(self) -> None:
        """
        Where the kernel has no uinput, or does not let us, one line says what to do,
        and no half of it is left.
        """
        self.most = 1
        error = self.assertRaises(LocalError, UinputDevices)
        self.assertIn("/dev/uinput", str(error))
        self.assertIn("modprobe uinput", str(error))
        self.assertEqual(self.made[0].closed, 1)
