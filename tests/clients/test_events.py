"""Events by hand: what waits, why, and again; pauses, replays, and who may."""
import json
import time
import urllib.request

import kist_server
from accounts import TwoAccounts
from hook import WAIT_S, Hook, kist
from s3_raw import RawClient, Signature


class Events(TwoAccounts):
    """A webhook as the target of each test's own bucket."""

    def setUp(self):
        self.hook = self.enterContext(Hook())
        self.name = "hand-" + self.id().rsplit("_", maxsplit=1)[-1]
        self.s3.create_bucket(Bucket=self.name)

    def add_target(self, *options):
        self.arn = kist("target", "add", self.name, self.hook.url, "--private", *options,
                        server=self.server).strip()

    def target(self, *options):
        self.add_target(*options)
        self.s3.put_bucket_notification_configuration(
            Bucket=self.name, SkipDestinationValidation=True, NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": self.arn,
                                         "Events": ["s3:ObjectCreated:*"]}]})

    def put(self, *keys):
        for key in keys:
            self.s3.put_object(Bucket=self.name, Key=key, Body=b"x")

    def next_key(self):
        return self.hook.next()["Records"][0]["s3"]["object"]["key"]

    def keys(self, count):
        return sorted(self.next_key() for _ in range(count))

    def events(self, *words, status=0):
        return kist("events", *words, server=self.server, status=status)

    def waiting(self, *more):
        return self.events("ls", self.arn, *more).splitlines()

    def until(self, condition):
        """For what no server tells: a count that is to be reached."""
        end = time.monotonic() + WAIT_S
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)

    def call(self, action, who=None, **members):
        who = who or self.a
        return self.raw.request("POST", "/", body=json.dumps(members).encode(),
                                signature=Signature(access=who.access, secret=who.secret,
                                                    service="kist"),
                                headers={"x-amz-target": f"Kist.{action}",
                                         "content-type": "application/x-amz-json-1.1"})

    def test_given_up(self):
        self.target("--retries", "0")
        self.hook.status = 500
        self.put("a", "b c")
        self.until(lambda: len(self.waiting("--parked")) == 2)
        self.assertEqual(self.keys(2), ["a", "b+c"])
        first = self.waiting("--parked")[0]
        self.assertIn("RetriesExhausted", first)
        shown = json.loads(self.events("show", self.name, first.split()[0]))
        self.assertEqual((shown["State"], shown["Bucket"], shown["Attempts"]),
                         ("parked", self.name, 1))
        self.assertIn('"eventName":"ObjectCreated:Put"', shown["Document"])
        self.hook.status = 200
        self.assertEqual(self.events("redrive", self.name, first.split()[0]), "1\n")
        self.assertEqual(self.next_key(), shown["Key"].replace(" ", "+"))
        self.assertEqual(self.events("redrive", self.name), "1\n")
        self.next_key()
        self.until(lambda: not self.waiting() and not self.waiting("--parked"))

    def test_keys_are_no_lines(self):
        """A key with a line break in it makes no line that looks like another event."""
        self.target()
        self.events("pause", self.name)
        self.put("a\nffff  \x1b[31mb", "c\u009bd", "ü")
        self.until(lambda: len(self.waiting()) == 3)
        keys = sorted(line.split("/", 1)[1] for line in self.waiting())
        self.assertEqual([k.rsplit("  ", 1)[0] for k in keys],
                         ["a\\x0affff  \\x1b[31mb", "c\\xc2\\x9bd", "ü"])

    def test_messages_are_whole(self):
        self.assertIn('0:t"x: no such row',
                      self.events("show", 'arn:aws:kist:us-east-1:0:t"x', "y", status=1))

    def test_pause(self):
        self.target()
        self.events("pause", self.arn)
        self.put("a", "b", "c")
        self.assertEqual(len(self.waiting()), 3)
        self.assertIn("paused", self.events("ls"))
        handle = self.waiting()[1].split()[0]
        self.assertEqual(self.events("drop", self.name, handle), "1\n")
        self.events("resume", self.name)
        self.assertEqual(self.keys(2), ["a", "c"])
        self.until(lambda: not self.waiting())

    def test_drop(self):
        self.target()
        self.events("pause", self.arn)
        self.put(*"abcdef")
        self.events("drop", self.name, status=2)
        self.assertEqual(self.events("drop", self.name, "--all"), "6\n")
        self.assertEqual(self.waiting(), [])
        self.events("resume", self.arn)
        self.put("g")
        self.assertEqual(self.next_key(), "g")

    def test_replay(self):
        self.put(*(f"in/{n:03}" for n in range(300)), "out/1")
        self.add_target()
        self.assertEqual(self.events("replay", f"s3://{self.name}/in/", self.name),
                         "300 events\n")
        self.assertEqual(self.keys(300), [f"in/{n:03}" for n in range(300)])
        self.assertIn("COMPLETED", self.events("replays"))
        self.until(lambda: not self.waiting())
        self.assertEqual(len(self.hook.requests), 300)

    def test_metrics(self):
        self.target("--retries", "0")
        self.events("pause", self.arn)
        self.put("a", "b")
        page = urllib.request.urlopen(self.server.admin + "/-/metrics", timeout=60).read().decode()
        self.assertIn(f'kist_events_waiting{{target="{self.arn}"}} 2\n', page)
        self.assertIn(f'kist_events_paused{{target="{self.arn}"}} 1\n', page)
        self.assertRegex(page, r"\nkist_events_delivered_total \d+\n")
        self.events("resume", self.arn)
        self.keys(2)
        self.until(lambda: not self.waiting())
        page = urllib.request.urlopen(self.server.admin + "/-/metrics", timeout=60).read().decode()
        self.assertIn(f'kist_events_waiting{{target="{self.arn}"}} 0\n', page)
        self.assertIn(f'kist_events_target_delivered_total{{target="{self.arn}"}} 2\n', page)

    def test_who(self):
        self.target()
        self.events("pause", self.arn)
        self.put("a")
        stranger = self.a.user("event-reader", {"Effect": "Allow", "Action": "kist:ListEvents",
                                            "Resource": "*"})
        for action, members in (("ListEvents", {}), ("DropEvents", {}), ("PauseTarget", {})):
            reply = self.call(action, Target="arn:aws:sqs:us-east-1:999999999999:x", **members)
            self.assertEqual(reply.status, 400, action)
            self.assertIn(b"ResourceNotFoundException", reply.body)
            reply = self.call(action, who=self.b, Target=self.arn, **members)
            self.assertIn(b"ResourceNotFoundException", reply.body)
            reply = self.call(action, who=stranger, Target=self.arn, **members)
            self.assertEqual(reply.status, 200 if action == "ListEvents" else 403)
        reply = self.call("ReplayEvents", who=self.a.user("replayer", {
            "Effect": "Allow", "Action": "kist:*", "Resource": "*"}), Bucket=self.name,
                          Target=self.arn)
        self.assertEqual((reply.status, json.loads(reply.body)["__type"]),
                         (403, "AccessDeniedException"))
        for action, members, error in (
                ("ListEvents", {"Target": "x"}, "ValidationException"),
                ("ListEvents", {"Target": self.arn, "State": "lost"}, "ValidationException"),
                ("ListEvents", {"Target": self.arn, "NextToken": "zz"}, "ValidationException"),
                ("GetEvent", {"Target": self.arn, "Handle": "00" * 20},
                 "ResourceNotFoundException"),
                ("GetEvent", {"Target": self.arn, "Handle": 7}, "ValidationException"),
                ("RedriveEvents", {"Target": self.arn, "Handles": []}, "ValidationException"),
                ("ReplayEvents", {"Bucket": "nowhere", "Target": self.arn},
                 "ResourceNotFoundException"),
                ("GetReplay", {"ReplayId": "x"}, "ResourceNotFoundException"),
                ("Nothing", {}, "UnknownOperationException")):
            reply = self.call(action, **members)
            self.assertEqual(reply.status, 400, (action, reply.body))
            self.assertEqual(json.loads(reply.body)["__type"], error, (action, members))
        self.assertEqual(len(self.waiting()), 1)

    def test_pages(self):
        self.target()
        self.events("pause", self.arn)
        self.put(*"abcde")
        seen, token = [], None
        while True:
            more = {"NextToken": token} if token else {}
            page = json.loads(self.call("ListEvents", Target=self.arn, MaxResults=2, **more).body)
            seen += [event["Key"] for event in page["Events"]]
            token = page.get("NextToken")
            if not token:
                break
        self.assertEqual(seen, list("abcde"))


class Killed(TwoAccounts):
    """A server of its own, killed while it replays."""

    def test_replay_goes_on(self):
        count, seen = 2000, set()
        with kist_server.Server() as server, Hook() as hook:
            raw = RawClient(server)
            self.assertEqual(raw.request("PUT", "/again").status, 200)
            for n in range(count):
                self.assertEqual(raw.request("PUT", f"/again/{n:05}", body=b"x").status, 200)
            arn = kist("target", "add", "again", hook.url, "--private", server=server).strip()
            kist("events", "replay", "s3://again", arn, "--detach", server=server)
            for _ in range(100):
                seen.add(hook.next()["Records"][0]["s3"]["object"]["key"])
            server.kill()
            server.restart()
            while len(seen) < count:
                seen.add(hook.next()["Records"][0]["s3"]["object"]["key"])
