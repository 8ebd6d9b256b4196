"""Multipart uploads and checksums: ETags and checksums of parts and wholes, paging, refusals."""
import base64
import hashlib
import re
import zlib

from semantics import ALGORITHMS, PART, Semantics
from workflow import sha256


class Multipart(Semantics):
    def test_etag_and_parts(self):
        bodies = [b"a" * PART, b"b" * PART, b"tail"]
        md5s = b"".join(hashlib.md5(body).digest() for body in bodies)
        reply = self.upload("mp", bodies)
        self.assertEqual(reply["ETag"], f'"{hashlib.md5(md5s).hexdigest()}-3"')
        got = self.get("mp")
        self.assertEqual(sha256(got["Body"].read()), sha256(b"".join(bodies)))
        second = self.get("mp", PartNumber=2)
        self.assertEqual((second["PartsCount"], second["ContentLength"]), (3, PART))
        self.assertEqual(second["ContentRange"], f"bytes {PART}-{2 * PART - 1}/{2 * PART + 4}")
        self.assertEqual(sha256(second["Body"].read()), sha256(bodies[1]))
        self.fails("InvalidPartNumber", 416, self.get, "mp", PartNumber=4)
        # A range over the seam of two parts.
        seam = self.body("mp", Range=f"bytes={PART - 2}-{PART + 1}")
        self.assertEqual(seam, b"aabb")

    def test_replaced_and_unused_parts(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="re")["UploadId"]
        self.part("re", upload, 7, b"first try")
        self.part("re", upload, 9, b"unused")
        etag = self.part("re", upload, 7, b"second try")["ETag"]
        self.complete("re", upload, [{"PartNumber": 7, "ETag": etag}])
        self.assertEqual(self.body("re"), b"second try")
        self.fails("NoSuchUpload", 404, self.part, "re", upload, 1, b"late")

    def test_complete_is_checked(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="bad")["UploadId"]
        etags = [self.part("bad", upload, n, body)["ETag"]
                 for n, body in enumerate((b"L" * PART, b"small", b"L" * PART), 1)]
        one, two, three = ({"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1))
        for code, parts in (("EntityTooSmall", [one, two, three]),
                            ("InvalidPartOrder", [three, one]), ("InvalidPartOrder", [one, one]),
                            ("InvalidPart", [one, {"PartNumber": 4, "ETag": etags[0]}]),
                            ("InvalidPart", [{"PartNumber": 1, "ETag": etags[1]}]),
                            ("MalformedXML", [])):
            with self.subTest(code=code):
                self.fails(code, 400, self.complete, "bad", upload, parts)
        self.fails("NoSuchKey", 404, self.get, "bad")
        self.fails("NoSuchUpload", 404, self.complete, "bad", "no-such-upload", [one])
        self.fails("NoSuchUpload", 404, self.complete, "other key", upload, [one])

    def test_part_numbers(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="n")["UploadId"]
        for number in ("0", "10001", "-1", "x", "99999999999999999999"):
            with self.subTest(number=number):
                self.raw_fails("InvalidArgument", 400, "PUT",
                               f"/{self.bucket}/n?partNumber={number}&uploadId={upload}", body=b"x")
        self.part("n", upload, 10000, b"the last number")

    def test_abort(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="ab")["UploadId"]
        self.part("ab", upload, 1, b"x")
        abort = {"Bucket": self.bucket, "Key": "ab", "UploadId": upload}
        self.s3.abort_multipart_upload(**abort)
        self.fails("NoSuchUpload", 404, self.s3.abort_multipart_upload, **abort)
        self.fails("NoSuchUpload", 404, self.s3.list_parts, **abort)

    def test_list_parts_pages(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="lp")["UploadId"]
        for number in (1, 3, 5, 7, 9):
            self.part("lp", upload, number, b"p" * number)
        found, marker = [], 0
        for _ in range(3):
            page = self.s3.list_parts(Bucket=self.bucket, Key="lp", UploadId=upload, MaxParts=2,
                                      PartNumberMarker=marker)
            found.append([(p["PartNumber"], p["Size"]) for p in page["Parts"]])
            marker = page.get("NextPartNumberMarker")
        self.assertEqual(found, [[(1, 1), (3, 3)], [(5, 5), (7, 7)], [(9, 9)]])
        self.assertFalse(page["IsTruncated"])

    def test_list_uploads(self):
        bucket = "s-uploads"
        self.s3.create_bucket(Bucket=bucket)
        keys = ["a", "a", "dir/b", "dir/c", "z"]
        for key in keys:
            self.s3.create_multipart_upload(Bucket=bucket, Key=key)
        found, marks = [], {}
        while True:
            page = self.s3.list_multipart_uploads(Bucket=bucket, MaxUploads=2, **marks)
            found += [(u["Key"], u["UploadId"]) for u in page["Uploads"]]
            if not page["IsTruncated"]:
                break
            marks = {"KeyMarker": page["NextKeyMarker"],
                     "UploadIdMarker": page["NextUploadIdMarker"]}
        self.assertEqual([key for key, _ in found], keys)
        self.assertEqual(len(set(found)), 5)
        page = self.s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
        self.assertEqual([u["Key"] for u in page["Uploads"]], ["a", "a", "z"])
        self.assertEqual(page["CommonPrefixes"], [{"Prefix": "dir/"}])
        page = self.s3.list_multipart_uploads(Bucket=bucket, Prefix="dir/")
        self.assertEqual([u["Key"] for u in page["Uploads"]], ["dir/b", "dir/c"])

    def test_upload_part_copy(self):
        data = bytes(range(256)) * 40960     # 10 MiB
        self.put("whole", data)
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="pc")["UploadId"]
        source = {"Bucket": self.bucket, "Key": "whole"}
        where = {"Bucket": self.bucket, "Key": "pc", "UploadId": upload, "CopySource": source}
        parts = []
        for number, span in ((1, f"bytes=1-{PART}"), (2, "bytes=100-199")):
            reply = self.s3.upload_part_copy(**where, PartNumber=number, CopySourceRange=span)
            parts.append({"PartNumber": number, "ETag": reply["CopyPartResult"]["ETag"]})
        for span in (f"bytes=0-{len(data)}", "bytes=5-", "bytes=9-1"):
            with self.subTest(span=span):
                self.raw_fails("InvalidArgument", 400, "PUT",
                               f"/{self.bucket}/pc?partNumber=3&uploadId={upload}",
                               headers={"x-amz-copy-source": f"/{self.bucket}/whole",
                                        "x-amz-copy-source-range": span})
        self.complete("pc", upload, parts)
        self.assertEqual(sha256(self.body("pc")), sha256(data[1:PART + 1] + data[100:200]))

    def test_empty_last_part(self):
        self.upload("empty-last", [b"p" * (5 << 20), b""])
        last = self.get("empty-last", PartNumber=2)
        self.assertEqual((last["Body"].read(), last["ContentLength"], last["PartsCount"]),
                         (b"", 0, 2))
        self.assertNotIn("ContentRange", last)
        self.assertEqual(last["ResponseMetadata"]["HTTPStatusCode"], 200)

    def test_checksums_of_copies(self):
        """Of bytes that the server itself moves, it says what it has found."""
        data = b"c" * 1000
        self.put("source", data)
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="copied",
                                                 ChecksumAlgorithm="CRC32")["UploadId"]
        reply = self.raw.request("PUT", f"/{self.bucket}/copied?partNumber=1&uploadId={upload}",
                                 headers={"x-amz-copy-source": f"/{self.bucket}/source",
                                          "x-amz-checksum-crc32": "AAAAAA=="})
        right = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        self.assertIn(f"<ChecksumCRC32>{right}<".encode(), reply.body)
        self.complete("copied", upload, [{
            "PartNumber": 1, "ETag": re.search(rb"<ETag>(.*)</ETag>", reply.body)[1].decode()
            .replace("&quot;", '"'), "ChecksumCRC32": right}])
        # composed of parts, then one piece: encrypted, so that its bytes are written anew
        self.s3.copy_object(Bucket=self.bucket, Key="whole", ServerSideEncryption="AES256",
                            CopySource=f"{self.bucket}/copied")
        got = self.get("whole", ChecksumMode="ENABLED")
        headers = got["ResponseMetadata"]["HTTPHeaders"]
        self.assertEqual((got["ChecksumCRC32"], headers["x-amz-checksum-type"]),
                         (right, "FULL_OBJECT"))
        self.assertEqual(got["Body"].read(), data)

    def test_metadata_of_create(self):
        upload = self.s3.create_multipart_upload(
            Bucket=self.bucket, Key="meta", Tagging="a=b", ContentType="text/m",
            Metadata={"k": "v"})["UploadId"]
        etag = self.part("meta", upload, 1, b"x")["ETag"]
        self.complete("meta", upload, [{"PartNumber": 1, "ETag": etag}])
        got = self.get("meta")
        self.assertEqual((got["ContentType"], got["Metadata"]), ("text/m", {"k": "v"}))
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="meta")["TagSet"]
        self.assertEqual(tags, [{"Key": "a", "Value": "b"}])


class Checksums(Semantics):
    body_bytes = b"123456789"

    def test_known_values(self):
        """The check values of the CRC catalogue, so that this file's own CRCs are right."""
        for name, value in (("crc32", 0xCBF43926), ("crc32c", 0xE3069283),
                            ("crc64nvme", 0xAE8B14860A799888)):
            want = value.to_bytes(8 if "64" in name else 4, "big")
            self.assertEqual(ALGORITHMS[name](self.body_bytes), base64.b64encode(want).decode())

    def put_with(self, key, name, value):
        return self.raw.request("PUT", f"/{self.bucket}/{key}", body=self.body_bytes,
                                headers={f"x-amz-checksum-{name}": value})

    def test_header(self):
        for name, compute in ALGORITHMS.items():
            with self.subTest(algorithm=name):
                value, header = compute(self.body_bytes), f"x-amz-checksum-{name}"
                reply = self.put_with(name, name, value)
                self.assertEqual((reply.status, reply.headers[header]), (200, value))
                for method in ("GET", "HEAD"):
                    reply = self.raw.request(method, f"/{self.bucket}/{name}",
                                             headers={"x-amz-checksum-mode": "ENABLED"})
                    self.assertEqual(reply.headers[header], value)
                    self.assertEqual(reply.headers["x-amz-checksum-type"], "FULL_OBJECT")
                reply = self.raw.request("GET", f"/{self.bucket}/{name}")
                self.assertIsNone(reply.headers[header])

    def test_wrong_header(self):
        for name, compute in ALGORITHMS.items():
            with self.subTest(algorithm=name):
                reply = self.put_with("wrong", name, compute(b"something else"))
                self.assertEqual((reply.code, reply.status), ("BadDigest", 400))
                reply = self.put_with("wrong", name, "AAA=")
                self.assertEqual((reply.code, reply.status), ("InvalidRequest", 400))
        self.fails("NoSuchKey", 404, self.get, "wrong")

    def test_two_at_once(self):
        headers = {f"x-amz-checksum-{n}": ALGORITHMS[n](b"x") for n in ("crc32", "sha1")}
        self.raw_fails("InvalidRequest", 400, "PUT", f"/{self.bucket}/two", headers=headers,
                       body=b"x")

    def multipart(self, key, algorithm, kind, parts):
        """Uploads by hand, because boto3 of this age does not know x-amz-checksum-type."""
        name, compute = algorithm.lower(), ALGORITHMS[algorithm.lower()]
        reply = self.raw.request("POST", f"/{self.bucket}/{key}?uploads", headers={
            "x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})
        self.assertEqual(reply.status, 200, reply.body)
        upload = re.search(rb"<UploadId>(.*?)<", reply.body)[1].decode()
        listed = ""
        for number, body in enumerate(parts, 1):
            reply = self.raw.request(
                "PUT", f"/{self.bucket}/{key}?partNumber={number}&uploadId={upload}", body=body,
                headers={f"x-amz-checksum-{name}": compute(body)})
            self.assertEqual(reply.status, 200, reply.body)
            etag = reply.headers["ETag"]
            listed += (f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>"
                       f"<Checksum{algorithm}>{compute(body)}</Checksum{algorithm}></Part>")
        return self.raw.request("POST", f"/{self.bucket}/{key}?uploadId={upload}", body=(
            f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>").encode())

    def stored_checksum(self, key, name):
        head = self.raw.request("HEAD", f"/{self.bucket}/{key}",
                                headers={"x-amz-checksum-mode": "ENABLED"}).headers
        return head[f"x-amz-checksum-{name}"], head["x-amz-checksum-type"]

    parts = [b"\x5a" * PART, b"tail"]

    def test_composite(self):
        for algorithm in ("CRC32", "SHA1", "SHA256"):
            with self.subTest(algorithm=algorithm):
                compute = ALGORITHMS[algorithm.lower()]
                reply = self.multipart("composite", algorithm, "COMPOSITE", self.parts)
                self.assertEqual(reply.status, 200, reply.body)
                inner = b"".join(base64.b64decode(compute(p)) for p in self.parts)
                self.assertEqual(self.stored_checksum("composite", algorithm.lower()),
                                 (compute(inner) + "-2", "COMPOSITE"))

    def test_full_object(self):
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME"):
            with self.subTest(algorithm=algorithm):
                reply = self.multipart("full", algorithm, "FULL_OBJECT", self.parts)
                self.assertEqual(reply.status, 200, reply.body)
                want = ALGORITHMS[algorithm.lower()](b"".join(self.parts))
                self.assertEqual(self.stored_checksum("full", algorithm.lower()),
                                 (want, "FULL_OBJECT"))

    def test_kinds_that_do_not_exist(self):
        for algorithm, kind in (("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")):
            self.raw_fails("InvalidRequest", 400, "POST", f"/{self.bucket}/k?uploads", headers={
                "x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind})

    def test_attributes(self):
        self.multipart("attributes", "SHA256", "COMPOSITE", self.parts)
        reply = self.s3.get_object_attributes(
            Bucket=self.bucket, Key="attributes", MaxParts=1,
            ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"])
        self.assertRegex(reply["ETag"], "^[0-9a-f]{32}-2$")     # no quotes here, alone in S3
        self.assertEqual((reply["ObjectSize"], reply["StorageClass"]), (PART + 4, "STANDARD"))
        self.assertTrue(reply["Checksum"]["ChecksumSHA256"])
        parts = reply["ObjectParts"]
        self.assertEqual((parts["TotalPartsCount"], parts["IsTruncated"]), (2, True))
        listed = [(p["PartNumber"], p["Size"], p["ChecksumSHA256"]) for p in parts["Parts"]]
        self.assertEqual(listed, [(1, PART, ALGORITHMS["sha256"](self.parts[0]))])
        self.raw_fails("InvalidArgument", 400, "GET", f"/{self.bucket}/attributes?attributes",
                       headers={"x-amz-object-attributes": "Colour"})
