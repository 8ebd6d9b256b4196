"""Server-side encryption: SSE-C, SSE-S3, SSE-KMS, bucket defaults; what lies on the disk."""
import base64
import hashlib
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

from identities import Identities
from kist_server import BIN, Server
from semantics import Semantics
from workflow import boto_client

MIB = 1 << 20
BLOCK = (256 << 10) - 16  # plaintext in a block
SIZES = (0, 1, 700, 65536, 65537, BLOCK - 1, BLOCK, BLOCK + 1, 16 * BLOCK, 16 * BLOCK + 1,
         5 * MIB + 13)


def body(size, seed=1):
    return random.Random(seed).randbytes(size)


def customer(key, copy=""):
    md5 = base64.b64encode(hashlib.md5(key).digest()).decode()
    return {f"{copy}SSECustomerAlgorithm": "AES256", f"{copy}SSECustomerKey": base64.b64encode(key).decode(),
            f"{copy}SSECustomerKeyMD5": md5}


KEY, OTHER = bytes(range(32)), b"x" * 32
C = customer(KEY)


class Encryption(Identities):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kms = cls.client("kms")

    def get(self, key, bucket=None, **more):
        return self.s3.get_object(Bucket=bucket or self.bucket, Key=key, **more)

    def round_trip(self, write, read, header):
        for size in SIZES:
            data = body(size)
            put = self.s3.put_object(Bucket=self.bucket, Key=f"e{size}", Body=data, **write)
            self.assertEqual({k: put.get(k) for k in header}, header)
            got = self.get(f"e{size}", **read)
            self.assertEqual(got["Body"].read(), data)
            self.assertEqual(got["ContentLength"], size)
            self.assertEqual({k: got.get(k) for k in header}, header)
            self.assertEqual(got["ETag"], put["ETag"])
        data = body(SIZES[-1])
        for first, last in ((0, 0), (BLOCK - 1, BLOCK), (BLOCK, BLOCK),
                            (16 * BLOCK - 5, 16 * BLOCK + 5), (3 * BLOCK + 7, 9 * BLOCK + 1), (SIZES[-1] - 3, SIZES[-1] - 1)):
            got = self.get(f"e{SIZES[-1]}", Range=f"bytes={first}-{last}", **read)
            self.assertEqual(got["Body"].read(), data[first:last + 1])

    def multipart(self, key, create, part, read):
        pieces = [body(5 * MIB, 1), body(5 * MIB, 2), body(77, 3)]
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, **create)["UploadId"]
        where = {"Bucket": self.bucket, "Key": key, "UploadId": upload}
        parts = []
        for i, piece in enumerate(pieces):
            self.s3.upload_part(PartNumber=i + 1, Body=body(100, 9), **where, **part)
            got = self.s3.upload_part(PartNumber=i + 1, Body=piece, **where, **part)
            parts.append({"PartNumber": i + 1, "ETag": got["ETag"]})
        self.s3.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where)
        whole = b"".join(pieces)
        self.assertEqual(self.get(key, **read)["Body"].read(), whole)
        self.assertEqual(self.get(key, PartNumber=2, **read)["Body"].read(), pieces[1])
        got = self.get(key, Range=f"bytes={5 * MIB - 10}-{5 * MIB + 9}", **read)["Body"].read()
        self.assertEqual(got, whole[5 * MIB - 10:5 * MIB + 10])
        return whole

    # ---- SSE-C ----

    def test_customer_keys(self):
        self.round_trip(C, C, {"SSECustomerAlgorithm": "AES256",
                               "SSECustomerKeyMD5": C["SSECustomerKeyMD5"]})
        md5 = hashlib.md5(body(700)).hexdigest()
        self.assertNotIn(md5, self.s3.head_object(Bucket=self.bucket, Key="e700", **C)["ETag"])
        self.fails("InvalidRequest", 400, self.get, key="e700")
        self.denied(self.get, key="e700", **customer(OTHER))
        self.fails("InvalidArgument", 400, self.get, key="e700",
                   **{**C, "SSECustomerKeyMD5": customer(OTHER)["SSECustomerKeyMD5"]})
        self.fails("InvalidEncryptionAlgorithmError", 400, self.get, key="e700",
                   **{**C, "SSECustomerAlgorithm": "AES128"})
        self.s3.put_object(Bucket=self.bucket, Key="plain", Body=b"p")
        self.fails("InvalidRequest", 400, self.get, key="plain", **C)
        self.fails("InvalidArgument", 400, self.s3.put_object, Bucket=self.bucket, Key="both",
                   ServerSideEncryption="AES256", **C)
        attributes = self.s3.get_object_attributes(Bucket=self.bucket, Key="e700",
                                                   ObjectAttributes=["ObjectSize"], **C)
        self.assertEqual(attributes["ObjectSize"], 700)

    def test_customer_keys_multipart(self):
        self.multipart("cm", C, C, C)
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="x", **C)["UploadId"]
        part = {"Bucket": self.bucket, "Key": "x", "UploadId": upload, "PartNumber": 1}
        self.fails("InvalidRequest", 400, self.s3.upload_part, Body=b"x", **part)
        self.fails("InvalidRequest", 400, self.s3.upload_part, Body=b"x", **part,
                   **customer(OTHER))
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="x", UploadId=upload)

    # ---- SSE-S3 ----

    def test_own_keys(self):
        self.round_trip({"ServerSideEncryption": "AES256"}, {}, {"ServerSideEncryption": "AES256"})
        etag = self.s3.head_object(Bucket=self.bucket, Key="e700")["ETag"]
        self.assertEqual(etag.strip('"'), hashlib.md5(body(700)).hexdigest())
        self.multipart("sm", {"ServerSideEncryption": "AES256"}, {}, {})
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="sm")["ServerSideEncryption"],
                         "AES256")
        self.fails("InvalidArgument", 400, self.s3.put_object, Bucket=self.bucket, Key="k2",
                   ServerSideEncryption="ROT13")

    def test_bucket_default(self):
        bucket = "enc-default"
        self.s3.create_bucket(Bucket=bucket)
        get = lambda: self.s3.get_bucket_encryption(Bucket=bucket)
        self.fails("ServerSideEncryptionConfigurationNotFoundError", 404, get)
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                "BucketKeyEnabled": False}
        self.s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={
            "Rules": [rule]})
        found = get()["ServerSideEncryptionConfiguration"]["Rules"][0]
        self.assertEqual(found["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256")
        self.s3.put_object(Bucket=bucket, Key="d", Body=b"default")
        got = self.get("d", bucket)
        self.assertEqual((got["Body"].read(), got["ServerSideEncryption"]), (b"default", "AES256"))
        self.s3.put_object(Bucket=bucket, Key="c", Body=b"mine", **C)
        self.assertEqual(self.get("c", bucket, **C)["Body"].read(), b"mine")
        self.s3.delete_bucket_encryption(Bucket=bucket)
        self.assertNotIn("ServerSideEncryption", self.s3.put_object(Bucket=bucket, Key="n"))
        self.assertEqual(self.get("d", bucket)["Body"].read(), b"default")
        self.fails("InvalidArgument", 400, self.s3.put_bucket_encryption, Bucket=bucket,
                   ServerSideEncryptionConfiguration={"Rules": [
                       {"ApplyServerSideEncryptionByDefault": {
                           "SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}}]})

    # ---- copies ----

    def test_copies(self):
        data = body(9 * MIB)
        kinds = {"plain": ({}, {}), "s3": ({"ServerSideEncryption": "AES256"}, {}),
                 "kms": ({"ServerSideEncryption": "aws:kms"}, {}), "c": (C, C)}
        for name, (write, _) in kinds.items():
            self.s3.put_object(Bucket=self.bucket, Key=f"from-{name}", Body=data, **write)
            self.s3.put_object(Bucket=self.bucket, Key=f"small-{name}", Body=b"s", **write)
        for source in kinds:
            for target, (write, read) in kinds.items():
                more = customer(KEY, "CopySource") if source == "c" else {}
                for key, want in ((f"from-{source}", data), (f"small-{source}", b"s")):
                    self.s3.copy_object(Bucket=self.bucket, Key="to",
                                        CopySource=f"{self.bucket}/{key}", **write, **more)
                    kept = source in ("s3", "kms") and target == "plain"
                    got = self.get("to", **read)
                    self.assertEqual(got["Body"].read(), want, (source, target))
                    wanted = write.get("ServerSideEncryption") or (
                        kinds[source][0]["ServerSideEncryption"] if kept else None)
                    self.assertEqual(got.get("ServerSideEncryption"), wanted)
        self.fails("InvalidRequest", 400, self.s3.copy_object, Bucket=self.bucket, Key="to",
                   CopySource=f"{self.bucket}/from-c")
        self.denied(self.s3.copy_object, Bucket=self.bucket, Key="to",
                    CopySource=f"{self.bucket}/from-c", **customer(OTHER, "CopySource"))
        # in place: other metadata, then other encryption
        same = {"Bucket": self.bucket, "Key": "from-s3", "CopySource": f"{self.bucket}/from-s3"}
        self.s3.copy_object(**same, MetadataDirective="REPLACE", Metadata={"a": "b"})
        self.assertEqual(self.get("from-s3")["ServerSideEncryption"], "AES256")
        self.s3.copy_object(**same, **C)
        self.assertEqual(self.get("from-s3", **C)["Body"].read(), data)
        # parts
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="pc", **C)["UploadId"]
        where = {"Bucket": self.bucket, "Key": "pc", "UploadId": upload}
        part = self.s3.upload_part_copy(
            PartNumber=1, CopySource=f"{self.bucket}/from-c", CopySourceRange="bytes=5-6000000",
            **where, **C, **customer(KEY, "CopySource"))["CopyPartResult"]
        self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [
            {"PartNumber": 1, "ETag": part["ETag"]}]})
        self.assertEqual(self.get("pc", **C)["Body"].read(), data[5:6000001])

    # ---- SSE-KMS ----

    def test_named_keys(self):
        made = self.kms.create_key(Description="for tests")["KeyMetadata"]
        self.assertEqual(made["KeyState"], "Enabled")
        self.kms.create_alias(AliasName="alias/mine", TargetKeyId=made["KeyId"])
        arn = made["Arn"]
        alias_arn = arn.rsplit(":", 1)[0] + ":alias/mine"
        for name in (made["KeyId"], arn, "alias/mine", alias_arn):
            put = self.s3.put_object(Bucket=self.bucket, Key="km", Body=b"secret",
                                     ServerSideEncryption="aws:kms", SSEKMSKeyId=name)
            self.assertEqual((put["ServerSideEncryption"], put["SSEKMSKeyId"]), ("aws:kms", arn))
        self.round_trip({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mine",
                         "SSEKMSEncryptionContext": base64.b64encode(b'{"a":"b"}').decode()},
                        {}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn})
        self.multipart("kmm", {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}, {}, {})
        default = self.s3.put_object(Bucket=self.bucket, Key="kd", Body=b"d",
                                     ServerSideEncryption="aws:kms")
        self.assertNotEqual(default["SSEKMSKeyId"], arn)
        self.assertEqual(self.get("kd")["Body"].read(), b"d")
        for wrong in ("alias/none", "12345678-1234-4234-8234-123456789012",
                      arn.replace(":key/", ":key/0"), "arn:aws:kms:us-east-1:999999999999:key/x"):
            self.fails("KMS.NotFoundException", 400, self.s3.put_object, Bucket=self.bucket,
                       Key="kn", ServerSideEncryption="aws:kms", SSEKMSKeyId=wrong)
        self.fails("InvalidArgument", 400, self.s3.put_object, Bucket=self.bucket, Key="kn",
                   ServerSideEncryption="AES256", SSEKMSKeyId=arn)
        self.kms.disable_key(KeyId="alias/mine")
        self.fails("KMS.DisabledException", 400, self.get, key="km")
        self.kms.enable_key(KeyId=arn)
        self.assertEqual(self.get("km")["Body"].read(), b"secret")
        aliases = self.kms.list_aliases(KeyId=made["KeyId"])["Aliases"]
        self.assertEqual([a["AliasName"] for a in aliases], ["alias/mine"])
        self.assertIn(made["KeyId"], [k["KeyId"] for k in self.kms.list_keys()["Keys"]])
        self.fails("AlreadyExistsException", 400, self.kms.create_alias, AliasName="alias/mine",
                   TargetKeyId=made["KeyId"])
        self.kms.delete_alias(AliasName="alias/mine")
        self.fails("NotFoundException", 400, self.kms.describe_key, KeyId="alias/mine")

    def test_permissions_of_keys(self):
        arn = self.kms.create_key()["KeyMetadata"]["Arn"]
        everything = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
        _, s3 = self.user("keyless", everything)
        put = {"Bucket": self.bucket, "Key": "kp", "Body": b"x",
               "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": arn}
        self.s3.put_object(**put)
        self.denied(s3.put_object, **put)
        self.denied(s3.get_object, Bucket=self.bucket, Key="kp")
        self.iam.put_user_policy(UserName="keyless", PolicyName="kms", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": arn}]}))
        self.assertEqual(s3.get_object(Bucket=self.bucket, Key="kp")["Body"].read(), b"x")
        self.denied(s3.put_object, **put)
        self.denied(s3.copy_object, Bucket=self.bucket, Key="kp2",
                    CopySource=f"{self.bucket}/kp")

    def test_aws_cli(self):
        own = boto_client(self.server)._request_signer._credentials
        env = {**os.environ, "AWS_ACCESS_KEY_ID": own.access_key,
               "AWS_SECRET_ACCESS_KEY": own.secret_key, "AWS_DEFAULT_REGION": "us-east-1"}
        run = lambda *words: subprocess.run(
            ["/usr/bin/aws", "--endpoint-url", self.server.endpoint, *words], env=env, check=True,
            capture_output=True).stdout
        key = json.loads(run("kms", "create-key"))["KeyMetadata"]["KeyId"]
        with tempfile.TemporaryDirectory() as d:
            source, target = Path(d) / "in", Path(d) / "out"
            source.write_bytes(body(20 * MIB))
            for write, read in ((("--sse", "aws:kms", "--sse-kms-key-id", key), ()),
                                (("--sse", "AES256"), ()),
                                (("--sse-c", "AES256", "--sse-c-key", "k" * 32),) * 2):
                run("s3", "cp", "--no-progress", *write, str(source), f"s3://{self.bucket}/cli")
                run("s3", "cp", "--no-progress", *read, f"s3://{self.bucket}/cli", str(target))
                self.assertEqual(source.read_bytes(), target.read_bytes())


class EncryptionOnDisk(Semantics):
    """What an encrypted store's files hold, and rotation."""

    def test_files_and_rotation(self):
        needle = b"the needle in the haystack " * 4
        with tempfile.TemporaryDirectory() as d:
            data = Path(d) / "data"
            with Server(data=data) as server:
                s3 = boto_client(server)
                s3.create_bucket(Bucket="enc-disk")
                for size in (1, 1000, 40000):
                    s3.put_object(Bucket="enc-disk", Key=f"s{size}", Body=needle * size,
                                  ServerSideEncryption="AES256")
                    s3.put_object(Bucket="enc-disk", Key=f"c{size}", Body=needle * size, **C)
            files = [p for p in data.rglob("*") if p.is_file()]
            self.assertFalse([p for p in files if needle in p.read_bytes()])
            self.assertFalse([p for p in files if KEY in p.read_bytes()])
            rotated = subprocess.run([BIN, "kms", "rotate", "--data", str(data)], check=True,
                                     capture_output=True, text=True).stdout
            self.assertRegex(rotated, "[0-9a-f]{16}")
            self.assertEqual(len((data / "master-key").read_text().split()), 2)
            self.assertEqual((data / "master-key").stat().st_mode & 0o777, 0o600)
            with Server(data=data) as server:
                s3 = boto_client(server)
                self.assertEqual(s3.get_object(Bucket="enc-disk", Key="s1000")["Body"].read(),
                                 needle * 1000)
                s3.put_object(Bucket="enc-disk", Key="new", Body=needle, ServerSideEncryption="AES256")
            newest = (data / "master-key").read_text().split()[-1]
            (data / "master-key").rename(Path(d) / "away")
            with Server(data=data, env={"KIST_MASTER_KEY": newest}) as server:
                s3 = boto_client(server)
                self.assertEqual(s3.get_object(Bucket="enc-disk", Key="new")["Body"].read(), needle)
                self.fails("KMS.NotFoundException", 400, s3.get_object, Bucket="enc-disk", Key="s1000")
                self.assertEqual(s3.get_object(Bucket="enc-disk", Key="c1000", **C)["Body"].read(),
                                 needle * 1000)
            checked = subprocess.run([BIN, "fsck", "--data", str(data)], capture_output=True,
                                     text=True, check=False)
            self.assertEqual(checked.returncode, 0, checked.stdout)
