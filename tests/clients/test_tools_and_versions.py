"""Backup tools on buckets that keep versions and lock them: rclone reads old versions, and restic's
repository survives whoever deletes its files."""
import datetime
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from kist_server import ACCESS_KEY, REGION, SECRET_KEY
from semantics import Semantics


class ToolsAndVersions(Semantics):
    def setUp(self):
        home = tempfile.TemporaryDirectory(prefix="kist-tools-")
        self.addCleanup(home.cleanup)
        self.home = Path(home.name)

    def run_tool(self, *words, **env):
        # rclone's HTTP client refuses AWS_CA_BUNDLE.
        own = {k: v for k, v in os.environ.items() if k != "AWS_CA_BUNDLE"}
        done = subprocess.run(words, env={**own, "HOME": str(self.home), **env},
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def rclone(self, *words):
        remote = {"TYPE": "s3", "PROVIDER": "Other", "ACCESS_KEY_ID": ACCESS_KEY,
                  "SECRET_ACCESS_KEY": SECRET_KEY, "REGION": REGION,
                  "ENDPOINT": self.server.endpoint, "FORCE_PATH_STYLE": "true"}
        return self.run_tool("/usr/bin/rclone", *words, RCLONE_CONFIG="/notfound",
                             **{f"RCLONE_CONFIG_K_{k}": v for k, v in remote.items()})

    def restic(self, bucket, *words):
        return self.run_tool("/usr/bin/restic", "--no-cache", "-r",
                             f"s3:{self.server.endpoint}/{bucket}/repository", *words,
                             AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                             AWS_DEFAULT_REGION=REGION, RESTIC_PASSWORD="secret")

    def test_rclone_sees_versions(self):
        bucket = "tools-rclone"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=bucket,
                                      VersioningConfiguration={"Status": "Enabled"})
        file = self.home / "note.txt"
        for text in ("first", "second"):
            file.write_text(text)
            self.rclone("copyto", "--ignore-times", str(file), f"k:{bucket}/note.txt")
        self.assertEqual(self.rclone("cat", f"k:{bucket}/note.txt"), "second")
        names = self.rclone("lsf", "--s3-versions", f"k:{bucket}").split()
        self.assertEqual(len(names), 2)
        old = next(n for n in names if n != "note.txt")
        self.assertEqual(self.rclone("cat", "--s3-versions", f"k:{bucket}/{old}"), "first")
        self.rclone("delete", f"k:{bucket}")
        self.assertEqual(self.rclone("lsf", f"k:{bucket}"), "")
        self.assertEqual(self.rclone("backend", "cleanup-hidden", f"k:{bucket}"), "")
        self.assertNotIn("Versions", self.s3.list_object_versions(Bucket=bucket))

    def test_restic_on_a_locked_bucket(self):
        bucket = "tools-restic"
        self.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        self.s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}})
        source = self.home / "source"
        source.mkdir()
        (source / "data.bin").write_bytes(os.urandom(3 << 20))
        (source / "text").write_text("kept")
        self.restic(bucket, "init")
        self.restic(bucket, "backup", str(source))
        before = datetime.datetime.now(datetime.timezone.utc)
        # Somebody deletes the whole repository: markers are all that he leaves.
        for page in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            self.s3.delete_objects(Bucket=bucket, Delete={
                "Objects": [{"Key": o["Key"]} for o in page["Contents"]]})
        versions = self.s3.list_object_versions(Bucket=bucket)
        locked = versions["Versions"][0]
        self.fails("AccessDenied", 403, self.s3.delete_object, Bucket=bucket, Key=locked["Key"],
                   VersionId=locked["VersionId"])
        for marker in versions["DeleteMarkers"]:
            if marker["LastModified"] >= before.replace(microsecond=0):
                self.s3.delete_object(Bucket=bucket, Key=marker["Key"],
                                      VersionId=marker["VersionId"])
        self.restic(bucket, "check", "--read-data", "--no-lock")
        target = self.home / "target"
        self.restic(bucket, "restore", "latest", "--no-lock", "--target", str(target))
        self.assertEqual((target / source.relative_to("/") / "data.bin").read_bytes(),
                         (source / "data.bin").read_bytes())
        shutil.rmtree(target)
