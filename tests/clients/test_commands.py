"""kist user, key, policy and kms: a running server's identities and keys in few words."""
import json
import os
import signal
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kist_server
from accounts import Account
from semantics import Semantics
from workflow import aws_client

READ = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}}
LIST = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}}


class Commands(Semantics):
    def kist(self, *words, status=0, env=None, stdin=None):
        run = subprocess.run(
            [kist_server.BIN, *words], capture_output=True, text=True, timeout=60, input=stdin,
            env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                 "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY,
                 "AWS_ENDPOINT_URL": self.server.endpoint, **(env or {})})
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stderr if status else run.stdout

    def pairs(self, *words, **more):
        return dict(line.split() for line in self.kist(*words, **more).splitlines())

    def file(self, document):
        file = tempfile.NamedTemporaryFile("w", suffix=".json")
        self.addCleanup(file.close)
        json.dump(document, file)
        file.flush()
        return file.name

    def test_user_key_policy(self):
        self.put("k", b"readable")
        self.assertEqual(self.kist("user", "add", "cmd-ann"), "")
        self.assertIn("cmd-ann", self.kist("user", "ls").splitlines())
        self.assertIn("exists", self.kist("user", "add", "cmd-ann", status=1))
        made = self.pairs("key", "add", "cmd-ann")
        self.assertEqual(self.kist("key", "ls", "cmd-ann"), f"{made['access-key']} Active\n")
        ann = Account(self.server, made["access-key"], made["secret-key"])
        self.fails("AccessDenied", 403, ann.s3.list_objects_v2, Bucket=self.bucket)

        self.kist("policy", "put", "cmd-read", self.file(READ))
        self.assertIn("cmd-read", self.kist("policy", "ls").splitlines())
        self.kist("policy", "attach", "cmd-read", "--user", "cmd-ann")
        self.assertEqual(ann.s3.get_object(Bucket=self.bucket, Key="k")["Body"].read(),
                         b"readable")
        self.fails("AccessDenied", 403, ann.s3.list_buckets)
        self.kist("policy", "put", "own", "-", "--user", "cmd-ann", stdin=json.dumps(LIST))
        ann.s3.list_buckets()
        self.assertEqual(self.kist("policy", "ls", "--user", "cmd-ann"),
                         "own own\nattached cmd-read\n")
        self.assertIn("attached", self.kist("policy", "rm", "cmd-read", status=1))
        self.kist("policy", "detach", "cmd-read", "--user", "cmd-ann")
        self.fails("AccessDenied", 403, ann.s3.get_object, Bucket=self.bucket, Key="k")
        # His own key is as good as root's for the command, and may as little as he may.
        self.assertIn("not authorized", self.kist("user", "ls", status=1, env={
            "AWS_ACCESS_KEY_ID": ann.access, "AWS_SECRET_ACCESS_KEY": ann.secret}))

        self.kist("policy", "rm", "cmd-read")
        self.kist("policy", "rm", "own", "--user", "cmd-ann")
        self.assertIn("Cannot delete", self.kist("user", "rm", "cmd-ann", status=1))
        self.kist("key", "rm", "cmd-ann", made["access-key"])
        self.kist("user", "rm", "cmd-ann")
        self.assertNotIn("cmd-ann", self.kist("user", "ls").splitlines())
        self.assertNotIn("cmd-read", self.kist("policy", "ls").splitlines())

    def test_pages(self):
        names = [f"cmd-page-{n:03}" for n in range(130)]      # more than a page
        iam = Account(self.server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY).iam
        for name in names:
            iam.create_user(UserName=name)
        listed = [line for line in self.kist("user", "ls").splitlines() if line in names]
        for name in names:
            iam.delete_user(UserName=name)
        self.assertEqual(listed, names)

    def test_kms(self):
        plain = self.kist("kms", "create-key").strip()
        key = self.kist("kms", "create-key", "--alias", "cmd-mine", "--description", "d").strip()
        rows = {row[0]: row[1:] for row in map(str.split, self.kist("kms", "ls").splitlines())}
        self.assertEqual((rows[plain], rows[key]), ([], ["alias/cmd-mine"]))
        sealed = self.put("sealed", b"s", ServerSideEncryption="aws:kms",
                          SSEKMSKeyId="alias/cmd-mine")
        self.assertTrue(sealed["SSEKMSKeyId"].endswith(key))
        kms = aws_client("kms", self.server)
        self.assertEqual(kms.describe_key(KeyId=key)["KeyMetadata"]["Description"], "d")
        self.assertIn("exists", self.kist("kms", "create-key", "--alias", "cmd-mine", status=1))

    def test_credentials(self):
        with tempfile.TemporaryDirectory(prefix="kist-cmd-") as data:
            Path(data, "root-key").write_text(
                f"{kist_server.ACCESS_KEY}\n{kist_server.SECRET_KEY}\n", encoding="ascii")
            wrong = {"AWS_ACCESS_KEY_ID": "NOBODY", "AWS_SECRET_ACCESS_KEY": "wrong"}
            self.assertIn("kist: user: The AWS access key ID that you",
                          self.kist("user", "ls", env=wrong, status=1))
            self.kist("user", "ls", "--data", data, env=wrong)
        sts = Account(self.server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY)
        iam = sts.iam
        role = iam.create_role(RoleName="cmd-role", AssumeRolePolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": "*"},
                                                   "Action": "sts:AssumeRole"}}))["Role"]
        self.kist("policy", "put", "p", self.file({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "iam:ListUsers", "Resource": "*"}}),
                  "--role", "cmd-role")
        self.kist("user", "add", "cmd-bob")
        self.addCleanup(self.kist, "user", "rm", "cmd-bob")
        made = self.pairs("key", "add", "cmd-bob")
        self.addCleanup(self.kist, "key", "rm", "cmd-bob", made["access-key"])
        bob = Account(self.server, made["access-key"], made["secret-key"])
        session = bob.sts.assume_role(RoleArn=role["Arn"], RoleSessionName="bobs")["Credentials"]
        keys = {"AWS_ACCESS_KEY_ID": session["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"]}
        self.kist("user", "ls", env={**keys, "AWS_SESSION_TOKEN": session["SessionToken"]})
        self.kist("user", "ls", env=keys, status=1)

    def test_output_that_goes_nowhere(self):
        """What cannot be printed is a failure; whoever stops reading ends the command quietly."""
        command = [kist_server.BIN, "user", "ls", "--endpoint", self.server.endpoint]
        env = {**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
               "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY}
        self.kist("user", "add", "cmd-out")
        self.addCleanup(self.kist, "user", "rm", "cmd-out")
        with open("/dev/full", "w", encoding="ascii") as full:
            run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True,
                                 timeout=60, env=env, check=False)
        self.assertEqual((run.returncode, run.stderr),
                         (1, "kist: standard output: No space left on device\n"))
        reader, writer = os.pipe()
        os.close(reader)
        run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True,
                             timeout=60, env=env, check=False)
        os.close(writer)
        self.assertEqual((run.returncode, run.stderr), (-signal.SIGPIPE, ""))

    def test_variables(self):
        """An empty variable is none; half a key is a mistake and not another identity."""
        self.kist("user", "ls", env={"KIST_ENDPOINT": ""})
        self.kist("user", "ls", env={"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1",
                                     "AWS_SESSION_TOKEN": ""})
        self.assertIn("nowhere-1", self.kist(
            "user", "ls", status=1, env={"AWS_REGION": "", "AWS_DEFAULT_REGION": "nowhere-1"}))
        root = {"KIST_ROOT_ACCESS_KEY": kist_server.ACCESS_KEY,
                "KIST_ROOT_SECRET_KEY": kist_server.SECRET_KEY}
        self.kist("user", "ls", env={**root, "AWS_ACCESS_KEY_ID": "",
                                     "AWS_SECRET_ACCESS_KEY": ""})
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.assertIn("is missing", self.kist("user", "ls", status=1, env={**root, name: ""}))

    def test_no_proxy(self):
        """Hosts that the environment keeps from its proxy are asked without it."""
        with kist_server.Server(flags=("--listen", "127.0.0.2:0")) as server:
            proxy = {"AWS_ENDPOINT_URL": server.endpoint, "http_proxy": "http://127.0.0.1:1"}
            self.kist("user", "ls", env={**proxy, "no_proxy": ""}, status=1)
            self.kist("user", "ls", env={**proxy, "no_proxy": "example.org,127.0.0.2"})
            self.kist("user", "ls", env={**proxy, "no_proxy": "*"})

    def test_tries_again(self):
        """A server that is unwell for two answers; what must not happen twice is asked once."""
        asked = []

        class Unwell(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                asked.append(self.path)
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                well = asked.count(self.path) > 2
                body = (b"<Error><Code>NoSuchWebsiteConfiguration</Code></Error>"
                        if self.path.endswith("?site") else b"<ListBucketResult/>")
                self.send_response(500 if not well else 404 if b"Error" in body else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Unwell)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        unwell = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
        self.assertEqual(self.kist("site", "ls", "s3://any", env=unwell), "")
        self.assertEqual(asked.count("/any?site"), 3)
        del asked[:]
        self.kist("user", "add", "twice", env=unwell, status=1)
        self.assertEqual(asked, ["/"])

    def test_mistakes(self):
        for words in (("user",), ("user", "add"), ("key", "rm", "x"), ("policy", "attach", "p"),
                      ("policy", "put", "p"), ("user", "ls", "--user", "x"), ("kms", "ls", "--x"),
                      ("user", "ls", "--endpoint", "ftp://x"), ("site", "deploy", "x")):
            with self.subTest(words=words):
                self.kist(*words, status=2)
        for tool in ("user", "key", "policy", "kms", "site", "account"):
            self.assertIn("usage: kist", self.kist(tool, "--help"))
        self.assertIn("No such file", self.kist("policy", "put", "p", "/none", status=1))
