"""`kist dump`: what lies on the disk, readable, without what is secret."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

from accounts import Account
from kist_server import ACCESS_KEY, BIN, SECRET_KEY, Server


def dump(data, status=0):
    run = subprocess.run([BIN, "dump", str(data)], capture_output=True, timeout=60, check=False)
    assert run.returncode == status, (run.returncode, run.stderr)
    return run.stderr.decode() if status else run.stdout


class Dump(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory(prefix="kist-dump-")
        self.addCleanup(work.cleanup)
        self.data = Path(work.name, "data")

    def test_rows_and_log(self):
        with Server(data=self.data) as server:
            root = Account(server, ACCESS_KEY, SECRET_KEY)
            self.assertIn("in use", dump(self.data, status=1))
            ann = root.user("ann")
            kms = root.client("kms")
            kms.create_key(Description="mine")
            root.s3.create_bucket(Bucket="dumped")
            root.s3.put_object(Bucket="dumped", Key='a "key"', Body=b"12345",
                               Metadata={"m": "v"})
            root.s3.put_object(Bucket="dumped", Key="sealed", Body=b"x" * 100,
                               ServerSideEncryption="AES256")
            upload = root.s3.create_multipart_upload(Bucket="dumped", Key="parts")["UploadId"]
            root.s3.upload_part(Bucket="dumped", Key="parts", UploadId=upload, PartNumber=1,
                                Body=b"p")
            root.s3.delete_object(Bucket="dumped", Key="none")
        before = {p: p.stat().st_mtime_ns for p in self.data.rglob("*") if p.is_file()
                  and p.name != "lock.mdb"}
        out = dump(self.data)
        self.assertEqual(before, {p: p.stat().st_mtime_ns for p in before}, "it wrote")
        lines = [json.loads(line) for line in out.splitlines()]
        rows = [x for x in lines if "row" in x]
        log = [x for x in lines if "log" in x]
        self.assertFalse([x for x in lines if "damaged" in x or x.get("row") == "(unknown)"])
        buckets = {x["name"]: x["value"]["name"] for x in rows if x["row"] == "bucket"}
        self.assertEqual(buckets["dumped"], "dumped")
        objects = {x["key"]: x["value"] for x in rows if x["row"] == "object"}
        self.assertEqual(set(objects), {'a "key"', "sealed"})
        self.assertEqual(objects['a "key"']["size"], 5)
        self.assertEqual(objects['a "key"']["metadata"], [{"name": "m", "value": "v"}])
        self.assertEqual(objects["sealed"]["seal"]["wrapped_key"], "(hidden)")
        part = next(x for x in rows if x["row"] == "part")
        self.assertEqual((part["number"], part["value"]["size"]), (1, 1))
        key = next(x for x in rows if x["row"] == "iam" and x["name"] == ann.access)
        self.assertEqual((key["value"]["owner"], key["value"]["secret"]), ("ann", "(hidden)"))
        indexes = [x["log"] for x in log]
        self.assertEqual(indexes, list(range(indexes[0], indexes[0] + len(indexes))))
        put = [x for x in log if x["command"].get("put_object", {}).get("key") == 'a "key"']
        self.assertEqual([x["body"] for x in put], [5])
        self.assertTrue([x for x in log if "put_iam" in x["command"]])
        self.assertNotIn(ann.secret.encode(), out)
        for name in ("root-key", "master-key"):
            for secret in (self.data / name).read_bytes().split() if (
                    self.data / name).exists() else ():
                if secret != ACCESS_KEY.encode():
                    self.assertNotIn(secret, out)

    def test_what_is_none(self):
        self.assertIn("no data directory", dump(self.data.parent, status=1))
        run = subprocess.run([BIN, "dump", "--what"], capture_output=True, check=False)
        self.assertEqual(run.returncode, 2)
