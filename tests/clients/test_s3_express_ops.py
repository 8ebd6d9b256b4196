"""RenameObject and appending, which Amazon documents for directory buckets."""
import datetime
import subprocess
import tempfile
import threading
from pathlib import Path

from botocore.exceptions import ClientError

from express import express_client
from kist_server import BIN, Server
from semantics import ALGORITHMS, PART, Semantics
from workflow import MIB

UTC = datetime.timezone.utc
CUSTOMER = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}


class Express(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3 = express_client(cls.server)


class Append(Express):
    def append(self, key, offset, body, **more):
        return self.put(key, body, WriteOffsetBytes=offset, **more)

    def test_grows(self):
        whole = b""
        for n, size in enumerate([10, 70_000, 1, 3 * MIB, 300_000]):
            piece = bytes([65 + n]) * size
            reply = self.append("grows", len(whole), piece)
            whole += piece
            # Size is in the reply of an append
            self.assertEqual(reply["Size"], len(whole))
            self.assertEqual(reply["ETag"], self.get("grows")["ETag"])
            self.assertEqual(self.body("grows"), whole)
        for first, last in [(0, 0), (9, 10), (10, 70_010), (70_009, 70_011), (70_011, 3 * MIB),
                            (len(whole) - 1, len(whole))]:
            self.assertEqual(self.body("grows", Range=f"bytes={first}-{last}"),
                             whole[first:last + 1])
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="grows")["Contents"][0]
        self.assertEqual((listed["Size"], listed["ETag"]), (len(whole), reply["ETag"]))

    def test_wrong_offsets(self):
        self.fails("InvalidWriteOffset", 400, self.append, "offset", 1, b"x")
        self.append("offset", 0, b"abc")
        for offset in (0, 2, 4):
            self.fails("InvalidWriteOffset", 400, self.append, "offset", offset, b"x")
        self.raw_fails("InvalidArgument", 400, "PUT", f"/{self.bucket}/offset", body=b"x",
                       headers={"x-amz-write-offset-bytes": "three"})
        self.assertEqual(self.body("offset"), b"abc")

    def test_empty(self):
        self.append("empty", 0, b"")
        self.append("empty", 0, b"")
        self.append("empty", 0, b"one")
        self.append("empty", 3, b"")
        self.append("empty", 3, b"two")
        self.assertEqual(self.body("empty"), b"onetwo")
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="empty")["ContentLength"], 6)

    def test_keeps_what_the_object_has(self):
        self.put("meta", b"1", ContentType="text/x", Metadata={"a": "b"}, Tagging="k=v")
        self.append("meta", 1, b"2", ContentType="text/y", Metadata={"c": "d"})
        found = self.get("meta")
        self.assertEqual((found["ContentType"], found["Metadata"]), ("text/x", {"a": "b"}))
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="meta")["TagSet"]
        self.assertEqual(tags, [{"Key": "k", "Value": "v"}])

    def test_full_crcs_go_on(self):
        for name in ("crc32", "crc32c", "crc64nvme"):
            header = "x-amz-checksum-" + name
            whole = b""
            for piece in (b"first", b"second" * 20_000, b"", b"third"):
                value = ALGORITHMS[name](piece)
                reply = self.raw.request("PUT", f"/{self.bucket}/{name}", body=piece, headers={
                    "x-amz-write-offset-bytes": str(len(whole)), header: value})
                self.assertEqual((reply.status, reply.headers[header]), (200, value))
                whole += piece
            self.append(name, len(whole), b"none given")
            whole += b"none given"
            head = self.raw.request("HEAD", f"/{self.bucket}/{name}",
                                    headers={"x-amz-checksum-mode": "ENABLED"})
            self.assertEqual(head.headers[header], ALGORITHMS[name](whole))
            self.assertEqual(head.headers["x-amz-checksum-type"], "FULL_OBJECT")
            self.assertEqual(self.body(name), whole)

    def test_sha_is_of_the_piece(self):
        self.append("sha", 0, b"first", ChecksumAlgorithm="SHA256")
        reply = self.append("sha", 5, b"second", ChecksumAlgorithm="SHA256")
        self.assertEqual(reply["ChecksumSHA256"], ALGORITHMS["sha256"](b"second"))
        head = self.s3.head_object(Bucket=self.bucket, Key="sha", ChecksumMode="ENABLED")
        self.assertNotIn("ChecksumSHA256", head)

    def test_to_multipart_and_its_copies(self):
        parts = [bytes([n]) * PART for n in (1, 2)] + [b"end"]
        self.upload("multi", parts)
        self.s3.copy_object(Bucket=self.bucket, Key="twin", CopySource=f"{self.bucket}/multi")
        whole = b"".join(parts)
        self.append("multi", len(whole), b"mine")
        self.append("twin", len(whole), b"yours")
        self.append("multi", len(whole) + 4, b"more")
        self.assertEqual(self.body("multi"), whole + b"minemore")
        self.assertEqual(self.body("twin"), whole + b"yours")
        self.assertEqual(self.body("multi", Range=f"bytes={PART - 2}-{PART + 1}"),
                         b"\1\1\2\2")
        self.s3.delete_object(Bucket=self.bucket, Key="multi")
        self.assertEqual(self.body("twin"), whole + b"yours")
        self.s3.copy_object(Bucket=self.bucket, Key="third", CopySource=f"{self.bucket}/twin")
        self.assertEqual(self.body("third"), whole + b"yours")

    def test_parts_are_shown(self):
        self.put("parts", b"base")
        self.append("parts", 4, b"one")
        self.append("parts", 7, b"two!")
        second = self.get("parts", PartNumber=2)
        self.assertEqual((second["Body"].read(), second["PartsCount"]), (b"one", 3))
        self.assertEqual(self.body("parts", PartNumber=1), b"base")

    def test_conditions(self):
        etag = self.append("conditions", 0, b"a")["ETag"]
        self.fails("PreconditionFailed", 412, self.append, "conditions", 1, b"b",
                   IfMatch='"0123456789abcdef0123456789abcdef"')
        self.append("conditions", 1, b"b", IfMatch=etag)
        self.fails("PreconditionFailed", 412, self.append, "conditions", 2, b"c", IfNoneMatch="*")
        self.assertEqual(self.body("conditions"), b"ab")

    def test_readers_see_one_length(self):
        self.put("reader", b"x" * 200_000)
        reading = self.get("reader")
        self.append("reader", 200_000, b"y")
        self.put("reader", b"other")
        self.assertEqual(reading["Body"].read(), b"x" * 200_000)

    def test_many_at_once(self):
        """Of those who append at the same offset one wins: nothing is lost or doubled."""
        self.put("race", b"")
        done = []

        def work(n):
            s3, count = express_client(self.server), 0
            while count < 5:
                size = s3.head_object(Bucket=self.bucket, Key="race")["ContentLength"]
                try:
                    s3.put_object(Bucket=self.bucket, Key="race", Body=bytes([n]) * 10,
                                  WriteOffsetBytes=size)
                except ClientError as e:
                    assert e.response["Error"]["Code"] == "InvalidWriteOffset", e
                    continue
                count += 1
            done.append(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        body = self.body("race")
        pieces = sorted(body[i:i + 10] for i in range(0, len(body), 10))
        self.assertEqual(pieces, sorted(bytes([n]) * 10 for n in (1, 2, 3, 4) for _ in range(5)))
        self.assertEqual(len(done), 4)

    def test_not_with_versions(self):
        self.s3.create_bucket(Bucket="append-versions")
        for status in ("Enabled", "Suspended"):
            self.s3.put_bucket_versioning(Bucket="append-versions",
                                          VersioningConfiguration={"Status": status})
            self.fails("InvalidRequest", 400, self.s3.put_object, Bucket="append-versions",
                       Key="a", Body=b"x", WriteOffsetBytes=0)

    def test_not_with_other_operations(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="mp")["UploadId"]
        self.raw_fails("InvalidRequest", 400, "PUT",
                       f"/{self.bucket}/mp?partNumber=1&uploadId={upload}", body=b"x",
                       headers={"x-amz-write-offset-bytes": "0"})
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="mp", UploadId=upload)

    def test_encryption(self):
        whole = b"0" * 70_000
        self.put("sealed", whole, ServerSideEncryption="AES256")
        reply = self.append("sealed", len(whole), b"1" * 300_000)
        self.assertEqual(reply["ServerSideEncryption"], "AES256")
        whole += b"1" * 300_000
        self.append("sealed", len(whole), b"2", ServerSideEncryption="AES256")
        self.assertEqual(self.body("sealed"), whole + b"2")
        self.fails("EncryptionTypeMismatch", 400, self.append, "sealed", len(whole) + 1, b"3",
                   **CUSTOMER)
        self.put("plain", b"a")
        self.fails("EncryptionTypeMismatch", 400, self.append, "plain", 1, b"b",
                   ServerSideEncryption="AES256")

    def test_customers_keys(self):
        self.put("customer", b"a", **CUSTOMER)
        self.append("customer", 1, b"b", **CUSTOMER)
        self.assertEqual(self.body("customer", **CUSTOMER), b"ab")
        self.fails("EncryptionTypeMismatch", 400, self.append, "customer", 2, b"c")
        self.fails("InvalidRequest", 400, self.append, "customer", 2, b"c",
                   SSECustomerAlgorithm="AES256", SSECustomerKey="x" * 32)

    def test_multipart_encrypted(self):
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="ms",
                                                 ServerSideEncryption="AES256")["UploadId"]
        done = [{"PartNumber": n, "ETag": self.part("ms", upload, n, body)["ETag"]}
                for n, body in [(2, b"x" * PART), (7, b"y" * 100)]]
        self.complete("ms", upload, done)
        self.append("ms", PART + 100, b"z" * 100_000)
        self.assertEqual(self.body("ms"), b"x" * PART + b"y" * 100 + b"z" * 100_000)


class Rename(Express):
    def rename(self, source, key, **more):
        return self.s3.rename_object(Bucket=self.bucket, Key=key, RenameSource=source, **more)

    def keys(self, prefix):
        page = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return [o["Key"] for o in page.get("Contents", [])]

    def test_keeps_everything(self):
        self.put("whole/a", b"body" * 50_000, Metadata={"m": "1"}, ContentType="text/x",
                 Tagging="k=v", ServerSideEncryption="AES256", ChecksumAlgorithm="SHA256")
        before = self.s3.head_object(Bucket=self.bucket, Key="whole/a", ChecksumMode="ENABLED")
        self.rename("whole/a", "whole/b")
        after = self.s3.head_object(Bucket=self.bucket, Key="whole/b", ChecksumMode="ENABLED")
        for reply in (before, after):
            reply.pop("ResponseMetadata")
        self.assertEqual(before, after)
        self.assertEqual(self.body("whole/b"), b"body" * 50_000)
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="whole/b")["TagSet"]
        self.assertEqual(tags, [{"Key": "k", "Value": "v"}])
        self.assertEqual(self.keys("whole/"), ["whole/b"])

    def test_names(self):
        self.put("names/ä b+c%", b"1")
        self.rename("names/%C3%A4%20b%2Bc%25", "names/plain")
        self.assertEqual(self.keys("names/"), ["names/plain"])
        for bad in ("", "%zz", "a" * 1025, "%FF"):
            self.raw_fails("InvalidArgument", 400, "PUT", f"/{self.bucket}/x?renameObject",
                           headers={"x-amz-rename-source": bad})

    def test_refused(self):
        self.put("refused/a")
        self.put("refused/d/")
        self.fails("NoSuchKey", 404, self.rename, "refused/none", "refused/b")
        self.fails("InvalidRequest", 400, self.rename, "refused/a", "refused/a")
        self.fails("InvalidRequest", 400, self.rename, "refused/a", "refused/b/")
        self.fails("InvalidRequest", 400, self.rename, "refused/d/", "refused/b")
        self.fails("InvalidArgument", 400, self.rename, "refused/a", "refused/b",
                   ClientToken="x" * 65)
        self.assertEqual(self.keys("refused/"), ["refused/a", "refused/d/"])

    def test_replaces(self):
        self.put("over/a", b"new")
        self.put("over/b", b"old" * 100_000)
        self.rename("over/a", "over/b")
        self.assertEqual((self.keys("over/"), self.body("over/b")), (["over/b"], b"new"))

    def test_conditions(self):
        etag = self.put("if/a", b"1")["ETag"]
        other = self.put("if/b", b"2")["ETag"]
        past = datetime.datetime(2020, 1, 1, tzinfo=UTC)
        future = datetime.datetime.now(UTC) + datetime.timedelta(days=1)
        for condition in [{"DestinationIfNoneMatch": "*"}, {"DestinationIfMatch": etag},
                          {"DestinationIfNoneMatch": other}, {"SourceIfMatch": other},
                          {"SourceIfNoneMatch": etag}, {"SourceIfNoneMatch": "*"},
                          {"SourceIfModifiedSince": future}, {"SourceIfUnmodifiedSince": past},
                          {"DestinationIfModifiedSince": future},
                          {"DestinationIfUnmodifiedSince": past}]:
            self.fails("PreconditionFailed", 412, self.rename, "if/a", "if/b", **condition)
        self.rename("if/a", "if/b", DestinationIfMatch=other, SourceIfMatch=etag,
                    SourceIfModifiedSince=past, DestinationIfUnmodifiedSince=future)
        self.assertEqual((self.keys("if/"), self.body("if/b")), (["if/b"], b"1"))

    def test_tokens(self):
        self.put("token/a", b"1")
        self.rename("token/a", "token/b", ClientToken="t-1")
        self.rename("token/a", "token/b", ClientToken="t-1")
        self.fails("IdempotencyParameterMismatch", 400, self.rename, "token/a", "token/c",
                   ClientToken="t-1")
        self.fails("NoSuchKey", 404, self.rename, "token/a", "token/b", ClientToken="t-2")
        self.put("token/a", b"2")
        self.rename("token/a", "token/b", ClientToken="t-1")    # done before: does nothing
        self.assertEqual(self.body("token/b"), b"1")
        self.rename("token/a", "token/b", ClientToken="t-2")
        self.assertEqual(self.body("token/b"), b"2")

    def test_not_with_versions(self):
        self.s3.create_bucket(Bucket="rename-versions")
        self.s3.put_bucket_versioning(Bucket="rename-versions",
                                      VersioningConfiguration={"Status": "Enabled"})
        self.s3.put_object(Bucket="rename-versions", Key="a", Body=b"x")
        self.fails("InvalidRequest", 400, self.s3.rename_object, Bucket="rename-versions",
                   Key="b", RenameSource="a")

    def test_of_an_appended_object(self):
        self.put("tail/a", b"1")
        self.put("tail/a", b"2", WriteOffsetBytes=1)
        self.rename("tail/a", "tail/b")
        self.put("tail/b", b"3", WriteOffsetBytes=2)
        self.assertEqual(self.body("tail/b"), b"123")

    def test_race(self):
        """Of those who rename the same source one wins."""
        self.put("race/a", b"x")
        won = []

        def work(n):
            try:
                express_client(self.server).rename_object(
                    Bucket=self.bucket, Key=f"race/to-{n}", RenameSource="race/a")
                won.append(f"race/to-{n}")
            except ClientError as e:
                assert e.response["Error"]["Code"] == "NoSuchKey", e

        threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(self.keys("race/"), won)
        self.assertEqual(len(won), 1)


class Limits(Express):
    def test_ten_thousand_parts_then_a_copy(self):
        """One process of its own: killed, and then checked."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            data = Path(work, "data")
            with Server(data=data) as server:
                s3 = express_client(server)
                s3.create_bucket(Bucket="limits")
                s3.put_object(Bucket="limits", Key="log", Body=b"")
                for n in range(10_000):
                    s3.put_object(Bucket="limits", Key="log", Body=b"x", WriteOffsetBytes=n)
                self.fails("TooManyParts", 400, s3.put_object, Bucket="limits", Key="log",
                           Body=b"x", WriteOffsetBytes=10_000)
                s3.copy_object(Bucket="limits", Key="copy", CopySource="limits/log")
                s3.put_object(Bucket="limits", Key="copy", Body=b"y", WriteOffsetBytes=10_000)
                for key, last in (("log", b""), ("copy", b"y")):
                    body = s3.get_object(Bucket="limits", Key=key)["Body"].read()
                    self.assertEqual(body, b"x" * 10_000 + last)
                s3.rename_object(Bucket="limits", Key="renamed", RenameSource="log")
                s3.delete_object(Bucket="limits", Key="copy")
            checked = subprocess.run([BIN, "fsck", "--data", str(data)], capture_output=True,
                                     text=True, check=False)
            self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)
