"""restic: STREAMING-AWS4-HMAC-SHA256-PAYLOAD and fetch-owner; init, backup, check, restore."""
import random

from workflow import MIB, Client, matrix, sha256


class Restic(Client):
    tool = "/usr/bin/restic"

    @classmethod
    def make_bucket(cls, bucket):
        """`restic init` does it."""
        cls.restic("init")

    @classmethod
    def restic(cls, *args):
        style = "dns" if cls.vhost else "path"
        options = ["-o", f"s3.bucket-lookup={style}", "--no-cache"]
        return cls.run_tool(cls.tool, *options, *args, env={
            "RESTIC_REPOSITORY": f"s3:{cls.endpoint}/{cls.bucket}/the repository",
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_CACERT": str(cls.server.ca) if cls.server.ca else ""})

    def tree(self, root):
        return {str(p.relative_to(root)): sha256(p) for p in root.rglob("*") if p.is_file()}

    def write_files(self, root, seed):
        (root / "sub dir").mkdir(parents=True, exist_ok=True)
        noise = random.Random(seed)
        for n, size in enumerate((0, 1, 4096, 300_000, 5 * MIB, 30 * MIB)):
            (root / "sub dir" / f"{seed}-{n} e\u0301").write_bytes(noise.randbytes(size))

    def test_backup_check_restore(self):
        source = self.work / "source"
        self.write_files(source, seed=1)
        self.restic("backup", source)
        self.write_files(source, seed=2)
        self.restic("backup", source)
        self.restic("check", "--read-data")
        self.restic("restore", "latest", "--target", self.work / "restored")
        restored = self.tree(self.work / "restored" / str(source).lstrip("/"))
        self.assertEqual(len(restored), 12)
        self.assertEqual(restored, self.tree(source))
        self.restic("forget", "--keep-last", "1", "--prune")
        self.restic("check", "--read-data")

    def test_check_sees_damage(self):
        """The proof that `check` above could have failed."""
        source = self.work / "damaged"
        self.write_files(source, seed=3)
        self.restic("backup", source)
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix="the repository/data/")
        key = [o["Key"] for page in pages for o in page["Contents"]][0]
        body = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=b"?" + body[1:])
        with self.assertRaises(AssertionError):
            self.restic("check", "--read-data")
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
        self.restic("check", "--read-data")


matrix(globals(), Restic, slow=True)
