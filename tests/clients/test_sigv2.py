"""Signature version 2: s3cmd and boto3 as old set-ups use them, and raw requests.

https://docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html
"""
import base64
import hashlib
import hmac
import os
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request
from email.utils import formatdate
from pathlib import Path

import boto3
from botocore.client import Config
from botocore.exceptions import ClientError
from kist_server import ACCESS_KEY, DOMAIN, REGION, SECRET_KEY, shared
from s3_raw import RawClient

BODY = os.urandom(300_000)


def signature(text, secret=SECRET_KEY):
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


class Tools(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = shared()

    def boto(self, style):
        endpoint = self.server.endpoint
        if style == "virtual":
            endpoint = f"http://{DOMAIN}:{self.server.port}"
        return boto3.client("s3", endpoint_url=endpoint, region_name=REGION,
                            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                            config=Config(signature_version="s3", s3={"addressing_style": style},
                                          retries={"max_attempts": 1}))

    def test_boto3(self):
        for style in ("path", "virtual"):
            with self.subTest(style):
                s3, bucket = self.boto(style), f"sigv2-boto-{style}"
                s3.create_bucket(Bucket=bucket)
                key = "päth/with +&=%, odd?chars"
                s3.put_object(Bucket=bucket, Key=key, Body=BODY, ContentType="text/x-old",
                              Metadata={"b": "2", "a": "1"}, Tagging="x=1")
                got = s3.get_object(Bucket=bucket, Key=key, ResponseContentType="text/é+x")
                self.assertEqual(got["Body"].read(), BODY)
                self.assertEqual(got["Metadata"], {"a": "1", "b": "2"})
                # nothing whose query is fixed: boto signs "?tagging?tagging" and sends "?tagging"
                listed = s3.list_objects(Bucket=bucket, Prefix="pä")["Contents"]
                self.assertEqual([o["Key"] for o in listed], [key])
                s3.delete_object(Bucket=bucket, Key=key)
                s3.delete_bucket(Bucket=bucket)

    def test_boto3_presigned(self):
        s3 = self.boto("path")
        s3.create_bucket(Bucket="sigv2-presigned")
        s3.put_object(Bucket="sigv2-presigned", Key="k", Body=BODY)
        url = s3.generate_presigned_url("get_object",
                                        {"Bucket": "sigv2-presigned", "Key": "k"}, ExpiresIn=60)
        self.assertIn("AWSAccessKeyId=", url)
        with urllib.request.urlopen(url) as reply:
            self.assertEqual(reply.read(), BODY)
        for bad in (url.replace("/k?", "/K?"), url + "&acl", url + "&versionId=null"):
            with self.subTest(bad), self.assertRaises(urllib.error.HTTPError) as raised:
                urllib.request.urlopen(bad)
            self.assertEqual(raised.exception.code, 403)

    def test_boto3_wrong_secret(self):
        s3 = boto3.client("s3", endpoint_url=self.server.endpoint, region_name=REGION,
                          aws_access_key_id=ACCESS_KEY, aws_secret_access_key="wrong",
                          config=Config(signature_version="s3"))
        with self.assertRaises(ClientError) as raised:
            s3.list_buckets()
        self.assertEqual(raised.exception.response["Error"]["Code"], "SignatureDoesNotMatch")

    def test_s3cmd(self):
        with tempfile.TemporaryDirectory() as directory:
            work = Path(directory)
            (work / "in").write_bytes(BODY)
            host = f"127.0.0.1:{self.server.port}"

            def s3cmd(*args):
                (work / "empty").touch()
                run = subprocess.run(
                    ["s3cmd", "-c", work / "empty", "--signature-v2", "--no-ssl", "--no-progress",
                     f"--access_key={ACCESS_KEY}", f"--secret_key={SECRET_KEY}", f"--host={host}",
                     f"--host-bucket={host}", *args], capture_output=True, check=False)
                self.assertEqual(run.returncode, 0, run.stderr.decode())
                return run.stdout.decode()

            s3cmd("mb", "s3://sigv2-s3cmd")
            s3cmd("put", work / "in", "s3://sigv2-s3cmd/a b")
            s3cmd("get", "s3://sigv2-s3cmd/a b", work / "out")
            self.assertEqual((work / "out").read_bytes(), BODY)
            self.assertIn("s3://sigv2-s3cmd/a b", s3cmd("ls", "s3://sigv2-s3cmd"))
            s3cmd("rb", "--recursive", "--force", "s3://sigv2-s3cmd")


class Raw(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = RawClient(shared())

    def send(self, text, headers, access=ACCESS_KEY, method="GET", target="/", body=b""):
        return self.client.anonymous(
            method, target, {"authorization": f"AWS {access}:{signature(text)}", **headers}, body)

    def test_bad_requests(self):
        now = formatdate(usegmt=True)
        old = formatdate(time.time() - 16 * 60, usegmt=True)
        self.assertEqual(self.send(f"GET\n\n\n{now}\n/", {"date": now}).status, 200)
        cases = (
            ("SignatureDoesNotMatch", f"PUT\n\n\n{now}\n/", {"date": now}, {}),
            ("RequestTimeTooSkewed", f"GET\n\n\n{old}\n/", {"date": old}, {}),
            ("AccessDenied", "GET\n\n\n\n/", {}, {}),
            ("InvalidAccessKeyId", f"GET\n\n\n{now}\n/", {"date": now}, {"access": "AKIANOBODY"}),
            ("InvalidArgument", f"GET\n\n\n{now}\n/", {"date": now}, {"access": ""}),
        )
        for code, text, headers, more in cases:
            with self.subTest(code):
                self.assertEqual(self.send(text, headers, **more).code, code)

    def test_sub_resources_are_signed(self):
        """Who holds a URL cannot make it one of another resource."""
        expires = str(int(time.time()) + 600)
        base = f"/sigv2-none?AWSAccessKeyId={ACCESS_KEY}&Expires={expires}&Signature="
        sign = urllib.parse.quote(signature(f"GET\n\n\n{expires}\n/sigv2-none"), safe="")
        self.assertEqual(self.client.anonymous("GET", base + sign).code, "NoSuchBucket")
        for name in ("quota", "site", "policy"):
            self.assertEqual(self.client.anonymous("GET", f"{base}{sign}&{name}").code,
                             "SignatureDoesNotMatch")

    def test_content_md5_holds(self):
        now = formatdate(usegmt=True)
        self.send(f"PUT\n\n\n{now}\n/sigv2-md5", {"date": now}, method="PUT", target="/sigv2-md5")
        md5 = base64.b64encode(hashlib.md5(b"told").digest()).decode()
        reply = self.send(f"PUT\n{md5}\n\n{now}\n/sigv2-md5/k", {"date": now, "content-md5": md5},
                          method="PUT", target="/sigv2-md5/k", body=b"sent")
        self.assertEqual(reply.code, "BadDigest")
