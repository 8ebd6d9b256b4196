"""Who asked for how much, told by `kist usage` and by /-/usage of the admin address."""
import base64
import json
import re
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from accounts import Account
from functions import package
from kist_server import ACCESS_KEY, BIN, SECRET_KEY, Server, needs_sandboxes
from workflow import aws_client

LIST_ALL = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
NEVER = ["--usage-interval", "3600"]        # records when it stops, and not before


def page(server, query=""):
    with urllib.request.urlopen(f"{server.admin}/-/usage{query}", timeout=30) as reply:
        assert reply.headers["Content-Type"] == "application/json"
        return json.loads(reply.read())


def kist_usage(data, *words):
    run = subprocess.run([BIN, "usage", "--data", str(data), *words], capture_output=True,
                         text=True, timeout=60, check=True)
    return [line.split() for line in run.stdout.splitlines()]


class Usage(unittest.TestCase):
    def setUp(self):
        work = tempfile.TemporaryDirectory(prefix="kist-usage-")
        self.addCleanup(work.cleanup)
        self.data = Path(work.name, "data")

    def work(self, server):
        root = Account(server, ACCESS_KEY, SECRET_KEY)
        nobody = Account(server, None, None)
        ann = root.user("ann", LIST_ALL)                           # 3 requests of the root
        root.s3.create_bucket(Bucket="used")                       # 4
        root.s3.create_bucket(Bucket="gone")                       # 5
        root.s3.put_object(Bucket="used", Key="k", Body=b"x" * 1000)        # 6
        root.s3.put_object(Bucket="used", Key="l", Body=b"y" * 500)         # 7
        root.s3.delete_bucket(Bucket="gone")                       # 8
        upload = root.s3.create_multipart_upload(Bucket="used", Key="n")["UploadId"]        # 9
        root.s3.upload_part(Bucket="used", Key="n", UploadId=upload, PartNumber=1,          # 10
                            Body=b"p" * 70)
        for _ in range(3):
            ann.s3.get_object(Bucket="used", Key="k")["Body"].read()
        ann.s3.put_object(Bucket="used", Key="m", Body=b"z" * 250)
        for _ in range(2):                                         # refused before the bucket
            with self.assertRaises(Exception):
                nobody.s3.get_object(Bucket="used", Key="k")

    def test_counts(self):
        with Server(data=self.data, flags=NEVER) as server:
            self.work(server)
            self.assertEqual(page(server)["users"], [])            # nothing was recorded yet
            bucket, = page(server)["buckets"]
            self.assertEqual((bucket["objects"], bucket["bytes"], bucket["uploads"],
                              bucket["part_bytes"]), (3, 1750, 1, 70))
        with Server(data=self.data, flags=NEVER) as server:
            told = page(server)
            bucket, = told["buckets"]
            users = {row["user"]: row for row in told["users"]}
        self.assertEqual((bucket["bucket"], bucket["bytes"], bucket["bytes_in"]),
                         ("used", 1750, 1820))
        # CreateBucket found no bucket yet; the anonymous GETs did.
        self.assertEqual(bucket["requests"], 4 + 4 + 2)
        self.assertEqual(set(users), {"anonymous", "root", "user/ann"})
        self.assertEqual(users["root"]["requests"], 10)
        self.assertEqual((users["user/ann"]["requests"], users["user/ann"]["bytes_in"],
                          users["user/ann"]["bytes_out"]), (4, 250, 3000))
        self.assertEqual(users["user/ann"]["account"], bucket["account"])
        self.assertEqual((users["anonymous"]["requests"], users["anonymous"]["account"]), (2, ""))

        lines = kist_usage(self.data)
        row = next(x for x in lines if x and x[0] == "used")
        self.assertEqual(row[1:8], ["3", "0", "1750", "1", "70", "10", "1820"])
        own = next(x for x in lines if x and x[0] == bucket["account"] and x[1] == "root"
                   and len(x) == 10)
        self.assertEqual(own[2:9], row[1:8])
        self.assertIn([bucket["account"], "user/ann", "4", "250", "3000"], lines)
        days = kist_usage(self.data, "--days", "2")[1:]
        self.assertEqual(sum(int(x[3]) for x in days if x[2] == "user/ann" and x[6] == "used"), 4)
        self.assertEqual(sum(int(x[3]) for x in days if x[6] == "gone"), 1)
        subprocess.run([BIN, "fsck", "--data", str(self.data)], check=True, capture_output=True)

    @needs_sandboxes
    def test_functions(self):
        """Invocations and what they would be billed, over restarts, by function and by day."""
        code = package({"app.py": "def handler(event, context):\n    return 1 / event\n"})
        billed = {"one": 0, "two": 0}
        runs = {"one": 0, "two": 0}
        for memory in (128, 192):
            with Server(data=self.data, flags=NEVER) as server:
                api = aws_client("lambda", server)
                for name in billed:
                    if memory == 128:
                        api.create_function(FunctionName=name, Runtime="python3.11", Role="",
                                            Handler="app.handler", Timeout=30,
                                            Code={"ZipFile": code})
                    api.update_function_configuration(FunctionName=name, MemorySize=memory)
                for name, payload in (("one", b"1"), ("one", b"0"), ("two", b"1")):
                    reply = api.invoke(FunctionName=name, Payload=payload, LogType="Tail")
                    log = base64.b64decode(reply["LogResult"]).decode()
                    billed[name] += memory * int(
                        re.search(r"Billed Duration: (\d+) ms", log).group(1))
                    runs[name] += 1
                if memory == 128:
                    self.assertEqual(page(server)["functions"], [])    # not recorded yet
        with Server(data=self.data, flags=NEVER) as server:
            told = page(server)["functions"]
            self.assertEqual([f["function"] for f in page(
                server, f"?after_function={told[0]['account']}:one")["functions"]], ["two"])
        account = told[0]["account"]
        self.assertEqual(told, [{"account": account, "function": name, "invocations": runs[name],
                                 "billed_mb_ms": billed[name]} for name in ("one", "two")])
        lines = kist_usage(self.data)
        days = kist_usage(self.data, "--days", "2")
        for name in billed:
            self.assertIn([account, name, str(runs[name]), str(billed[name])], lines)
            self.assertEqual([sum(int(x[i]) for x in days if x[1:3] == [account, name])
                              for i in (3, 4)], [runs[name], billed[name]])
        self.assertFalse([x for x in days if x and x[2].startswith("function/")])

    def test_adds_up_over_restarts(self):
        for requests in (1, 2, 3):
            with Server(data=self.data, flags=NEVER) as server:
                root = Account(server, ACCESS_KEY, SECRET_KEY)
                for _ in range(requests):
                    root.s3.list_buckets()
        with Server(data=self.data, flags=NEVER) as server:
            self.assertEqual([row["requests"] for row in page(server)["users"]], [6])

    def test_a_kill_loses_what_was_not_recorded_and_no_more(self):
        with Server(data=self.data, flags=NEVER) as server:
            Account(server, ACCESS_KEY, SECRET_KEY).s3.list_buckets()
        server = Server(data=self.data, flags=NEVER).start()
        Account(server, ACCESS_KEY, SECRET_KEY).s3.list_buckets()
        server.process.kill()
        server.process.wait()
        with Server(data=self.data, flags=NEVER) as server:
            self.assertEqual([row["requests"] for row in page(server)["users"]], [1])

    def test_pages(self):
        with Server(data=self.data, flags=NEVER) as server:
            root = Account(server, ACCESS_KEY, SECRET_KEY)
            for name in ("aaa", "bbb", "ccc"):
                root.s3.create_bucket(Bucket=name)
            self.work(server)
        with Server(data=self.data, flags=NEVER) as server:
            told = page(server, "?after_bucket=bbb&after_user=:anonymous")
            self.assertEqual([b["bucket"] for b in told["buckets"]], ["ccc", "used"])
            self.assertEqual([u["user"] for u in told["users"]], ["root", "user/ann"])
            account = told["users"][0]["account"]
            told = page(server, f"?after_user={account}:root")
            self.assertEqual([u["user"] for u in told["users"]], ["user/ann"])
            with self.assertRaises(urllib.error.HTTPError) as error:
                page(server, "?after_user=" + "x" * 600)
            self.assertEqual(error.exception.code, 400)
            error.exception.close()

    def test_many_subjects(self):
        """More buckets than are counted apart in memory: they are recorded sooner, none is lost."""
        names = [f"many-{i:04}" for i in range(1200)]
        with Server(data=self.data, flags=[*NEVER, "--no-sync"]) as server:
            root = Account(server, ACCESS_KEY, SECRET_KEY)
            for name in names:
                root.s3.create_bucket(Bucket=name)
            for name in names:
                root.s3.head_bucket(Bucket=name)
        with Server(data=self.data, flags=NEVER) as server:
            told = page(server)
        self.assertEqual(sum(u["requests"] for u in told["users"]), 2 * len(names))
        by_bucket = sum(b["requests"] for b in told["buckets"])
        other = sum(u["requests"] for u in told["users"] if u["user"] == "other")
        self.assertEqual(by_bucket + other, len(names))

    def test_off(self):
        with Server(data=self.data, flags=["--usage-interval", "0"]) as server:
            Account(server, ACCESS_KEY, SECRET_KEY).s3.list_buckets()
        with Server(data=self.data, flags=NEVER) as server:
            self.assertEqual(page(server)["users"], [])
