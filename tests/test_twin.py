"""
Ten thousand runs of the twin, and proof that its witness sees what it is there for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rootstream.protocol import channel, failover
from rootstream.protocol.channel import ReliableReceiver, ReliableSender
from rootstream.protocol.handshakes import Indices
from rootstream.protocol.liveness import Liveness
from rootstream.protocol.packing import Packing
from rootstream.protocol.paths import Paths
from rootstream.protocol.replay import ReplayWindow
from rootstream.protocol.session import Session
from tests.twin import WHOLE_AFTER, play
from tests.witness import Violation

ROOT = Path(__file__).resolve().parent.parent
SEEDS = 10_000
#: So many runs are more than enough for each of the mistakes below to be seen.
FEW = 500


def shareOfRuns(share: int, of: int) -> list[list[str]]:
    """
    Play each ``of``-th run in a process of its own.  Returns what it prints: seed,
    seconds until heard, seconds until returned, milliseconds, words.
    """
    numbers = map(str, (share, SEEDS, of))
    done = subprocess.run(
        [sys.executable, "-m", "tests.twin", *numbers],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return [line.split(maxsplit=4) for line in done.stdout.splitlines()]


class TwinTests(SynchronousTestCase):
    """
    Two links against everything, from seeds.
    """

    def test_manySeeds(self) -> None:
        """
        F20, F29 to F31, F40, F45, F46, F48 to F50, F53: whatever happens, and in
        whichever order, INPUT and CONTROL arrive once and in order, no packet is
        accepted twice, no counter used twice, nothing grows past its limit, and once
        the network is whole both sides are on UDP, under the same keys: within two
        seconds in nine runs of ten, within four in all but one of a hundred, and within
        eight always.
        """
        processors = os.cpu_count() or 1
        with ThreadPoolExecutor(processors) as pool:
            shares = pool.map(
                lambda share: shareOfRuns(share, processors), range(processors)
            )
            runs = [run for each in shares for run in each]
        self.assertEqual(len(runs), SEEDS)
        failed = [f"python -m tests.twin {run[0]}: {run[4]}" for run in runs if run[4:]]
        self.assertEqual(failed, [])
        for column in (1, 2):
            times = sorted(float(run[column]) for run in runs)
            self.assertLessEqual(times[-1], WHOLE_AFTER)
            self.assertLessEqual(times[SEEDS * 99 // 100], 4)
            self.assertLessEqual(times[SEEDS * 9 // 10], 2)

    def test_sameStory(self) -> None:
        """
        Seeds always tell the same story, so that a failure can be run again.
        """
        stories: list[list[str]] = [[], []]
        for story in stories:
            for seed in range(5):
                play(seed, story.append)
        self.assertEqual(*stories)
        self.assertTrue(any("the network heals" in line for line in stories[0]))


class WitnessTests(SynchronousTestCase):
    """
    The twin with a mistake put into the code: some run must fail, and say why.
    """

    def assertSeen(self, words: str) -> None:
        """
        One of the first runs fails with these words.
        """
        seen = set()
        for seed in range(FEW):
            try:
                play(seed)
            except Violation as violation:
                if words in str(violation):
                    return
                seen.add(str(violation))
        self.fail(f"no run says {words!r}; they say {sorted(seen)}")

    def test_replay(self) -> None:
        """
        F29: a packet that is accepted twice.
        """
        self.patch(ReplayWindow, "check", lambda window, counter: True)
        self.assertSeen("accepted twice")

    def test_counter(self) -> None:
        """
        A counter that two packets have.
        """
        seal = Session.sealMany

        def twice(session: Session, batch: list[bytes]) -> list[bytes]:
            packets = seal(session, batch)
            session.sendCounter -= session.sendCounter % 7 == 0
            return packets

        self.patch(Session, "sealMany", twice)
        self.assertSeen("used twice under one key")

    def test_lostMessage(self) -> None:
        """
        A message that is not sent again.
        """
        self.patch(channel, "MAX_RESEND_WAIT", 1e9)
        due = ReliableSender.due

        def once(sender: ReliableSender, now: float, rto: float) -> object:
            return due(sender, now, 1e9)

        self.patch(ReliableSender, "due", once)
        self.patch(ReliableSender, "nextTimer", lambda sender: None)
        self.assertSeen("INPUT")

    def test_doubleMessage(self) -> None:
        """
        A message that is delivered whenever it comes.
        """
        self.patch(ReliableReceiver, "receive", lambda receiver, seq, body: [body])
        self.assertSeen("arrived again")

    def test_notReset(self) -> None:
        """
        A peer that starts again and is taken for the one before.
        """
        self.patch(ReliableReceiver, "reset", lambda receiver: None)
        self.assertSeen("before its turn")

    def test_standby(self) -> None:
        """
        F48: a standby path that does not get what was under way.
        """
        self.patch(Packing, "again", lambda packing, state: None)
        self.assertSeen("although TCP carried")

    def test_return(self) -> None:
        """
        A session that never leaves TCP.
        """
        self.patch(failover, "PROBES_TO_RETURN", 1e9)
        self.assertSeen("not on UDP")

    def test_paths(self) -> None:
        """
        F45: paths that are never forgotten.
        """
        self.patch(Paths, "trim", lambda paths, new: None)
        self.assertSeen("paths not validated")

    def test_indices(self) -> None:
        """
        An index that is never released.
        """
        self.patch(Indices, "release", lambda indices, index: None)
        self.assertSeen("indices")

    def test_spin(self) -> None:
        """
        A timer that is always due.
        """
        self.patch(Liveness, "nextTimer", lambda liveness, roundTrip: 0.0)
        self.assertSeen("timers within")
