"""
``python -m benchmarks.flood``: what a flood does to a host and to the stream it sends.

Real programs over a network of the laboratory (``tests/lab``), which needs root, and
somebody at the router who sends what strangers may send, 50 000 datagrams a second from
addresses that are not his.  It prints a table, or JSON with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describeMachine
from tests.lab.flooder import KINDS
from tests.lab.flooding import RATE, Flooded, flooded
from tests.lab.net import LabUnavailable, Network

__all__ = ["main"]

#: What each kind is, for who reads the table.
MEANINGS = {
    "junk": "bytes that are no packets",
    "init": "INITs without the host's key",
    "knowing": "INITs by one who has its code",
    "data": "forged DATA from anywhere",
    "viewer": "forged DATA as from the viewer",
}


def measure(kinds: Sequence[str], seconds: float, rate: int) -> list[Flooded]:
    """
    One flood after another, each on a network of its own.
    """
    found = []
    for kind in kinds:
        with tempfile.TemporaryDirectory() as directory, Network() as network:
            found.append(flooded(network, Path(directory), kind, seconds, rate))
    return found


def table(found: Sequence[Flooded]) -> str:
    """
    The measurements as text.
    """
    head = (
        f"{'flood':32}{'a second':>10}{'frames lost':>12}{'lag p99':>10}"
        f"{'processor':>11}{'(before)':>10}{'memory':>10}{'connects in':>12}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{MEANINGS[each.kind]:32}{each.rate:>10.0f}{100 * each.loss:>10.2f} %"
        f"{1000 * each.lag99:>7.1f} ms{100 * each.processor:>9.0f} %"
        f"{100 * each.processorBefore:>8.0f} %{each.grew / 1e6:>+7.1f} MB"
        f"{each.connected:>10.2f} s"
        for each in found
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The command.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flood", description="Floods of a host, measured."
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="of each flood")
    parser.add_argument("--rate", type=int, default=RATE, help="datagrams a second")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    chosen = parser.parse_args(arguments)
    kinds = chosen.kinds or KINDS
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        parser.error(f"no such flood: {unknown[0]}; there are {', '.join(KINDS)}")
    if not 0 < chosen.seconds <= 600 or not 0 < chosen.rate <= 10_000_000:
        parser.error("--seconds takes 0 to 600 and --rate 1 to 10000000")
    machine = describeMachine()
    try:
        found = measure(kinds, chosen.seconds, chosen.rate)
    except LabUnavailable as error:
        sys.stderr.write(f"benchmarks.flood: {error}\n")
        return 1
    if chosen.json:
        floods = [each.asDict() for each in found]
        json.dump({"machine": machine, "floods": floods}, sys.stdout, indent=1)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(table(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
