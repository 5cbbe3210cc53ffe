"""
What the most important protections are worth: each is taken away in a copy of the tree,
and the test that is there for it must fail.

``python -m tests.mutations`` says what it found; status 1 when a test did not notice.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
#: Seconds that a test may take with its protection gone; more is a failure as well.
PATIENCE: Final = 60

CORE: Final = "rootstream/protocol/"
#: A file, what stands in it, what is put there, and the test that must fail.
MUTATIONS: Final = [
    (
        CORE + "node.py",
        "if not invitation.checkMac1(self._mac1Key):",
        "if False:",
        "tests.test_faults.HandshakeFaultTests.test_wrongResponder",
    ),
    (
        CORE + "node.py",
        "if invitation.ephemeral in fresh.ephemerals:",
        "if False:",
        "tests.test_faults.HandshakeFaultTests.test_replayedInit",
    ),
    (
        CORE + "node.py",
        "newer = payload.timestamp > fresh.timestamp",
        "newer = True",
        "tests.test_faults.HandshakeFaultTests.test_delayedInit",
    ),
    (
        CORE + "node.py",
        "remote in self._links or self._admits(remote)",
        "True",
        "tests.test_faults.HandshakeFaultTests.test_unauthorised",
    ),
    (
        CORE + "node.py",
        "if not self._load.mayHandshake(now):",
        "if False:",
        "tests.test_node.RefusalTests.test_handshakeLimit",
    ),
    (
        CORE + "handshake.py",
        'raise BadPacket("this INIT had its RETRY")',
        "pass",
        "tests.test_handshake.RetryTests.test_once",
    ),
    (
        CORE + "cookies.py",
        '            + port.to_bytes(2, "little")\n',
        "",
        "tests.test_cookies.CookieTests.test_elsewhere",
    ),
    (
        CORE + "limiter.py",
        "if len(self._buckets) > self._maximum:",
        "if False:",
        "tests.test_limiter.SourceLimiterTests.test_bounded",
    ),
    (
        CORE + "session.py",
        "if not replay.check(counter):",
        "if False:",
        "tests.test_faults.DataFaultTests.test_replayedData",
    ),
    (
        CORE + "session.py",
        "or now - self.createdAt >= REJECT_AFTER_TIME",
        "or False",
        "tests.test_session.LifeTests.test_dead",
    ),
    (
        CORE + "session.py",
        "        self._keys = None\n        self.rest()",
        "        self.rest()",
        "tests.test_session.LifeTests.test_keysAreGone",
    ),
    (
        CORE + "session.py",
        "counter + len(batch) > REJECT_AFTER_PACKETS",
        "False",
        "tests.test_session.SealTests.test_limit",
    ),
    (
        CORE + "replay.py",
        "        if largest - counter > REPLAY_WINDOW:\n"
        "            return False\n        word",
        "        word",
        "tests.test_session.OpenTests.test_old",
    ),
    (
        CORE + "slots.py",
        "if len(self._half) >= MAX_OUTSTANDING_INITS:",
        "if False:",
        "tests.test_slots.HalfOpenTests.test_few",
    ),
    (
        CORE + "paths.py",
        "return self.sent + size <= AMPLIFICATION * self.received",
        "return True",
        "tests.test_paths.BookTests.test_amplification",
    ),
    (
        CORE + "paths.py",
        "if self._oldAnswered and not self.deliberate:",
        "if False:",
        "tests.test_faults.PathFaultTests.test_forwarder",
    ),
    (
        CORE + "frames.py",
        "if not character.isprintable():",
        "if False:",
        "tests.test_frames.CleanTextTests.test_dangerous",
    ),
    (
        "rootstream/identity.py",
        "if not crypto_core_ed25519_is_valid_point(key):",
        "if False:",
        "tests.test_identity.PeerKeyTests.test_mixedOrder",
    ),
    (
        "rootstream/home.py",
        "if status.st_mode & 0o077:",
        "if False:",
        "tests.test_home.ReadTests.test_mode",
    ),
    (
        "rootstream/transport/tcp.py",
        "elif self._sources[_source(host)] >= MAX_STRANGERS_PER_SOURCE:",
        "elif False:",
        "tests.test_tcp.StrangersTests.test_perSource",
    ),
]


def notices(tree: Path, number: int) -> bool:
    """
    Whether the test fails in a ``tree`` without the protection, which is put back.
    """
    file, original, replacement, test = MUTATIONS[number]
    path = tree / file
    text = path.read_text("utf-8")
    path.write_text(text.replace(original, replacement), "utf-8")
    try:
        ended = subprocess.run(
            [sys.executable, "-B", "-m", "twisted.trial", test],
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_text(text, "utf-8")
    # A test that cannot be run at all shows nothing.
    ran = "Ran 1 tests" in ended.stdout and "SyntaxError" not in ended.stdout
    return ran and ended.returncode != 0


def main() -> int:
    """
    The command.
    """
    unnoticed = 0
    with tempfile.TemporaryDirectory() as work:
        tree = Path(work) / "tree"
        for part in ("rootstream", "tests"):
            shutil.copytree(
                ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        for number, (file, original, _, test) in enumerate(MUTATIONS):
            seen = notices(tree, number)
            unnoticed += not seen
            what = original.strip().partition("\n")[0]
            print("noticed" if seen else "NOT NOTICED", file, repr(what), test)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
