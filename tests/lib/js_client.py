"""Runs the JavaScript clients: a node process per test class, driven by lines of JSON."""
import functools
import json
import os
import shutil
import subprocess
import unittest

from kist_server import DOMAIN, ROOT
from workflow import Workflow

NODE, NPM = "/usr/bin/node", "/usr/bin/npm"
SOURCE = ROOT / "tests" / "clients" / "js"


@functools.cache
def installed():
    """build/clients/js with the packages of the lock file; SkipTest where npm cannot."""
    target = ROOT / "build" / "clients" / "js"
    target.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        shutil.copy(file, target)
    done, wanted = target / "installed", (SOURCE / "package-lock.json").read_bytes()
    if not done.exists() or done.read_bytes() != wanted:
        npm = subprocess.run([NPM, "ci", "--no-audit", "--no-fund"], cwd=target,
                             capture_output=True, text=True, timeout=300)
        if npm.returncode != 0:
            raise unittest.SkipTest("npm ci failed: " + npm.stderr[-500:])
        done.write_bytes(wanted)
    return target


class JsClient(Workflow):
    script = None
    tool = NODE

    @classmethod
    def prepare(cls):
        if not os.access(NPM, os.X_OK):
            raise unittest.SkipTest(f"{NPM} is not installed")
        env = cls.environment() | {"KIST_ENDPOINT": cls.endpoint, "KIST_DOMAIN": DOMAIN,
                                   "KIST_VHOST": "1" if cls.vhost else "0"}
        cls.node = subprocess.Popen([NODE, installed() / cls.script], env=env, text=True,
                                    encoding="utf-8", stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.finish)

    @classmethod
    def finish(cls):
        cls.node.stdin.close()
        cls.node.wait(30)
        cls.node.stdout.close()

    @classmethod
    def call(cls, verb, *args):
        args = [str(a) if isinstance(a, os.PathLike) else a for a in args]
        cls.node.stdin.write(json.dumps({"verb": verb, "args": args}) + "\n")
        cls.node.stdin.flush()
        line = cls.node.stdout.readline()
        if not line:
            raise AssertionError(f"node ended during {verb}")
        reply = json.loads(line)
        if "error" in reply:
            raise AssertionError(f"{verb}: {reply['error']}")
        return reply["value"]

    @classmethod
    def make_bucket(cls, bucket):
        cls.call("make_bucket", bucket)

    def put(self, bucket, key, path):
        self.call("put", bucket, key, path)

    def get(self, bucket, key, path):
        self.call("get", bucket, key, path)

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        self.call("put_with_metadata", bucket, key, path, content_type, metadata)

    def get_range(self, bucket, key, first, last):
        target = self.work / "range"
        self.call("get_range", bucket, key, first, last, target)
        return target.read_bytes()

    def head(self, bucket, key):
        return self.call("head", bucket, key)

    def list(self, bucket, prefix, delimiter):
        return self.call("list", bucket, prefix, delimiter)

    def copy(self, bucket, key, new_key):
        self.call("copy", bucket, key, new_key)

    def delete(self, bucket, key):
        self.call("delete", bucket, key)

    def delete_many(self, bucket, keys):
        self.call("delete_many", bucket, keys)

    def test_presigned(self):
        """URLs signed by the client, used by curl; checksums ride in the query of some."""
        for key in ("signed url", "signed+url/%41"):
            body = self.small_file(f"to {key}".encode())
            self.run_tool("/usr/bin/curl", "-sS", "--fail-with-body", "-T", body,
                          self.call("presign_put", self.bucket, key))
            got = self.run_tool("/usr/bin/curl", "-sS", "--fail-with-body",
                                self.call("presign_get", self.bucket, key))
            self.assertEqual(got, f"to {key}".encode())
