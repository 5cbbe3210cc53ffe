"""
Tests for `rootstream.eventlog`: the events file and its measurements.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import LocalError
from rootstream.eventlog import HISTORY, Entry, EventLog, Meter
from rootstream.interfaces import IPath, Transport
from rootstream.protocol.status import LinkStatus
from tests.doubles import FakePath


class EventLogTests(SynchronousTestCase):
    """
    Tests for `EventLog`.
    """

    def setUp(self) -> None:
        self.path = self.mktemp()
        self.wall = 1_800_000_000.1236
        self.now = 12.3456789

    def log(self, path: str | None = None) -> EventLog:
        log = EventLog(
            path or self.path, wallClock=lambda: self.wall, now=lambda: self.now
        )
        self.addCleanup(log.close)
        return log

    def lines(self) -> Sequence[str]:
        return Path(self.path).read_text("utf-8").splitlines()

    def test_documentedFields(self) -> None:
        """
        A line has the time by both clocks, the event, the peer where there is one,
        and the event's own fields, in that order.
        """
        log = self.log()
        log.write("listening", udp=9876, tcp=9876)
        log.write("attempt", "aaaa-bbbb-cccc-dddd", n=1, of=10, wait_s=0.1)
        first, second = self.lines()
        self.assertEqual(
            first,
            '{"time":"2027-01-15T08:00:00.123Z","mono":12.345679,'
            '"event":"listening","udp":9876,"tcp":9876,'
            '"text":"listening on port 9876, UDP and TCP"}',
        )
        self.assertEqual(
            list(json.loads(second)),
            ["time", "mono", "event", "peer", "n", "of", "wait_s", "text"],
        )

    def test_flushed(self) -> None:
        """
        Each line can be read as soon as it is written.
        """
        log = self.log()
        for number in range(3):
            log.write("nothing")
            self.assertEqual(len(self.lines()), number + 1)

    def test_appended(self) -> None:
        """
        An events file that is there already is continued.
        """
        self.log().write("one")
        self.log().write("two")
        self.assertEqual(
            [json.loads(line)["event"] for line in self.lines()], ["one", "two"]
        )

    def test_escaped(self) -> None:
        """
        Text from a peer cannot break a line nor reach a terminal as more than
        text (F74).
        """
        evil = '\x1b[2J\r\n\x00\u202e\u2028\x85\ud800"},{'
        self.log().write("error", message=evil)
        [line] = Path(self.path).read_bytes().split(b"\n")[:-1]
        self.assertTrue(all(32 <= byte < 127 for byte in line))
        self.assertEqual(json.loads(line)["message"], evil)

    def test_noPath(self) -> None:
        """
        Without a path nothing is written, and nothing is missed.
        """
        log = EventLog(None)
        log.write("nothing")
        log.close()

    def test_closed(self) -> None:
        """
        After the end nothing is written any more, and a second end is harmless.
        """
        log = self.log()
        log.close()
        log.write("late")
        log.close()
        self.assertEqual(self.lines(), [])

    def test_unwritablePath(self) -> None:
        """
        A path that cannot be written is said in one line, with the fix.
        """
        os.mkdir(self.path)
        for path, reason in (
            (self.path, "Is a directory"),
            (os.path.join(self.path, "no", "such"), "No such file or directory"),
        ):
            with self.assertRaises(LocalError) as caught:
                EventLog(path)
            self.assertEqual(
                str(caught.exception),
                f"cannot write the events file {path}: {reason}; "
                "choose another --events",
            )

    def test_subscribers(self) -> None:
        """
        Whoever subscribes is told of each event, as it is written, with or without a
        file, until he wants no more.
        """
        log = EventLog(None, wallClock=lambda: self.wall, now=lambda: self.now)
        told: list[Entry] = []
        enough = log.subscribe(told.append)
        written = log.write("network", cause="eth0 came up")
        self.assertEqual(told, [written])
        self.assertEqual(written["text"], "network: eth0 came up")
        enough()
        log.write("network", cause="eth0 went down")
        self.assertEqual(told, [written])

    def test_history(self) -> None:
        """
        The last events are kept, and no measurements.
        """
        log = EventLog(None)
        for number in range(HISTORY + 1):
            log.write("network", cause=str(number))
            log.write("stats", "aaaa", fps=30.0)
        self.assertEqual(
            [entry["cause"] for entry in log.history],
            [str(number) for number in range(1, HISTORY + 1)],
        )

    def test_ownWords(self) -> None:
        """
        An event that has words of its own keeps them.
        """
        entry = EventLog(None).write("weather", text="UDP is blocked")
        self.assertEqual(entry["text"], "UDP is blocked")

    def test_diskFull(self) -> None:
        """
        A disk that fills up later is logged once, and ends nothing (F83).
        """
        log = self.log("/dev/full")
        with capturedLogs() as logs:
            log.write("nothing")
            log.write("nothing")
            log.close()
        [event] = logs
        self.assertEqual(
            event["log_format"].format(**event),
            "The events file cannot be written: No space left on device.",
        )


class MeterTests(SynchronousTestCase):
    """
    Tests for `Meter`.
    """

    def status(self, **counts: Any) -> LinkStatus:
        values: dict[str, Any] = {
            "path": None,
            "impaired": False,
            "roundTrip": None,
            "jitter": 0.0,
            "clockOffset": None,
            "framesSent": 0,
            "framesDropped": 0,
            "framesReceived": 0,
            "framesLost": 0,
            "bytesSent": 0,
            "bytesReceived": 0,
            "packetsExpected": 0,
            "packetsInOrder": 0,
            "packetsAcknowledged": 0,
            "packetsLost": 0,
            "packetsResent": 0,
        }
        return LinkStatus(**(values | counts))

    def test_nothingYet(self) -> None:
        """
        What is not known is null, and nothing is divided by nothing.
        """
        self.assertEqual(
            Meter(5.0, sending=False).take(self.status(), 5.0),
            {
                "transport": None,
                "rtt_ms": None,
                "jitter_ms": 0.0,
                "loss": 0.0,
                "fps": 0.0,
                "mbit_s": 0.0,
                "frames": 0,
                "bytes": 0,
            },
        )

    def test_receiving(self) -> None:
        """
        A viewer's numbers are of what it received: totals since the beginning,
        rates and loss since the last call.
        """
        path: IPath = FakePath(Transport.TCP)
        meter = Meter(10.0, sending=False)
        first = self.status(
            path=path,
            roundTrip=0.0123456,
            jitter=0.0015,
            framesReceived=60,
            framesSent=999,
            bytesReceived=500_000,
            bytesSent=999,
            packetsExpected=400,
            packetsInOrder=390,
        )
        self.assertEqual(
            meter.take(first, 12.0),
            {
                "transport": "tcp",
                "rtt_ms": 12.346,
                "jitter_ms": 1.5,
                "loss": 0.025,
                "fps": 30.0,
                "mbit_s": 2.0,
                "frames": 60,
                "bytes": 500_000,
            },
        )
        second = self.status(
            framesReceived=85,
            bytesReceived=625_000,
            packetsExpected=500,
            packetsInOrder=490,
        )
        fields = meter.take(second, 13.0)
        self.assertEqual(
            [fields[name] for name in ("fps", "mbit_s", "loss", "frames", "bytes")],
            [25.0, 1.0, 0.0, 85, 625_000],
        )

    def test_sending(self) -> None:
        """
        A host's numbers are of what it sent, its loss as the acknowledgements show
        it.
        """
        meter = Meter(0.0, sending=True)
        first = self.status(
            framesSent=30,
            bytesSent=250_000,
            framesReceived=7,
            packetsAcknowledged=180,
            packetsLost=20,
            packetsResent=5,
        )
        fields = meter.take(first, 1.0)
        self.assertEqual(
            [fields[name] for name in ("fps", "mbit_s", "loss", "frames")],
            [30.0, 2.0, 0.125, 30],
        )
        second = self.status(
            framesSent=60,
            bytesSent=500_000,
            packetsAcknowledged=280,
            packetsLost=20,
            packetsResent=15,
        )
        self.assertEqual(meter.take(second, 2.0)["loss"], 0.1)

    def test_lossIsAShare(self) -> None:
        """
        Whatever is resent, and in whatever order it arrives, loss is from 0 to 1.
        """
        meter = Meter(0.0, sending=True)
        many = self.status(packetsAcknowledged=1, packetsResent=50)
        self.assertEqual(meter.take(many, 1.0)["loss"], 1.0)
        meter = Meter(0.0, sending=False)
        meter.take(self.status(packetsExpected=10, packetsInOrder=5), 1.0)
        late = self.status(packetsExpected=11, packetsInOrder=11)
        self.assertEqual(meter.take(late, 2.0)["loss"], 0.0)
