"""
Whether the tests notice when a protection is gone: ``python -m tests.mutations``.

Each protection of the table is taken out of a copy of the sources, and the test that
is named for it must fail then.  A test that passes all the same protects nothing.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTATIONS", "Mutation", "main"]

ROOT = Path(__file__).resolve().parent.parent
#: What the tests need of the sources.
NEEDED = ("rootstream", "tests", "twisted")
#: Seconds for one test; those here take milliseconds.
PATIENCE = 60.0
WORKERS = 2
_SUMMARY = re.compile(r"^FAILED \((?:\w+=\d+, )*failures=\d+", re.MULTILINE)
_ONE = re.compile(r"^Ran 1 tests ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutation:
    """
    A protection, the number of the attack that it is there for or nothing, the text in
    ``file`` that is the protection, what stands there once it is gone, and the test
    that fails then.
    """

    protection: str
    fault: str
    file: str
    original: str
    replacement: str
    test: str


MUTATIONS = (
    Mutation(
        "the AEAD tag is checked before the counter counts as seen",
        "F32",
        "rootstream/protocol/session.py",
        "if not replay.check(counter):",
        "if not replay.mark(counter):",
        "tests.test_session.OpenTests.test_farCounters",
    ),
    Mutation(
        "a packet opens once",
        "F29",
        "rootstream/protocol/session.py",
        "if not replay.check(counter):",
        "if False:",
        "tests.test_session.OpenTests.test_replayed",
    ),
    Mutation(
        "sending stops at 2^40 packets",
        "F33",
        "rootstream/protocol/session.py",
        "if sealer is None or counter + len(batch) > REJECT_AFTER_PACKETS:",
        "if sealer is None:",
        "tests.test_session.SealTests.test_limit",
    ),
    Mutation(
        "keys die at 180 s",
        "F41",
        "rootstream/protocol/session.py",
        "or now - self.createdAt >= REJECT_AFTER_TIME",
        "or False",
        "tests.test_session.LifeTests.test_dead",
    ),
    Mutation(
        "the keys before the current ones go after 15 s",
        "F41",
        "rootstream/protocol/slots.py",
        "self.previous.deadAt = min(self.previous.deadAt, now + PREVIOUS_KEY_LIFE)",
        "pass",
        "tests.test_slots.EstablishTests.test_previous",
    ),
    Mutation(
        "an INIT needs a right mac1",
        "F12",
        "rootstream/protocol/node.py",
        "if not invitation.checkMac1(self._mac1Key):",
        "if False:",
        "tests.test_faults.HandshakeFaultTests.test_wrongResponder",
    ),
    Mutation(
        "under load a stranger shows a cookie",
        "F2",
        "rootstream/protocol/node.py",
        "if not invitation.checkMac2(self._cookies.valid(path, now)):",
        "if False:",
        "tests.test_node.RefusalTests.test_load",
    ),
    Mutation(
        "a cookie is good for one address and port",
        "F9",
        "rootstream/protocol/cookies.py",
        '+ port.to_bytes(2, "little")',
        "+ bytes(2)",
        "tests.test_cookies.CookieTests.test_elsewhere",
    ),
    Mutation(
        "who is not on the list hears nothing",
        "F13",
        "rootstream/protocol/node.py",
        "remote in self._links or self._admits(remote)",
        "True",
        "tests.test_faults.HandshakeFaultTests.test_unauthorised",
    ),
    Mutation(
        "an ephemeral key is taken once",
        "F5",
        "rootstream/protocol/node.py",
        "if invitation.ephemeral in fresh.ephemerals:",
        "if False:",
        "tests.test_node.RefusalTests.test_sameEphemeral",
    ),
    Mutation(
        "an older INIT needs a cookie of its source",
        "F5",
        "rootstream/protocol/node.py",
        "if not newer and payload.challenge not in self._cookies.valid(path, now):",
        "if False:",
        "tests.test_faults.HandshakeFaultTests.test_delayedInit",
    ),
    Mutation(
        "points of low order are refused",
        "F14",
        "rootstream/protocol/noise.py",
        'raise BadPacket("X25519 gave an all-zero result") from error',
        "return bytes(KEY)",
        "tests.test_noise.HandshakeTests.test_lowOrderEphemerals",
    ),
    Mutation(
        "an INIT replaces no session before it is confirmed",
        "F18",
        "rootstream/protocol/link.py",
        "self._slots.offer(Slot(session, path, payload.instance, 0.0), now)",
        "self._establish(Slot(session, path, payload.instance, 0.0), now)",
        "tests.test_faults.HandshakeFaultTests.test_stolenResponderKey",
    ),
    Mutation(
        "who answers sends nothing before it is confirmed",
        "F5",
        "rootstream/protocol/slots.py",
        "self._half[slot.session.localIndex] = slot",
        "self.current = self._half[slot.session.localIndex] = slot",
        "tests.test_faults.HandshakeFaultTests.test_initReplayedAfterRestart",
    ),
    Mutation(
        "a forged RESP leaves the handshake as it was",
        "F7",
        "rootstream/protocol/noise.py",
        "symmetric = self._symmetric.copy()\n        ephemeral",
        "symmetric = self._symmetric\n        ephemeral",
        "tests.test_faults.HandshakeFaultTests.test_forgedResps",
    ),
    Mutation(
        "one RETRY is honoured for each INIT",
        "F8",
        "rootstream/protocol/handshake.py",
        "if self._retried:",
        "if False:",
        "tests.test_handshake.RetryTests.test_once",
    ),
    Mutation(
        "a path that is not validated gets three times what came by it",
        "F43",
        "rootstream/protocol/paths.py",
        "return self.sent + size <= AMPLIFICATION * self.received",
        "return True",
        "tests.test_paths.BookTests.test_amplification",
    ),
    Mutation(
        "the old path is asked, and stays when it answers",
        "F44",
        "rootstream/protocol/paths.py",
        "if self._oldAnswered and not self.deliberate:",
        "if False:",
        "tests.test_paths.MoveTests.test_oldAnswers",
    ),
    Mutation(
        "a peer's commands are limited",
        "F73",
        "rootstream/protocol/inbox.py",
        '_limit(self._controlLimit, 1, "CONTROL", now)',
        "pass",
        "tests.test_link.SendTests.test_flood",
    ),
    Mutation(
        "what a peer says is escaped",
        "F74",
        "rootstream/protocol/frames.py",
        "if not character.isprintable():",
        "if False:",
        "tests.test_frames.CleanTextTests.test_dangerous",
    ),
    Mutation(
        "a record has the size of a packet",
        "F56",
        "rootstream/transport/tcp.py",
        "if not MIN_RECORD <= length <= MAX_PACKET:",
        "if False:",
        "tests.test_tcp.PacketStreamTests.test_badLengths",
    ),
    Mutation(
        "a stranger's connection ends after 5 s",
        "F57",
        "rootstream/transport/tcp.py",
        "self._clock.callLater(STRANGER_TIMEOUT, self._expire, stream)",
        "self._clock.callLater(100 * STRANGER_TIMEOUT, self._expire, stream)",
        "tests.test_tcp.StrangersTests.test_slowLoris",
    ),
    Mutation(
        "a list of peers that others may write is refused",
        "F79",
        "rootstream/authorized.py",
        "if status.st_mode & 0o022 and reach & 0o011:",
        "if False:",
        "tests.test_authorized.ReadingTests.test_writableByOthers",
    ),
    Mutation(
        "a list of peers that belongs to another user is refused",
        "F79",
        "rootstream/authorized.py",
        "if status.st_uid not in (0, os.geteuid()):",
        "if False:",
        "tests.test_authorized.ReadingTests.test_otherOwner",
    ),
    Mutation(
        "a key that others may read is refused",
        "F79",
        "rootstream/home.py",
        "if status.st_mode & 0o077:",
        "if False:",
        "tests.test_identity.FilesTests.test_keyMode",
    ),
    Mutation(
        "only the owner and root command a program",
        "",
        "rootstream/control.py",
        "if _uidOf(connection) not in (0, os.geteuid()):",
        "if False:",
        "tests.test_control.ControlSocketTests.test_strangers",
    ),
    Mutation(
        "the page has no names but its own",
        "F90",
        "rootstream/web/guard.py",
        "if len(given) != 1 or given[0].lower() not in names:",
        "if len(given) != 1:",
        "tests.test_web_site.LettingInTests.test_host",
    ),
    Mutation(
        "other sites' pages ask nothing",
        "F91",
        "rootstream/web/guard.py",
        "if foreign or (needed and not origins):",
        "if False:",
        "tests.test_web_site.LettingInTests.test_socketOrigin",
    ),
    Mutation(
        "what asks has read our page",
        "F89",
        "rootstream/web/guard.py",
        "if len(given) != 1 or not hmac.compare_digest(given[0], self.csrf.encode()):",
        "if False:",
        "tests.test_web_site.LettingInTests.test_foreignPost",
    ),
    Mutation(
        "the page needs its key",
        "F93",
        "rootstream/web/guard.py",
        "if cookie is not None and hmac.compare_digest(cookie, self.cookie.encode()):",
        "if cookie is not None:",
        "tests.test_web_site.LettingInTests.test_key",
    ),
    Mutation(
        "a phrase is good for three tries",
        "",
        "rootstream/reception.py",
        "self._tries -= 1",
        "pass",
        "tests.test_reception.PairingTests.test_threeTries",
    ),
)


class _Copy:
    """
    A copy of the sources, which one thread changes and runs.
    """

    def __init__(self, root: Path, origin: Path) -> None:
        self.root = root
        ignored = shutil.ignore_patterns("_trial_temp*", "dropin.cache")
        for name in NEEDED:
            shutil.copytree(origin / name, root / name, ignore=ignored)

    def run(self, *tests: str, cache: bool = False) -> str:
        """
        What trial says of these tests; with ``cache``, what is compiled is kept.
        """
        command = [sys.executable, "-m", "twisted.trial", "--temp-directory", "trial"]
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if not cache:
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
        try:
            done = subprocess.run(
                [*command, *tests],
                cwd=self.root,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return f"no end within {PATIENCE:.0f} s"
        return done.stdout

    def without(self, mutation: Mutation) -> str | None:
        """
        What is wrong, in words: the test does not fail without the protection.
        """
        path = self.root / mutation.file
        text = path.read_text("utf-8")
        if text.count(mutation.original) != 1:
            return f"{mutation.file} has the text {text.count(mutation.original)} times"
        # A compiled file counts as fresh by its second, and its size.
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
        path.write_text(text.replace(mutation.original, mutation.replacement), "utf-8")
        try:
            said = self.run(mutation.test)
        finally:
            path.write_text(text, "utf-8")
        if _ONE.search(said) and _SUMMARY.search(said):
            return None
        return f"{mutation.test} does not fail:\n{said[-2000:]}"


def _work(copy: _Copy, waiting: queue.SimpleQueue[Mutation], wrong: list[str]) -> None:
    while True:
        try:
            mutation = waiting.get_nowait()
        except queue.Empty:
            return
        began = time.monotonic()
        fault = copy.without(mutation)
        known = "FAILED" if fault else "noticed"
        seconds = time.monotonic() - began
        number = mutation.fault or "-"
        print(f"{known} {seconds:4.1f} s  {number:4} {mutation.protection}", flush=True)
        if fault is not None:
            wrong.append(f"{mutation.protection}: {fault}")


def main(mutations: tuple[Mutation, ...] = MUTATIONS) -> int:
    """
    Take out each protection; returns 0 when its test fails each time.
    """
    with tempfile.TemporaryDirectory() as name:
        first = _Copy(Path(name, "0"), ROOT)
        said = first.run(*sorted({each.test for each in mutations}), cache=True)
        if not re.search(r"^PASSED \(successes=\d+\)$", said, re.MULTILINE):
            print(f"with all protections the tests do not pass:\n{said[-4000:]}")
            return 1
        waiting: queue.SimpleQueue[Mutation] = queue.SimpleQueue()
        for mutation in mutations:
            waiting.put(mutation)
        wrong: list[str] = []
        others = [_Copy(Path(name, str(n)), Path(name, "0")) for n in range(1, WORKERS)]
        threads = [
            threading.Thread(target=_work, args=(copy, waiting, wrong))
            for copy in (first, *others)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for fault in wrong:
        print(fault)
    noticed = len(mutations) - len(wrong)
    print(f"{noticed} of {len(mutations)} protections are missed when they are gone")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
