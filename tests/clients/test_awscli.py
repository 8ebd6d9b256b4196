"""aws-cli v2, Debian's. `aws` on PATH may be the old v1, so it is called by its full name.

Seen on the wire: signed SHA-256 with Content-MD5 and Expect: 100-continue; parallel ranged GETs
with If-Match for large objects.
"""
import json

from workflow import Workflow, matrix


class AwsCli(Workflow):
    tool = "/usr/bin/aws"

    @classmethod
    def prepare(cls):
        style = "virtual" if cls.vhost else "path"
        (cls.work / ".aws").mkdir()
        (cls.work / ".aws" / "config").write_text(
            f"[default]\ns3 =\n  addressing_style = {style}\n")

    @classmethod
    def aws(cls, *args):
        return cls.run_tool(cls.tool, "--endpoint-url", cls.endpoint, "--output", "json", *args)

    def api(self, operation, bucket, *args):
        out = self.aws("s3api", operation, "--bucket", bucket, *args)
        return json.loads(out) if out.strip() else {}

    @classmethod
    def make_bucket(cls, bucket):
        cls.aws("s3", "mb", f"s3://{bucket}")

    def put(self, bucket, key, path):
        self.aws("s3", "cp", "--quiet", path, f"s3://{bucket}/{key}")

    def get(self, bucket, key, path):
        self.aws("s3", "cp", "--quiet", f"s3://{bucket}/{key}", path)

    # `aws s3 cp` takes "name/" for a directory; s3api takes every key as it is.
    def put_key(self, bucket, key, path):
        self.api("put-object", bucket, "--key", key, "--body", path)

    def get_key(self, bucket, key, path):
        self.api("get-object", bucket, "--key", key, path)

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        self.aws("s3", "cp", "--quiet", path, f"s3://{bucket}/{key}", "--content-type",
                 content_type, "--metadata", json.dumps(metadata))

    def get_range(self, bucket, key, first, last):
        target = self.work / "range"
        self.api("get-object", bucket, "--key", key, "--range", f"bytes={first}-{last}", target)
        return target.read_bytes()

    def head(self, bucket, key):
        head = self.api("head-object", bucket, "--key", key)
        return {"size": head["ContentLength"], "type": head["ContentType"],
                "metadata": head["Metadata"]}

    def list(self, bucket, prefix, delimiter):
        found = self.api("list-objects-v2", bucket, "--prefix", prefix, "--delimiter", delimiter)
        return ([o["Key"] for o in found.get("Contents") or []],
                [p["Prefix"] for p in found.get("CommonPrefixes") or []])

    def copy(self, bucket, key, new_key):
        self.api("copy-object", bucket, "--key", new_key, "--copy-source", f"{bucket}/{key}")

    def delete(self, bucket, key):
        self.aws("s3", "rm", "--quiet", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        self.api("delete-objects", bucket, "--delete",
                 json.dumps({"Objects": [{"Key": key} for key in keys]}))

    def test_sync(self):
        """A directory up and down again, unchanged files left alone."""
        source, target = self.work / "source", self.work / "target"
        (source / "sub dir").mkdir(parents=True)
        for n in range(5):
            (source / "sub dir" / f"file+{n}").write_bytes(b"x" * n)
        self.aws("s3", "sync", source, f"s3://{self.bucket}/tree")
        self.assertEqual(self.aws("s3", "sync", source, f"s3://{self.bucket}/tree"), b"")
        self.aws("s3", "sync", f"s3://{self.bucket}/tree", target)
        for n in range(5):
            self.assertEqual((target / "sub dir" / f"file+{n}").read_bytes(), b"x" * n)


matrix(globals(), AwsCli, slow=True)
