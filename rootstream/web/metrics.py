"""
What a program is doing, for Prometheus (docs/metrics.rst).

Everything is read from the frozen values of `rootstream.status` when it is asked for.
Rates are left to those who ask: the counters are here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from rootstream.status import PeerStatus, ProgramStatus

__all__ = ["Metrics"]

#: Peers with numbers of their own; the rest are one, ``other``.
MAX_PEERS: Final = 64
OTHER: Final = "other"

#: Gauges of a peer: name, help, field, and what makes a base unit of it.
_GAUGES: Final = (
    ("round_trip_seconds", "Round-trip time to the peer.", "rtt_ms", 1e-3),
    ("jitter_seconds", "Variation of the round-trip time.", "jitter_ms", 1e-3),
    ("loss_ratio", "Share of packets lost in the last second.", "loss", 1.0),
    ("latency_seconds", "Median from capture to receipt.", "latency_ms", 1e-3),
    ("unchanged_seconds", "Time since the session last moved.", "since", 1.0),
)
_COUNTERS: Final = (
    ("frames", "Video frames sent or received.", "frames"),
    ("frames_lost", "Video frames that never became whole.", "lost"),
    ("media_bytes", "Bytes of packets sent or received.", "bytes"),
)


class Metrics(Collector):
    """
    A registry of our own: nothing that another library counts is told.
    """

    def __init__(
        self, status: Callable[[], ProgramStatus], pages: Callable[[], int]
    ) -> None:
        self._status = status
        self._pages = pages
        self._events: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def happened(self, entry: Mapping[str, Any]) -> None:
        """
        Count an event; their names are all our own.
        """
        self._events[entry["event"]] += 1

    def render(self) -> tuple[bytes, str]:
        """
        All numbers in Prometheus' text format, and its content type.
        """
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def describe(self) -> Iterable[Metric]:
        """
        Nothing is known before somebody asks.
        """
        return ()

    def collect(self) -> Iterable[Metric]:
        """
        The numbers of this moment.
        """
        status = self._status()
        yield InfoMetricFamily(
            "rootstream",
            "Which program this is.",
            {"role": status.role, "version": status.version},
        )
        yield GaugeMetricFamily(
            "rootstream_uptime_seconds", "Time since the start.", status.uptime_s
        )
        yield GaugeMetricFamily(
            "rootstream_recording",
            "Whether the stream is being recorded.",
            float(status.recording is not None),
        )
        yield GaugeMetricFamily(
            "rootstream_pages", "Pages that are open.", self._pages()
        )
        happened = CounterMetricFamily(
            "rootstream_events", "Events by name (docs/events.rst).", labels=["event"]
        )
        for event, count in sorted(self._events.items()):
            happened.add_metric([event], count)
        yield happened
        states = GaugeMetricFamily(
            "rootstream_peers", "Peers by state.", labels=["state"]
        )
        for state, count in sorted(Counter(p.state for p in status.peers).items()):
            states.add_metric([state], count)
        yield states
        yield from _ofPeers(status.peers[:MAX_PEERS], status.peers[MAX_PEERS:])


def _ofPeers(
    peers: tuple[PeerStatus, ...], rest: tuple[PeerStatus, ...]
) -> Iterable[Metric]:
    about = InfoMetricFamily(
        "rootstream_peer",
        "Who a peer is, and the way to it.",
        labels=["peer"],
    )
    for peer in peers:
        about.add_metric(
            [peer.fingerprint],
            {
                "name": peer.name,
                "state": peer.state,
                "transport": peer.transport or "none",
            },
        )
    yield about
    for name, words, field, unit in _GAUGES:
        gauge = GaugeMetricFamily(f"rootstream_peer_{name}", words, labels=["peer"])
        for peer in peers:
            value = getattr(peer, field)
            if value is not None:
                gauge.add_metric([peer.fingerprint], round(value * unit, 9))
        yield gauge
    for name, words, field in _COUNTERS:
        counter = CounterMetricFamily(f"rootstream_peer_{name}", words, labels=["peer"])
        for peer in peers:
            counter.add_metric([peer.fingerprint], getattr(peer, field))
        if rest:
            counter.add_metric([OTHER], sum(getattr(peer, field) for peer in rest))
        yield counter
