"""
Tests for `rootstream.peersfile`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import NoReturn

from twisted.trial.unittest import SynchronousTestCase

from rootstream import peersfile
from rootstream.authorized import INPUT, VIEW, AuthorizedPeers
from rootstream.errors import BadPeersFile, LocalError
from rootstream.identity import formatCode
from rootstream.peersfile import PeersFile
from tests.test_authorized import ANNA, BOB, CARL, text, twinOf


class PeersFileTests(SynchronousTestCase):
    """
    A ``peers`` file that is changed.
    """

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.home.mkdir(mode=0o700)
        self.path = self.home / "peers"
        self.file = PeersFile(self.path)

    def write(self, *lines: str) -> None:
        self.path.write_text("\n".join(lines))

    def lines(self) -> list[str]:
        return self.path.read_text().split("\n")

    def tearDown(self) -> None:
        # Whatever happened, nothing is left over.
        self.assertEqual(
            {path.name for path in self.home.iterdir()} - {"peers", "peers.lock"}, set()
        )

    def test_first(self) -> None:
        """
        The first peer makes the file, which is its owner's alone; a host reads it.
        """
        self.assertEqual(self.file.listed(), [])
        self.assertEqual(self.file.add(ANNA, text(ANNA), INPUT, "Anna"), INPUT)
        self.assertEqual(self.lines(), [f"{text(ANNA)} rights=view,input Anna", ""])
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        [peer] = AuthorizedPeers(self.path, (), False).listed()
        self.assertEqual((peer.name, peer.rights), ("Anna", INPUT))

    def test_kept(self) -> None:
        """
        Comments, blank lines and order stay, whatever is changed.
        """
        self.write("# Mine", "", f"{text(ANNA)} Anna  # until May", "  # end")
        self.file.add(BOB, text(BOB), VIEW, "Bob")
        self.file.setRights("Anna", INPUT)
        self.file.rename("Anna", "Anne")
        self.assertEqual(
            self.lines(),
            [
                "# Mine",
                "",
                f"{text(ANNA)} rights=view,input Anne  # until May",
                "  # end",
                f"{text(BOB)} rights=view Bob",
                "",
            ],
        )
        self.assertEqual(self.file.revoke("Anne").name, "Anne")
        self.assertEqual(
            self.lines(), ["# Mine", "", "  # end", f"{text(BOB)} rights=view Bob", ""]
        )

    def test_known(self) -> None:
        """
        One who is there already keeps the line, its name and what it may; a new
        address is taken, and an empty name filled in.
        """
        self.write(f"{text(ANNA)} rights=view,input Anna # friend", text(BOB))
        self.assertEqual(self.file.add(ANNA, text(ANNA), VIEW, "laptop"), INPUT)
        where = formatCode(BOB, "192.0.2.1")
        self.assertEqual(self.file.add(BOB, where, frozenset(), "Bob"), VIEW)
        self.file.add(BOB, text(BOB), frozenset(), "Robert")
        self.assertEqual(
            self.lines(),
            [
                f"{text(ANNA)} rights=view,input Anna # friend",
                f"{where} rights=view Bob",
                "",
            ],
        )

    def test_twin(self) -> None:
        """
        F16: the negative of a key that is there is not added.
        """
        self.write("", text(ANNA))
        said = str(
            self.assertRaises(
                LocalError, self.file.add, twinOf(ANNA), text(twinOf(ANNA)), VIEW, ""
            )
        )
        self.assertIn("line 2 has the twin", said)

    def test_find(self) -> None:
        """
        A peer is found by fingerprint or by name, and one that is ambiguous or unknown
        is not guessed.
        """
        self.write(f"{text(ANNA)} Anna", f"{text(BOB)} Bob", f"{text(CARL)} Bob")
        self.assertEqual(self.file.find("Anna").code.key, ANNA)
        self.assertEqual(self.file.find(BOB.fingerprint).code.key, BOB)
        for who, said in (
            ("Bob", "2 peers are called 'Bob'"),
            ("", "nobody called ''"),
            ("\x1b[2J", "nobody called '[2J'"),
        ):
            error = str(self.assertRaises(LocalError, self.file.find, who))
            self.assertIn(said, error)
            self.assertRaises(LocalError, self.file.revoke, who)

    def test_names(self) -> None:
        """
        F74: no name, from wherever, brings a line, a comment or rights of its own.
        """
        evil = f"x\n{text(BOB)}\u2028 # \x1b[2J"
        self.file.add(ANNA, text(ANNA), VIEW, evil)
        [anna] = self.file.listed()
        self.assertEqual(anna.code.key, ANNA)
        self.assertNotIn("#", self.path.read_text())
        self.file.rename(ANNA.fingerprint, "rights=view,input")
        [anna] = self.file.listed()
        self.assertEqual((anna.name, anna.rights), ("rights=view,input", VIEW))

    def test_badNames(self) -> None:
        """
        A name that is empty or somebody else's is refused; one's own is not.
        """
        self.write(f"{text(ANNA)} Anna", f"{text(BOB)} Bob")
        for name in ("", " # ", "\x1b", "Bob"):
            self.assertRaises(LocalError, self.file.rename, "Anna", name)
        self.assertEqual(self.file.rename("Bob", "Bob").name, "Bob")

    def test_broken(self) -> None:
        """
        F87: a file with a bad line is changed by nobody.
        """
        self.write(text(ANNA), "nonsense")
        before = self.path.read_bytes()
        for change in (
            lambda: self.file.add(BOB, text(BOB), VIEW, ""),
            lambda: self.file.revoke(ANNA.fingerprint),
            lambda: self.file.listed(),
        ):
            said = str(self.assertRaises(BadPeersFile, change))
            self.assertIn("line 2", said)
        self.assertEqual(self.path.read_bytes(), before)

    def test_diskFull(self) -> None:
        """
        F81: a change that cannot be written says so and leaves the old file whole.
        """
        self.write(text(ANNA), "")
        before = self.path.read_bytes()

        def full(*_: object) -> NoReturn:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        for call in ("fsync", "rename"):
            with self.subTest(call):
                patch = self.patch(os, call, full)
                said = str(
                    self.assertRaises(
                        LocalError, self.file.add, BOB, text(BOB), VIEW, ""
                    )
                )
                patch.restore()
                self.assertIn("No space left", said)
                self.assertEqual(self.path.read_bytes(), before)

    def test_leftover(self) -> None:
        """
        What a killed program left half written is no hindrance.
        """
        (self.home / ".peers.new").write_text("half")
        self.file.add(ANNA, text(ANNA), VIEW, "")
        self.assertEqual(len(self.file.listed()), 1)

    def test_link(self) -> None:
        """
        A file that is a link stays one.
        """
        elsewhere = Path(self.mktemp()).absolute()
        elsewhere.mkdir(mode=0o700)
        self.path.symlink_to(elsewhere / "list")
        self.file.add(ANNA, text(ANNA), VIEW, "")
        self.assertTrue(self.path.is_symlink())
        self.assertEqual(len(self.file.listed()), 1)

    def test_locked(self) -> None:
        """
        While another program changes the file this one waits, and says so when that
        does not end.
        """
        self.write(text(ANNA), "")
        waits: list[float] = []
        other = os.open(self.home / "peers.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(other, fcntl.LOCK_EX)

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if sum(waits) > 1.0 and len(self.file.listed()) == 1:
                # It has added one meanwhile, which must not be lost.
                self.write(text(ANNA), text(CARL), "")
                fcntl.flock(other, fcntl.LOCK_UN)

        self.patch(peersfile.time, "sleep", wait)
        self.file.add(BOB, text(BOB), VIEW, "")
        self.assertEqual(len(self.file.listed()), 3)
        fcntl.flock(other, fcntl.LOCK_EX)
        said = str(self.assertRaises(LocalError, self.file.revoke, BOB.fingerprint))
        self.assertIn("keeps changing", said)
        self.assertLess(sum(waits), 5.0)
        os.close(other)

    def test_noDescriptors(self) -> None:
        """
        No change leaves a file open.
        """
        before = len(os.listdir("/dev/fd"))
        self.file.add(ANNA, text(ANNA), VIEW, "")
        self.assertRaises(LocalError, self.file.revoke, "nobody")
        self.assertEqual(len(os.listdir("/dev/fd")), before)
