"""The one workflow that every S3 client goes through, and what clients share to run it.

A client's file tests/clients/test_<client>.py names a class of verbs (put, get, list ...) over
the client and calls matrix(); from it come test classes over HTTP and HTTPS, path style and
virtual-host style. What a client cannot do is named in its CANNOT, with the reason; all else is
tested, and every body is compared by SHA-256.

Names like bucket.s3.localhost must resolve for virtual-host style. That needs no change to the
machine: our own process patches getaddrinfo, and other programs run in a mount namespace of
their own with a private /etc/hosts (Client.run).
"""
import atexit
import concurrent.futures
import functools
import hashlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import boto3
from botocore.config import Config

import kist_server
from kist_server import ACCESS_KEY, DOMAIN, REGION, SECRET_KEY

MIB = 1 << 20
SIZES = {"0 B": 0, "1 B": 1, "4 KiB": 4096, "5 MiB": 5 * MIB}
LARGE = 100 * MIB
QUICK = os.environ.get("KIST_TEST_QUICK") == "1"
COMMAND_S = 600

# Legal keys that clients and servers like to mangle. The names are those used in CANNOT.
ODD_KEYS = {
    "space": "with space/and more ",
    "plus": "a+b",
    "percent": "100%/%41%2F",
    "ampersand": "a&b=c;d",
    "question": "what?x=y",
    "hash": "ha#sh",
    "emoji": "emoji-\U0001F600/\U0001F469\u200D\U0001F680",
    "combining": "e\u0301 and \u00e9",
    "quotes": "it's \"quoted\" (all)!*~<>",
    "leading slash": "/leading",
    "trailing slash": "trailing/",
    "dot dot": "up/../../down",
    "double slash": "double//slash",
    "1024 bytes": ("long/" + "k" * 195) * 5 + "\u00e9" * 12,
}
assert len(ODD_KEYS["1024 bytes"].encode()) == 1024

# The bucket of the listing tests: 25 x 100 keys in directories and 12 beside them.
DIRECTORIES = [f"dir {d:02}+/" for d in range(25)]
TOP_KEYS = [f"top-{n:02}" for n in range(12)]
LISTED_KEYS = sorted([d + f"item&{n:03}" for d in DIRECTORIES for n in range(100)] + TOP_KEYS)


@functools.cache
def workspace():
    """A directory for this process's files, removed at the end."""
    work = Path(tempfile.mkdtemp(prefix="kist-work-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    return work


@functools.cache
def sample(size):
    """A file of so many pseudo-random bytes, the same in every run."""
    path = workspace() / f"sample-{size}"
    path.write_bytes(random.Random(size).randbytes(size))
    return path


def sha256(data):
    """Hex SHA-256 of bytes, or of a file."""
    if isinstance(data, (bytes, bytearray)):
        return hashlib.sha256(data).hexdigest()
    with open(data, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resolve_test_domain():
    real = socket.getaddrinfo

    def getaddrinfo(host, *args, **kwargs):
        if isinstance(host, bytes):
            host = host.decode()
        if host == DOMAIN or (host or "").endswith("." + DOMAIN):
            host = "127.0.0.1"
        return real(host, *args, **kwargs)

    socket.getaddrinfo = getaddrinfo


_resolve_test_domain()


def endpoint(server, vhost=False):
    """The server's URL: by address, or by the domain under which buckets are hosts."""
    scheme = "https" if server.tls else "http"
    return f"{scheme}://{DOMAIN}:{server.port}" if vhost else server.endpoint


def boto_client(server, vhost=False, secret=SECRET_KEY, access=ACCESS_KEY, **config):
    """A boto3 S3 client that tries once, so that no error hides behind a retry."""
    settings = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 32,
                "s3": {"addressing_style": "virtual" if vhost else "path"}, **config}
    return boto3.session.Session().client(
        "s3", endpoint_url=endpoint(server, vhost), region_name=REGION,
        aws_access_key_id=access, aws_secret_access_key=secret,
        verify=str(server.ca) if server.ca else None, config=Config(**settings))


def aws_client(service, server, access=ACCESS_KEY, secret=SECRET_KEY, **config):
    """A boto3 client of another service, as boto3 makes it."""
    return boto3.client(service, endpoint_url=server.endpoint, region_name=REGION,
                        aws_access_key_id=access, aws_secret_access_key=secret,
                        config=Config(**config))


_listing_buckets = {}


def listing_bucket(server):
    """The name of a bucket that holds LISTED_KEYS, each with its own name as its body."""
    if server not in _listing_buckets:
        s3, bucket = boto_client(server), "listing-of-2512"
        s3.create_bucket(Bucket=bucket)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=key.encode()),
                          LISTED_KEYS))
        _listing_buckets[server] = bucket
    return _listing_buckets[server]


@functools.cache
def namespace_command():
    """The start of a command that gives a program its own /etc/hosts, or None."""
    for unshare in (["unshare", "-m"], ["unshare", "-rm"]):
        command = unshare + ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"']
        if subprocess.run(command + ["/etc/hosts", "true"], capture_output=True).returncode == 0:
            return command
    return None


class Client:
    """Base of all clients: servers, environment, and running programs against them.

    Not a TestCase itself: matrix() adds that, so that only full combinations are run.
    """
    tls = vhost = False
    tool = None     # the program that must be there
    CANNOT = {}

    @classmethod
    def setUpClass(cls):
        if cls.tool and not os.access(cls.tool, os.X_OK):
            raise unittest.SkipTest(f"{cls.tool} is not installed")
        cls.server = kist_server.shared(cls.tls)
        cls.endpoint = endpoint(cls.server, cls.vhost)
        cls.s3 = boto_client(cls.server)
        cls.bucket = cls.__name__.lower().replace("_", "-")
        cls.work = workspace() / cls.__name__
        cls.work.mkdir()
        cls.hosts = cls.work / "hosts"
        names = [DOMAIN] + [f"{b}.{DOMAIN}" for b in (cls.bucket, "listing-of-2512")]
        cls.hosts.write_text("127.0.0.1 localhost " + " ".join(names) + "\n")
        cls.prepare()
        cls.make_bucket(cls.bucket)

    @classmethod
    def prepare(cls):
        """What a client does before its first request: configuration files."""

    @classmethod
    def environment(cls):
        """No proxies, no settings of the user's; credentials and CA where programs look."""
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(cls.work),
               "LANG": "C.UTF-8", "PYTHONUTF8": "1", "AWS_ACCESS_KEY_ID": ACCESS_KEY,
               "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_DEFAULT_REGION": REGION,
               "AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true",
               "AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": "", "NODE_NO_WARNINGS": "1"}
        if cls.server.ca:
            env |= {name: str(cls.server.ca)
                    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS",
                                 "CURL_CA_BUNDLE")}
        return env

    @classmethod
    def command(cls, argv):
        """argv as it must be started: virtual-host names resolve inside."""
        argv = [str(a) for a in argv]
        if not cls.vhost:
            return argv
        if not namespace_command():
            raise unittest.SkipTest("virtual-host names do not resolve: unshare -m is refused")
        return namespace_command() + [str(cls.hosts)] + argv

    @classmethod
    def run_tool(cls, *argv, env=None, fails=False):
        """Runs a program and returns its standard output as bytes; its failure is ours,
        or with fails=True its success is."""
        done = subprocess.run(cls.command(argv), stdin=subprocess.DEVNULL, capture_output=True,
                              env={**cls.environment(), **(env or {})}, timeout=COMMAND_S,
                              cwd=cls.work)
        if (done.returncode != 0) != fails:
            shown = " ".join(str(a) for a in argv)[:300]
            raise AssertionError(f"{shown}\n  exit status {done.returncode}\n"
                                 + done.stderr.decode("utf-8", "replace")[-2000:]
                                 + done.stdout.decode("utf-8", "replace")[-2000:])
        return done.stdout

    def small_file(self, data):
        path = self.work / "small"
        path.write_bytes(data)
        return path

    def fetched(self, bucket, key, get=None):
        """The SHA-256 of what the client downloads."""
        target = self.work / "fetched"
        target.unlink(missing_ok=True)
        (get or self.get)(bucket, key, target)
        return sha256(target)


class Workflow(Client):
    """The tests. A client's verbs, each raising when the client reports a failure:

    make_bucket(bucket)              classmethod
    put(bucket, key, path)           get(bucket, key, path)
    put_key, get_key                 the same for ODD_KEYS, where the handy command rewrites keys
    put_with_metadata(bucket, key, path, content_type, {name: value})
    get_range(bucket, key, first, last) -> bytes, both ends included
    head(bucket, key) -> {"size": int, "type": str, "metadata": dict}
    list(bucket, prefix, delimiter) -> (keys, common prefixes)
    copy(bucket, key, new_key)       delete(bucket, key)      delete_many(bucket, keys)
    """
    large = LARGE

    def put_key(self, bucket, key, path):
        self.put(bucket, key, path)

    def get_key(self, bucket, key, path):
        self.get(bucket, key, path)

    def stored(self, key):
        """What is really there, asked past the client under test: (SHA-256, reply), or None."""
        try:
            reply = self.s3.get_object(Bucket=self.bucket, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        return sha256(reply["Body"].read()), reply

    def assert_stored(self, key, want):
        found = self.stored(key)
        self.assertIsNotNone(found, f"{key!r} is not there")
        self.assertEqual(found[0], want, f"{key!r} has other bytes")

    def test_put_get_head(self):
        for name, size in SIZES.items():
            with self.subTest(size=name):
                key, path = f"size-{size}", sample(size)
                self.put(self.bucket, key, path)
                self.assert_stored(key, sha256(path))
                if "head" not in self.CANNOT:
                    self.assertEqual(self.head(self.bucket, key)["size"], size)
                self.assertEqual(self.fetched(self.bucket, key), sha256(path))

    def test_large_multipart(self):
        path = sample(self.large)
        self.put(self.bucket, "large", path)
        etag = self.s3.head_object(Bucket=self.bucket, Key="large")["ETag"]
        if "multipart" not in self.CANNOT:
            self.assertRegex(etag, r'^"[0-9a-f]{32}-\d+"$')
        self.assertEqual(self.fetched(self.bucket, "large"), sha256(path))

    def test_range(self):
        data = sample(5 * MIB).read_bytes()
        self.s3.put_object(Bucket=self.bucket, Key="ranged", Body=data)
        for first, last in ((0, 0), (1, 4096), (MIB - 1, 3 * MIB), (len(data) - 5, len(data) - 1)):
            with self.subTest(first=first, last=last):
                piece = self.get_range(self.bucket, "ranged", first, last)
                self.assertEqual(sha256(piece), sha256(data[first:last + 1]))

    def test_list(self):
        bucket = listing_bucket(self.server)
        keys, _ = self.list(bucket, "", "")
        self.assertEqual(sorted(keys), LISTED_KEYS)
        keys, _ = self.list(bucket, DIRECTORIES[7], "")
        self.assertEqual(sorted(keys), [k for k in LISTED_KEYS if k.startswith(DIRECTORIES[7])])
        if "delimiter" in self.CANNOT:
            return
        keys, prefixes = self.list(bucket, "", "/")
        self.assertEqual((sorted(keys), sorted(prefixes)), (TOP_KEYS, DIRECTORIES))

    def test_odd_keys(self):
        for name, key in ODD_KEYS.items():
            if name in self.CANNOT:
                continue
            with self.subTest(key=name):
                body = f"the body of {key}".encode()
                self.put_key(self.bucket, key, self.small_file(body))
                self.assert_stored(key, sha256(body))
                self.assertEqual(self.fetched(self.bucket, key, self.get_key), sha256(body))

    def test_odd_keys_are_listed(self):
        wanted = [key for name, key in ODD_KEYS.items() if name not in self.CANNOT]
        for key in wanted:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=f"the body of {key}".encode())
        keys, _ = self.list(self.bucket, "", "")
        self.assertEqual([key for key in wanted if key not in keys], [])

    def test_copy(self):
        for size in (4096, 5 * MIB):
            with self.subTest(size=size):
                self.s3.put_object(Bucket=self.bucket, Key="copy from+here",
                                   Body=sample(size).read_bytes())
                self.copy(self.bucket, "copy from+here", "copied to/there")
                self.assert_stored("copied to/there", sha256(sample(size)))

    def test_metadata(self):
        metadata = {"colour": "blue", "with-dash": "a b=c"}
        self.put_with_metadata(self.bucket, "described", sample(4096), "text/x-kist", metadata)
        _, reply = self.stored("described")
        self.assertEqual(reply["ContentType"], "text/x-kist")
        self.assertEqual({k: reply["Metadata"].get(k) for k in metadata}, metadata)
        if "head" in self.CANNOT:
            return
        head = self.head(self.bucket, "described")
        self.assertEqual(head["type"], "text/x-kist")
        self.assertEqual({k: head["metadata"].get(k) for k in metadata}, metadata)

    def test_delete(self):
        self.s3.put_object(Bucket=self.bucket, Key="to delete+", Body=b"x")
        self.delete(self.bucket, "to delete+")
        self.assertIsNone(self.stored("to delete+"))

    def test_delete_many(self):
        keys = [f"many/{n} & <{n}>" for n in range(12)]
        for key in keys + ["many-survivor"]:
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"x")
        self.delete_many(self.bucket, keys)
        self.assertEqual([key for key in keys if self.stored(key)], [])
        self.assertIsNotNone(self.stored("many-survivor"))

    def test_missing_key_is_an_error(self):
        with self.assertRaises(AssertionError):
            self.get(self.bucket, "never was here", self.work / "nothing")


def matrix(module, client, slow=False, styles=("path", "vhost")):
    """Adds client's tests to a module (its globals()): HTTP and HTTPS, times the styles.

    With --quick a slow client is run over plain HTTP in its first style only.
    """
    for tls in (False, True):
        for style in styles:
            if QUICK and slow and (tls or style != styles[0]):
                continue
            name = f"{client.__name__}_{'https' if tls else 'http'}_{style}"
            fields = {"tls": tls, "vhost": style == "vhost", "__module__": module["__name__"]}
            # A test whose verb the client lacks is left out, not skipped: it says nothing.
            fields |= {test: None for test in client.CANNOT if test.startswith("test_")}
            module[name] = type(name, (client, unittest.TestCase), fields)
