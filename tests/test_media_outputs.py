"""
Tests for `rootstream.media.outputs`.
"""

from __future__ import annotations

import errno
import os
import resource
import threading

from twisted.trial.unittest import SynchronousTestCase

from rootstream.errors import SinkError
from rootstream.media.outputs import PIPE_STEP, PipeOutput, WholeFile


class WholeFileTests(SynchronousTestCase):
    """
    Tests for `WholeFile`.
    """

    def setUp(self):
        self.path = self.mktemp()

    def limit(self, size):
        """
        Let files grow to ``size`` only: the kernel then refuses as a full disk
        does, in the middle of a write.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))

    def content(self):
        with open(self.path, "rb") as file:
            return file.read()

    def test_commit(self):
        """
        What was written is in the file after a commit, and not before.
        """
        output = WholeFile(self.path)
        self.assertEqual(output.write(b"one"), 3)
        output.write(b"two")
        self.assertEqual(self.content(), b"")
        self.assertEqual(output.tell(), 6)
        output.commit()
        self.assertEqual(self.content(), b"onetwo")
        output.close()

    def test_seek(self):
        """
        A muxer can go back and mend its header.
        """
        output = WholeFile(self.path)
        output.write(b"head body")
        self.assertEqual(output.seek(0), 0)
        output.write(b"HEAD")
        output.close()
        self.assertEqual(self.content(), b"HEAD body")

    def test_existing(self):
        """
        A file that exists is never overwritten.
        """
        with open(self.path, "w") as file:
            file.write("precious")
        error = self.assertRaises(SinkError, WholeFile, self.path)
        self.assertIn("exists; remove it or choose another name", str(error))
        self.assertEqual(self.content(), b"precious")

    def test_unwritable(self):
        """
        A directory that is not there is said at once.
        """
        error = self.assertRaises(SinkError, WholeFile, self.path + "/no/a.mkv")
        self.assertIn("No such file or directory", str(error))

    def test_badDisk(self):
        """
        F83: a disk that fails, in a write or when all is to be put on it, is said with
        what to do, and what was whole before stays.
        """
        output = WholeFile(self.path)
        output.write(b"whole")
        output.commit()

        def fail(*arguments):
            raise OSError(errno.EIO, "Input/output error")

        write, fsync = os.write, os.fsync
        self.patch(os, "write", fail)
        output.write(b"lost")
        error = self.assertRaises(SinkError, output.commit)
        self.assertIn("Input/output error; it is playable up to here", str(error))
        self.assertIn("see to the disk", str(error))
        output.close()
        self.patch(os, "write", write)
        self.assertEqual(self.content(), b"whole")
        os.unlink(self.path)
        other = WholeFile(self.path)
        other.write(b"whole")
        self.patch(os, "fsync", fail)
        self.assertRaises(SinkError, other.close)
        self.patch(os, "fsync", fsync)
        self.assertEqual(self.content(), b"whole")

    def test_diskFull(self):
        """
        F83: when the disk is full, the file ends where the last whole access
        unit ended, and what libavformat writes later is swallowed.
        """
        output = WholeFile(self.path)
        output.write(b"a" * 600)
        output.commit()
        self.limit(1000)
        output.write(b"b" * 600)
        error = self.assertRaises(SinkError, output.commit)
        self.assertIn("make room", str(error))
        self.assertIn("playable up to here", str(error))
        self.assertEqual(self.content(), b"a" * 600)
        self.assertEqual(output.write(b"trailer"), 7)
        output.close()
        self.assertEqual(self.content(), b"a" * 600)

    def test_neverWritten(self):
        """
        A file that never got a byte is not left behind.
        """
        WholeFile(self.path).close()
        self.assertFalse(os.path.exists(self.path))


class PipeOutputTests(SynchronousTestCase):
    """
    Tests for `PipeOutput`.
    """

    def setUp(self):
        self.reader, self.writer = os.pipe()
        self.output = PipeOutput(self.writer)

    def tearDown(self):
        for file in (self.reader, self.writer):
            if file is not None:
                os.close(file)

    def test_read(self):
        """
        The reader gets what was committed.
        """
        self.output.write(b"packet")
        self.output.commit()
        self.assertEqual(os.read(self.reader, 100), b"packet")

    def test_readerGone(self):
        """
        A reader that left is a SinkError, once; later bytes are swallowed.
        """
        os.close(self.reader)
        self.reader = None
        self.output.write(b"packet")
        error = self.assertRaises(SinkError, self.output.commit)
        self.assertIn("its reader is gone", str(error))
        self.output.write(b"trailer")
        self.output.close()

    def test_abandoned(self):
        """
        A writer blocked by a reader that does not read leaves when abandoned.
        """
        self.output.write(bytes(1 << 20))
        thread = threading.Thread(target=self.output.commit, daemon=True)
        thread.start()
        self.assertTrue(os.read(self.reader, PIPE_STEP))
        self.assertTrue(thread.is_alive())
        self.output.abandon()
        thread.join(5)
        self.assertFalse(thread.is_alive())
