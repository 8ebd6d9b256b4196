"""curl with URLs that boto3 signed (and `aws s3 presign`): no credentials on the command line."""
import os
import unittest

import workflow
from workflow import MIB, ODD_KEYS, Client, matrix, sample, sha256


class Presigned(Client):
    tool = "/usr/bin/curl"

    @classmethod
    def make_bucket(cls, bucket):
        cls.signer = workflow.boto_client(cls.server, cls.vhost, signature_version="s3v4")
        cls.curl(cls.sign("create_bucket"), "-X", "PUT")

    @classmethod
    def sign(cls, operation, expires=300, **params):
        return cls.signer.generate_presigned_url(
            operation, Params={"Bucket": cls.bucket, **params}, ExpiresIn=expires)

    @classmethod
    def curl(cls, url, *args, fails=False):
        host = f"{cls.bucket}.{workflow.DOMAIN}:{cls.server.port}:127.0.0.1"
        return cls.run_tool(cls.tool, "-sS", "--fail-with-body", "--path-as-is", "--resolve", host,
                            *args, url, fails=fails)

    @classmethod
    def command(cls, argv):
        return [str(a) for a in argv]

    def test_put_get_head_delete(self):
        for size in (0, 1, 4096, 5 * MIB, 100 * MIB):
            with self.subTest(size=size):
                self.curl(self.sign("put_object", Key="sized"), "-T", sample(size))
                target = self.work / "got"
                self.curl(self.sign("get_object", Key="sized"), "-o", target)
                self.assertEqual(sha256(target), sha256(sample(size)))
                head = self.curl(self.sign("head_object", Key="sized"), "-I").decode().lower()
                self.assertIn(f"content-length: {size}\r", head)
        self.curl(self.sign("delete_object", Key="sized"), "-X", "DELETE")
        self.curl(self.sign("get_object", Key="sized"), fails=True)

    def test_odd_keys(self):
        for name, key in ODD_KEYS.items():
            with self.subTest(key=name):
                body = f"signed for {key}".encode()
                # Not -T, which appends the file's name to a URL that ends in a slash.
                self.curl(self.sign("put_object", Key=key), "-X", "PUT", "-H", "Content-Type:",
                          "--data-binary", f"@{self.small_file(body)}")
                self.assertEqual(self.curl(self.sign("get_object", Key=key)), body)
                stored = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
                self.assertEqual(stored, body)

    def test_range_is_not_signed(self):
        data = sample(4096).read_bytes()
        self.s3.put_object(Bucket=self.bucket, Key="ranged", Body=data)
        self.assertEqual(self.curl(self.sign("get_object", Key="ranged"), "-r", "100-199"),
                         data[100:200])

    def test_response_overrides_are_signed(self):
        self.s3.put_object(Bucket=self.bucket, Key="named", Body=b"x")
        url = self.sign("get_object", Key="named",
                        ResponseContentDisposition='attachment; filename="a b.txt"')
        self.assertIn('attachment; filename="a b.txt"', self.curl(url, "-D", "-").decode())
        broken = url.replace("a%20b", "a%20c")
        self.assertNotEqual(broken, url)
        self.assertIn(b"SignatureDoesNotMatch", self.curl(broken, fails=True))

    def test_for_one_method_and_key_only(self):
        self.s3.put_object(Bucket=self.bucket, Key="mine", Body=b"x")
        url = self.sign("get_object", Key="mine")
        self.assertIn(b"SignatureDoesNotMatch", self.curl(url, "-X", "DELETE", fails=True))
        self.assertIn(b"SignatureDoesNotMatch",
                      self.curl(url.replace("/mine?", "/yours?"), fails=True))

    def test_aws_s3_presign(self):
        aws = "/usr/bin/aws"
        if not os.access(aws, os.X_OK):
            raise unittest.SkipTest(f"{aws} is not installed")
        self.s3.put_object(Bucket=self.bucket, Key="by aws+cli", Body=b"signed by aws")
        url = self.run_tool(aws, "--endpoint-url", self.endpoint, "s3", "presign",
                            f"s3://{self.bucket}/by aws+cli").decode().strip()
        self.assertEqual(self.curl(url), b"signed by aws")


matrix(globals(), Presigned)
