"""Base of the conformance tests: a bucket for each class, errors named exactly, checksums computed
by our own means."""
import base64
import hashlib
import re
import unittest

from botocore.exceptions import ClientError

import kist_server
from s3_raw import RawClient, crc32_base64
from workflow import MIB, boto_client

PART = 5 * MIB


def crc_base64(data, polynomial, width):
    """Reflected CRC with all-ones start and end, bit by bit in a table: slow and plain."""
    mask, table = (1 << width) - 1, []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (polynomial if n & 1 else 0)
        table.append(n)
    crc = mask
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 255]
    return base64.b64encode((crc ^ mask).to_bytes(width // 8, "big")).decode()


ALGORITHMS = {
    "crc32": crc32_base64,
    "crc32c": lambda data: crc_base64(data, 0x82F63B78, 32),
    "crc64nvme": lambda data: crc_base64(data, 0x9A6C9329AC4BC9B5, 64),
    "sha1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "sha256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


class Semantics(unittest.TestCase):
    """A bucket for each class; `s3` is boto3, `raw` signs by hand."""

    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.shared()
        cls.s3, cls.raw = boto_client(cls.server), RawClient(cls.server)
        name = cls.__module__.removeprefix("test_") + re.sub(r"(?=[A-Z])", "-", cls.__name__)
        cls.bucket = ("s-" + name.replace("_", "-").lower())[:63].rstrip("-")
        cls.s3.create_bucket(Bucket=cls.bucket)

    def put(self, key, body=b"x", **more):
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body, **more)

    def get(self, key, **more):
        return self.s3.get_object(Bucket=self.bucket, Key=key, **more)

    def body(self, key, **more):
        return self.get(key, **more)["Body"].read()

    def fails(self, code, status, operation, *args, **params):
        """The call must end in exactly this error; returns the error's document."""
        with self.assertRaises(ClientError) as caught:
            operation(*args, **params)
        error = caught.exception.response
        self.assertEqual((error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]),
                         (code, status))
        return error

    def raw_fails(self, code, status, method, target, **more):
        reply = self.raw.request(method, target, **more)
        self.assertEqual((reply.code, reply.status), (code, status), reply.body[:500])
        return reply

    def upload(self, key, parts, **complete):
        """A multipart upload of these bodies, numbered from 1."""
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key)["UploadId"]
        done = [{"PartNumber": n, "ETag": self.part(key, upload, n, body)["ETag"]}
                for n, body in enumerate(parts, 1)]
        return self.complete(key, upload, done, **complete)

    def part(self, key, upload, number, body, **more):
        return self.s3.upload_part(Bucket=self.bucket, Key=key, UploadId=upload,
                                   PartNumber=number, Body=body, **more)

    def complete(self, key, upload, parts, **more):
        return self.s3.complete_multipart_upload(
            Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **more)
