"""
Tests for `rootstream.authorized`.
"""

from __future__ import annotations

import base64
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from twisted.trial.unittest import SynchronousTestCase

from rootstream.authorized import (
    INPUT,
    VIEW,
    AuthorizedPeer,
    AuthorizedPeers,
    formatRights,
    parseRights,
)
from rootstream.errors import BadCode, BadPeersFile, LocalError
from rootstream.identity import Identity, PeerKey, fingerprintOf, formatCode


def keyOf(number: int) -> PeerKey:
    return Identity.fromSeed(bytes([number]) * 32, "").key


def twinOf(key: PeerKey) -> PeerKey:
    """
    Return the negative of a key.
    """
    return PeerKey.fromEd25519(key.ed25519[:-1] + bytes([key.ed25519[-1] ^ 0x80]))


def text(key: PeerKey) -> str:
    return formatCode(key, None)


ANNA, BOB, CARL = keyOf(1), keyOf(2), keyOf(3)


class AuthorizedPeersTestCase(SynchronousTestCase):
    """
    A ``peers`` file.
    """

    def setUp(self) -> None:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(mode=0o700)
        self.path = directory / "peers"

    def write(self, *lines: str) -> None:
        """
        Replace the file as an editor does that is careful: by another.
        """
        draft = self.path.with_suffix(".draft")
        draft.write_text("".join(f"{line}\n" for line in lines))
        draft.chmod(0o600)
        draft.rename(self.path)

    def load(
        self, allow: Sequence[PeerKey] = (), allowAny: bool = False
    ) -> AuthorizedPeers:
        return AuthorizedPeers(self.path, allow, allowAny)

    def refusal(self, allow: Sequence[PeerKey] = ()) -> str:
        """
        Return what `BadPeersFile` says, which must be one line of bounded length.
        """
        said = str(self.assertRaises(BadPeersFile, self.load, allow))
        self.assertTrue(said.isprintable(), said)
        self.assertLess(len(said), 300 + len(str(self.path)))
        return said


class ReadingTests(AuthorizedPeersTestCase):
    """
    The file is read line by line.
    """

    def test_missing(self) -> None:
        """
        Without a file nobody may connect.
        """
        peers = self.load()
        self.assertEqual(peers.listed(), ())
        self.assertIs(peers.allowed(ANNA.x25519), None)

    def test_lines(self) -> None:
        """
        A line is a key or a code, then perhaps a name; blank lines and comments
        do not count.
        """
        self.write(
            "# Who may watch",
            "",
            f"{text(ANNA)}",
            f"  {text(BOB)}@[::1]:9877\tBob's  laptop",
            "   # nobody else",
            f"{text(CARL)}@host Carl 2#1 # until May\r",
        )
        self.assertEqual(
            self.load().listed(),
            (
                AuthorizedPeer(ANNA.x25519, ANNA.fingerprint, ""),
                AuthorizedPeer(BOB.x25519, BOB.fingerprint, "Bob's laptop"),
                AuthorizedPeer(CARL.x25519, CARL.fingerprint, "Carl 2#1"),
            ),
        )

    def test_lastLine(self) -> None:
        """
        A last line without an end is a line.
        """
        self.path.write_text(text(ANNA))
        self.assertEqual(len(self.load().listed()), 1)

    def test_byteOrderMark(self) -> None:
        """
        A byte order mark at the start is no part of the first key.
        """
        self.path.write_text(text(ANNA), encoding="utf-8-sig")
        self.assertEqual(len(self.load().listed()), 1)

    def test_names(self) -> None:
        """
        F74: a name has nothing in it that a terminal would obey.
        """
        self.write(f"{text(ANNA)} \x1b[2JAn\u202ena{'x' * 100}")
        (peer,) = self.load().listed()
        self.assertEqual(peer.name, "[2JAnna" + "x" * 57)

    def test_rights(self) -> None:
        """
        What a peer may do stands before its name: to watch, when it says nothing.
        """
        self.write(
            f"{text(ANNA)} Anna",
            f"{text(BOB)} rights=view,input\tBob rights=view",
            f"{text(CARL)} rights=view",
        )
        self.assertEqual(
            [(peer.name, peer.rights) for peer in self.load().listed()],
            [("Anna", VIEW), ("Bob rights=view", INPUT), ("", VIEW)],
        )

    def test_noRights(self) -> None:
        """
        One whose code is only kept may not connect, also where everybody may, unless
        the command line says so.
        """
        self.write(f"{text(ANNA)} rights=none Anna", f"{text(BOB)} rights=none Bob")
        peers = self.load([BOB], allowAny=True)
        self.assertIs(peers.allowed(ANNA.x25519), None)
        self.assertEqual([peer.name for peer in peers.listed()], ["Bob"])
        self.assertEqual(peers.listed()[0].rights, VIEW)

    def test_badRights(self) -> None:
        """
        A right that there is not is refused with its line and those that there are:
        nobody gets fewer or more than the file says.
        """
        for word in ("admin", "", "input", "view,view", "view,input,x", "VIEW"):
            self.write("#", f"{text(ANNA)} rights={word} Anna")
            said = self.refusal()
            self.assertIn(
                f"{self.path}, line 2: rights are 'view', 'view,input' or", said
            )
            self.assertIn(repr(word or "nothing"), said)

    def test_rightsAndBack(self) -> None:
        """
        Rights are written as they are read.
        """
        for spelt in ("view", "view,input", "none"):
            self.assertEqual(formatRights(parseRights(spelt)), spelt)
        said = str(self.assertRaises(LocalError, parseRights, "\x1b[2J" * 99))
        self.assertTrue(said.isprintable())
        self.assertLess(len(said), 200)

    def test_hiddenLine(self) -> None:
        """
        No separator but the line feed begins a line: a name from a stranger
        brings no key of its own.
        """
        for separator in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029":
            self.write(f"{text(ANNA)} Anna{separator}{text(BOB)}")
            self.assertIs(self.load().allowed(BOB.x25519), None)

    def test_badLine(self) -> None:
        """
        F15: a bad key is refused with the file, the line and what is wrong.
        """
        unsafe = base64.b64encode(b"\1" + bytes(31)).decode()
        for line, said in (
            ("Anna", "'Anna' does not begin with a key"),
            (f"{text(ANNA)}@a..b", "'a..b' is not a host"),
            (unsafe, "not a safe Ed25519 public key"),
            ("\x1b[2J" + "x" * 70000, "is too long for a code"),
        ):
            self.write("#", text(BOB), line)
            refusal = self.refusal()
            self.assertIn(f"{self.path}, line 3: ", refusal)
            self.assertIn(said, refusal)

    def test_repeated(self) -> None:
        """
        A key that is in the file twice is refused, and both lines are named: it
        would have two names.
        """
        self.write(text(ANNA), "", f"{text(ANNA)} Anna")
        self.assertIn(
            f"{self.path}, line 3: this key, or its twin (negative), is in line 1",
            self.refusal(),
        )

    def test_twin(self) -> None:
        """
        F16: of a key and its negative the second is refused, by its line.
        """
        self.write(text(ANNA), text(twinOf(ANNA)))
        self.assertIn(f"{self.path}, line 2: ", self.refusal())

    def test_notText(self) -> None:
        """
        A file that is not UTF-8 is refused.
        """
        self.path.write_bytes(b"\xff\xfe")
        self.assertIn("is not text in UTF-8", self.refusal())

    def test_endless(self) -> None:
        """
        A file of more than a megabyte is no list of peers; one of exactly a
        megabyte may be.
        """
        self.path.write_bytes(b"\n" * (1 << 20))
        self.assertEqual(self.load().listed(), ())
        self.path.write_bytes(b"\n" * ((1 << 20) + 1))
        self.assertIn("has more than 1048576 bytes", self.refusal())

    def test_writableByOthers(self) -> None:
        """
        F79: a list that others may reach and write is refused with the command
        that mends it.
        """
        self.write(text(ANNA))
        for directory, mode in ((0o755, 0o666), (0o710, 0o620), (0o701, 0o602)):
            self.path.parent.chmod(directory)
            self.path.chmod(mode)
            self.assertIn(f"run: chmod go-w {self.path}", self.refusal())

    def test_outOfReach(self) -> None:
        """
        The mode of a list does not matter in a directory that is closed to
        others, nor that of the directory if the list is closed to them.
        """
        self.write(text(ANNA))
        self.path.chmod(0o664)
        self.assertEqual(len(self.load().listed()), 1)
        self.path.chmod(0o644)
        self.path.parent.chmod(0o755)
        self.assertEqual(len(self.load().listed()), 1)

    def test_linked(self) -> None:
        """
        F79: of a list that is a link the place of the list counts, not that of
        the link.
        """
        self.write(text(ANNA))
        shared = Path(self.mktemp()).absolute()
        shared.mkdir()
        shared.chmod(0o755)
        self.path.rename(shared / "list")
        self.path.symlink_to(shared / "list")
        self.assertEqual(len(self.load().listed()), 1)
        self.path.chmod(0o666)
        self.assertIn("others may write", self.refusal())

    def test_otherOwner(self) -> None:
        """
        F79: a list that belongs to another user is refused, unless that is root.
        """
        self.write(text(ANNA))
        real = self.path.stat().st_uid
        self.patch(os, "geteuid", lambda: real + 1)
        if real == 0:
            self.load()
            os.chown(self.path, real + 2, -1)
        self.assertIn(f"run: chown {real + 1} {self.path}", self.refusal())

    def test_fifo(self) -> None:
        """
        F80: a FIFO is refused at once, not waited for.
        """

        def late(number: int, frame: FrameType | None) -> None:
            raise AssertionError("waited for a FIFO")

        old = signal.signal(signal.SIGALRM, late)
        self.addCleanup(signal.signal, signal.SIGALRM, old)
        signal.alarm(10)
        self.addCleanup(signal.alarm, 0)
        os.mkfifo(self.path, 0o600)
        self.assertIn("is not a regular file", self.refusal())

    def test_unreadable(self) -> None:
        """
        What the system refuses to open or read is refused with its reason.
        """
        self.path.symlink_to(self.path)
        self.assertIn(f"cannot read {self.path}: Too many levels", self.refusal())

    def test_noDescriptors(self) -> None:
        """
        Reading leaves no file open, whether it succeeds or not.
        """
        before = len(os.listdir("/dev/fd"))
        self.write(text(ANNA))
        self.load()
        self.path.unlink()
        self.path.mkdir()
        self.refusal()
        self.assertEqual(len(os.listdir("/dev/fd")), before)


class AllowTests(AuthorizedPeersTestCase):
    """
    ``--allow`` adds to the file, and ``--allow-any`` lets everybody in.
    """

    def test_allow(self) -> None:
        """
        An allowed key needs no line, and has no name.
        """
        peers = self.load([ANNA])
        expected = AuthorizedPeer(ANNA.x25519, ANNA.fingerprint, "")
        self.assertEqual(peers.allowed(ANNA.x25519), expected)
        self.assertIs(peers.allowed(BOB.x25519), None)

    def test_allowInput(self) -> None:
        """
        A key that may send input is let in, and may also where the file says only
        that it may watch.
        """
        self.write(f"{text(ANNA)} Anna", f"{text(BOB)} Bob")
        peers = AuthorizedPeers(self.path, [CARL], False, [ANNA, CARL])
        self.assertEqual(
            [(peer.name, peer.rights) for peer in peers.listed()],
            [("Anna", INPUT), ("Bob", VIEW), ("", INPUT)],
        )

    def test_noFile(self) -> None:
        """
        Without a file there is nothing to refresh.
        """
        peers = AuthorizedPeers(None, [ANNA], False)
        self.assertFalse(peers.refresh())
        self.assertEqual(len(peers.listed()), 1)

    def test_both(self) -> None:
        """
        A key both allowed and listed, or allowed twice, is one peer; the file
        gives its name.
        """
        self.write(f"{text(ANNA)} Anna")
        peers = self.load([BOB, ANNA, BOB])
        self.assertEqual([peer.name for peer in peers.listed()], ["Anna", ""])

    def test_twins(self) -> None:
        """
        F16: two allowed keys that are negatives of each other are refused.
        """
        said = str(self.assertRaises(BadCode, self.load, [ANNA, twinOf(ANNA)]))
        self.assertIn(twinOf(ANNA).fingerprint, said)
        self.assertIn(ANNA.fingerprint, said)

    def test_twinOfListed(self) -> None:
        """
        F16: a line with the negative of an allowed key is refused.
        """
        self.write(text(BOB), text(twinOf(ANNA)))
        said = self.refusal([ANNA])
        self.assertIn(f"{self.path}, line 2: ", said)
        self.assertIn("twin (negative) of an allowed one", said)

    def test_anybody(self) -> None:
        """
        A stranger who is let in is known by the X25519 key, and one who is
        listed by the listed name.
        """
        self.write(f"{text(ANNA)} Anna")
        peers = self.load(allowAny=True)
        self.assertEqual(
            peers.allowed(BOB.x25519),
            AuthorizedPeer(BOB.x25519, f"any:{fingerprintOf(BOB.x25519)}", ""),
        )
        anna = peers.allowed(ANNA.x25519)
        assert anna is not None
        self.assertEqual(anna.name, "Anna")
        self.assertEqual(peers.listed(), (anna,))


class RefreshTests(AuthorizedPeersTestCase):
    """
    `AuthorizedPeers.refresh` follows the file.
    """

    def setUp(self) -> None:
        super().setUp()
        self.write(text(ANNA))
        self.peers = self.load([CARL])

    def may(self) -> set[str]:
        return {peer.fingerprint for peer in self.peers.listed()}

    def test_unchanged(self) -> None:
        """
        A file that was not changed is not even opened.
        """

        def refuse(*args: object) -> int:
            raise AssertionError("opened")

        self.patch(os, "open", refuse)
        self.assertFalse(self.peers.refresh())

    def test_added(self) -> None:
        """
        A peer that was added may connect, and the allowed ones still may.
        """
        self.write(text(ANNA), text(BOB))
        self.assertTrue(self.peers.refresh())
        self.assertEqual(
            self.may(), {ANNA.fingerprint, BOB.fingerprint, CARL.fingerprint}
        )
        self.assertFalse(self.peers.refresh())

    def test_removed(self) -> None:
        """
        A peer that was removed may no longer connect.
        """
        self.write("")
        self.assertTrue(self.peers.refresh())
        self.assertIs(self.peers.allowed(ANNA.x25519), None)

    def test_fileRemoved(self) -> None:
        """
        Of a file that was removed nothing remains.
        """
        self.path.unlink()
        self.assertTrue(self.peers.refresh())
        self.assertEqual(self.may(), {CARL.fingerprint})
        self.assertFalse(self.peers.refresh())

    def test_created(self) -> None:
        """
        A file that appears only later is read then.
        """
        self.path.unlink()
        peers = self.load()
        self.write(text(BOB))
        self.assertTrue(peers.refresh())
        self.assertEqual(len(peers.listed()), 1)

    def test_sameSizeAndTime(self) -> None:
        """
        A file replaced by one of the same size and time is noticed.
        """
        status = self.path.stat()
        self.write(text(BOB))
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertTrue(self.peers.refresh())
        self.assertIn(BOB.fingerprint, self.may())

    def test_comment(self) -> None:
        """
        A file that says the same in other words is no change.
        """
        self.write("# Anna", text(ANNA))
        self.assertFalse(self.peers.refresh())

    def test_broken(self) -> None:
        """
        F87: a file that has become bad is reported and changes nothing until it
        is mended.
        """
        old = self.may()
        self.write(text(BOB), "nonsense")
        for _ in range(2):
            self.assertFalse(self.peers.refresh())
            assert self.peers.error is not None
            self.assertIn("line 2", self.peers.error)
            self.assertEqual(self.may(), old)
        self.write(text(BOB))
        self.assertTrue(self.peers.refresh())
        self.assertIs(self.peers.error, None)
        self.assertEqual(self.may(), {BOB.fingerprint, CARL.fingerprint})

    def test_mode(self) -> None:
        """
        F87: a file that others may suddenly write changes nothing; mending its
        mode is noticed.
        """
        self.path.parent.chmod(0o755)
        self.path.chmod(0o666)
        self.assertFalse(self.peers.refresh())
        assert self.peers.error is not None
        self.path.chmod(0o600)
        self.peers.refresh()
        self.assertIs(self.peers.error, None)
