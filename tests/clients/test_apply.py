"""kist apply: an application as one file, made, changed, pruned, and refused with line numbers."""
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from botocore.exceptions import ClientError

import kist_server
from hook import Hook, kist
from workflow import aws_client, boto_client

THUMB = '''
import os, sys
sys.path[:0] = ["/usr/lib/python3/dist-packages"]
import urllib.parse
import boto3
s3 = boto3.client("s3")
def handler(event, context):
    for r in event.get("Records", []):
        bucket, key = (r["s3"]["bucket"]["name"],
                       urllib.parse.unquote_plus(r["s3"]["object"]["key"]))
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3.put_object(Bucket="ap-small", Key="thumb/" + key,
                      Body=os.environ["SIZE"].encode() + b":" + body)
    return {"statusCode": 200, "body": os.environ["SIZE"]}
'''
APP = '''
app: gallery
buckets:
  ap-photos: { versioning: true, public: false }
  ap-small: {}
  ap-dead:
targets:
  ap-audit: { url: "HOOK", form: cloudevents, secret: "${AUDIT_SECRET}", ordered: true,
              private: true, dead-letter: s3://ap-dead/letters/ }
functions:
  ap-thumb:
    code: ./thumb
    memory: 256
    timeout: 30
    env: { SIZE: "200" }
    allow: [ "read s3://ap-photos", "write s3://ap-small/thumb/" ]
    on: [ "s3://ap-photos/*.jpg" ]
    url: { auth: none, cors: [ "https://app.example" ] }
    retries: 1
    on-failure: ap-audit
schedules:
  ap-nightly: { run: ap-thumb, when: "cron(0 3 * * ? *)", zone: Europe/Berlin,
                input: { a: 1, b: [ true, x, "1", null ] } }
sites:
  ap-www: { dir: ./public, functions: { api/: ap-thumb } }
'''


class Recorder:
    """Stands between a client and the server, and keeps the bytes that the client sends."""

    def __init__(self, port):
        self.port, self.sent = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.copy, args=(client, server, self.sent),
                             daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, None), daemon=True).start()

    @staticmethod
    def copy(source, target, kept):
        try:
            while data := source.recv(65536):
                if kept is not None:
                    kept.append(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()
        return b"".join(self.sent).decode("utf-8", "replace")


@kist_server.needs_sandboxes
class Apply(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.own(cls)
        cls.hook = cls.enterClassContext(Hook())
        cls.s3 = boto_client(cls.server)
        cls.fn, cls.iam = aws_client("lambda", cls.server), aws_client("iam", cls.server)
        cls.scheduler = aws_client("scheduler", cls.server)

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="kist-apply-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.file("thumb/handler.py", THUMB)
        self.file("public/index.html", "<p>hello")

    def file(self, name, text):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def kist(self, *options, status=0, endpoint=None, secret="s1"):
        run = subprocess.run(
            [kist_server.BIN, "apply", str(self.dir / "app.yaml"), *options, "--endpoint",
             endpoint or self.server.endpoint], capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL, check=False,
            env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                 "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY, "AWS_REGION": "us-east-1",
                 "AUDIT_SECRET": secret})
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.said = run.stderr
        return run.stdout

    def apply(self, text, *options, **more):
        self.file("app.yaml", text.replace("HOOK", self.hook.url))
        return self.kist(*options, **more)

    def plan(self, text, *options, **more):
        """{"thing name": "create"} or "change: fields", without what is unchanged."""
        out = self.apply(text, "--dry-run", *options, **more)
        found = {}
        for step, thing, fields in re.findall(r"^(create|change|remove) +(\S+ [^:\n]+)(: .*)?$",
                                              out, re.M):
            found[thing] = step + fields
        return found

    def asking(self):
        """An apply that holds its lock and waits for an answer; and where to write that."""
        mine, its = pty.openpty()
        self.addCleanup(os.close, mine)
        run = subprocess.Popen(
            [kist_server.BIN, "apply", str(self.dir / "app.yaml"), "--endpoint",
             self.server.endpoint], stdin=its, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY, "USER": "ann",
                 "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY, "AWS_REGION": "us-east-1"})
        os.close(its)
        self.addCleanup(run.kill)
        seen = b""
        while not seen.endswith(b"[y/N] "):
            piece = run.stdout.read1(1024)
            self.assertTrue(piece, seen)
            seen += piece
        return run, mine

    def ends(self, run, status):
        out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, status, out + err)
        return err.decode()

    def test_one_at_a_time(self):
        self.s3.create_bucket(Bucket="ap-locks")
        self.addCleanup(self.s3.delete_bucket, Bucket="ap-locks")
        text = "lock: s3://ap-locks/a lock\nbuckets: { ap-one: {}, ap-two: {} }\n"
        self.file("app.yaml", text)
        locked = lambda: self.s3.list_objects_v2(Bucket="ap-locks")["KeyCount"]
        first, answer = self.asking()
        self.assertEqual(locked(), 1)
        self.kist("--yes", status=1)
        self.assertRegex(self.said, rf"a lock: ann@\S+, process {first.pid}, since .*--unlock")
        self.assertNotIn("ap-one", self.buckets())
        self.assertIn("2 to create", self.kist("--dry-run"))
        os.write(answer, b"n\n")
        self.ends(first, 1)
        self.assertEqual((locked(), self.kist("--unlock")), (0, "not locked\n"))

        # Ctrl-C, and a lock that is taken away from one who goes on all the same.
        first, _ = self.asking()
        first.send_signal(signal.SIGINT)
        self.assertIn("ends after this step", self.ends(first, -signal.SIGINT))
        self.assertEqual(locked(), 0)
        first, answer = self.asking()
        self.assertIn(f"process {first.pid}", self.kist("--unlock"))
        second, other = self.asking()
        os.write(answer, b"y\n")
        self.assertIn("somebody took the lock away", self.ends(first, 1))
        self.assertEqual((locked(), "ap-one" in self.buckets()), (1, False))
        os.write(other, b"y\n")
        self.ends(second, 0)
        self.assertEqual(locked(), 0)
        self.assertLessEqual({"ap-one", "ap-two"}, set(self.buckets()))
        self.assertIn("nothing to do", self.kist("--yes"))
        for bucket in ("ap-one", "ap-two"):
            self.s3.delete_bucket(Bucket=bucket)

    def test_locks_that_are_none(self):
        self.s3.create_bucket(Bucket="ap-locks")
        self.s3.put_object(Bucket="ap-locks", Key="page", Body=b"somebody's")
        self.apply("lock: s3://ap-locks/page\nbuckets: { ap-one: {} }\n", "--yes", status=1)
        self.assertIn("no lock of kist apply", self.said)
        self.kist("--unlock", status=1)
        self.assertEqual(self.s3.get_object(Bucket="ap-locks", Key="page")["Body"].read(),
                         b"somebody's")
        self.s3.delete_object(Bucket="ap-locks", Key="page")
        self.s3.delete_bucket(Bucket="ap-locks")
        self.kist("--yes", status=1)
        self.assertIn("s3://ap-locks/page: The specified bucket does not exist", self.said)
        for lock in ("s3://ap-locks", "s3://ap-locks/", "ap-locks/k", "{ a: b }"):
            self.apply(f"lock: {lock}\n", "--yes", status=2)
            self.assertIn("app.yaml:1: lock", self.said)
        self.apply("buckets: {}\n", "--unlock", status=2)
        self.assertNotIn("ap-one", self.buckets())

    def buckets(self):
        return [b["Name"] for b in self.s3.list_buckets()["Buckets"] if b["Name"][:3] == "ap-"]

    def tidy(self):
        """Everything of the application goes."""
        self.apply("app: gallery\n", "--prune", "--dry-run")
        for bucket in ("ap-photos", "ap-small", "ap-dead"):
            try:
                for o in self.s3.list_object_versions(Bucket=bucket).get("Versions", []):
                    self.s3.delete_object(Bucket=bucket, Key=o["Key"], VersionId=o["VersionId"])
            except ClientError:
                pass
        self.apply("app: gallery\n", "--prune", "--yes")
        self.assertEqual(self.kist("--prune"), "nothing to do\n")

    def test_an_application(self):
        self.addCleanup(self.tidy)
        plan = self.plan(APP)
        self.assertEqual(set(plan.values()), {"create"})
        self.assertEqual(len(plan), 7)
        self.kist(status=1)                                       # nobody to ask
        self.assertIn("--yes", self.said)
        self.assertEqual(self.buckets(), [])
        self.assertTrue(self.kist("--yes").endswith("done\n"))

        self.check_nothing_to_do()
        self.check_made()
        self.check_runs()
        self.check_changes()
        self.check_prune()

    def check_nothing_to_do(self):
        recorder = Recorder(self.server.port)
        self.assertTrue(self.kist("--yes", "--prune", endpoint=recorder.endpoint)
                        .endswith("nothing to do\n"))
        sent = recorder.close()
        for method, rest in re.findall(r"^(GET|HEAD|POST|PUT|DELETE|PATCH) (.*?)(?=^(?:GET|HEAD|"
                                       r"POST|PUT|DELETE|PATCH) |\Z)", sent, re.M | re.S):
            reads = method in ("GET", "HEAD") or "Action=Get" in rest or \
                re.search(r"x-amz-target: Kist\.(Get|List)", rest, re.I) or \
                ("Kist.PutTarget" in rest and '"DryRun":true' in rest)
            self.assertTrue(reads, method + " " + rest)
        self.assertIn("Kist.PutTarget", sent)

    def check_made(self):
        self.assertEqual(self.s3.get_bucket_versioning(Bucket="ap-photos")["Status"], "Enabled")
        tags = self.s3.get_bucket_tagging(Bucket="ap-www")["TagSet"]
        self.assertEqual(tags, [{"Key": "kist:app", "Value": "gallery"},
                                {"Key": "kist:site", "Value": "gallery"}])
        found = self.fn.get_function(FunctionName="ap-thumb")
        self.assertEqual(found["Tags"], {"kist:app": "gallery"})
        self.assertEqual((found["Configuration"]["MemorySize"],
                          found["Configuration"]["Handler"]), (256, "handler.handler"))
        invoke = self.fn.get_function_event_invoke_config(FunctionName="ap-thumb")
        self.assertEqual(invoke["MaximumRetryAttempts"], 1)
        self.assertIn(":ap-audit", invoke["DestinationConfig"]["OnFailure"]["Destination"])
        schedule = self.scheduler.get_schedule(Name="ap-nightly", GroupName="gallery")
        self.assertEqual(json.loads(schedule["Target"]["Input"]),
                         {"a": 1, "b": [True, "x", "1", None]})
        policy = self.iam.get_role_policy(RoleName="kist-fn-ap-thumb", PolicyName="trigger")
        may = [(s["Action"] if isinstance(s["Action"], str) else s["Action"][0], s["Resource"])
               for s in policy["PolicyDocument"]["Statement"]]
        self.assertEqual(may, [("s3:ListBucket", "arn:aws:s3:::ap-photos"),
                               ("s3:GetObject", "arn:aws:s3:::ap-photos/*"),
                               ("s3:PutObject", "arn:aws:s3:::ap-small/thumb/*")])

    def check_runs(self):
        self.s3.put_object(Bucket="ap-photos", Key="a b.jpg", Body=b"photo")
        self.s3.get_waiter("object_exists").wait(Bucket="ap-small", Key="thumb/a b.jpg",
                                                 WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        body = self.s3.get_object(Bucket="ap-small", Key="thumb/a b.jpg")["Body"].read()
        self.assertEqual(body, b"200:photo")
        self.assertEqual(self.page("/"), (200, b"<p>hello"))
        self.assertEqual(self.page("/api/size"), (200, b"200"))

    def page(self, path):
        request = urllib.request.Request(
            self.server.endpoint + path,
            headers={"Host": f"ap-www.web.{kist_server.DOMAIN}"})
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def check_changes(self):
        """One thing at a time: only it is in the plan, and afterwards it is so."""
        def change(old, new, thing, fields, **more):
            self.assertIn(old, APP)
            text = APP.replace(old, new)
            self.assertEqual(self.plan(text, **more), {thing: "change: " + fields})
            self.kist("--yes", **more)
            self.assertTrue(self.kist("--yes", **more).endswith("nothing to do\n"))
            self.assertNotIn("s2", self.said)

        change('SIZE: "200"', 'SIZE: "300", BB: b', "function ap-thumb", "env")
        change("memory: 256", "memory: 512", "function ap-thumb", "memory, env")
        change("    retries: 1\n    on-failure: ap-audit\n", "", "function ap-thumb",
               "memory, retries, on-failure")
        change("    url: { auth: none, cors: [ \"https://app.example\" ] }\n", "",
               "function ap-thumb", "retries, url, on-failure")
        change("ap-photos/*.jpg", "ap-small/in/", "function ap-thumb",
               "on, url")
        rules = self.s3.get_bucket_notification_configuration(Bucket="ap-photos")
        self.assertNotIn("LambdaFunctionConfigurations", rules)
        self.assertEqual(self.plan(APP), {"function ap-thumb": "change: on"})
        self.apply(APP, "--yes")
        change(', "write s3://ap-small/thumb/"', "", "function ap-thumb", "allow")
        change("ordered: true", "ordered: true", "function ap-thumb", "allow")
        change("ordered: true", "ordered: false", "target ap-audit", "ordered")
        bare = APP.replace('    on: [ "s3://ap-photos/*.jpg" ]\n', "")
        bare = re.sub(r"    allow: .*\n", "", bare)
        self.assertEqual(self.plan(bare), {"target ap-audit": "change: ordered",
                                           "function ap-thumb": "change: on, role, allow"})
        self.kist("--yes")
        self.assertEqual(self.plan(bare), {})
        self.assertEqual(self.fn.get_function_configuration(FunctionName="ap-thumb")["Role"], "")
        with self.assertRaises(self.iam.exceptions.NoSuchEntityException):
            self.iam.get_role(RoleName="kist-fn-ap-thumb")
        self.apply(APP, "--yes")
        self.assertEqual(self.plan(APP, secret="s2"), {"target ap-audit": "change: secret"})
        self.kist("--yes", secret="s2")
        self.assertEqual(self.plan(APP, secret="s2"), {})
        self.apply(APP, "--yes")
        change("versioning: true, public: false", "versioning: false, public: true",
               "bucket ap-photos", "versioning, public")
        url = f"{self.server.endpoint}/ap-photos/a%20b.jpg"
        self.assertEqual(urllib.request.urlopen(url).read(), b"photo")
        self.apply(APP, "--yes")
        with self.assertRaises(urllib.error.HTTPError):
            urllib.request.urlopen(url)
        change("cron(0 3", "cron(0 4", "schedule ap-nightly", "when")
        self.apply(APP, "--yes")
        change("{ api/: ap-thumb }", "{ v1/: ap-thumb, v2/: ap-thumb }", "site ap-www", "settings")
        self.assertEqual(self.page("/v2/x"), (200, b"200"))
        self.assertEqual(self.page("/api/")[0], 404)
        self.apply(APP, "--yes")
        self.file("public/more.html", "more")
        self.assertEqual(self.plan(APP), {"site ap-www": "change: files"})
        self.file("thumb/handler.py", THUMB + "#\n")
        self.assertEqual(self.plan(APP), {"site ap-www": "change: files",
                                          "function ap-thumb": "change: code"})
        self.apply(APP, "--yes")
        self.assertEqual(self.plan(APP), {})

    def check_prune(self):
        self.s3.create_bucket(Bucket="ap-mine")
        kist("target", "add", "ap-other", self.hook.url, "--private", server=self.server)
        short = re.sub(r"^(targets|schedules):.*?(?=^\w)", "", APP, flags=re.M | re.S)
        short = short.replace("    on-failure: ap-audit\n", "").replace("  ap-dead:\n", "")
        self.assertEqual(self.plan(short), {"function ap-thumb": "change: on-failure"})
        self.assertEqual(self.plan(short, "--prune"),
                         {"function ap-thumb": "change: on-failure",
                          "schedule ap-nightly": "remove", "target ap-audit": "remove",
                          "bucket ap-dead": "remove"})
        self.s3.put_object(Bucket="ap-dead", Key="x", Body=b"")
        self.kist("--prune", "--yes", status=1)
        self.assertIn("ap-dead: it stays", self.said)
        self.assertIn("done: 3; not done: bucket ap-dead", self.said)
        self.s3.delete_object(Bucket="ap-dead", Key="x")
        self.assertEqual(self.plan(short, "--prune"), {"bucket ap-dead": "remove"})
        self.kist("--prune", "--yes")
        self.assertEqual(self.plan(short, "--prune"), {})
        self.assertEqual([g["Name"] for g in self.scheduler.list_schedule_groups()[
            "ScheduleGroups"]], ["default"])
        self.assertEqual(self.plan("app: another\n", "--prune"), {})
        self.assertEqual(self.plan("app: gallery\n", "--prune")["function ap-thumb"], "remove")
        self.assertEqual(self.buckets(), ["ap-mine", "ap-photos", "ap-small", "ap-www"])
        no_site = re.sub(r"^sites:.*", "", short, flags=re.M | re.S)
        self.s3.put_object(Bucket="ap-www", Key="mine", Body=b"")
        self.assertEqual(self.plan(no_site, "--prune"), {"site ap-www": "remove"})
        self.kist("--prune", "--yes", status=1)
        self.assertIn("ap-www: it stays", self.said)
        self.assertEqual(self.page("/")[0], 200)
        self.s3.delete_object(Bucket="ap-www", Key="mine")
        self.kist("--prune", "--yes")
        self.assertEqual(self.buckets(), ["ap-mine", "ap-photos", "ap-small"])

    def test_the_manual_s_example(self):
        text = (kist_server.ROOT / "README.md").read_text()
        block = re.search(r"    \$ cat app\.yaml\n(.*?)    \$ kist apply app\.yaml\n", text, re.S)[1]
        block = re.sub(r"^    ", "", block, flags=re.M).replace("app: gallery", "app: manual")
        self.file("api.py", THUMB)
        self.apply(block, "--yes")
        self.assertTrue(self.kist("--yes", "--prune").endswith("nothing to do\n"))
        for bucket in ("photos", "small"):
            for o in self.s3.list_object_versions(Bucket=bucket).get("Versions", []):
                self.s3.delete_object(Bucket=bucket, Key=o["Key"], VersionId=o["VersionId"])
        self.apply("app: manual\n", "--yes", "--prune")
        self.assertEqual(self.kist("--prune"), "nothing to do\n")

    def test_names_of_what_comes_later(self):
        self.addCleanup(self.tidy)
        fn = "{ code: thumb, env: { SIZE: x }, on-failure: %s }"
        text = ("app: gallery\nbuckets:\n  ap-small:\n"
                f"targets:\n  ap-t: {{ url: '{self.hook.url}', private: true, dead-letter: ap-a }}\n"
                f"functions:\n  ap-a: {fn % 'ap-b'}\n  ap-b: {fn % 's3://ap-small/x/'}\n")
        self.apply(text, "--yes")
        self.assertEqual(self.plan(text), {})
        target = json.loads(kist("target", "show", "ap-t", server=self.server))
        self.assertTrue(target["DeadLetter"].endswith(":function:ap-a"))
        self.apply("app: gallery\n", "--yes", "--prune")
        self.apply(text.replace("s3://ap-small/x/", "ap-a"), "--yes", status=1)
        self.assertIn("waits for what waits for it", self.said)

    def test_the_question(self):
        self.addCleanup(self.tidy)
        self.file("app.yaml", "app: gallery\nbuckets:\n  ap-small:\n")
        for answer, status, buckets in (("n", 1, 0), ("", 1, 0), ("y", 0, 1)):
            ours, theirs = os.openpty()
            run = subprocess.Popen(
                [kist_server.BIN, "apply", "app.yaml", "--endpoint", self.server.endpoint],
                cwd=self.dir, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                     "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY})
            os.close(theirs)
            os.write(ours, answer.encode() + b"\n")
            out, err = run.communicate(timeout=60)
            os.close(ours)
            self.assertEqual(run.returncode, status, out + err)
            self.assertIn(b"create    bucket ap-small\n", out)
            self.assertEqual(self.buckets().count("ap-small"), buckets)

    def test_an_error_in_the_middle(self):
        self.addCleanup(self.tidy)
        text = ("app: gallery\nbuckets:\n  ap-small: {}\nfunctions:\n"
                "  ap-no: { code: thumb, runtime: python9.9, env: { SIZE: x } }\n"
                "  ap-yes: { code: thumb, env: { SIZE: y }, on: s3://ap-small/x }\n")
        self.apply(text, "--yes", status=1)
        self.assertIn("stopped at function ap-no; done: 1; not done: function ap-no, "
                      "function ap-yes", self.said)
        text = text.replace("python9.9", "python3.11")
        self.assertEqual(self.plan(text), {"function ap-no": "create",
                                           "function ap-yes": "create"})
        self.kist("--yes")
        self.assertEqual(self.plan(text), {})

    def test_bad_files(self):
        fn = "functions:\n  f:\n    code: thumb\n"
        for text, line, why in (
                ("", 1, "empty"),
                ("buckets: [", 2, "no YAML"),
                ("a: b\n", 1, "a is not known in the file"),
                ("app: x\nbuckets:\n  aa: {}\n  bb: {}\n  aa: {}\n", 5, "twice, first in line 3"),
                ("app: &x y\n", 1, "anchors"),
                ("app: x\nbuckets: *x\n", 2, "anchors"),
                ("app: !!str x\n", 1, "tags"),
                ("app: x\n---\napp: y\n", 2, "second document"),
                ("app: x y\n", 1, "app:"),
                ("buckets:\n  UP: {}\n", 2, "cannot be the name of a bucket"),
                ("buckets:\n  aa:\n    versionning: true\n", 3, "versionning is not known in aa"),
                ("buckets:\n  aa: { versioning: 7 }\n", 2, "true or false"),
                ("buckets:\n  aa: { public: [] }\n", 2, "true or false"),
                ("buckets: 7\n", 1, "names"),
                ("targets:\n  t: { form: s3 }\n", 2, "say its url"),
                ("targets:\n  t:\n    url: ${KIST_NO_SUCH}\n", 3, "no variable KIST_NO_SUCH"),
                ("targets:\n  t:\n    url: ${bad name}\n", 3, "a variable is ${NAME}"),
                (fn + "    memory: 64\n", 4, "memory must be a number from 128"),
                (fn + "    on: [ http://x ]\n", 4, "a trigger is"),
                (fn + "    allow: [ \"admin s3://x\" ]\n", 4, "read s3://"),
                (fn + "    allow: [ \"read s3://*\" ]\n", 4, "read s3://"),
                (fn + "    role: r\n    allow: [ \"read s3://x\" ]\n", 5, "not both"),
                (fn + "    url: { auth: maybe }\n", 4, "auth must be none"),
                (fn + "    env: { A: [] }\n", 4, "variable A"),
                ("functions:\n  f: { code: nowhere }\n", 2, "cannot be read"),
                ("functions:\n  f: { memory: 128 }\n", 2, "where its code is"),
                ("schedules:\n  s: { run: f }\n", 2, "what to run, and when"),
                ("schedules:\n  s: { run: f, when: rate(1 days), missed: x }\n", 2, "missed"),
                ("sites:\n  ww: { index: x }\n", 2, "which dir"),
                ("buckets:\n  aa: " + "[" * 20 + "]" * 20 + "\n", 2, "nested deeper")):
            with self.subTest(text=text):
                self.apply(text, "--yes", status=2)
                self.assertRegex(self.said, rf"app\.yaml:{line}: .*" + re.escape(why))
        # What only the server knows.
        for text, line, why in (
                ("\nschedules:\n  s: { run: f-none, when: rate(1 days) }\n", 3, "f-none"),
                (fn + "    on: s3://no-such-bucket-here/\n", 4, "no bucket")):
            self.apply(text, "--yes", status=1)
            self.assertRegex(self.said, rf"app\.yaml:{line}: .*{why}")
        self.apply("targets:\n  t: { url: gopher://x }\n", "--yes", status=1)
        self.assertIn("kind webhook", self.said)
        self.apply("buckets: {}\n", "--prune", status=2)
        self.assertIn("app: NAME", self.said)
