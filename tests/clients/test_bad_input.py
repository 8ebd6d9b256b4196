"""Everything a client may get wrong, by mistake or on purpose, sent byte by byte.

Each request gets its refusal, costs bounded time and memory, changes nothing, and leaves a
server that serves the next client: tearDown checks that after every test.
"""
import base64
import hashlib
import http.client
import os
import resource
import socket
import subprocess
import tempfile
import time
import unittest
import urllib.request

from kist_server import Server
from s3_raw import RawClient
from workflow import MIB, boto_client, sample, sha256

TIMEOUT_S = 2
IDLE_S = 5
SLACK_S = 6         # for a slow machine, on top of a deadline
# ThreadSanitizer keeps a shadow of all memory, AddressSanitizer what was freed: sizes measured under
# them say nothing.
BUILD = os.environ.get("KIST_BUILD", "")
MEMORY_MEANS = 100 if "tsan" in BUILD or "asan" in BUILD else 1
MEMORY_GROWTH_MAX = 64 * MIB * MEMORY_MEANS


class BadInput(unittest.TestCase):
    flags = ["--header-timeout", str(TIMEOUT_S), "--body-timeout", str(TIMEOUT_S),
             "--idle-timeout", str(IDLE_S)]

    @classmethod
    def setUpClass(cls):
        cls.server = cls.start()
        cls.raw, cls.s3 = RawClient(cls.server), boto_client(cls.server)
        cls.s3.create_bucket(Bucket="bad")
        cls.s3.put_object(Bucket="bad", Key="witness", Body=b"unharmed")

    @classmethod
    def start(cls):
        server = Server(flags=cls.flags).start()
        cls.addClassCleanup(server.stop)
        return server

    def setUp(self):
        self.memory_before = self.server.resident_bytes()

    def tearDown(self):
        self.assertTrue(self.server.alive(), "the server is gone\n" + self.server.output())
        with urllib.request.urlopen(self.server.admin + "/-/health", timeout=10) as health:
            self.assertEqual(health.status, 200)
        keys = [o["Key"] for o in self.s3.list_objects_v2(Bucket="bad")["Contents"]]
        self.assertEqual(keys, ["witness"], "something was stored")
        self.assertEqual(self.raw.request("GET", "/bad/witness").body, b"unharmed")
        self.assertLess(self.server.resident_bytes() - self.memory_before, MEMORY_GROWTH_MAX)

    def exchange(self, data, method="GET"):
        """Sends bytes; returns (reply or None, whether the server closed after it)."""
        with self.raw.connect() as sock:
            try:
                sock.sendall(data)
            except OSError:
                pass                # refused while we were still talking
            try:
                reply = self.raw.reply(sock, method)
            except (http.client.HTTPException, ConnectionError):
                return None, True
            return reply, self.closed(sock)

    @staticmethod
    def closed(sock):
        sock.settimeout(SLACK_S)
        try:
            return sock.recv(1) == b""
        except ConnectionError:
            return True
        except TimeoutError:
            return False

    def signed_put(self, headers=None, body=b"body", key="evil"):
        return self.raw.signed("PUT", f"/bad/{key}", headers, body)

    def assert_refused(self, data, statuses=(400,)):
        """One refusal, then the end: what follows on the connection is not read as a request."""
        reply, closed = self.exchange(data + self.raw.signed("PUT", "/bad/smuggled"))
        self.assertIsNotNone(reply, "closed without an answer")
        self.assertIn(reply.status, statuses)
        self.assert_ours(reply)
        self.assertTrue(closed, "the connection stayed open")

    def assert_ours(self, reply):
        """S3's error and nothing else: not libmicrohttpd's page, and its head not twice."""
        self.assertEqual(reply.headers["Content-Type"], "application/xml", reply.body)
        self.assertIsNotNone(reply.code, reply.body)
        self.assertEqual(reply.headers["x-amz-request-id"].encode(),
                         reply.body.partition(b"<RequestId>")[2].partition(b"<")[0])
        self.assertTrue(reply.body.startswith(b"<?xml") and reply.body.endswith(b"</Error>"))


class Framing(BadInput):
    def with_lines(self, *lines, drop_length=False):
        head, _, body = self.signed_put().partition(b"\r\n\r\n")
        if drop_length:
            head = b"\r\n".join(line for line in head.split(b"\r\n")
                                if not line.lower().startswith(b"content-length"))
        return b"\r\n".join([head, *lines]) + b"\r\n\r\n" + body

    def test_length_and_transfer_encoding(self):
        self.assert_refused(self.with_lines(b"Transfer-Encoding: chunked"))

    def test_two_lengths(self):
        self.assert_refused(self.with_lines(b"Content-Length: 4"))
        self.assert_refused(self.with_lines(b"Content-Length: 5"))

    def test_malformed_lengths(self):
        for value in (b"-1", b"+4", b"0x4", b"4e0", b"", b"4, 4", b"4 4", b"four",
                      b"99999999999999999999999"):
            with self.subTest(value=value):
                self.assert_refused(self.with_lines(b"Content-Length: " + value, drop_length=True))

    def test_length_beyond_5_gib(self):
        head, _, body = self.signed_put({}).partition(b"\r\n\r\n")
        head = head.replace(b"content-length: 4", b"content-length: 5368709121")
        reply, _ = self.exchange(head + b"\r\n\r\n" + body)
        self.assertEqual((reply.status, reply.code), (400, "EntityTooLarge"))

    def test_no_length(self):
        reply, _ = self.exchange(self.with_lines(drop_length=True))
        self.assertIn(reply.status, (400, 411))     # 411, or what an empty body fails

    def test_transfer_codings(self):
        for value in (b"gzip", b"gzip, chunked", b"chunked, gzip", b"xchunked", b"chunked, chunked",
                      b"identity", b""):
            with self.subTest(value=value):
                self.assert_refused(self.with_lines(b"Transfer-Encoding: " + value,
                                                    drop_length=True), (400, 501))

    def test_broken_chunks(self):
        start = self.with_lines(b"Transfer-Encoding: chunked", drop_length=True)
        start = start[:start.index(b"\r\n\r\n") + 4]
        for body in (b"zz\r\nbody\r\n0\r\n\r\n", b"-4\r\nbody\r\n0\r\n\r\n",
                     b"4\r\nbodyXX0\r\n\r\n",
                     b"f" * 40 + b"\r\nbody\r\n0\r\n\r\n", b"4;" + b"x" * 70000):
            with self.subTest(body=body[:20]):
                reply, closed = self.exchange(start + body)
                self.assertEqual((reply.status, reply.code), (400, "InvalidRequest"))
                self.assert_ours(reply)
                self.assertTrue(closed)

    def test_bare_lf(self):
        good = self.signed_put()
        head, body = good.split(b"\r\n\r\n", 1)
        self.assert_refused(good.replace(b"\r\n", b"\n"))
        self.assert_refused(head.replace(b"\r\n", b"\n", 1) + b"\r\n\r\n" + body)
        self.assert_refused(head + b"\n\r\n" + body)

    def test_folded_and_malformed_headers(self):
        for line in (b"x-folded: a\r\n b", b"x-tab: a\r\n\tb", b"x-space : a", b" x-first: a",
                     b"no colon", b": no name", b"x\x00nul: a", b"x-nul: a\x00b", b"x(y): a",
                     b"x-cr: a\rb"):
            with self.subTest(line=line):
                self.assert_refused(self.with_lines(line))

    def test_big_headers(self):
        self.assert_refused(self.with_lines(b"x-big: " + b"v" * 9000), (400, 431))
        self.assert_refused(self.with_lines(b"x-huge: " + b"v" * 200_000), (400, 431))
        self.assert_refused(self.with_lines(*(b"x-%d: v" % n for n in range(3000))), (400, 431))

    def test_request_line(self):
        for line in (b"GET / HTTP/2.0", b"GET / HTTP/1.1x", b"GET /", b"GET  / HTTP/1.1", b"/",
                     b"GET / HTTP/1.1 x", b"G\x00T / HTTP/1.1", b"GET bad HTTP/1.1",
                     b"GET /\x00 HTTP/1.1", b"GET /a b HTTP/1.1", b"GET /\xff HTTP/1.1",
                     b"GET /" + b"a" * 100_000 + b" HTTP/1.1"):
            with self.subTest(line=line[:40]):
                reply, closed = self.exchange(line + b"\r\nHost: x\r\n\r\n")
                self.assertTrue(reply is None or 400 <= reply.status < 506, reply and reply.status)
                self.assertTrue(closed)

    def test_hosts(self):
        good = self.raw.signed("GET", "/bad")
        host = f"host: {self.raw.host}\r\n".encode()
        self.assertIn(host, good)
        self.assert_refused(good.replace(host, b""))
        self.assert_refused(good.replace(host, host * 2))
        self.assert_refused(good.replace(host, b"host: a b\r\n"), (400, 403))

    def test_garbage(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), bytes(5000),
                     os.urandom(20_000), b"\r\n" * 50_000):
            reply, _ = self.exchange(data)
            self.assertTrue(reply is None or reply.status >= 400)


class Keys(BadInput):
    def test_bad_targets(self):
        for path, codes in (("/bad/%ff%fe", ("InvalidURI", "InvalidArgument")),
                            ("/bad/%c0%af", ("InvalidURI", "InvalidArgument")),
                            ("/bad/%ed%a0%80", ("InvalidURI", "InvalidArgument")),
                            ("/bad/nul%00", ("InvalidURI", "InvalidArgument")),
                            ("/bad/%zz", ("InvalidURI",)), ("/bad/%4", ("InvalidURI",)),
                            ("/bad/" + "k" * 1025, ("KeyTooLongError",)),
                            ("/Bad_Name/k", ("InvalidBucketName", "NoSuchBucket"))):
            with self.subTest(path=path[:40]):
                reply = self.raw.request("PUT", path, body=b"x")
                self.assertIn(reply.code, codes)
                self.assertIn(reply.status, (400, 404))

    def test_dots_and_slashes_are_ordinary(self):
        for path in ("/bad/..", "/bad/../../etc/passwd", "/bad//", "/bad/./a/../b"):
            with self.subTest(path=path):
                body = path.encode()
                self.assertEqual(self.raw.request("PUT", path, body=body).status, 200)
                self.assertEqual(self.raw.request("GET", path).body, body)
                key = path.removeprefix("/bad/")
                self.assertEqual(self.s3.get_object(Bucket="bad", Key=key)["Body"].read(), body)
                self.assertEqual(self.raw.request("DELETE", path).status, 204)


class Slow(BadInput):
    def drip(self, start, data):
        """A byte every 0.3 s; returns after how many seconds the server has had enough."""
        began = time.monotonic()
        with self.raw.connect() as sock:
            sock.sendall(start)
            sock.settimeout(0.3)            # the pace, and the ear for the server's end
            for byte in data:
                try:
                    sock.send(bytes([byte]))
                    answer = sock.recv(65536)
                except TimeoutError:
                    continue
                except ConnectionError:
                    answer = b""
                if answer:
                    self.assertRegex(answer, rb"^HTTP/1\.1 4\d\d ")
                return time.monotonic() - began
        self.fail("the server never had enough")

    def test_slow_header(self):
        took = self.drip(b"GET /bad HTTP/1.1\r\n", b"x-slow: " + b"a" * 60)
        self.assertLess(took, TIMEOUT_S + SLACK_S)
        self.assertGreater(took, TIMEOUT_S - 1)

    def test_slow_body(self):
        good = self.signed_put(body=bytes(10 * MIB))
        start = good[:good.index(b"\r\n\r\n") + 4 + 1000]
        self.assertLess(self.drip(start, bytes(100)), 2 * TIMEOUT_S + SLACK_S)

    def test_silent_body(self):
        good = self.signed_put(body=bytes(1000))
        began = time.monotonic()
        with self.raw.connect() as sock:
            sock.sendall(good[:-500])
            while sock.recv(65536):
                pass
        self.assertLess(time.monotonic() - began, 2 * TIMEOUT_S + SLACK_S)

    def test_idle(self):
        for before in (b"", self.raw.signed("GET", "/bad/witness")):
            with self.subTest(after_a_request=bool(before)):
                began = time.monotonic()
                with self.raw.connect() as sock:
                    sock.sendall(before)
                    while sock.recv(65536):
                        pass
                self.assertLess(time.monotonic() - began, IDLE_S + SLACK_S)

    def test_others_are_served_meanwhile(self):
        slow = [self.raw.connect() for _ in range(200)]
        for sock in slow:
            sock.sendall(b"PUT /bad/slow HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        self.assertEqual(self.raw.request("GET", "/bad/witness").body, b"unharmed")
        self.assertLess(time.monotonic() - began, 1)
        for sock in slow:
            sock.close()


class Bodies(BadInput):
    def test_cut_short(self):
        """Half a body, then the end of the connection: nothing of it is ever seen."""
        for size in (10, 100_000, 20 * MIB):
            for how in (socket.SHUT_WR, socket.SHUT_RDWR):
                with self.subTest(size=size, how=how):
                    good = self.signed_put(body=sample(size).read_bytes())
                    with self.raw.connect() as sock:
                        sock.sendall(good[:-size // 2])
                        sock.shutdown(how)
                        if how == socket.SHUT_WR:
                            answer = sock.recv(65536)
                            self.assertTrue(not answer or b" 400 " in answer.split(b"\r\n")[0])
                    self.assertEqual(self.raw.request("GET", "/bad/evil").code, "NoSuchKey")

    def test_cut_part(self):
        upload = self.s3.create_multipart_upload(Bucket="bad", Key="evil")["UploadId"]
        good = self.raw.signed("PUT", f"/bad/evil?partNumber=1&uploadId={upload}",
                               body=sample(MIB).read_bytes())
        with self.raw.connect() as sock:
            sock.sendall(good[:-1])
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        where = {"Bucket": "bad", "Key": "evil", "UploadId": upload}
        self.assertNotIn("Parts", self.s3.list_parts(**where))
        self.s3.abort_multipart_upload(**where)

    def test_overwrite_cut_short_keeps_the_old(self):
        good = self.signed_put(body=sample(MIB).read_bytes(), key="witness")
        with self.raw.connect() as sock:
            sock.sendall(good[:-1])
        self.assertEqual(self.raw.request("GET", "/bad/witness").body, b"unharmed")

    def test_too_long(self):
        """Bytes beyond Content-Length are the next request, and a bad one."""
        good = self.raw.signed("PUT", "/bad/witness", body=b"unharmed")
        with self.raw.connect() as sock:
            sock.sendall(good + b"surplus bytes\r\n\r\n")
            self.assertEqual(self.raw.reply(sock).status, 200)
            rest = b""
            while piece := self.receive(sock):
                rest += piece
        self.assertRegex(rest, rb"^(HTTP/1\.[01] 4|$)")

    @staticmethod
    def receive(sock):
        try:
            return sock.recv(65536)
        except ConnectionError:
            return b""

    def test_wrong_digests(self):
        zeros = {"content-md5": base64.b64encode(bytes(16)).decode()}
        reply = self.raw.request("PUT", "/bad/evil", zeros, sample(5 * MIB).read_bytes())
        self.assertEqual(reply.code, "BadDigest")
        reply = self.raw.request("PUT", "/bad/evil", body=b"x" * 100_000,
                                 payload=hashlib.sha256(b"y").hexdigest())
        self.assertEqual(reply.code, "XAmzContentSHA256Mismatch")


class Xml(BadInput):
    """Bodies of all operations that read XML: refused quickly, without growing."""

    def post(self, target, body, method="POST"):
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        began = time.monotonic()
        reply = self.raw.request(method, target, {"content-md5": md5}, body)
        self.assertLess(time.monotonic() - began, 3)
        return reply

    def bombs(self, root):
        laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
        return {
            "empty": b"", "not XML": b"hello", "cut": f"<{root}>".encode(),
            "another root": b"<Other/>", "NUL": f"<{root}>\0</{root}>".encode(),
            "not UTF-8": f"<{root}>".encode() + b"\xff\xfe" + f"</{root}>".encode(),
            "billion laughs": (f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>'
                               f"<{root}>&l11;</{root}>").encode(),
            "quadratic": (f'<!DOCTYPE x [<!ENTITY a "{"a" * 50000}">]><{root}>' + "&a;" * 10000
                          + f"</{root}>").encode(),
            "external file": (f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
                              f"<{root}>&e;</{root}>").encode(),
            "external subset": (f'<!DOCTYPE {root} SYSTEM "http://127.0.0.1:1/x.dtd">'
                                f"<{root}></{root}>").encode(),
            "deep": f"<{root}>".encode() + b"<a>" * 100_000 + b"</a>" * 100_000
                    + f"</{root}>".encode(),
            "many attributes": (f"<{root} " + " ".join(f'a{n}="1"' for n in range(50_000))
                                + f"></{root}>").encode(),
            "huge": f"<{root}>".encode() + b" " * (8 * MIB) + f"</{root}>".encode(),
        }

    def test_all(self):
        upload = self.s3.create_multipart_upload(Bucket="bad", Key="evil")["UploadId"]
        for method, target, root in (
                ("POST", "/bad?delete", "Delete"),
                ("POST", f"/bad/evil?uploadId={upload}", "CompleteMultipartUpload"),
                ("PUT", "/bad?tagging", "Tagging"), ("PUT", "/bad/witness?tagging", "Tagging"),
                ("PUT", "/bad-new-bucket", "CreateBucketConfiguration")):
            for name, body in self.bombs(root).items():
                if (root, name) == ("CreateBucketConfiguration", "empty"):
                    continue                # no body is a good request there
                with self.subTest(root=root, bomb=name):
                    reply = self.post(target, body, method)
                    self.assertEqual(reply.status, 400, reply.body[:300])
                    self.assertIn(reply.code, ("MalformedXML", "MissingRequestBodyError",
                                               "MaxMessageLengthExceeded", "EntityTooLarge"))
                    self.assertNotIn(b"root:", reply.body)
        self.assertEqual(self.raw.request("HEAD", "/bad-new-bucket").status, 404)
        self.s3.abort_multipart_upload(Bucket="bad", Key="evil", UploadId=upload)

    def test_many_at_once(self):
        """Whoever may not delete anything sends long lists of what to delete."""
        head = b"POST /bad?delete HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * MIB)
        before, socks, codes = self.server.resident_bytes(), [], []
        for _ in range(24):
            sock = self.raw.connect(5)
            self.addCleanup(sock.close)
            try:
                sock.sendall(head + b"<Delete>" + b" " * (7 * MIB))
            except OSError:
                pass        # refused while we were still talking
            socks.append(sock)
        self.assertLess(self.server.resident_bytes() - before, 100 * MIB * MEMORY_MEANS)
        for sock in socks[-4:]:
            try:
                codes.append(self.raw.reply(sock, "POST").status)
            except (OSError, http.client.HTTPException):
                codes.append(None)
        self.assertIn(503, codes)
        for sock in socks:
            sock.close()
        time.sleep(0.5)
        many = {"Objects": [{"Key": "none" * 200 + str(n)} for n in range(1000)]}
        self.assertNotIn("Errors", self.s3.delete_objects(Bucket="bad", Delete=many))


class ManyConnections(BadInput):
    flags = []
    count = 10_000

    @classmethod
    def start(cls):
        need = cls.count + 500
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < need:
            raise unittest.SkipTest(f"{need} open files needed, {hard} allowed")
        old = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(need, old[0]), hard))
        return super().start()

    def test_idle(self):
        idle = []
        try:
            for _ in range(self.count):
                idle.append(self.raw.connect())
            began = time.monotonic()
            self.assertEqual(self.raw.request("GET", "/bad/witness").body, b"unharmed")
            self.assertEqual(self.raw.request("HEAD", "/bad").status, 200)
            self.assertLess(time.monotonic() - began, 2)
            grown = self.server.resident_bytes() - self.memory_before
            self.assertLess(grown / self.count, 48 * 1024 * MEMORY_MEANS,
                            "bytes per idle connection")
            # They are served still, not merely held.
            for sock in idle[::1000]:
                sock.sendall(self.raw.signed("GET", "/bad/witness"))
                self.assertEqual(self.raw.reply(sock).body, b"unharmed")
        finally:
            for sock in idle:
                sock.close()
        self.memory_before = self.server.resident_bytes()


class FullDisk(BadInput):
    """A disk of its own that fills up in the middle of an upload."""
    disk_bytes = 160 * MIB

    @classmethod
    def start(cls):
        disk = tempfile.mkdtemp(prefix="kist-disk-")
        mount = ["mount", "-t", "tmpfs", "-o", f"size={cls.disk_bytes}", "kist-test", disk]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            os.rmdir(disk)
            raise unittest.SkipTest("no small disk: mount is refused")
        cls.addClassCleanup(os.rmdir, disk)
        cls.addClassCleanup(subprocess.run, ["umount", "-l", disk], check=True)
        flags = ["--reserve", "8M", "--log-segment", "8M"]
        server = Server(flags=flags, data=disk + "/data").start()
        cls.addClassCleanup(server.stop)
        return server

    def test_upload_that_does_not_fit(self):
        body = os.urandom(self.disk_bytes + 20 * MIB)
        for _ in range(2):
            reply, _ = self.exchange(self.raw.signed("PUT", "/bad/evil", body=body,
                                                     payload="UNSIGNED-PAYLOAD"))
            if reply:
                self.assertEqual((reply.status, reply.code), (507, "InsufficientStorage"))
            self.assertEqual(self.raw.request("GET", "/bad/evil").code, "NoSuchKey")
        # What did not fit took no room for good.
        small = body[:40 * MIB]
        reply = self.raw.request("PUT", "/bad/fits", body=small, payload="UNSIGNED-PAYLOAD")
        self.assertEqual(reply.status, 200, reply.body)
        got = self.raw.request("GET", "/bad/fits").body
        self.assertEqual(sha256(got), sha256(small))
        self.assertEqual(self.raw.request("DELETE", "/bad/fits").status, 204)
