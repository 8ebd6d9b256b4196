"""Clients that shut their sending side behind the last byte of a request (as `nc -N` and scripts
do): the reply comes whole, and then the server closes at once. What the client reads last is an
end, never a wait for the server's idle timeout, and never an end without a reply."""
import socket
import time

from s3_raw import Signature, aws_chunked
from semantics import Semantics
from workflow import MIB

PROMPTLY_S = 3
ROUNDS = 8


class HalfClose(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="small", Body=b"small")
        cls.s3.put_object(Bucket=cls.bucket, Key="big", Body=bytes(3 * MIB))
        cls.path = f"/{cls.bucket}"
        # libmicrohttpd treats the oldest connection of a loop better than the others
        cls.idle = [cls.raw.connect() for _ in range(8)]
        for sock in cls.idle:
            cls.addClassCleanup(sock.close)

    def ask(self, data, together):
        """All that comes until the server's end. Together: the end of what we send is in the same
        segment as its last bytes, so that the server learns of both at once."""
        with self.raw.connect() as sock:
            sock.settimeout(PROMPTLY_S)
            sock.sendall(data, socket.MSG_MORE if together else 0)
            sock.shutdown(socket.SHUT_WR)
            out, begun = b"", time.monotonic()
            while piece := sock.recv(MIB):
                out += piece
            self.assertLess(time.monotonic() - begun, PROMPTLY_S)
        return out

    def check(self, data, *ends, status=200):
        """`ends`: how each of the replies ends; None where that does not matter."""
        for i in range(ROUNDS):
            out = self.ask(data, together=i % 2 == 0)
            self.assertEqual(out.count(b"HTTP/1.1 "), len(ends), out[:500])
            self.assertEqual(out.count(b"HTTP/1.1 %d " % status), len(ends), out[:500])
            self.assertTrue(out.endswith(ends[-1] or b""), out[-500:])

    def signed_chunks(self, chunks):
        signature, how = Signature(), aws_chunked(chunks)
        target = f"{self.path}/chunks"
        headers = self.raw.signed_headers("PUT", target, how["headers"], b"", how["payload"],
                                          signature)
        body = how["encode"](signature)
        headers["content-length"] = str(len(body))
        return self.raw.head_bytes("PUT", target, headers) + body

    def test_reads(self):
        small = self.raw.signed("GET", f"{self.path}/small")
        self.check(small, b"\r\nsmall")
        self.check(self.raw.signed("GET", f"{self.path}/big"), bytes(3 * MIB))
        self.check(self.raw.signed("HEAD", f"{self.path}/small"), b"\r\n\r\n")
        self.check(self.raw.signed("GET", f"{self.path}?list-type=2"), b"</ListBucketResult>")
        self.check(small * 3, b"small", b"small", b"\r\nsmall")

    def test_writes(self):
        """They wait for the disk, and the client's end comes meanwhile."""
        for size in (0, 1000, 2 * MIB):
            self.check(self.raw.signed("PUT", f"{self.path}/put", body=b"x" * size), None)
        self.check(self.signed_chunks([b"x" * 70000, b"y" * 9000]), None)
        self.check(self.raw.signed("PUT", f"{self.path}/put", body=b"x") * 2, None, None)
        self.check(self.raw.signed("DELETE", f"{self.path}/none"), b"\r\n\r\n", status=204)

    def test_refusals(self):
        end = b"</Error>"
        self.check(self.raw.signed("GET", f"{self.path}/none"), end, status=404)
        self.check(self.raw.signed("PUT", "/no-such-bucket/x", body=b"x" * 1000), end, status=404)
        anonymous = f"GET {self.path}/small HTTP/1.1\r\nHost: {self.raw.host}\r\n".encode()
        self.check(anonymous + b"\r\n", end, status=403)
        self.check(anonymous + b"Host: other\r\n\r\n", end, status=400)
        self.check(anonymous + b"no colon\r\n\r\n", end, status=400)
        self.check(anonymous.replace(b"GET", b"PUT") + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                   end, status=403)

    def test_cut_short(self):
        """Part of a request is no request, and keeps no connection."""
        put = self.raw.signed("PUT", f"{self.path}/cut", body=b"x" * 1000)
        for data in (put[:-1], put[:100], put[:10]):
            self.check_nothing(data)
        self.assertNotIn("cut", [o["Key"] for o in
                                 self.s3.list_objects_v2(Bucket=self.bucket)["Contents"]])

    def check_nothing(self, data):
        for i in range(ROUNDS):
            self.assertEqual(self.ask(data, together=i % 2 == 0), b"")
