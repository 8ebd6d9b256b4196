"""kist target: webhooks and brokers, tried with the real ones."""
import hashlib
import hmac
import json
import os
import re
import subprocess
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import kist_server
from accounts import TwoAccounts
from brokers import Mosquitto, Nats, Rabbit, Redis, RedisTls
from s3_raw import RawClient, Signature
from workflow import boto_client

WAIT_S = 60


class Hook(BaseHTTPRequestHandler):
    """Answers as the path says, and keeps what came."""
    protocol_version = "HTTP/1.1"
    got, news = [], threading.Condition()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.news:
            self.got.append((self.path, self.headers, body))
            self.news.notify_all()
        if self.path == "/drip":
            return self.drip()
        status = int(self.path.strip("/") or 200)
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("location", "/200")
        self.send_header("content-length", "0")
        self.end_headers()

    def drip(self):
        """A byte at a time, until the other side has had enough."""
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-length", "1000000")
        self.end_headers()
        self.connection.settimeout(0.05)
        while True:
            try:
                if not self.connection.recv(1):
                    return
            except TimeoutError:
                self.connection.sendall(b"x")
            except OSError:
                return

    @classmethod
    def wait(cls, matches):
        """The body of the first request that matches."""
        def found():
            return next((body for path, _, body in cls.got if matches(path, body)), None)

        with cls.news:
            assert cls.news.wait_for(found, WAIT_S), cls.got
            return found()

    def log_message(self, *_):
        pass


class Targets(TwoAccounts):
    def setUp(self):
        super().setUp()
        self.hooks = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.hooks.daemon_threads = True
        threading.Thread(target=self.hooks.serve_forever, daemon=True).start()
        self.addCleanup(self.hooks.server_close)
        self.addCleanup(self.hooks.shutdown)
        self.hook = f"http://127.0.0.1:{self.hooks.server_address[1]}"
        Hook.got.clear()

    def kist(self, *words, status=0, stdin=None, keys=None):
        access, secret = keys or (kist_server.ACCESS_KEY, kist_server.SECRET_KEY)
        run = subprocess.run(
            [kist_server.BIN, "target", *words], capture_output=True, text=True, timeout=120,
            input=stdin, env={**os.environ, "AWS_ACCESS_KEY_ID": access,
                              "AWS_SECRET_ACCESS_KEY": secret,
                              "AWS_ENDPOINT_URL": self.server.endpoint})
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stdout + run.stderr

    def add(self, name, url, *more, **how):
        self.addCleanup(self.call, "DeleteTarget", {"Name": name})
        return self.kist("add", name, url, "--private", *more, **how).strip()

    def call(self, action, body, **signing):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = RawClient(self.server).request(
            "POST", "/", body=body, signature=Signature(service="kist", **signing),
            headers={"X-Amz-Target": f"Kist.{action}",
                     "Content-Type": "application/x-amz-json-1.1"})
        return reply.status, json.loads(reply.body)

    # ---- webhooks ----

    def test_signed_webhook(self):
        arn = self.add("signed", self.hook, "--secret", "-", stdin="a secret\n")
        self.assertRegex(arn, r"^arn:aws:sqs:us-east-1:\d{12}:signed$")
        self.assertRegex(self.kist("test", "signed"), r"^delivered")
        _, headers, body = Hook.got[-1]
        self.assertEqual(json.loads(body)["Event"], "s3:TestEvent")
        when, mac = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})",
                                 headers["x-kist-signature"]).groups()
        right = hmac.new(b"a secret", when.encode() + b"." + body, hashlib.sha256)
        self.assertEqual(mac, right.hexdigest())
        shown = self.kist("show", "signed")
        self.assertNotIn("a secret", shown)
        self.assertEqual(json.loads(shown)["Secret"], "hidden")

    def test_answers(self):
        for status, outcome in ((204, "delivered"), (302, "failed"), (404, "failed"),
                                (410, "refused"), (429, "throttled"), (500, "failed")):
            Hook.got.clear()
            self.add("answers", f"{self.hook}/{status}")
            code = 0 if outcome == "delivered" else 1
            self.assertRegex(self.kist("test", "answers", status=code), f"^{outcome}")
            self.assertEqual([path for path, _, _ in Hook.got], [f"/{status}"])

    def test_addresses_of_this_machine(self):
        self.addCleanup(self.kist, "rm", "near")
        self.kist("add", "near", self.hook)
        self.assertRegex(self.kist("test", "near", status=1), "^refused.*not allowed")
        self.kist("add", "near", self.server.endpoint)
        self.assertRegex(self.kist("test", "near", status=1), "^refused.*not allowed")
        if self.server.admin:       # whatever the target says
            for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"):
                self.kist("add", "near", self.server.admin.replace("127.0.0.1", host),
                          "--private")
                self.assertRegex(self.kist("test", "near", status=1), "^(refused|absent)", host)
        self.assertEqual(Hook.got, [])

    # ---- setting up ----

    def test_what_is_wrong(self):
        for url, options, message in (
                ("nothing", (), "URL"), ("ftp://h/x", (), "kind"), ("http://h/\x01", (), "URL"),
                ("http://", (), "URL"), ("http://h/x", ("--form", "xml"), "form"),
                ("http://h/x", ("--option", "a=b"), "option"),
                ("http://h/x", ("--option", "timeout=0"), "timeout"),
                ("http://h/x", ("--concurrency", "100000"), "Concurrency"),
                ("http://h/x", ("--dead-letter", "elsewhere"), "DeadLetter"),
                ("http://h/x", ("--dead-letter", "s3://"), "DeadLetter"),
                ("http://h/x", ("--secret", "x" * 300), "secret")):
            self.assertIn(message, self.kist("add", "wrong", url, *options, status=1))
        self.assertIn("Name", self.kist("add", "wrong/name", "http://h/x", status=1))
        own = self.add("own", self.hook)
        self.assertIn("its own", self.kist("add", "own", self.hook, "--dead-letter", own,
                                           status=1))

    def test_bad_requests(self):
        for body, kind in (
                (b"", "ValidationException"), (b"[]", "SerializationException"),
                (b"{", "SerializationException"), (b'{"Name":"a","Name":"b"}',
                                                   "SerializationException"),
                ({"Name": 1}, "ValidationException"), ({"Name": "a"}, "ValidationException"),
                ({"Name": "a", "Url": "http://h", "More": 1}, "ValidationException"),
                ({"Name": "a", "Url": "http://h", "Retries": -1}, "ValidationException"),
                ({"Name": "a", "Url": "http://h", "Retries": "1"}, "ValidationException"),
                ({"Name": "a", "Url": "http://h", "Options": []}, "ValidationException"),
                ({"Name": "a", "Url": "http://h", "Options": {"timeout": 1}},
                 "ValidationException"),
                ({"Name": "a", "Url": "http://h\0x"}, "SerializationException")):
            status, reply = self.call("PutTarget", body)
            self.assertEqual((status, reply["__type"]), (400, kind), body)
        self.assertEqual(self.call("Nothing", {})[1]["__type"], "UnknownOperationException")
        self.assertEqual(self.call("GetTarget", {"Name": "none"}),
                         (404, {"__type": "ResourceNotFoundException",
                                "message": "There is no target none."}))
        self.assertEqual(self.call("GetTarget", {"Name": "x"}, secret="wrong")[0], 403)

    def test_dry_run(self):
        wanted = {"Name": "dry", "Url": self.hook, "PrivateNetwork": True, "Secret": "s",
                  "Options": {"timeout": "5", "app": "mine"}}
        def dry(**change):
            return self.call("PutTarget", {**wanted, **change, "DryRun": True})
        self.assertEqual(dry()[0], 404)                 # and nothing was made
        self.assertEqual(self.call("GetTarget", {"Name": "dry"})[0], 404)
        self.assertEqual(self.call("PutTarget", wanted)[0], 200)
        for change, names in (({}, []), ({"Secret": "t"}, ["Secret"]),
                              ({"Url": self.hook + "/x"}, ["Url"]),
                              ({"Ordered": True, "Retries": 0}, ["Retries", "Ordered"]),
                              ({"Options": {"app": "mine", "timeout": "5"}}, []),
                              ({"Options": {"app": "other", "timeout": "5"}}, ["Options"]),
                              ({"MaxAgeSeconds": 60, "Form": "cloudevents",
                                "DeadLetter": "s3://b/"},
                               ["Form", "DeadLetter", "MaxAgeSeconds"])):
            status, reply = dry(**change)
            self.assertEqual((status, reply.get("Changes")), (200, names), (change, reply))
            self.assertEqual(reply["Target"]["Secret"], "hidden")
        self.assertEqual(dry(Url="gopher://x")[0], 400)
        self.assertEqual(self.call("PutTarget", {**wanted, "DryRun": 1})[0], 400)
        target = self.call("GetTarget", {"Name": "dry"})[1]["Target"]
        self.assertEqual((target["Form"], target["Ordered"], target["Options"]["app"]),
                         ("s3", False, "mine"))

    def test_list_in_pages(self):
        names = [f"page-{i}" for i in range(5)]
        for name in names:
            self.add(name, self.hook)
        found, token = [], {}
        while token is not None:
            status, page = self.call("ListTargets", {"Limit": 2, **token})
            self.assertEqual(status, 200)
            self.assertLessEqual(len(page["Targets"]), 2)
            found += [t["Name"] for t in page["Targets"]]
            token = {"NextToken": page["NextToken"]} if "NextToken" in page else None
        self.assertEqual([n for n in found if n.startswith("page-")], names)
        self.assertIn("page-3", self.kist("ls"))

    # ---- brokers ----

    def try_broker(self, broker, name, url, *options):
        """Delivered; absent while it is down; delivered when it is back."""
        self.add_or_skip(name, url, *options)
        self.assertRegex(self.kist("test", name), "^delivered")
        broker.stop()
        self.assertRegex(self.kist("test", name, status=1), "^absent")
        broker.start()
        self.assertRegex(self.kist("test", name), "^delivered")

    def add_or_skip(self, name, url, *options):
        status, reply = self.call("PutTarget", {"Name": name, "Url": url})
        if status == 400 and "built without" in reply["message"]:
            raise unittest.SkipTest(reply["message"])
        return self.add(name, url, *options)

    def test_redis(self):
        with Redis() as redis:
            url = f"redis://:a%3Ab%40c@127.0.0.1:{redis.port}/0"
            self.try_broker(redis, "redis", url, "--option", "key=entries")
            self.assertNotIn("a%3Ab", self.kist("show", "redis") + self.kist("ls"))
            entry = redis.call("XRANGE", "entries", "-", "+")
            self.assertEqual(json.loads(next(line for line in entry if "{" in line))["Event"],
                             "s3:TestEvent")
            self.add("list", url, "--option", "mode=list", "--option", "key=queue")
            self.assertRegex(self.kist("test", "list"), "^delivered")
            self.assertIn(":1", redis.call("LLEN", "queue"))
            # The key holds a list: an entry of a stream does not go there.
            self.add("stream", url, "--option", "key=queue")
            self.assertRegex(self.kist("test", "stream", status=1), "^failed: redis: WRONGTYPE")
            self.add("published", url, "--option", "mode=publish")
            self.assertRegex(self.kist("test", "published"), "^delivered")
            self.add("denied", f"redis://:wrong@127.0.0.1:{redis.port}")
            self.assertRegex(self.kist("test", "denied", status=1), "^absent: redis: WRONGPASS")

    def test_redis_tls(self):
        certificates = kist_server.certificates()
        with RedisTls(certificates) as redis:
            url = f"rediss://:a%3Ab%40c@127.0.0.1:{redis.port}"
            self.add_or_skip("stranger", url)
            self.assertRegex(self.kist("test", "stranger", status=1),
                             "^absent: redis: TLS: .*certificate")
            self.addCleanup(setattr, self, "server", self.server)
            self.server = kist_server.Server(
                env={"SSL_CERT_FILE": str(certificates / "ca.pem")}).start()
            self.addCleanup(self.server.stop)
            self.try_broker(redis, "secure", url, "--option", "mode=list")
            self.add("named", url.replace("127.0.0.1", "localhost"), "--option", "mode=list")
            self.assertRegex(self.kist("test", "named"), "^delivered")
            self.assertIn(":2", redis.call("LLEN", "kist:events"))  # since it started again
            self.add("other", url.replace("127.0.0.1", "127.0.0.2"))
            self.assertRegex(self.kist("test", "other", status=1),
                             "^absent: redis: TLS: IP address mismatch")
            self.add("plain", url.replace("rediss", "redis"))
            self.assertRegex(self.kist("test", "plain", status=1), "^absent: redis does not")

    def test_nats(self):
        with Nats() as nats:
            url = f"nats://kist:secret@127.0.0.1:{nats.port}"
            self.add_or_skip("nats", url, "--option", "subject=made.here")
            self.assertRegex(self.kist("test", "nats", status=1), "^failed: nats: no stream")
            made = nats.ask("$JS.API.STREAM.CREATE.events",
                            {"name": "events", "subjects": ["made.>"], "storage": "file"})
            self.assertNotIn("error", made)
            self.try_broker(nats, "nats", url, "--option", "subject=made.here")
            state = nats.ask("$JS.API.STREAM.INFO.events")["state"]
            self.assertEqual(state["messages"], 2)
            self.add("core", url, "--option", "jetstream=false")
            self.assertRegex(self.kist("test", "core"), "^delivered")
            self.add("denied", f"nats://kist:wrong@127.0.0.1:{nats.port}")
            self.assertRegex(self.kist("test", "denied", status=1), "^absent: nats")

    def test_mqtt(self):
        with Mosquitto() as mosquitto:
            url = f"mqtt://127.0.0.1:{mosquitto.port}"
            self.add_or_skip("mqtt", url, "--option", "topic=made/here")
            subscriber = mosquitto.subscribe("made/#")
            self.assertRegex(self.kist("test", "mqtt"), "^delivered")
            event = subscriber.communicate(timeout=30)[0]
            self.assertEqual(json.loads(event)["Event"], "s3:TestEvent")
            self.try_broker(mosquitto, "mqtt", url)
            self.assertIn("wildcards", self.kist("add", "wild", url, "--option", "topic=a/#",
                                                 status=1))

    def test_amqp(self):
        with Rabbit() as rabbit:
            url = f"amqp://guest:guest@127.0.0.1:{rabbit.port}"
            self.add_or_skip("amqp", url, "--option", "routing-key=made")
            self.assertRegex(self.kist("test", "amqp", status=1), "^failed: amqp: no queue")
            rabbit.tool("amqp-declare-queue", "-q", "made", "-d")
            self.try_broker(rabbit, "amqp", url, "--option", "routing-key=made")
            event = rabbit.tool("amqp-get", "-q", "made")
            self.assertEqual(json.loads(event)["Event"], "s3:TestEvent")
            self.add("nowhere", url, "--option", "exchange=none")
            self.assertRegex(self.kist("test", "nowhere", status=1), "^failed: amqp: NOT_FOUND")
            self.add("denied", f"amqp://guest:wrong@127.0.0.1:{rabbit.port}")
            self.assertRegex(self.kist("test", "denied", status=1), "^absent: amqp: login")

    # ---- events on their way ----

    def notify(self, arn, prefix, keep=False):
        """Events of new objects below the prefix go to that target."""
        self.s3.put_bucket_notification_configuration(
            Bucket=self.bucket, SkipDestinationValidation=True, NotificationConfiguration={
                "QueueConfigurations": [{
                    "QueueArn": arn, "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": prefix}]}}}]})
        if not keep:
            self.addCleanup(self.s3.put_bucket_notification_configuration, Bucket=self.bucket,
                            NotificationConfiguration={})

    def test_each_upload_reaches_the_broker(self):
        with Redis() as redis:
            arn = self.add("flow", f"redis://:a%3Ab%40c@127.0.0.1:{redis.port}", "--option",
                           "mode=list", "--option", "key=flow")
            self.notify(arn, "flow/")
            keys = {f"flow/{i}" for i in range(300)}
            with ThreadPoolExecutor(8) as pool:
                list(pool.map(self.put, sorted(keys)))
            got = set()
            while got != keys:
                event = redis.call("BLPOP", "flow", "60")[-1]
                got.add(json.loads(event)["Records"][0]["s3"]["object"]["key"])

    def test_bad_receivers_end_in_a_dead_letter(self):
        letters = self.add("letters", f"{self.hook}/200")
        admin = self.server.admin or "http://0.0.0.0:1"
        for name, url, options in (("admin", admin, ()), ("gone", f"{self.hook}/410", ()),
                                   ("elsewhere", f"{self.hook}/302", ("--retries", "0")),
                                   ("drip", f"{self.hook}/drip", (
                                       "--retries", "0", "--option", "timeout=1"))):
            Hook.got.clear()
            arn = self.add(name, url, "--dead-letter", letters, *options)
            self.notify(arn, f"{name}/")
            self.put(f"{name}/object")
            letter = Hook.wait(lambda path, body: path == "/200" and arn.encode() in body)
            self.assertIn(f"{name}/object", json.dumps(json.loads(letter)), name)

    def test_a_stop_waits_for_no_slow_receiver(self):
        """What it did not take by then is delivered at the next start."""
        ids = []
        with tempfile.TemporaryDirectory(prefix="kist-targets-") as data:
            for start in ("first", "again"):
                Hook.got.clear()
                with kist_server.Server(data=data) as server:
                    self.server, self.s3 = server, boto_client(server)
                    if start == "first":
                        self.s3.create_bucket(Bucket=self.bucket)
                        self.notify(self.kist("add", "slow", f"{self.hook}/drip", "--private",
                                              "--option", "timeout=60").strip(), "", keep=True)
                        self.put("k")
                    Hook.wait(lambda path, body: b'"k"' in body)
                    ids.append(Hook.got[0][1]["x-kist-event-id"])
        self.assertEqual(ids[0], ids[1])

    # ---- accounts ----

    def test_private_networks_are_the_first_accounts(self):
        made = self.b.access, self.b.secret
        self.assertIn("first account", self.kist("add", "inside", self.hook, "--private",
                                                 status=1, keys=made))
        arn = self.kist("add", "outside", "https://example.com/", keys=made).strip()
        self.assertNotIn(arn.split(":")[4], self.add("mine", self.hook))
        self.assertNotIn("outside", self.kist("ls"))
        self.assertIn("no target mine", self.kist("show", "mine", status=1, keys=made))
        self.kist("rm", "outside", keys=made)
