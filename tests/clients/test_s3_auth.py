"""Who may: SigV4 in header and query, signed and unsigned bodies, aws-chunked with and without
trailers, good and broken. Every refused upload must leave nothing behind."""
import datetime
import hashlib
import re
import urllib.parse

from s3_raw import Signature, aws_chunked, crc32_base64, presign
from semantics import ALGORITHMS, Semantics
from workflow import ODD_KEYS, sha256

CHUNK = 64 * 1024


def minutes_from_now(minutes):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)


class Header(Semantics):
    def refused(self, code, status, **signature):
        self.raw_fails(code, status, "GET", f"/{self.bucket}", signature=Signature(**signature))

    def test_wrong_credentials(self):
        self.refused("SignatureDoesNotMatch", 403, secret="wrong")
        self.refused("InvalidAccessKeyId", 403, access="AKIANOSUCHKEY0000000")

    def test_clock_skew(self):
        self.refused("RequestTimeTooSkewed", 403, when=minutes_from_now(-16))
        self.refused("RequestTimeTooSkewed", 403, when=minutes_from_now(16))
        for minutes in (-14, 14):
            reply = self.raw.request("GET", f"/{self.bucket}",
                                     signature=Signature(minutes_from_now(minutes)))
            self.assertEqual(reply.status, 200)

    def test_scope(self):
        reply = self.raw.request("GET", f"/{self.bucket}", signature=Signature(region="eu-west-1"))
        self.assertEqual((reply.code, reply.status), ("AuthorizationHeaderMalformed", 400))
        # s3cmd and SDKs read the right region here and sign again.
        self.assertIn(b"<Region>us-east-1</Region>", reply.body)
        self.refused("AuthorizationHeaderMalformed", 400, service="ec2")

    def test_malformed(self):
        for value in ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a", "Bearer x",
                      "AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=,Signature=",
                      "AWS4-HMAC-SHA256 " + "," * 3000):
            with self.subTest(value=value[:50]):
                reply = self.raw.anonymous("GET", f"/{self.bucket}", {"authorization": value})
                self.assertIn(reply.status, (400, 403))
                self.assertIsNotNone(reply.code)

    def test_anonymous(self):
        for method, target in (("GET", "/"), ("GET", f"/{self.bucket}"), ("PUT", "/s-anonymous"),
                               ("PUT", f"/{self.bucket}/k"), ("DELETE", f"/{self.bucket}/k")):
            with self.subTest(method=method, target=target):
                reply = self.raw.anonymous(method, target)
                self.assertEqual((reply.code, reply.status), ("AccessDenied", 403))
        reply = self.raw.anonymous("HEAD", f"/{self.bucket}")
        self.assertEqual((reply.status, reply.body), (403, b""))

    def test_everything_is_signed(self):
        """Changing the method, target, a header or the body after signing is seen."""
        good = self.raw.signed("PUT", f"/{self.bucket}/t?tagging", {"x-amz-meta-a": "1"}, b"body")
        for old, new in ((b"PUT", b"GET"), (b"/t?tagging", b"/u?tagging"), (b"?tagging", b"?acl"),
                         (b"x-amz-meta-a: 1", b"x-amz-meta-a: 2")):
            with self.subTest(changed=old):
                self.assertIn(old, good)
                with self.raw.connect() as sock:
                    sock.sendall(good.replace(old, new, 1))
                    reply = self.raw.reply(sock)
                self.assertEqual((reply.code, reply.status), ("SignatureDoesNotMatch", 403))

    def test_payload_hash(self):
        for payload, code in ((hashlib.sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
                              ("nonsense", "InvalidArgument"), ("A" * 64, None)):
            with self.subTest(payload=payload):
                reply = self.raw.request("PUT", f"/{self.bucket}/hash", body=b"body",
                                         payload=payload)
                self.assertEqual(reply.status, 400)
                if code:
                    self.assertEqual(reply.code, code)
        self.fails("NoSuchKey", 404, self.get, "hash")
        reply = self.raw.request("PUT", f"/{self.bucket}/hash", body=b"body",
                                 payload="UNSIGNED-PAYLOAD")
        self.assertEqual((reply.status, self.body("hash")), (200, b"body"))

    def test_odd_keys_by_hand(self):
        for name, key in ODD_KEYS.items():
            with self.subTest(key=name):
                target = f"/{self.bucket}/" + urllib.parse.quote(key, safe="/-._~")
                self.assertEqual(self.raw.request("PUT", target, body=b"x").status, 200)
                self.assertEqual(self.raw.request("GET", target).body, b"x")
                self.assertEqual(self.body(key), b"x")


class Query(Semantics):
    def fetch(self, expires=60, method="GET", target=None, **more):
        target = target or f"/{self.bucket}/q"
        return self.raw.anonymous(method, presign(self.raw, "GET", target, expires, **more))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="q", Body=b"presigned")

    def test_good(self):
        self.assertEqual(self.fetch().body, b"presigned")
        self.assertEqual(self.fetch(604800).status, 200)

    def refused(self, code, status, **more):
        reply = self.fetch(**more)
        self.assertEqual((reply.code, reply.status), (code, status), reply.body)

    def test_expiry(self):
        self.refused("AccessDenied", 403, expires=60, signature=Signature(minutes_from_now(-2)))
        self.refused("AccessDenied", 403, expires=60, signature=Signature(minutes_from_now(30)))
        self.assertEqual(self.fetch(3600, signature=Signature(minutes_from_now(-30))).status, 200)

    def test_bad_parameters(self):
        for expires in (0, -1, 604801, "x", "99999999999999999999"):
            with self.subTest(expires=expires):
                reply = self.fetch(expires)
                self.assertIn((reply.code, reply.status),
                              (("AuthorizationQueryParametersError", 400), ("AccessDenied", 403)))
        self.refused("AuthorizationQueryParametersError", 400,
                     signature=Signature(region="eu-west-1"))

    def test_wrong(self):
        self.refused("SignatureDoesNotMatch", 403, signature=Signature(secret="wrong"))
        self.refused("SignatureDoesNotMatch", 403, method="DELETE")
        self.assertEqual(self.body("q"), b"presigned")

    def test_both_ways_at_once(self):
        """Signed in the header and in the query: refused, not one of them believed."""
        target = presign(self.raw, "GET", f"/{self.bucket}/q", 60)
        reply = self.raw.request("GET", target)
        self.assertEqual((reply.code, reply.status), ("InvalidArgument", 400))


class Chunked(Semantics):
    """Bodies in aws-chunked. The kinds: signed, signed with trailer, unsigned with trailer."""
    pieces = [bytes(range(256)) * (CHUNK // 256)] * 3 + [b"the last one"]
    data = b"".join(pieces)

    def send(self, key, **more):
        return self.raw.request("PUT", f"/{self.bucket}/{key}", **aws_chunked(**more))

    def kinds(self, name="x-amz-checksum-crc32", value=None):
        trailer = (name, crc32_base64(self.data) if value is None else value)
        return {"signed": {"signed": True}, "signed trailer": {"signed": True, "trailer": trailer},
                "unsigned trailer": {"signed": False, "trailer": trailer}}

    def test_good(self):
        for kind, options in self.kinds().items():
            for pieces in (self.pieces, [self.data]):
                with self.subTest(kind=kind, pieces=len(pieces)):
                    reply = self.send("good", chunks=pieces, **options)
                    self.assertEqual(reply.status, 200, reply.body)
                    got = self.get("good", ChecksumMode="ENABLED")
                    self.assertEqual(sha256(got["Body"].read()), sha256(self.data))
                    self.assertNotIn("aws-chunked", got.get("ContentEncoding", ""))
                    self.s3.delete_object(Bucket=self.bucket, Key="good")

    def test_empty(self):
        reply = self.send("empty", chunks=[])
        self.assertEqual((reply.status, self.body("empty")), (200, b""))

    def test_inside_transfer_encoding(self):
        """As the JavaScript SDK streams: aws-chunked in HTTP's own chunks, cut anywhere."""
        args = aws_chunked(self.pieces, False, ("x-amz-checksum-crc32", crc32_base64(self.data)))
        signature = Signature()
        headers = self.raw.signed_headers("PUT", f"/{self.bucket}/te", args["headers"],
                                          payload=args["payload"], signature=signature)
        headers["transfer-encoding"] = "chunked"
        body = args["encode"](signature)
        with self.raw.connect() as sock:
            sock.sendall(self.raw.head_bytes("PUT", f"/{self.bucket}/te", headers))
            for start in range(0, len(body), 9973):
                piece = body[start:start + 9973]
                sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")
            self.assertEqual(self.raw.reply(sock).status, 200)
        self.assertEqual(sha256(self.body("te")), sha256(self.data))

    def test_trailer_of_each_algorithm(self):
        data = self.pieces[0]
        for name, compute in ALGORITHMS.items():
            header = f"x-amz-checksum-{name}"
            with self.subTest(algorithm=name):
                reply = self.send("alg", chunks=[data], signed=False,
                                  trailer=(header, compute(data)))
                self.assertEqual((reply.status, reply.headers[header]), (200, compute(data)))
                reply = self.send("lie", chunks=[data], signed=False,
                                  trailer=(header, compute(b"other")))
                self.assertEqual((reply.code, reply.status), ("BadDigest", 400))
        self.fails("NoSuchKey", 404, self.get, "lie")

    def assert_nothing(self, key, reply, *codes):
        self.assertIn(reply.status, (400, 403), reply.body)
        self.assertIn(reply.code, codes)
        self.fails("NoSuchKey", 404, self.get, key)

    def test_changed_data(self):
        def flip(body):
            at = body.index(b"\r\n") + 2 + 1000
            return body[:at] + bytes([body[at] ^ 1]) + body[at + 1:]

        for kind, options in self.kinds().items():
            with self.subTest(kind=kind):
                reply = self.send("flip", chunks=self.pieces, spoil=flip, **options)
                self.assert_nothing("flip", reply, "SignatureDoesNotMatch", "BadDigest")

    def test_changed_signatures(self):
        def swap(body):
            first, second = re.findall(rb"chunk-signature=([0-9a-f]{64})", body)[:2]
            return body.replace(second, first)

        def last(body):
            at = body.rindex(b"-signature") + 12
            return body[:at] + (b"0" if body[at:at + 1] != b"0" else b"1") + body[at + 1:]

        for spoil in (swap, last):
            with self.subTest(spoil=spoil.__name__):
                reply = self.send("sig", chunks=self.pieces, spoil=spoil)
                self.assert_nothing("sig", reply, "SignatureDoesNotMatch")
        reply = self.send("sig", chunks=self.pieces, spoil=last, **self.kinds()["signed trailer"])
        self.assert_nothing("sig", reply, "SignatureDoesNotMatch")

    def test_broken_framing(self):
        codes = ("InvalidRequest", "InvalidArgument", "IncompleteBody", "MalformedTrailerError",
                 "SignatureDoesNotMatch", "InvalidChunkSizeError", "MalformedPOSTRequest")
        spoils = {
            "no last chunk": lambda b: b[:b.rindex(b"0;chunk")],
            "bad size": lambda b: b"zz" + b[2:],
            "huge size": lambda b: b"f" * 20 + b[b.index(b";"):],
            "negative size": lambda b: b"-1" + b[b.index(b";"):],
            "bare LF": lambda b: b.replace(b"\r\n", b"\n", 1),
            "no signature": lambda b: re.sub(rb";chunk-signature=[0-9a-f]+", b"", b, 1),
            "long line": lambda b: b[:b.index(b";")] + b";x=" + b"y" * 70000 + b[b.index(b";"):],
            "data too long": lambda b: b.replace(b"\r\n", b"\r\n!", 1),
            "garbage after": lambda b: b + b"garbage",
        }
        for name, spoil in spoils.items():
            with self.subTest(broken=name):
                reply = self.send("broken", chunks=self.pieces[:2], spoil=spoil)
                self.assert_nothing("broken", reply, *codes)

    def test_decoded_length_lies(self):
        for decoded in (0, len(self.data) - 1, len(self.data) + 1):
            with self.subTest(decoded=decoded):
                reply = self.send("length", chunks=self.pieces, decoded=decoded)
                self.assertIn(reply.status, (400, 403))
                self.fails("NoSuchKey", 404, self.get, "length")

    def test_trailers_that_lie(self):
        value = crc32_base64(self.data)
        for signed in (True, False):
            def send(spoil, signed=signed):
                return self.send("trailer", chunks=self.pieces, signed=signed, spoil=spoil,
                                 trailer=("x-amz-checksum-crc32", value))

            for name, spoil in {
                    "missing": lambda b: b[:b.index(b"x-amz-checksum-crc32:")] + b"\r\n",
                    "another": lambda b: b.replace(b"checksum-crc32:", b"checksum-sha1:"),
                    "no colon": lambda b: b.replace(b"crc32:", b"crc32 "),
                    "bad base64": lambda b: b.replace(value.encode(), b"!" * 8)}.items():
                with self.subTest(signed=signed, trailer=name):
                    reply = send(spoil)
                    self.assertIn(reply.status, (400, 403), reply.body)
                    self.fails("NoSuchKey", 404, self.get, "trailer")

    def test_part(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="part")["UploadId"]
        reply = self.raw.request("PUT", f"/{self.bucket}/part?partNumber=1&uploadId={upload}",
                                 **aws_chunked(self.pieces))
        self.assertEqual(reply.status, 200)
        self.complete("part", upload, [{"PartNumber": 1, "ETag": reply.headers["ETag"]}])
        self.assertEqual(sha256(self.body("part")), sha256(self.data))
