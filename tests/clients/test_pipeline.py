"""Unmodified Lambda handlers in Python and in JavaScript, deployed and triggered through aws-cli, as
one pipeline: each writes what wakes the next, and it can be seen what came of what. And a function
that wakes itself, which is stopped."""
import io
import json
import os
import re
import subprocess
import tempfile
import time
import unittest
import zipfile
from pathlib import Path

import kist_server
from hook import WAIT_S, Hook, kist
from js_client import NODE, NPM, installed

AWS = "/usr/bin/aws"
PYTHON = """
import urllib.parse
import boto3

s3 = boto3.client("s3")

def handler(event, context):
    for record in event["Records"]:
        bucket = record["s3"]["bucket"]["name"]
        key = urllib.parse.unquote_plus(record["s3"]["object"]["key"])
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3.put_object(Bucket=bucket, Key=key.replace("in/", "middle/", 1), Body=text.upper())
"""
NODE_CODE = """
import { S3Client, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
const s3 = new S3Client({ forcePathStyle: true });

export const handler = async (event) => {
    for (const { s3: { bucket, object } } of event.Records) {
        const key = decodeURIComponent(object.key.replace(/\\+/g, " "));
        const got = await s3.send(new GetObjectCommand({ Bucket: bucket.name, Key: key }));
        const text = await got.Body.transformToString();
        await s3.send(new PutObjectCommand({
            Bucket: bucket.name, Key: key.replace("middle/", "out/"), Body: text + "!" }));
    }
    return { done: event.Records.length };
};
"""
AGAIN = """
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    record = event["Records"][0]["s3"]
    step = int(record["object"]["key"]) + 1
    s3.put_object(Bucket=record["bucket"]["name"], Key=str(step), Body=b"")
"""
RELAY = """
import json
import boto3
from botocore.exceptions import ClientError
s3 = boto3.client("s3")
fn = boto3.client("lambda")
def handler(event, context):
    name, step = context.function_name, event["step"]
    if step == 15:
        try:
            fn.invoke(FunctionName=name, Payload=json.dumps({"step": 99}))
        except ClientError as error:
            s3.put_object(Bucket=name, Key=error.response["Error"]["Code"], Body=b"")
    s3.put_object(Bucket=name, Key=f"{step:02}", Body=b"")
    if step < 30:
        fn.invoke(FunctionName=name, InvocationType="Event",
                  Payload=json.dumps({"step": step + 1}))
"""
AT_START = """
import time
import boto3
boto3.client("s3").put_object(Bucket="early", Key=str(time.time_ns()), Body=b"")
raise SystemExit
"""
TRUST = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
    "Action": "sts:AssumeRole"}}


def zipped(files, folder=None):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, text in files.items():
            z.writestr(name, text)
        for path in sorted(folder.rglob("*")) if folder else ():
            if path.is_file() and path.suffix not in (".ts", ".map", ".md"):
                z.write(path, Path("node_modules") / path.relative_to(folder))
    return out.getvalue()


@kist_server.needs_sandboxes
class Pipeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for tool in (AWS, NODE, NPM):
            if not os.access(tool, os.X_OK):
                raise unittest.SkipTest(f"{tool} is not installed")
        cls.server = kist_server.own(cls)
        cls.work = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (cls.work / "trust.json").write_text(json.dumps(TRUST))
        (cls.work / "policy.json").write_text(json.dumps({
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": ["s3:*", "lambda:InvokeFunction"],
                          "Resource": "*"}}))
        cls.role = cls.aws("iam", "create-role", "--role-name", "worker",
                           "--assume-role-policy-document",
                           f"file://{cls.work}/trust.json")["Role"]["Arn"]
        cls.aws("iam", "put-role-policy", "--role-name", "worker", "--policy-name", "all",
                "--policy-document", f"file://{cls.work}/policy.json")

    @classmethod
    def aws(cls, *args):
        run = subprocess.run(
            [AWS, "--endpoint-url", cls.server.endpoint, "--output", "json", *args],
            env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                 "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY,
                 "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": ""},
            capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, (args, run.stderr)
        return json.loads(run.stdout) if run.stdout.strip() else None

    def create(self, name, runtime, handler, code, bucket):
        (self.work / f"{name}.zip").write_bytes(code)
        arn = self.aws("lambda", "create-function", "--function-name", name, "--runtime", runtime,
                       "--handler", handler, "--role", self.role, "--timeout", "60",
                       "--memory-size", "512",
                       "--zip-file", f"fileb://{self.work}/{name}.zip")["FunctionArn"]
        self.aws("lambda", "add-permission", "--function-name", name, "--statement-id", "s3",
                 "--action", "lambda:InvokeFunction", "--principal", "s3.amazonaws.com",
                 "--source-arn", f"arn:aws:s3:::{bucket}")
        return arn

    def notify(self, bucket, configuration):
        path = self.work / "notify.json"
        path.write_text(json.dumps(configuration))
        self.aws("s3api", "put-bucket-notification-configuration", "--bucket", bucket,
                 "--notification-configuration", f"file://{path}")

    @staticmethod
    def below(prefix, kind, arn):
        return {f"{kind}Arn": arn, "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}}

    def test_python_then_node(self):
        self.aws("s3api", "create-bucket", "--bucket", "pipe")
        upper = self.create("upper", "python3.11", "app.handler", zipped({"app.py": PYTHON}),
                            "pipe")
        mark = self.create("mark", "nodejs18.x", "index.handler",
                           zipped({"index.mjs": NODE_CODE}, installed() / "node_modules"), "pipe")
        with Hook() as hook:
            queue = kist("target", "add", "done", hook.url, "--private",
                         server=self.server).strip()
            self.notify("pipe", {
                "LambdaFunctionConfigurations": [
                    self.below("in/", "LambdaFunction", upper),
                    self.below("middle/", "LambdaFunction", mark)],
                "QueueConfigurations": [self.below("out/", "Queue", queue)]})
            (self.work / "text").write_text("hello")
            self.aws("s3api", "put-object", "--bucket", "pipe", "--key", "in/a b+ü.txt", "--body",
                     str(self.work / "text"))
            hook.wait(lambda d: any(
                r["s3"]["object"]["key"] == "out/a+b%2B%C3%BC.txt" for r in d.get("Records", [])),
                "the last object's event")
        self.aws("s3api", "get-object", "--bucket", "pipe", "--key", "out/a b+ü.txt",
                 str(self.work / "got"))
        self.assertEqual((self.work / "got").read_text(), "HELLO!")
        lineage = kist("lineage", "s3://pipe/out/a b+ü.txt", server=self.server)
        self.assertEqual([line.split()[1] for line in lineage.splitlines() if "<-" in line],
                         [f"{mark}:$LATEST", f"{upper}:$LATEST"])
        self.assertIn("kist: pipe/none: not found",
                      kist("lineage", "s3://pipe/none", server=self.server, status=1))
        trace = re.search(r"trace (\w{32})", lineage)[1]
        shown = self.until(lambda: [t for t in [self.trace(trace)] if t.count(" ms ") == 2])[0]
        order = [shown.index(part) for part in ("pipe/in/", upper, "pipe/middle/", mark,
                                                "pipe/out/")]
        self.assertEqual(order, sorted(order), shown)

    def trace(self, trace_id):
        run = subprocess.run(
            [kist_server.BIN, "trace", trace_id, "--endpoint", self.server.endpoint],
            env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                 "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY},
            capture_output=True, text=True, timeout=60, check=False)
        return run.stdout

    @staticmethod
    def until(condition):
        """For what nobody tells."""
        end = time.monotonic() + WAIT_S
        while not (found := condition()):
            if time.monotonic() > end:
                raise AssertionError("it did not come")
            time.sleep(0.05)
        return found

    def test_chain_that_wakes_itself_is_stopped(self):
        self.aws("s3api", "create-bucket", "--bucket", "again")
        arn = self.create("again", "python3.11", "app.handler", zipped({"app.py": AGAIN}), "again")
        self.notify("again", {"LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]})
        self.aws("s3api", "put-object", "--bucket", "again", "--key", "0")
        parked = self.until(lambda: kist("events", "ls", arn, "--parked", server=self.server))
        self.assertEqual(len(parked.splitlines()), 1, parked)
        self.assertIn("Recursion", parked)
        keys = self.aws("s3api", "list-objects-v2", "--bucket", "again")["Contents"]
        self.assertEqual(sorted(int(k["Key"]) for k in keys), list(range(17)))

    def test_function_that_invokes_itself_is_stopped(self):
        """A function's calls of Lambda's API are a step of the chain, as its writes are."""
        self.aws("s3api", "create-bucket", "--bucket", "relay")
        arn = self.create("relay", "python3.11", "app.handler", zipped({"app.py": RELAY}), "relay")
        self.aws("lambda", "invoke", "--function-name", "relay", "--invocation-type", "Event",
                 "--cli-binary-format", "raw-in-base64-out", "--payload", '{"step": 0}',
                 str(self.work / "out"))
        parked = self.until(lambda: kist("events", "ls", arn, "--parked", server=self.server))
        self.assertIn("Recursion", parked)
        keys = self.aws("s3api", "list-objects-v2", "--bucket", "relay")["Contents"]
        self.assertEqual([k["Key"] for k in keys],
                         [f"{step:02}" for step in range(16)] + ["RecursiveInvocationException"])

    def test_program_that_wakes_itself_before_it_asks_for_work_is_stopped(self):
        self.aws("s3api", "create-bucket", "--bucket", "early")
        arn = self.create("early", "python3.11", "app.handler", zipped({"app.py": AT_START}),
                          "early")
        self.aws("lambda", "put-function-event-invoke-config", "--function-name", "early",
                 "--maximum-retry-attempts", "0")
        self.notify("early", {"LambdaFunctionConfigurations": [
            {"LambdaFunctionArn": arn, "Events": ["s3:ObjectCreated:*"]}]})
        self.aws("s3api", "put-object", "--bucket", "early", "--key", "0")
        self.until(lambda: "Recursion" in kist("events", "ls", arn, "--parked",
                                               server=self.server))


if __name__ == "__main__":
    unittest.main()
