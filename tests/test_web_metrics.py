"""
Tests for `rootstream.web.metrics`, and for what ``docs/`` gives to Prometheus.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rootstream.eventlog import EventLog
from rootstream.status import PeerStatus, ProgramStatus
from rootstream.web.metrics import MAX_PEERS, Metrics
from tests.pages import peerStatus

DOCS = Path(__file__).resolve().parent.parent / "docs"
HOSTILE = 'x"} 1\nrootstream_evil 1\n\\'


def promtool(*arguments: str, data: bytes = b"") -> str:
    """
    What promtool has to complain of; nothing when all is well.
    """
    path = shutil.which("promtool")
    if path is None:
        if "CI" in os.environ or "ROOTSTREAM_LAB_REQUIRED" in os.environ:
            raise AssertionError("missing here: promtool, of the package prometheus")
        raise SkipTest("promtool is not there; install Debian's package prometheus")
    done = subprocess.run(
        [path, *arguments], input=data, capture_output=True, timeout=60
    )
    return "" if done.returncode == 0 and not done.stderr else str(done)


class MetricsTests(SynchronousTestCase):
    """
    Tests for `Metrics`.
    """

    def metrics(self, *peers: PeerStatus) -> Metrics:
        """
        The metrics of a program with these peers.
        """
        status = ProgramStatus("host", "1.0", 5.0, peers, recording="/secret/a.mkv")
        return Metrics(lambda: status, lambda: 3)

    def read(self, metrics: Metrics) -> dict[tuple[str, str], float]:
        """
        The values, by name and by the first of ``peer``, ``state`` and ``event`` that
        there is.
        """
        text = metrics.render()[0].decode()
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = sample.labels
                label = labels.get("peer", labels.get("event", labels.get("state", "")))
                found[sample.name, label] = sample.value
        return found

    def test_values(self) -> None:
        """
        Values are in base units; what is not known is left out.
        """
        values = self.read(self.metrics(peerStatus("aaaa")))
        for name, value in (
            ("round_trip_seconds", 0.0125),
            ("jitter_seconds", 0.0005),
            ("loss_ratio", 0.25),
            ("unchanged_seconds", 3.0),
            ("frames_total", 90.0),
            ("frames_lost_total", 2.0),
            ("media_bytes_total", 1000.0),
            ("info", 1.0),
        ):
            self.assertEqual(values[f"rootstream_peer_{name}", "aaaa"], value, name)
        self.assertNotIn(("rootstream_peer_latency_seconds", "aaaa"), values)
        self.assertEqual(values["rootstream_uptime_seconds", ""], 5.0)
        self.assertEqual(values["rootstream_recording", ""], 1.0)
        self.assertEqual(values["rootstream_pages", ""], 3.0)
        self.assertEqual(values["rootstream_peers", "CONNECTED"], 1.0)
        self.assertIn(("process_cpu_seconds_total", ""), values)

    def test_events(self) -> None:
        """
        Events are counted by name.
        """
        metrics = self.metrics()
        log = EventLog(None)
        log.subscribe(metrics.happened)
        log.write("network", cause="a")
        log.write("network", cause="b")
        log.write("stats", "aaaa")
        values = self.read(metrics)
        self.assertEqual(values["rootstream_events_total", "network"], 2.0)
        self.assertEqual(values["rootstream_events_total", "stats"], 1.0)

    def test_manyPeers(self) -> None:
        """
        However many peers there are, labels are bounded: the rest is summed.
        """
        peers = [peerStatus(f"peer-{n}") for n in range(MAX_PEERS + 3)]
        values = self.read(self.metrics(*peers))
        labels = {
            label for name, label in values if name.startswith("rootstream_peer_")
        }
        self.assertEqual(len(labels), MAX_PEERS + 1)
        self.assertEqual(values["rootstream_peer_frames_total", "other"], 270.0)
        self.assertNotIn(("rootstream_peer_loss_ratio", "other"), values)
        self.assertEqual(values["rootstream_peers", "CONNECTED"], MAX_PEERS + 3.0)

    def test_hostileName(self) -> None:
        """
        A name adds no metric, and files are nobody's business.
        """
        metrics = self.metrics(peerStatus("aaaa", name=HOSTILE))
        names = {name for name, _ in self.read(metrics)}
        self.assertNotIn("rootstream_evil", names)
        self.assertNotIn(b"secret", metrics.render()[0])

    def test_promtool(self) -> None:
        """
        Prometheus' own check has nothing to say, with peers and without.
        """
        full = self.metrics(
            peerStatus("aaaa", name=HOSTILE, latency_ms=20.0), peerStatus("bbbb")
        )
        full.happened({"event": "path"})
        for metrics in (full, self.metrics()):
            body, kind = metrics.render()
            self.assertTrue(kind.startswith("text/plain; version=0.0.4"))
            self.assertEqual(promtool("check", "metrics", data=body), "")

    def test_promtoolComplains(self) -> None:
        """
        That check sees what is wrong.
        """
        self.assertNotEqual(
            promtool("check", "metrics", data=b"# TYPE a_total gauge\na_total 1\n"), ""
        )


class ExamplesTests(SynchronousTestCase):
    """
    Tests for the alerts and the dashboard in ``docs/``.
    """

    def test_alerts(self) -> None:
        """
        Prometheus understands the rules.
        """
        self.assertEqual(promtool("check", "rules", str(DOCS / "alerts.yml")), "")

    def test_namesExist(self) -> None:
        """
        Rules, dashboard and documentation name only metrics that there are, and the
        documentation all of ours.
        """
        metrics = Metrics(
            lambda: ProgramStatus(
                "host", "1", 0.0, (peerStatus("aaaa", latency_ms=1.0),)
            ),
            lambda: 0,
        )
        metrics.happened({"event": "path"})
        text = metrics.render()[0].decode()
        known = set(re.findall(r"^(\w+)[ {]", text, re.M))
        ours = {name for name in known if name.startswith("rootstream_")}
        named = {
            name: set(re.findall(r"\b(?:rootstream|process)_\w+", read(name)))
            for name in ("alerts.yml", "dashboard.json", "metrics.rst")
        }
        for name, names in named.items():
            self.assertEqual(names - known, set(), name)
        self.assertEqual(ours - named["metrics.rst"], set())

    def test_dashboard(self) -> None:
        """
        The dashboard is JSON with panels that do not lie on each other, whose
        expressions Prometheus understands.
        """
        dashboard = json.loads(read("dashboard.json"))
        places = set()
        expressions: list[Any] = []
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            places.add((place["x"], place["y"]))
            expressions += [target["expr"] for target in panel["targets"]]
        self.assertEqual(len(places), len(dashboard["panels"]))
        rules = [
            {"record": f"panel:{n}", "expr": expression}
            for n, expression in enumerate(expressions)
        ]
        path = Path(self.mktemp())
        # JSON is YAML, too.
        path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
        self.assertEqual(promtool("check", "rules", str(path)), "")


def read(name: str) -> str:
    """
    A file of ``docs/``.
    """
    return (DOCS / name).read_text("utf-8")
