"""s3fs: a bucket as a file system; rename is a copy and a delete.

s3fs stays in the foreground and its mount is reached through /proc/<pid>/root: for virtual-host
names it runs in a mount namespace of its own, whose mounts we see no other way.
"""
import os
import select
import signal
import subprocess
import unittest

from kist_server import ACCESS_KEY, SECRET_KEY
from workflow import LARGE, MIB, SIZES, Client, matrix, sample, sha256

FUSE = "/dev/fuse"


class S3fs(Client):
    tool = "/usr/bin/s3fs"

    @classmethod
    def setUpClass(cls):
        if not os.access(FUSE, os.R_OK | os.W_OK):
            raise unittest.SkipTest(f"{FUSE} is not usable here")
        super().setUpClass()

    @classmethod
    def make_bucket(cls, bucket):
        """s3fs mounts what exists. Ready is when `stat` on the mount point changes device."""
        cls.s3.create_bucket(Bucket=bucket)
        mount, secret = cls.work / "mount", cls.work / "secret"
        mount.mkdir()
        secret.write_text(f"{ACCESS_KEY}:{SECRET_KEY}\n")
        secret.chmod(0o600)
        # s3fs looks at CURL_CA_BUNDLE only when its first try has failed: two tries.
        options = (f"url={cls.endpoint},passwd_file={secret},endpoint=us-east-1,retries=2"
                   ",use_cache=,multipart_size=10,singlepart_copy_limit=64"
                   + ("" if cls.vhost else ",use_path_request_style"))
        cls.output = open(cls.work / "s3fs.log", "wb")
        cls.process = subprocess.Popen(cls.command([cls.tool, bucket, mount, "-f", "-o", options]),
                                       env=cls.environment(), stdout=cls.output,
                                       stderr=subprocess.STDOUT)
        cls.addClassCleanup(cls.unmount)
        cls.mount = f"/proc/{cls.process.pid}/root{mount}"
        cls.await_mount(mount)

    @classmethod
    def await_mount(cls, mount):
        """The kernel tells a change of mounts by POLLPRI on the process's mountinfo, opened anew
        each time because the process may just have entered a namespace of its own."""
        for _ in range(300):
            with open(f"/proc/{cls.process.pid}/mountinfo", "rb") as info:
                if f" {mount} ".encode() in info.read():
                    return
                poll = select.poll()
                poll.register(info, select.POLLPRI | select.POLLERR)
                poll.poll(100)
            if cls.process.poll() is not None:
                raise AssertionError((cls.work / "s3fs.log").read_text()[-2000:])
        raise AssertionError("s3fs did not mount\n" + (cls.work / "s3fs.log").read_text()[-2000:])

    @classmethod
    def unmount(cls):
        if cls.process.poll() is None:
            cls.process.send_signal(signal.SIGTERM)
        cls.process.wait(60)
        cls.output.close()

    def path(self, name):
        return os.path.join(self.mount, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)

    def read(self, name):
        with open(self.path(name), "rb") as file:
            return file.read()

    def stored(self, key):
        return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def test_write_read(self):
        for name, size in (SIZES | {"100 MiB": LARGE}).items():
            with self.subTest(size=name):
                data = sample(size).read_bytes()
                self.write(f"size {size}", data)
                self.assertEqual(sha256(self.stored(f"size {size}")), sha256(data))
                self.assertEqual(sha256(self.path(f"size {size}")), sha256(data))
                self.assertEqual(os.stat(self.path(f"size {size}")).st_size, size)

    def test_names(self):
        # A path component has 255 bytes at most, and no slash: other odd keys have no name here.
        for name in ("a b", "a+b", "100%", "a&b", "what?", "ha#sh", "\U0001F600", "e\u0301",
                     "x" * 255):
            with self.subTest(name=name):
                self.write(name, name.encode())
                self.assertEqual(self.stored(name), name.encode())
                self.assertIn(name, os.listdir(self.mount))

    def test_range(self):
        data = sample(5 * MIB).read_bytes()
        self.s3.put_object(Bucket=self.bucket, Key="ranged", Body=data)
        with open(self.path("ranged"), "rb") as file:
            file.seek(3_000_001)
            self.assertEqual(file.read(70_000), data[3_000_001:3_070_001])

    def test_rename_and_directories(self):
        os.makedirs(self.path("from/deep"))
        self.write("from/deep/file", b"moved")
        os.rename(self.path("from"), self.path("to"))
        self.assertEqual(self.read("to/deep/file"), b"moved")
        self.assertEqual(self.stored("to/deep/file"), b"moved")
        self.assertFalse(os.path.exists(self.path("from")))

    def test_modes_are_metadata(self):
        self.write("mode", b"x")
        os.chmod(self.path("mode"), 0o640)
        mode = self.s3.head_object(Bucket=self.bucket, Key="mode")["Metadata"]["mode"]
        self.assertEqual(int(mode) & 0o777, 0o640)

    def test_list(self):
        os.mkdir(self.path("full"))
        for n in range(1100):
            self.s3.put_object(Bucket=self.bucket, Key=f"full/{n:04}", Body=b"x")
        self.assertEqual(sorted(os.listdir(self.path("full"))), [f"{n:04}" for n in range(1100)])

    def test_delete(self):
        self.write("to delete", b"x")
        os.unlink(self.path("to delete"))
        with self.assertRaises(self.s3.exceptions.NoSuchKey):
            self.stored("to delete")


matrix(globals(), S3fs, slow=True)
