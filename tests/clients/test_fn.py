"""kist fn: from a file to a function that runs, and back."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import unittest
from pathlib import Path

import kist_server
from semantics import Semantics
from workflow import aws_client

COPY = '''
import json, os, sys
sys.path[:0] = ["/usr/lib/python3/dist-packages"]
import urllib.parse
def handler(event, context):
    for r in event["Records"]:
        print("got", urllib.parse.unquote_plus(r["s3"]["object"]["key"]), os.environ.get("WHO"))
    return {"records": len(event["Records"])}
'''
ECHO = '''
import os
def handler(event, context):
    print("hello from the function")
    if event == "bad":
        raise RuntimeError("no")
    return {"event": event, "who": os.environ.get("WHO")}
'''


MAY = '''
import sys
sys.path[:0] = ["/usr/lib/python3/dist-packages"]
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
def handler(event, context):
    try:
        getattr(s3, event.pop("call"))(**event)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return "ok"
'''


@kist_server.needs_sandboxes
class Fn(Semantics):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="kist-fn-"))
        self.addCleanup(shutil.rmtree, self.dir)

    def environment(self):
        return {**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY, "AWS_REGION": "us-east-1"}

    def command(self, *words):
        words = [w if isinstance(w, bytes) else str(w) for w in words]
        return [kist_server.BIN, "fn", *words, "--endpoint", self.server.endpoint]

    def kist(self, *words, status=0, stdin=""):
        run = subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60,
                             env=self.environment(), input=stdin)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.said = run.stderr
        return run.stderr if status else run.stdout

    def deploy(self, name, path, *options, **more):
        self.addCleanup(subprocess.run, self.command("rm", name), env=self.environment(),
                        capture_output=True, check=False)
        return self.kist("deploy", name, path, *options, **more)

    def file(self, name, text, mode=0o644):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_deploy_invoke_rm(self):
        path = self.file("echo.py", ECHO)
        self.assertIn("made, python3.11, echo.handler",
                      self.deploy("fn-echo", path, "--env", "WHO=me", "--memory", "256"))
        self.assertIn("as it was", self.deploy("fn-echo", path))
        long = "N" * 300
        self.deploy("fn-long", path, "--env", f"{long}=1")
        self.assertEqual(aws_client("lambda", self.server).get_function_configuration(
            FunctionName="fn-long")["Environment"]["Variables"], {long: "1"})
        self.assertEqual(json.loads(self.kist("invoke", "fn-echo", '{"a": 1}')),
                         {"event": {"a": 1}, "who": "me"})
        self.assertEqual(json.loads(self.kist("invoke", "fn-echo", "-", stdin="[2]"))["event"],
                         [2])
        # An ARN, whose colons are encoded in the path, and once more where it is signed.
        arn = aws_client("lambda", self.server).get_function_configuration(
            FunctionName="fn-echo")["FunctionArn"]
        self.assertEqual(json.loads(self.kist("invoke", arn, "4"))["event"], 4)
        self.assertIn("no ARN", self.kist("rm", arn, status=2))
        # Refused settings; and nothing of the answer before is used any more.
        self.assertIn("'20000' at 'MemorySize'",
                      self.deploy("fn-echo", path, "--memory", "20000", status=1))
        payload = self.file("payload.json", "3")
        self.assertEqual(json.loads(self.kist("invoke", "fn-echo", f"@{payload}"))["event"], 3)
        self.kist("invoke", "fn-echo", "1", "--log")
        self.assertIn("hello from the function", self.said)
        run = subprocess.run(self.command("invoke", "fn-echo", '"bad"'), capture_output=True,
                             text=True, env=self.environment(), timeout=60)
        self.assertEqual((run.returncode, json.loads(run.stdout)["errorMessage"]), (1, "no"))
        row = [r for r in self.kist("ls").splitlines() if r.startswith("fn-echo")]
        self.assertEqual(row[0].split()[1:4], ["python3.11", "256", "MB"])
        path.write_text(ECHO.replace("hello", "goodbye"))
        self.assertIn("new code", self.deploy("fn-echo", path))
        self.kist("invoke", "fn-echo", "--log")
        self.assertIn("goodbye from the function", self.said)
        self.kist("rm", "fn-echo")
        self.assertIn("Function not found", self.kist("invoke", "fn-echo", status=1))

    def test_trigger(self):
        path = self.file("main.py", COPY)
        out = self.deploy("fn-trig", path, "--on", f"s3://{self.bucket}/in/*.jpg", "--env",
                          "WHO=trigger")
        self.assertIn("role kist-fn-fn-trig", out)
        self.assertIn(f"trigger: objects created in s3://{self.bucket}/in/*.jpg", out)
        rules = self.s3.get_bucket_notification_configuration(Bucket=self.bucket)
        rule = rules["LambdaFunctionConfigurations"]
        self.assertEqual([r["Id"] for r in rule], ["kist-fn-fn-trig-1"])
        self.deploy("fn-trig2", path, "--on", f"s3://{self.bucket}/other/")
        self.deploy("fn-trig", path, "--on", f"s3://{self.bucket}/in/*.jpg")      # no second rule
        rules = self.s3.get_bucket_notification_configuration(Bucket=self.bucket)
        self.assertEqual(sorted(r["Id"] for r in rules["LambdaFunctionConfigurations"]),
                         ["kist-fn-fn-trig-1", "kist-fn-fn-trig2-1"])
        watch = subprocess.Popen(self.command("logs", "fn-trig", "-f"), stdout=subprocess.PIPE,
                                 text=True, env=self.environment())
        try:
            self.put("in/not.png")
            self.put("in/a photo.jpg", b"jpg")
            for line in watch.stdout:
                if "got in/" in line:
                    break
            self.assertIn("got in/a photo.jpg trigger", line)
        finally:
            watch.terminate()
            watch.stdout.close()
            watch.wait()
        self.kist("rm", "fn-trig")
        rules = self.s3.get_bucket_notification_configuration(Bucket=self.bucket)
        self.assertEqual([r["Id"] for r in rules["LambdaFunctionConfigurations"]],
                         ["kist-fn-fn-trig2-1"])

    def test_names_that_begin_alike(self):
        """fn-like's rules are not those of fn-like-2, whose Ids begin with its own."""
        path = self.file("main.py", COPY)
        def ids():
            rules = self.s3.get_bucket_notification_configuration(Bucket=self.bucket)
            return sorted(r["Id"] for r in rules.get("LambdaFunctionConfigurations", [])
                          if "fn-like" in r["Id"])
        self.deploy("fn-like-2", path, "--on", f"s3://{self.bucket}/two/")
        self.deploy("fn-like", path, "--on", f"s3://{self.bucket}/one/")
        self.assertEqual(ids(), ["kist-fn-fn-like-1", "kist-fn-fn-like-2-1"])
        self.kist("rm", "fn-like")
        self.assertEqual(ids(), ["kist-fn-fn-like-2-1"])

    def test_logs_end_with_their_reader(self):
        """kist fn logs -f | head: with the first line that nobody takes."""
        self.deploy("fn-tail", self.file("echo.py", ECHO))
        watch = subprocess.Popen(self.command("logs", "fn-tail", "-f"), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, env=self.environment())
        self.addCleanup(watch.kill)
        self.kist("invoke", "fn-tail")
        self.assertIn("START", watch.stdout.readline())
        watch.stdout.close()
        for _ in range(2):         # what was written before the pipe was closed may still fit in
            self.kist("invoke", "fn-tail")
        self.assertEqual(watch.wait(timeout=60), -signal.SIGPIPE)
        self.assertEqual(watch.stderr.read(), "")
        watch.stderr.close()

    def test_payloads_that_cannot_be_read(self):
        """A payload that is not there whole is not sent, and said by its name."""
        self.deploy("fn-load", self.file("echo.py", ECHO))
        self.assertIn(f"kist: @{self.dir}: Is a directory",
                      self.kist("invoke", "fn-load", f"@{self.dir}", status=1))
        large = self.file("large.json", '"' + "x" * (7 << 20) + '"')
        self.assertIn(f"kist: @{large}: it is larger than 6 MiB",
                      self.kist("invoke", "fn-load", f"@{large}", status=1))

    def test_what_a_directory_may_not_hold(self):
        """Links lead to what is in the directory; a pipe is no file, and nobody waits for it."""
        self.file("outside", "a secret")
        self.file("app/main.py", COPY)
        self.file("app/real/more.txt", "x")
        Path(self.dir, "app/inside").symlink_to("real")
        self.deploy("fn-links", self.dir / "app")
        for target in ("../outside", "..", "/etc"):
            link = Path(self.dir, "app/link")
            link.symlink_to(target)
            self.assertIn(f"{link}: a symbolic link that leads out of the directory",
                          self.deploy("fn-links", self.dir / "app", status=1))
            link.unlink()
        pipe = self.dir / "app" / "pipe"
        os.mkfifo(pipe)
        self.assertIn(f"{pipe}: is no file", self.deploy("fn-links", self.dir / "app", status=1))
        self.assertIn("neither a file nor a directory", self.deploy("fn-links", pipe, status=1))

    def test_exactly_what_is_allowed(self):
        path = self.file("may.py", MAY)
        self.assertIn(f"may read s3://{self.bucket}/in/, write s3://{self.bucket}/out/",
                      self.deploy("fn-may", path, "--timeout", "30",
                                  "--allow", f"read s3://{self.bucket}/in/",
                                  "--allow", f"write s3://{self.bucket}/out/"))
        self.put("in/a")
        self.put("out/a")
        def may(**call):
            return json.loads(self.kist("invoke", "fn-may", json.dumps(
                {"Bucket": self.bucket, **call})))
        self.assertEqual(may(call="get_object", Key="in/a"), "ok")
        self.assertEqual(may(call="get_object", Key="out/a"), "AccessDenied")
        self.assertEqual(may(call="put_object", Key="out/b"), "ok")
        self.assertEqual(may(call="put_object", Key="in/b"), "AccessDenied")
        self.assertEqual(may(call="delete_object", Key="in/a"), "AccessDenied")
        self.assertEqual(may(call="list_objects_v2", Prefix="in/"), "ok")
        self.assertEqual(may(call="list_objects_v2"), "AccessDenied")
        # Another deployment gives it other permissions, in place of those.
        self.deploy("fn-may", path, "--allow", f"read s3://{self.bucket}")
        self.assertEqual(may(call="get_object", Key="out/a"), "ok")
        self.assertEqual(may(call="put_object", Key="out/b"), "AccessDenied")
        self.kist("deploy", "fn-may", path, "--allow", "all s3://b", status=2)

    def test_directories_and_programs(self):
        self.file("app/index.mjs", "export const handler = async (e) => ({ node: e });\n")
        self.file("app/lib/more.txt", "x")
        if shutil.which("node"):
            self.assertIn("nodejs20.x, index.handler", self.deploy("fn-dir", self.dir / "app"))
            self.assertEqual(json.loads(self.kist("invoke", "fn-dir", "7")), {"node": 7})
        script = self.file("boot", "#!/bin/sh\nexit 3\n", 0o755)
        self.assertIn("provided.al2023", self.deploy("fn-boot", script, "--timeout", "5"))
        self.kist("invoke", "fn-boot", status=1)

    def test_mistakes(self):
        path = self.file("echo.py", ECHO)
        for words in ((), ("deploy", "x"), ("deploy", "x", path, "--memory", "no"),
                      ("deploy", "x", path, "--on", "http://x"), ("frob",), ("ls", "x"),
                      ("deploy", "x", path, "--on", "s3://b/a*b*c")):
            self.kist(*words, status=2)
        self.assertIn("No such file", self.kist("deploy", "x", self.dir / "none.py", status=1))
        self.assertIn("is no source", self.kist("deploy", "x", self.file("a.txt", "t"), status=1))
        self.assertIn("--runtime and --handler", self.kist(
            "deploy", "x", self.file("d/readme", "t").parent, status=1))
        self.assertIn("bucket does not exist", self.deploy(
            "fn-nowhere", path, "--on", "s3://no-such-bucket-here/", status=1))
        self.assertIn("Function not found", self.kist("rm", "fn-none", status=1))
        self.assertIn("--memory: a number", self.kist("deploy", "x", path, "--memory", "no",
                                                      status=2))
        # A variable that JSON has no place for is refused, not left out.
        self.assertIn("--env: not UTF-8", self.kist("deploy", "x", path, "--env", b"K=\xff",
                                                    status=2))
