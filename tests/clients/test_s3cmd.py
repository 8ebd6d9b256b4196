"""s3cmd: asks ?location first; checks the MD5 of what it uploads and downloads.

Left at its defaults it signs CreateBucket for the region "US", and signs anew with the Region
that the error AuthorizationHeaderMalformed names.
"""
import re

from kist_server import ACCESS_KEY, DOMAIN, SECRET_KEY
from workflow import MIB, Workflow, matrix, sample


class S3cmd(Workflow):
    tool = "/usr/bin/s3cmd"
    # s3cmd has no verb for a byte range; test_continue makes it send one.
    # "trailing slash" is a directory to `put` and `get`, which append a file name.
    CANNOT = {"test_range": "no verb", "trailing slash": "taken for a directory"}

    @classmethod
    def prepare(cls):
        host = f"{DOMAIN if cls.vhost else '127.0.0.1'}:{cls.server.port}"
        bucket = f"%(bucket)s.{host}" if cls.vhost else host
        (cls.work / "s3cfg").write_text(
            f"[default]\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\n"
            f"host_base = {host}\nhost_bucket = {bucket}\nuse_https = {cls.tls}\n"
            f"ca_certs_file = {cls.server.ca or ''}\nmax_retries = 1\n")

    @classmethod
    def s3cmd(cls, *args):
        return cls.run_tool(cls.tool, "-c", cls.work / "s3cfg", "--no-progress", *args).decode()

    @classmethod
    def make_bucket(cls, bucket):
        cls.s3cmd("mb", f"s3://{bucket}")

    def put(self, bucket, key, path):
        self.s3cmd("put", path, f"s3://{bucket}/{key}")

    def get(self, bucket, key, path):
        self.s3cmd("get", "--force", f"s3://{bucket}/{key}", path)

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        headers = [f"--add-header=x-amz-meta-{name}:{value}" for name, value in metadata.items()]
        self.s3cmd("put", "--mime-type", content_type, *headers, path, f"s3://{bucket}/{key}")

    def head(self, bucket, key):
        shown = dict(re.findall(r"^ +([^:\n]+): +(.*)$",
                                self.s3cmd("info", f"s3://{bucket}/{key}"), re.M))
        return {"size": int(shown["File size"]), "type": shown["MIME type"],
                "metadata": {name.removeprefix("x-amz-meta-"): value
                             for name, value in shown.items()}}

    def list(self, bucket, prefix, delimiter):
        out = self.s3cmd("ls", *([] if delimiter else ["-r"]), f"s3://{bucket}/{prefix}")
        start = f"s3://{bucket}/"
        keys, prefixes = [], []
        for line in out.splitlines():
            what, _, key = line.partition(start)
            (prefixes if what.split() == ["DIR"] else keys).append(key)
        return keys, prefixes

    def copy(self, bucket, key, new_key):
        self.s3cmd("cp", f"s3://{bucket}/{key}", f"s3://{bucket}/{new_key}")

    def delete(self, bucket, key):
        self.s3cmd("del", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        self.s3cmd("del", *(f"s3://{bucket}/{key}" for key in keys))

    def test_continue(self):
        """A cut download goes on with Range: bytes=N-."""
        data = sample(5 * MIB)
        self.put(self.bucket, "continued", data)
        target = self.work / "continued"
        target.write_bytes(data.read_bytes()[:1_000_001])
        self.s3cmd("get", "--continue", f"s3://{self.bucket}/continued", target)
        self.assertEqual(target.read_bytes(), data.read_bytes())


matrix(globals(), S3cmd, slow=True)
