"""
Tests for `rootstream.identity`.
"""

from __future__ import annotations

import base64
import os
import platform
import random
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.bindings import crypto_core_ed25519_add
from twisted.trial.unittest import SynchronousTestCase

from rootstream import home as homeModule
from rootstream.errors import BadCode, IdentityError
from rootstream.identity import (
    Code,
    Identity,
    PeerKey,
    checkHost,
    cleanName,
    createIdentity,
    fingerprintOf,
    formatCode,
    loadIdentity,
    loadOrCreateIdentity,
    parseCode,
)

#: RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex(
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
)
KEY64 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

#: The field's prime.
P = 2**255 - 19
#: The curve's points of order 1, 2, 4, 4, 8, 8, 8, 8 (libsodium's block list).
TORSION = [
    bytes.fromhex(text)
    for text in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    )
]


class PeerKeyTests(SynchronousTestCase):
    """
    `PeerKey.fromEd25519` accepts the keys that can be honest and no others.
    """

    def refused(self, key: bytes) -> None:
        text = str(self.assertRaises(BadCode, PeerKey.fromEd25519, key))
        self.assertIn("not a safe Ed25519 public key", text)
        self.assertIn("`rootstream identity`", text)

    def test_converted(self) -> None:
        """
        The X25519 form is the public key of the identity's X25519 private key,
        as another library computes it.
        """
        identity = Identity.fromSeed(SEED, "")
        private = X25519PrivateKey.from_private_bytes(identity.x25519Private)
        self.assertEqual(
            PeerKey.fromEd25519(PUBLIC).x25519, private.public_key().public_bytes_raw()
        )

    def test_fingerprint(self) -> None:
        """
        The fingerprint is that of the Ed25519 form, as ``b2sum -l 256`` has it.
        """
        key = PeerKey.fromEd25519(PUBLIC)
        self.assertEqual(key.ed25519, PUBLIC)
        self.assertEqual(key.fingerprint, "7849-ac30-4968-0be1")

    def test_fingerprintOfNothing(self) -> None:
        """
        A fingerprint begins as the published BLAKE2b-256 hash of no bytes does.
        """
        self.assertEqual(fingerprintOf(b""), "0e57-51c0-26e5-43b2")

    def test_smallOrder(self) -> None:
        """
        F15: a point of small order, whose secret everybody knows, is refused.
        """
        for point in TORSION:
            self.refused(point)

    def test_mixedOrder(self) -> None:
        """
        F15: a good key plus a point of small order is refused: it is one of
        several that would act as the same X25519 key.
        """
        for point in TORSION[1:]:
            self.refused(crypto_core_ed25519_add(PUBLIC, point))

    def test_notCanonical(self) -> None:
        """
        F15: each of the encodings that a field element has twice is refused in
        its larger form, with either sign.
        """
        for y in range(19):
            for sign in (0, 1 << 255):
                self.refused((y + P | sign).to_bytes(32, "little"))

    def test_negativeZero(self) -> None:
        """
        F15: the points with x = 0 are refused with the sign bit set as well.
        """
        for y in (1, P - 1):
            self.refused((y | 1 << 255).to_bytes(32, "little"))

    def test_notOnCurve(self) -> None:
        """
        F15: an encoding of no point at all is refused.
        """
        self.refused((2).to_bytes(32, "little"))

    def test_length(self) -> None:
        """
        A key of any other length is refused, and its length is said.
        """
        for size in (0, 31, 33, 64):
            text = str(self.assertRaises(BadCode, PeerKey.fromEd25519, bytes(size)))
            self.assertIn(f"has {size} bytes", text)

    def test_twin(self) -> None:
        """
        F16: a key and its negative are two Ed25519 keys and one X25519 key.
        """
        twin = PeerKey.fromEd25519(PUBLIC[:-1] + bytes([PUBLIC[-1] ^ 0x80]))
        key = PeerKey.fromEd25519(PUBLIC)
        self.assertNotEqual(twin, key)
        self.assertEqual(twin.x25519, key.x25519)


class ParseCodeTests(SynchronousTestCase):
    """
    `parseCode` reads codes and explains what is no code.
    """

    def setUp(self) -> None:
        self.key = PeerKey.fromEd25519(PUBLIC)

    def refusal(self, text: str) -> str:
        """
        Return what is said of a bad code: one printable line of bounded length.
        """
        said = str(self.assertRaises(BadCode, parseCode, text))
        self.assertTrue(said.isprintable(), said)
        self.assertLess(len(said), 300)
        return said

    def test_addresses(self) -> None:
        """
        Names, IPv4 and IPv6 addresses are understood, with and without a port.
        """
        for address, host, port in (
            ("example.com", "example.com", 9876),
            ("gaming-pc", "gaming-pc", 9876),
            ("my_pc.lan.", "my_pc.lan.", 9876),
            ("xn--bcher-kva.example:1", "xn--bcher-kva.example", 1),
            ("example.com:65535", "example.com", 65535),
            ("192.0.2.7", "192.0.2.7", 9876),
            ("192.0.2.7:80", "192.0.2.7", 80),
            ("1.example", "1.example", 9876),
            ("[::1]:9877", "::1", 9877),
            ("[::1]", "::1", 9876),
            ("::1", "::1", 9876),
            ("2001:DB8:0:0::7", "2001:db8::7", 9876),
            ("[fe80::1%eth0]:1234", "fe80::1%eth0", 1234),
        ):
            code = parseCode(f"{KEY64}@{address}")
            self.assertEqual(code, Code(self.key, host, port))

    def test_blanksAround(self) -> None:
        """
        Blanks and the end of the line around a pasted code do not matter.
        """
        self.assertEqual(parseCode(f" {KEY64}@host\r\n").host, "host")

    def test_bareKey(self) -> None:
        """
        A key alone is a code only where nobody is to be dialled.
        """
        self.assertIn("add @ and the host", self.refusal(KEY64))
        self.assertEqual(
            parseCode(KEY64, requireHost=False), Code(self.key, None, 9876)
        )

    def test_hostUnneeded(self) -> None:
        """
        Where a key would do, a code does as well.
        """
        code = parseCode(f"{KEY64}@host:1", requireHost=False)
        self.assertEqual(code, Code(self.key, "host", 1))

    def test_badKey(self) -> None:
        """
        Only standard base64 of 32 bytes, padding included, is a key.
        """
        for key in (
            "",
            KEY64[:-1],
            KEY64 + "=",
            KEY64[1:],
            KEY64.replace("/", "_"),
            KEY64[:20] + "\n" + KEY64[20:],
            PUBLIC.hex(),
            base64.b64encode(PUBLIC + b"\0").decode(),
        ):
            self.assertIn("does not begin with a key", self.refusal(f"{key}@host"))

    def test_notCanonicalBase64(self) -> None:
        """
        Base64 with stray bits in its last digit is refused: a key has one text.
        """
        for last in "pqr":
            said = self.refusal(KEY64[:-2] + last + "=@host")
            self.assertIn("mistyped end", said)

    def test_unsafeKey(self) -> None:
        """
        F15: a code with a small-order, mixed-order or non-canonical key is refused
        with a text that says so.
        """
        for key in (
            TORSION[4],
            crypto_core_ed25519_add(PUBLIC, TORSION[4]),
            (P + 3).to_bytes(32, "little"),
        ):
            said = self.refusal(base64.b64encode(key).decode() + "@host")
            self.assertIn("not a safe Ed25519 public key", said)

    def test_badPort(self) -> None:
        """
        A port is a number from 1 to 65535.
        """
        for port in (
            "",
            "0",
            "65536",
            "099",
            "-1",
            "+80",
            "http",
            "٣",
            "8 0",
            "1" * 99,
        ):
            self.assertIn("is not a port", self.refusal(f"{KEY64}@host:{port}"))

    def test_badHost(self) -> None:
        """
        What cannot be a host is refused before anybody tries to resolve it.
        """
        for host in (
            "",
            ".",
            "a..b",
            ".a",
            "-a",
            "a-",
            "a b",
            "a/b",
            "a@b",
            "bücher.example",
            "a" * 64,
            "a." * 127 + "a",
            "host\0",
            "\x1b[2J",
        ):
            self.assertIn("is not a host", self.refusal(f"{KEY64}@{host}"))

    def test_almostIPv4(self) -> None:
        """
        A host that ends in a number is an IPv4 address in full or nothing:
        resolvers would make addresses of these.
        """
        for host in (
            "1",
            "1.2",
            "1.2.3.4.5",
            "1.2.3.256",
            "01.2.3.4",
            "1.2.3.4.",
            "0x7f000001",
            "127.0x1",
            "0x",
        ):
            self.assertIn("is not a host", self.refusal(f"{KEY64}@{host}"))

    def test_badIPv6(self) -> None:
        """
        What has colons or brackets is an IPv6 address or nothing.
        """
        for host in ("1:2:3", "::1::", "[:::]", "[12345::]", "[::1%]", "::1%a b"):
            self.assertIn("is not a host", self.refusal(f"{KEY64}@{host}"))
        for host in ("[::1", "[::1]9876", "[host]:1", "[]", "[1.2.3.4]"):
            self.assertIn("brackets go around", self.refusal(f"{KEY64}@{host}"))

    def test_longestHost(self) -> None:
        """
        The longest name that DNS has fits in a code, with the longest port.
        """
        host = ".".join(["a" * 63] * 3 + ["b" * 61])
        self.assertEqual(len(host), 253)
        self.assertEqual(parseCode(f"{KEY64}@{host}:65535").host, host)

    def test_endless(self) -> None:
        """
        F74: of endless input only the beginning is shown.
        """
        said = self.refusal("x" * 65536)
        self.assertIn("too long for a code", said)
        self.assertIn("x" * 60 + "...", said)

    def test_escaped(self) -> None:
        """
        F74: what a terminal would obey is shown escaped, and no longer for it.
        """
        said = self.refusal("\x1b]0;evil\x07\u202e\r\n" + "\U000e0001" * 80)
        self.assertIn(r"'\x1b]0;evil\x07\u202e\r\n\U000e0001", said)

    def test_noise(self) -> None:
        """
        Whatever is put for a code, the answer is `BadCode` or a code that can be
        written again.
        """
        pick = random.Random(15)
        good = f"{KEY64}@[fe80::1%eth0]:9876"
        for _ in range(2000):
            text = list(good)
            for _ in range(pick.randint(1, 4)):
                at = pick.randrange(len(text))
                text[at] = pick.choice(["", "\0", ":", "]", "@", "é", "\ud800", "0"])
            try:
                code = parseCode("".join(text))
            except BadCode as error:
                self.assertTrue(str(error).isprintable())
            else:
                again = formatCode(code.key, code.host, code.port)
                self.assertEqual(parseCode(again), code)


class FormatCodeTests(SynchronousTestCase):
    """
    `formatCode` writes what `parseCode` reads.
    """

    def setUp(self) -> None:
        self.key = PeerKey.fromEd25519(PUBLIC)

    def test_text(self) -> None:
        """
        The default port is left out, and IPv6 gets brackets.
        """
        for host, port, text in (
            ("host", 9876, f"{KEY64}@host"),
            ("host", 80, f"{KEY64}@host:80"),
            ("::1", 9876, f"{KEY64}@[::1]"),
            ("::1", 80, f"{KEY64}@[::1]:80"),
            (None, 9876, KEY64),
        ):
            self.assertEqual(formatCode(self.key, host, port), text)
            code = parseCode(text, requireHost=False)
            self.assertEqual(code, Code(self.key, host, port))

    def test_badHost(self) -> None:
        """
        No code is made that nobody could read.
        """
        self.assertRaises(BadCode, formatCode, self.key, "two words", 9876)

    def test_checkHost(self) -> None:
        """
        `checkHost` returns addresses in their one canonical form.
        """
        self.assertEqual(checkHost("0:0::0:1"), "::1")
        self.assertEqual(checkHost("Host"), "Host")


class CleanNameTests(SynchronousTestCase):
    """
    F74: `cleanName` leaves nothing that a terminal or a log would obey.
    """

    def test_kept(self) -> None:
        """
        Ordinary names in any alphabet stay as they are.
        """
        for name in ("gaming-pc", "Anna's laptop #2", "居間のPC", "Büro 🖥"):
            self.assertEqual(cleanName(name), name)

    def test_stripped(self) -> None:
        """
        F74: escape, NUL, reading-direction marks and lone surrogates vanish;
        runs of blanks and line ends become one blank.
        """
        for name, clean in (
            ("\x1b[31mred", "[31mred"),
            ("a\0b", "ab"),
            ("evil\u202egnp.exe", "evilgnp.exe"),
            ("a\r\n\tb\u2028 \x07 c", "a b c"),
            ("\ud800x", "x"),
            ("\u00a0 x \u3000", "x"),
            ("\x9b\u200b", ""),
        ):
            self.assertEqual(cleanName(name), clean)

    def test_cut(self) -> None:
        """
        F74: 64 bytes remain of a longer name, or fewer so as to split nothing.
        """
        self.assertEqual(cleanName("x" * 65536), "x" * 64)
        self.assertEqual(cleanName("xx" + "€" * 21), "xx" + "€" * 20)
        self.assertEqual(cleanName("x" * 63 + " y"), "x" * 63)


class IdentityTests(SynchronousTestCase):
    """
    `Identity` holds a key pair.
    """

    def test_fromSeed(self) -> None:
        """
        The public key is the one that RFC 8032 gives for the seed.
        """
        identity = Identity.fromSeed(SEED, "pc\n")
        self.assertEqual(identity.key, PeerKey.fromEd25519(PUBLIC))
        self.assertEqual(identity.seed, SEED)
        self.assertEqual(identity.name, "pc")

    def test_generate(self) -> None:
        """
        F28: a new identity is 32 bytes from the system's randomness.
        """
        asked: list[int] = []

        def scripted(size: int) -> bytes:
            asked.append(size)
            return SEED

        self.assertEqual(
            Identity.generate("pc", scripted), Identity.fromSeed(SEED, "pc")
        )
        self.assertEqual(asked, [32])
        self.assertNotEqual(Identity.generate("pc").key, Identity.generate("pc").key)

    def test_repr(self) -> None:
        """
        F95: neither form of the secret appears in the repr.
        """
        identity = Identity.fromSeed(SEED, "pc")
        for secret in (identity.seed, identity.x25519Private):
            for text in (repr(secret)[2:-1], secret.hex()):
                self.assertNotIn(text, repr(identity))
                self.assertNotIn(text, str(identity))
        self.assertIn("pc", repr(identity))


class FilesTests(SynchronousTestCase):
    """
    The identity files are made once and never replaced.
    """

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.key = self.home / "identity.key"
        self.public = self.home / "identity.pub"
        self.name = self.home / "identity.txt"

    def refusal(self, call: Callable[[], object] | None = None) -> str:
        """
        Return what `IdentityError` says; the default call must not change or
        replace anything either.
        """
        before = self.files()
        text = str(
            self.assertRaises(
                IdentityError, call or (lambda: loadOrCreateIdentity(self.home))
            )
        )
        self.assertNotIn("\n", text)
        self.assertEqual(self.files(), before)
        return text

    def files(self) -> dict[str, bytes]:
        if not self.home.exists():
            return {}
        return {entry.name: entry.read_bytes() for entry in self.home.iterdir()}

    def store(self, seed: bytes = SEED) -> None:
        self.home.mkdir(mode=0o700)
        self.key.write_bytes(seed)
        self.key.chmod(0o600)

    def test_create(self) -> None:
        """
        The files of a new identity have the format that the C RootStream has,
        and the key is for its owner alone.
        """
        identity = createIdentity(self.home, "living\nroom")
        self.assertEqual(
            self.files(),
            {
                "identity.key": identity.seed,
                "identity.pub": identity.key.ed25519,
                "identity.txt": b"living room\n",
            },
        )
        self.assertEqual(stat.S_IMODE(self.key.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.home.stat().st_mode), 0o700)
        self.assertEqual(loadIdentity(self.home), identity)

    def test_createAgain(self) -> None:
        """
        An identity that is there is not replaced by a new one.
        """
        createIdentity(str(self.home), "one")
        text = self.refusal(lambda: createIdentity(self.home, "two"))
        self.assertIn("has an identity already", text)

    def test_loadNone(self) -> None:
        """
        Where there is no identity, the command that makes one is said, and
        nothing is made.
        """
        text = self.refusal(lambda: loadIdentity(self.home))
        self.assertIn("run `rootstream identity`", text)
        self.home.mkdir(mode=0o700)
        text = self.refusal(lambda: loadIdentity(self.home))
        self.assertIn("run `rootstream identity`", text)

    def test_loadOrCreate(self) -> None:
        """
        The first call makes an identity, and the next ones find it.
        """
        identity = loadOrCreateIdentity(self.home)
        self.assertEqual(loadOrCreateIdentity(self.home), identity)
        self.assertTrue(identity.name)

    def test_nameless(self) -> None:
        """
        A machine without a usable name still gets a device name.
        """
        self.patch(platform, "node", lambda: "\x1b")
        self.assertEqual(loadOrCreateIdentity(self.home).name, "rootstream")

    def test_carriedOver(self) -> None:
        """
        The files of a C RootStream are read as they are.
        """
        self.store()
        self.public.write_bytes(PUBLIC)
        self.name.write_bytes(b"gaming-pc\n")
        self.assertEqual(loadIdentity(self.home), Identity.fromSeed(SEED, "gaming-pc"))

    def test_nameCleaned(self) -> None:
        """
        F74: the name in the file is one clean line, whatever is in the file.
        """
        self.store()
        self.name.write_bytes(b"\x1b[2Jp\xffc\r\nsecond" + b"x" * 70000)
        self.assertEqual(loadIdentity(self.home).name, "[2Jp\N{REPLACEMENT CHARACTER}c")
        self.name.write_bytes(b"y" * 70000)
        self.assertEqual(loadIdentity(self.home).name, "y" * 64)

    def test_keyLength(self) -> None:
        """
        F82: a key file of any other length is refused, its length is said, and
        it is not replaced.
        """
        self.store()
        for data, said in (
            (b"", "it has 0"),
            (SEED[:31], "it has 31"),
            (SEED + b"\n", "it is longer"),
            (SEED + PUBLIC, "it is longer"),
            (bytes(32), "all are zero"),
        ):
            self.key.write_bytes(data)
            text = self.refusal()
            self.assertIn(f"{self.key} is not a key of 32 bytes ({said})", text)
            self.assertIn("restore it from a backup", text)

    def test_keyMode(self) -> None:
        """
        F79: a key that others may read is refused with the command that mends it.
        """
        self.store()
        self.key.chmod(0o644)
        self.assertIn(f"run: chmod 600 {self.key}", self.refusal())

    def test_homeMode(self) -> None:
        """
        F79: a home that others may write is refused with the command that mends it.
        """
        self.store()
        self.home.chmod(0o777)
        self.assertIn(f"run: chmod 700 {self.home}", self.refusal())

    def test_keyLink(self) -> None:
        """
        F80: a key that is a link is refused, wherever it leads.
        """
        self.store()
        self.key.rename(self.home / "real")
        self.key.symlink_to("real")
        self.assertIn("is a symbolic link", self.refusal())

    def test_keyDanglingLink(self) -> None:
        """
        F80: a key that is a link to nothing counts as a key that is there.
        """
        self.home.mkdir(mode=0o700)
        self.key.symlink_to("nowhere")
        self.assertRaises(IdentityError, loadOrCreateIdentity, self.home)
        self.assertTrue(self.key.is_symlink())

    def test_publicMissing(self) -> None:
        """
        A missing public key is written again.
        """
        self.store()
        loadIdentity(self.home)
        self.assertEqual(self.public.read_bytes(), PUBLIC)

    def test_publicMissingReadOnly(self) -> None:
        """
        A home that cannot be written is no reason to refuse a good key.
        """
        self.store()

        def refuse(*args: object, **kwargs: object) -> bool:
            raise IdentityError("cannot write")

        self.patch(homeModule.Home, "publish", refuse)
        self.assertEqual(loadIdentity(self.home).seed, SEED)

    def test_publicMismatch(self) -> None:
        """
        A public key that is another's is refused: which one is right is for
        the owner to say.
        """
        self.store()
        for data in (b"", PUBLIC[:31], PUBLIC + b"\0", bytes(32)):
            self.public.write_bytes(data)
            self.assertIn(f"{self.public} does not belong to", self.refusal())

    def test_keyLost(self) -> None:
        """
        F82: a public key without its key file means a lost key, not a new user.
        """
        self.store()
        self.key.unlink()
        self.public.write_bytes(PUBLIC)
        self.assertIn("has lost its identity.key", self.refusal())

    def test_raced(self) -> None:
        """
        Of two processes that create an identity at once, both end up with that
        of the first.
        """
        first: list[Identity] = []
        realLink = os.link

        def link(source: str, name: str, **where: int) -> None:
            self.patch(os, "link", realLink)
            first.append(loadOrCreateIdentity(self.home))
            realLink(source, name, **where)

        self.patch(os, "link", link)
        self.assertEqual([loadOrCreateIdentity(self.home)], first)
        self.assertEqual(
            set(self.files()), {"identity.key", "identity.pub", "identity.txt"}
        )


class KilledTests(SynchronousTestCase):
    """
    F81: whenever the creating process is killed, the next one finds a whole
    identity or none.
    """

    def setUp(self) -> None:
        self.base = Path(self.mktemp()).absolute()
        self.base.mkdir()

    def child(self, run: Callable[[], None]) -> int:
        """
        Run a function in a forked process that never returns to the test.
        """
        child = os.fork()
        if child == 0:
            try:
                run()
            finally:
                os._exit(0)
        return child

    def killAt(self, step: int, home: Path) -> Callable[[], None]:
        """
        Return a function that creates an identity and is killed before the
        given call that `rootstream.home` makes.
        """
        left = step

        def count(frame: FrameType, event: str, called: object) -> None:
            nonlocal left
            if event == "c_call" and frame.f_code.co_filename == homeModule.__file__:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        def run() -> None:
            sys.setprofile(count)
            loadOrCreateIdentity(home)

        return run

    def check(self, home: Path) -> bool:
        """
        Check what a killed process left, and that one can go on from there.

        :return: Whether the identity was there already.
        """
        key = home / "identity.key"
        before = key.read_bytes() if key.exists() else None
        if before is not None:
            self.assertEqual(len(before), 32)
            self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        for path in home.glob(".identity.key*"):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        identity = loadOrCreateIdentity(home)
        if before is not None:
            self.assertEqual(identity.seed, before)
        self.assertEqual((home / "identity.pub").read_bytes(), identity.key.ed25519)
        self.assertEqual(list(home.glob("*new")), [])
        return before is not None

    def test_everywhere(self) -> None:
        """
        F81: killed before each single call that it makes, in turn, creating
        leaves a whole identity or none, and nothing for ever.
        """
        found: list[bool] = []
        for step in range(1000):
            home = self.base / str(step)
            child = self.child(self.killAt(step, home))
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                break
            found.append(self.check(home))
        # None at first, from some call on always.
        self.assertEqual(found, sorted(found))
        self.assertEqual(set(found), {False, True})
        self.assertGreater(len(found), 30)

    def test_anyTime(self) -> None:
        """
        F81: the same when the signal comes from outside, at no chosen moment.
        """
        pick = random.Random(81)
        for turn in range(30):
            ours, theirs = os.pipe()

            def createMany(turn: int = turn, theirs: int = theirs) -> None:
                for number in range(1000):
                    os.write(theirs, b".")
                    loadOrCreateIdentity(self.base / f"{turn}-{number}")

            child = self.child(createMany)
            for _ in range(pick.randint(1, 4)):
                os.read(ours, 1)
            for _ in range(pick.randint(0, 5000)):
                pass
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(ours)
            os.close(theirs)
            for home in self.base.glob(f"{turn}-*"):
                self.check(home)
