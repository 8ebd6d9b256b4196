"""Requests hidden in other requests, sent to every kind of host: path style, virtual-host style,
websites. Two servers that read the same bytes differently are what an attack needs; here each
connection gets exactly the answers that one reading gives, and the hidden request is never one."""
import json
import re
import socket

from kist_server import DOMAIN
from semantics import Semantics

HIDDEN = b"GET /s-smuggling-smuggling/secret HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


class Smuggling(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="secret", Body=b"top secret")
        cls.s3.create_bucket(Bucket="open-site")
        cls.s3.put_object(Bucket="open-site", Key="index.html", Body=b"welcome")
        cls.s3.put_bucket_website(Bucket="open-site", WebsiteConfiguration={
            "IndexDocument": {"Suffix": "index.html"}})
        cls.s3.put_bucket_policy(Bucket="open-site", Policy=json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"],
                "Resource": "arn:aws:s3:::open-site/*"}]}))
        cls.hosts = [f"127.0.0.1:{cls.server.port}", f"open-site.{DOMAIN}",
                     f"open-site.web.{DOMAIN}", f"open-site.web.{DOMAIN}:{cls.server.port}",
                     f"OPEN-SITE.WEB.{DOMAIN.upper()}", f"open-site.web.{DOMAIN}."]

    def setUp(self):
        self.before = self.state()

    def tearDown(self):
        self.assertEqual(self.state(), self.before)

    def state(self):
        return [(b, o["Key"], o["ETag"]) for b in (self.bucket, "open-site")
                for o in self.s3.list_objects_v2(Bucket=b)["Contents"]]

    def send(self, data, half_close=True):
        """Everything that comes back until the server closes."""
        out = b""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=3) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            try:
                while piece := s.recv(65536):
                    out += piece
            except ConnectionResetError:
                pass
        return out

    def statuses(self, data):
        out = self.send(data)
        self.assertNotIn(b"top secret", out)
        return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", out)], out

    def head(self, host, lines, method="GET", target="/"):
        return (f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n".encode() +
                b"".join(line + b"\r\n" for line in lines) + b"\r\n")

    def test_bodies_that_are_requests(self):
        """What a length covers is a body, even for methods and hosts that want none."""
        length = b"Content-Length: %d" % len(HIDDEN)
        for host in self.hosts:
            for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE"):
                got, out = self.statuses(self.head(host, [length], method) + HIDDEN)
                self.assertEqual(len(got), 1, (host, method, out))

    def test_two_lengths(self):
        chunked = b"0\r\n\r\n" + HIDDEN
        pairs = ([b"Content-Length: %d" % len(chunked), b"Transfer-Encoding: chunked"],
                 [b"Transfer-Encoding: chunked", b"Content-Length: 5"],
                 [b"Content-Length: 0", b"Content-Length: %d" % len(chunked)],
                 [b"Content-Length: 0, %d" % len(chunked)],
                 [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
                 [b"Transfer-Encoding: xchunked"], [b"Transfer-Encoding:\x0bchunked"],
                 [b"Transfer-Encoding : chunked"], [b"Content-Length: +0"],
                 [b"Content-Length: 0x0"], [b"X: y\r\n Transfer-Encoding: chunked",
                                            b"Transfer-Encoding: chunked, chunked"])
        for host in self.hosts:
            for lines in pairs:
                got, out = self.statuses(self.head(host, lines, "PUT", "/x") + chunked)
                # libmicrohttpd may write its own refusal's head twice: one reading all the same
                self.assertTrue(got == [501] or set(got) == {400}, (host, lines, out))
                self.assertLessEqual(out.count(b"<Error>") + out.count(b"<html>"), 1)

    def test_chunk_lines(self):
        """Sizes that others read as something else."""
        for size in (b"0 ", b"0\r", b"-1", b"0x5", b"5;\n", b"ffffffffffffffff1", b"00000000g"):
            body = size + b"\r\n\r\n" + HIDDEN
            for host in self.hosts[:3]:
                got, out = self.statuses(
                    self.head(host, [b"Transfer-Encoding: chunked"], "PUT", "/x") + body)
                self.assertLessEqual(len([s for s in got if s < 400]), 1, (host, size, out))

    def test_whose_host(self):
        """One Host, and it decides; what an absolute target says comes before it."""
        site, path = f"open-site.web.{DOMAIN}", f"127.0.0.1:{self.server.port}"
        for lines in ([f"Host: {path}".encode()], [b"host:"], [f"Host: {site}".encode()]):
            got, out = self.statuses(self.head(site, lines))
            self.assertEqual(got, [400], out)
        for host in (f"{site}/../x", f"user@{site}", f"{site}\x00.evil", f"{site} x", f"{site},{path}",
                     f"{site}:80:80", f"[{site}]", f"{site}:-1", f"{site}#",
                     f"{site}\\x"):
            got, out = self.statuses(self.head(host, []))
            self.assertTrue(len(got) <= 1 and b"welcome" not in out, (host, out))
        got, out = self.statuses(self.head(path, [], target=f"http://{site}/"))
        self.assertIn(b"welcome", out)
        got, out = self.statuses(self.head(site, [], target=f"http://{path}/{self.bucket}/secret"))
        self.assertEqual(got, [403], out)
        for host in self.hosts[4:]:
            self.assertIn(b"welcome", self.statuses(self.head(host, []))[1], host)

    def test_other_buckets_through_a_site(self):
        """No path leads out of the site's bucket."""
        for target in (f"/../{self.bucket}/secret", f"//{self.bucket}/secret",
                       f"/%2e%2e/{self.bucket}/secret", f"/..%2f{self.bucket}%2fsecret",
                       f"/?versionId=null&x=/{self.bucket}/secret", f"/{self.bucket}/secret",
                       "/?policy", "/?acl", "/?list-type=2"):
            got, out = self.statuses(self.head(f"open-site.web.{DOMAIN}", [], target=target))
            self.assertNotIn(b"<Contents>", out)
            self.assertNotIn(b"Statement", out)

    def test_pipelines(self):
        """Requests that follow each other keep their own hosts and identities."""
        site = self.head(f"open-site.web.{DOMAIN}", [])
        secret = self.raw.signed("GET", f"/{self.bucket}/secret")
        last = HIDDEN.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        out = self.send(secret + site + HIDDEN + site + last, half_close=False)
        self.assertEqual(out.count(b"top secret"), 1)
        self.assertEqual([int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", out)],
                         [200, 200, 403, 200, 403])
