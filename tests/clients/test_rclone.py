"""rclone: UNSIGNED-PAYLOAD with Content-MD5, and `100-Continue` in another casing."""
import json

from kist_server import ACCESS_KEY, REGION, SECRET_KEY
from workflow import Workflow, matrix


class Rclone(Workflow):
    tool = "/usr/bin/rclone"
    # rclone's paths are those of a file system: slashes are joined and trimmed, and dots encoded.
    CANNOT = {"leading slash": "trimmed", "trailing slash": "trimmed", "dot dot": "encoded",
              "double slash": "joined",
              # A missing name is an empty directory to rclone, and copying one succeeds.
              "test_missing_key_is_an_error": "an empty directory"}

    @classmethod
    def environment(cls):
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": ACCESS_KEY,
                  "SECRET_ACCESS_KEY": SECRET_KEY, "REGION": REGION, "ENDPOINT": cls.endpoint,
                  "FORCE_PATH_STYLE": "false" if cls.vhost else "true"}
        # rclone's HTTP client refuses AWS_CA_BUNDLE; SSL_CERT_FILE is enough.
        common = {k: v for k, v in super().environment().items() if k != "AWS_CA_BUNDLE"}
        return (common | {"RCLONE_CONFIG": "/notfound", "RCLONE_RETRIES": "1",
                          "RCLONE_LOW_LEVEL_RETRIES": "1"}
                | {f"RCLONE_CONFIG_K_{name}": value for name, value in remote.items()})

    @classmethod
    def rclone(cls, *args):
        return cls.run_tool(cls.tool, *args)

    @classmethod
    def make_bucket(cls, bucket):
        cls.rclone("mkdir", f"k:{bucket}")

    # The default cut-off for multipart uploads is 200 MiB.
    def put(self, bucket, key, path):
        self.rclone("copyto", "--s3-upload-cutoff", "16M", path, f"k:{bucket}/{key}")

    def get(self, bucket, key, path):
        self.rclone("copyto", f"k:{bucket}/{key}", path)

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        pairs = [f"--metadata-set={k}={v}"
                 for k, v in (metadata | {"content-type": content_type}).items()]
        self.rclone("copyto", "--metadata", *pairs, path, f"k:{bucket}/{key}")

    def get_range(self, bucket, key, first, last):
        return self.rclone("cat", "--offset", str(first), "--count", str(last - first + 1),
                           f"k:{bucket}/{key}")

    def head(self, bucket, key):
        shown = json.loads(self.rclone("lsjson", "--stat", "--metadata", f"k:{bucket}/{key}"))
        return {"size": shown["Size"], "type": shown["MimeType"], "metadata": shown["Metadata"]}

    def list(self, bucket, prefix, delimiter):
        out = self.rclone("lsjson", "--no-modtime", "--no-mimetype",
                          *([] if delimiter else ["-R"]), f"k:{bucket}/{prefix}")
        entries = json.loads(out)
        return ([prefix + e["Path"] for e in entries if not e["IsDir"]],
                [prefix + e["Path"] + "/" for e in entries if e["IsDir"]])

    def copy(self, bucket, key, new_key):
        self.rclone("copyto", f"k:{bucket}/{key}", f"k:{bucket}/{new_key}")

    def delete(self, bucket, key):
        self.rclone("deletefile", f"k:{bucket}/{key}")

    # rclone deletes a set of objects one by one.
    def delete_many(self, bucket, keys):
        names = self.work / "names"
        names.write_text("".join(key + "\n" for key in keys))
        self.rclone("delete", "--files-from-raw", names, f"k:{bucket}")

    def test_sync_and_check(self):
        """A tree up; `check --download` then compares every byte."""
        tree = self.work / "tree"
        (tree / "sub dir").mkdir(parents=True)
        for n in range(20):
            (tree / "sub dir" / f"file+{n}").write_bytes(bytes([n]) * n * 1000)
        self.rclone("sync", tree, f"k:{self.bucket}/tree")
        self.rclone("check", "--download", tree, f"k:{self.bucket}/tree")
        (tree / "sub dir" / "file+1").write_bytes(b"changed")
        with self.assertRaises(AssertionError):
            self.rclone("check", "--download", tree, f"k:{self.bucket}/tree")


matrix(globals(), Rclone, slow=True)
