"""Notification configurations: what goes in comes out, and each mistake has its error.

Targets are not asked here but where the test says so: x-amz-skip-destination-validation."""
import json
import os
import subprocess
import tempfile

import kist_server
from hook import Hook, kist
from semantics import Semantics
from workflow import aws_client

QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
TOPIC = "arn:aws:sns:us-east-1:123456789012:t"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
OVERLAP = ("Configurations overlap. Configurations on the same bucket cannot share a common event "
           "type.")
AMBIGUOUS = ("Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules "
             "if the prefixes are overlapping for the same event type.")
UNABLE = "Unable to validate the following destination configurations"


def rules(**values):
    return {"Key": {"FilterRules": [{"Name": name, "Value": value}
                                    for name, value in values.items()]}}


def queue(*events, arn=QUEUE, **more):
    return {"QueueArn": arn, "Events": list(events), **more}


def boto_account(test):
    return aws_client("sts", test.server).get_caller_identity()["Account"]


class Base(Semantics):
    """Puts, shows and refuses configurations."""

    def set(self, bucket=None, skip=True, **configuration):
        self.s3.put_bucket_notification_configuration(
            Bucket=bucket or self.bucket, NotificationConfiguration=configuration,
            SkipDestinationValidation=skip)

    def show(self, bucket=None):
        found = self.s3.get_bucket_notification_configuration(Bucket=bucket or self.bucket)
        found.pop("ResponseMetadata")
        return found

    def refused(self, message, name=None, value=None, skip=True, **configuration):
        """The configuration is refused so, and nothing has changed."""
        before = self.show()
        error = self.fails("InvalidArgument", 400,
                           self.s3.put_bucket_notification_configuration, Bucket=self.bucket,
                           NotificationConfiguration=configuration,
                           SkipDestinationValidation=skip)["Error"]
        self.assertEqual(error["Message"], message)
        if name:
            self.assertEqual((error["ArgumentName"], error["ArgumentValue"]), (name, value))
        self.assertEqual(self.show(), before)

    def xml(self, inner, bucket=None, skip=True, **more):
        return self.raw.request(
            "PUT", f"/{bucket or self.bucket}?notification=",
            headers={"x-amz-skip-destination-validation": "true"} if skip else {},
            body=f"<NotificationConfiguration>{inner}</NotificationConfiguration>".encode(),
            **more)



class Notification(Base):
    # ---- round trips ----

    def test_round_trip(self):
        self.assertEqual(self.show(), {})
        given = {
            "TopicConfigurations": [{"Id": "topic", "TopicArn": TOPIC,
                                     "Events": ["s3:ObjectRemoved:*", "s3:ObjectTagging:*"]}],
            "QueueConfigurations": [queue("s3:ObjectCreated:Put", "s3:ObjectCreated:Copy",
                                          Id="queue", Filter=rules(prefix="in/", SUFFIX=".jpg"))],
            "LambdaFunctionConfigurations": [
                {"Id": "f", "LambdaFunctionArn": FUNCTION + ":live",
                 "Events": ["s3:ObjectCreated:*"], "Filter": rules(Suffix=".png")}],
            "EventBridgeConfiguration": {},
        }
        self.set(**given)
        given["QueueConfigurations"][0]["Filter"] = rules(Prefix="in/", Suffix=".jpg")
        self.assertEqual(self.show(), given)
        self.set()
        self.assertEqual(self.show(), {})
        reply = self.raw.request("GET", f"/{self.bucket}?notification=")
        self.assertRegex(reply.body, rb"<NotificationConfiguration [^>]*(/>|></Notif)")

    def test_ids_are_made(self):
        self.set(QueueConfigurations=[queue("s3:ObjectCreated:Put"),
                                      queue("s3:ObjectCreated:Post")])
        first = self.show()
        ids = [q["Id"] for q in first["QueueConfigurations"]]
        self.assertEqual([len(i) for i in ids], [48, 48])
        self.assertNotEqual(*ids)
        self.set(**first)
        self.assertEqual(self.show(), first)
        self.set()

    def test_all_events(self):
        events = [f"s3:{name}" for name in (
            "ReducedRedundancyLostObject", "ObjectCreated:*", "ObjectRemoved:Delete",
            "ObjectRemoved:DeleteMarkerCreated", "ObjectRestore:*", "Replication:*",
            "LifecycleExpiration:*", "LifecycleTransition", "IntelligentTiering", "ObjectAcl:Put",
            "ObjectTagging:Put", "ObjectTagging:Delete")]
        self.set(QueueConfigurations=[queue(*events)])
        self.assertEqual(self.show()["QueueConfigurations"][0]["Events"], events)
        self.set()

    def words(self, *words):
        return ["/usr/bin/aws", "--endpoint-url", self.server.endpoint, "--region", "us-east-1",
                "--output", "json", "s3api", *words, "--bucket", self.bucket]

    @staticmethod
    def environment():
        return {**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY,
                "AWS_EC2_METADATA_DISABLED": "1"}

    def aws(self, *words):
        run = subprocess.run(self.words(*words), capture_output=True, text=True, timeout=60,
                             env=self.environment())
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout) if run.stdout.strip() else {}

    def test_aws_cli(self):
        given = {"QueueConfigurations": [queue("s3:ObjectCreated:*", Id="a",
                                               Filter=rules(Prefix="p"))],
                 "EventBridgeConfiguration": {}}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(given, file)
            file.flush()
            self.aws("put-bucket-notification-configuration", "--notification-configuration",
                     f"file://{file.name}", "--skip-destination-validation")
        self.assertEqual(self.aws("get-bucket-notification-configuration"), given)
        self.set()
        self.assertEqual(self.aws("get-bucket-notification-configuration"), {})

    def test_deprecated_form(self):
        cloud = {"Id": "old", "CloudFunction": FUNCTION, "Event": "s3:ObjectCreated:Put",
                 "InvocationRole": "arn:aws:iam::123456789012:role/r"}
        reply = self.xml("<CloudFunctionConfiguration>" + "".join(
            f"<{name}>{value}</{name}>" for name, value in cloud.items())
            + f"</CloudFunctionConfiguration><TopicConfiguration><Topic>{TOPIC}</Topic>"
              "<Event>s3:ObjectRemoved:*</Event><Id>t</Id></TopicConfiguration>")
        self.assertEqual(reply.status, 200, reply.body)
        old = self.aws("get-bucket-notification")
        self.assertEqual(old["CloudFunctionConfiguration"], {**cloud, "Events": [cloud["Event"]]})
        self.assertEqual(old["TopicConfiguration"]["Topic"], TOPIC)
        self.assertEqual(self.show()["LambdaFunctionConfigurations"],
                         [{"Id": "old", "LambdaFunctionArn": FUNCTION,
                           "Events": ["s3:ObjectCreated:Put"]}])
        self.set()
        self.assertEqual(self.aws("get-bucket-notification"), {})
        asked = subprocess.run(self.words(
            "put-bucket-notification", "--notification-configuration",
            json.dumps({"QueueConfiguration": {"Queue": QUEUE, "Events": ["s3:ObjectCreated:*"]}})),
            capture_output=True, text=True, timeout=60, env=self.environment())
        self.assertIn(UNABLE, asked.stderr)     # as far as the targets: it has no way to skip them

    def test_documented_element_names(self):
        reply = self.xml("<LambdaFunctionConfiguration><Id>l</Id>"
                         f"<LambdaFunctionArn>{FUNCTION}</LambdaFunctionArn>"
                         "<Event>s3:ObjectCreated:*</Event></LambdaFunctionConfiguration>")
        self.assertEqual(reply.status, 200, reply.body)
        self.assertEqual(self.show()["LambdaFunctionConfigurations"][0]["LambdaFunctionArn"],
                         FUNCTION)
        self.set()

    # ---- delivery: our own ----

    def delivery(self, inner, **more):
        return self.xml(f"<QueueConfiguration><Id>d</Id><Queue>{QUEUE}</Queue>"
                        "<Event>s3:ObjectCreated:*</Event>"
                        "<Filter><S3Key><FilterRule><Name>prefix</Name><Value>in/</Value>"
                        f"</FilterRule></S3Key></Filter><Delivery>{inner}</Delivery>"
                        "</QueueConfiguration>", **more)

    def test_delivery(self):
        whole = ("<Ordered>true</Ordered><MaximumRetryAttempts>0</MaximumRetryAttempts>"
                 "<MaximumEventAgeInSeconds>60</MaximumEventAgeInSeconds>"
                 f"<DeadLetter>s3://{self.bucket}/failed/</DeadLetter>")
        self.assertEqual(self.delivery(whole).status, 200)
        reply = self.raw.request("GET", f"/{self.bucket}?notification=")
        self.assertIn(f"<Delivery>{whole}</Delivery>".encode(), reply.body)
        self.assertEqual(self.show()["QueueConfigurations"][0]["Id"], "d")   # SDKs look past it
        self.assertEqual(self.delivery(f"<DeadLetter>{TOPIC}</DeadLetter>").status, 200)
        for bad in ("<MaximumRetryAttempts>10001</MaximumRetryAttempts>",
                    "<MaximumEventAgeInSeconds>0</MaximumEventAgeInSeconds>",
                    "<MaximumEventAgeInSeconds>1209601</MaximumEventAgeInSeconds>",
                    "<DeadLetter>arn:aws:s3:::b</DeadLetter>",
                    "<DeadLetter>arn:aws:sqs:us-east-1:1:q</DeadLetter>",
                    "<DeadLetter>nowhere</DeadLetter>",
                    "<DeadLetter>s3://</DeadLetter>",
                    "<DeadLetter>s3://no-such-bucket-here/x</DeadLetter>",
                    f"<DeadLetter>s3://{self.bucket}</DeadLetter>",
                    f"<DeadLetter>s3://{self.bucket}/in/dead/</DeadLetter>"):
            reply = self.delivery(bad)
            self.assertEqual((reply.status, reply.code), (400, "InvalidArgument"), bad)
        for bad in ("<Ordered>yes</Ordered>", "<MaximumRetryAttempts>-1</MaximumRetryAttempts>",
                    "<Other/>", "<DeadLetter></DeadLetter>"):
            reply = self.delivery(bad)
            self.assertEqual((reply.status, reply.code), (400, "MalformedXML"), bad)
        self.set()

    # ---- refused ----

    def test_events(self):
        for event in ("s3:ObjectCreated", "s3:*", "s3:TestEvent", "ObjectCreated:Put",
                      "s3:objectcreated:put", "s3:ObjectCreated:Nothing", "s3::*"):
            self.refused(f"The event '{event}' is not supported for notifications", "Event",
                         event, QueueConfigurations=[queue("s3:ObjectRemoved:*", event)])

    def test_arns(self):
        bad = "The ARN is not well formed"
        for arn in ("q", "arn:aws:sqs", TOPIC, FUNCTION, "arn:minio:sqs::1:webhook",
                    "arn:aws:sqs:us-east-1:12345:q", "arn:aws:sqs::123456789012:q",
                    "arn:aws:sqs:us-east-1:12345678901x:q"):
            self.refused(bad, "Queue", arn,
                         QueueConfigurations=[queue("s3:ObjectCreated:*", arn=arn)])
        self.refused("The notification destination service region is not valid for the bucket "
                     "location constraint",
                     QueueConfigurations=[queue("s3:ObjectCreated:*",
                                                arn=QUEUE.replace("us-east-1", "eu-west-1"))])
        for arn in (QUEUE[:-1], QUEUE + "/x", QUEUE + "\n"):
            self.refused("The ARN could not be validated",
                         QueueConfigurations=[queue("s3:ObjectCreated:*", arn=arn)])
        for arn in (FUNCTION[:-1], FUNCTION.replace("function", "layer")):
            self.refused("The ARN could not be validated", "CloudFunction", arn,
                         LambdaFunctionConfigurations=[{"LambdaFunctionArn": arn,
                                                        "Events": ["s3:ObjectCreated:*"]}])

    def test_filters(self):
        one = lambda *pairs: [queue("s3:ObjectCreated:*", Filter={"Key": {"FilterRules": [
            {"Name": name, "Value": value} for name, value in pairs]}})]
        self.refused("Cannot specify more than one prefix rule in a filter.",
                     QueueConfigurations=one(("prefix", "a"), ("Prefix", "b")))
        self.refused("Cannot specify more than one suffix rule in a filter.",
                     QueueConfigurations=one(("suffix", "a"), ("SUFFIX", "a")))
        self.refused("filter rule name must be either prefix or suffix", "FilterRule.Name",
                     "infix", QueueConfigurations=one(("infix", "a")))
        self.refused("Size of filter rule value cannot exceed 1024 bytes in UTF-8 encoding",
                     QueueConfigurations=one(("prefix", "a" * 1025)))
        self.set(QueueConfigurations=one(("prefix", ""), ("suffix", "a" * 1024)))
        self.set()

    def test_overlaps(self):
        created, put = "s3:ObjectCreated:*", "s3:ObjectCreated:Put"
        both = lambda one, two: [queue(*one[0], Filter=rules(**one[1])),
                                 queue(*two[0], arn=QUEUE + "2", Filter=rules(**two[1]))]
        self.refused(OVERLAP, "Event", f"{created}, {put}", QueueConfigurations=[
            queue(created), queue(put, arn=QUEUE + "2")])
        self.refused(OVERLAP, "Event", f"{created}, {put}",
                     QueueConfigurations=[queue(created, put)])
        self.refused(OVERLAP, "Event", f"{put}, {put}", QueueConfigurations=[queue(put)],
                     TopicConfigurations=[{"TopicArn": TOPIC, "Events": [put]}][::-1])
        for one, two in (({"prefix": "a"}, {"prefix": "ab"}), ({"suffix": "b"}, {"suffix": "ab"}),
                         ({"prefix": "a"}, {"suffix": "b"}), ({"prefix": "a"}, {}),
                         ({"prefix": "a", "suffix": ".x"}, {"prefix": "a/b", "suffix": "y.x"})):
            self.refused(AMBIGUOUS, QueueConfigurations=both(([created], one), ([put], two)))
        for one, two in ((([created], {"prefix": "a"}), ([created], {"prefix": "b"})),
                         (([created], {"suffix": "a"}), ([created], {"suffix": "b"})),
                         (([created], {"prefix": "a", "suffix": "x"}),
                          ([created], {"prefix": "a", "suffix": "y"})),
                         (([created], {}), (["s3:ObjectRemoved:*"], {}))):
            self.set(QueueConfigurations=both(one, two))
        self.set()

    def test_ids(self):
        twice = [queue("s3:ObjectCreated:Put", Id="same"), queue("s3:ObjectCreated:Post", Id="same")]
        self.refused("Same ID used for multiple configurations. IDs must be unique", "Id", "same",
                     QueueConfigurations=twice)
        self.refused("ID length should not exceed allowed limit of 255",
                     QueueConfigurations=[queue("s3:ObjectCreated:Put", Id="i" * 256)])

    def test_how_many(self):
        many = [queue("s3:ObjectCreated:*", Filter=rules(prefix=f"{n:03}/")) for n in range(101)]
        self.refused("A bucket can have up to 100 notification configurations",
                     QueueConfigurations=many)
        self.set(QueueConfigurations=many[:100])
        self.assertEqual(len(self.show()["QueueConfigurations"]), 100)
        self.set()

    def test_documents(self):
        good = (f"<QueueConfiguration><Queue>{QUEUE}</Queue><Event>s3:ObjectCreated:*</Event>"
                "</QueueConfiguration>")
        for bad in ("<Other/>", "text", "<QueueConfiguration/>",
                    good.replace("Event>", "Events>"), good.replace("Queue>", "Topic>"),
                    f"<QueueConfiguration><Queue>{QUEUE}</Queue></QueueConfiguration>",
                    good.replace("<Queue>", f"<Queue>{QUEUE}</Queue><Queue>"),
                    "<EventBridgeConfiguration/><EventBridgeConfiguration/>",
                    "<EventBridgeConfiguration><x/></EventBridgeConfiguration>",
                    good.replace("</QueueC", "<Filter><S3Key><FilterRule><Name>prefix</Name>"
                                 "</FilterRule></S3Key></Filter></QueueC"),
                    good.replace("</QueueC", "<Filter><Prefix>x</Prefix></Filter></QueueC")):
            reply = self.xml(bad)
            self.assertEqual((reply.status, reply.code), (400, "MalformedXML"), bad)
        self.assertEqual(self.show(), {})
        reply = self.raw.request("PUT", f"/{self.bucket}?notification=", body=b"<Other/>")
        self.assertEqual(reply.code, "MalformedXML")
        self.raw_fails("NoSuchBucket", 404, "GET", "/no-such-bucket-here?notification=")

    def test_targets_are_asked(self):
        account = boto_account(self)
        mine = [arn.replace("123456789012", account) for arn in (TOPIC, QUEUE, FUNCTION)]
        self.refused(UNABLE, mine[1], "The destination queue does not exist", skip=False,
                     QueueConfigurations=[queue("s3:ObjectCreated:*", arn=mine[1])])
        self.refused(UNABLE, mine[0], "The destination topic does not exist", skip=False,
                     TopicConfigurations=[{"TopicArn": mine[0], "Events": ["s3:ObjectCreated:*"]}])
        self.refused(UNABLE, mine[2], "The destination Lambda does not exist", skip=False,
                     LambdaFunctionConfigurations=[{"LambdaFunctionArn": mine[2],
                                                    "Events": ["s3:ObjectCreated:*"]}])
        reply = self.xml(
            f"<QueueConfiguration><Queue>{mine[1]}</Queue><Event>s3:ObjectCreated:*</Event>"
            f"</QueueConfiguration><TopicConfiguration><Topic>{mine[0]}</Topic>"
            "<Event>s3:ObjectRemoved:*</Event></TopicConfiguration>", skip=False)
        self.assertEqual(reply.code, "InvalidArgument")
        for part in (f"<ArgumentName1>{mine[1]}</ArgumentName1>",
                     "<ArgumentValue1>The destination queue does not exist</ArgumentValue1>",
                     f"<ArgumentName2>{mine[0]}</ArgumentName2>"):
            self.assertIn(part.encode(), reply.body)
        self.assertEqual(self.show(), {})


class Tried(Base):
    """With a target that is there."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hook, cls.seen = Hook(), 0
        cls.hook.resume()
        kist("target", "add", "notify-q", cls.hook.url, "--private", server=cls.server)
        account = boto_account(cls)
        cls.queue = f"arn:aws:sqs:us-east-1:{account}:notify-q"
        cls.topic = f"arn:aws:sns:us-east-1:{account}:notify-q"

    @classmethod
    def tearDownClass(cls):
        kist("target", "rm", "notify-q", server=cls.server)
        cls.hook.pause()

    def tearDown(self):
        self.set()

    def next(self):
        """The next document at the webhook."""
        found = self.hook.wait_for(lambda all_: all_[self.seen:])
        type(self).seen += 1
        return json.loads(found[0][1])

    def fence(self):
        """All that was told before this is received before what is put now."""
        self.put("fence")
        seen = []
        while True:
            body = self.next()
            if body.get("Records", [{}])[0].get("s3", {}).get("object", {}).get("key") == "fence":
                return seen
            seen.append(body)

    def test_new_targets_are_tried(self):
        made = "s3:ObjectCreated:*"
        self.set(skip=False, QueueConfigurations=[queue(made, arn=self.queue)])
        test = self.next()
        self.assertEqual((test["Event"], test["Bucket"], test["Service"]),
                         ("s3:TestEvent", self.bucket, "Amazon S3"))
        self.assertRegex(test["RequestId"], r"^\w+$")
        self.assertTrue(test["HostId"])
        self.set(skip=False, QueueConfigurations=[queue(made, arn=self.queue, Id="other")])
        self.assertEqual(self.fence(), [])                  # not new any more
        self.set()
        self.set(QueueConfigurations=[queue(made, arn=self.queue)])
        self.assertEqual(self.fence(), [])                  # it was not asked for
        self.set(skip=False, QueueConfigurations=[queue(made, arn=self.queue)],
                 TopicConfigurations=[{"TopicArn": self.topic, "Events": ["s3:ObjectRemoved:*"]}])
        self.assertEqual(self.next()["Event"], "s3:TestEvent")     # the topic

    def test_changes_hold_at_once(self):
        for n in range(20):
            self.set(QueueConfigurations=[queue("s3:ObjectCreated:Put", arn=self.queue,
                                                Filter=rules(prefix=f"r{n}/"))])
            self.put(f"r{n}/k")
            self.put(f"r{n - 1}/k")                         # nobody's any more
        self.set(QueueConfigurations=[queue("s3:ObjectCreated:Put", arn=self.queue)])
        seen = [body["Records"][0]["s3"]["object"]["key"] for body in self.fence()]
        self.assertEqual(sorted(seen), sorted(f"r{n}/k" for n in range(20)))

    def test_special_characters_are_encoded(self):
        self.set(QueueConfigurations=[queue("s3:ObjectCreated:Put", arn=self.queue,
                                            Filter=rules(prefix="a%20b/", suffix="100%"))])
        for key in ("a b/100%", "a%20b/100%", "a+b/100%"):
            self.put(key)
        self.set(QueueConfigurations=[queue("s3:ObjectCreated:Put", arn=self.queue)])
        self.assertEqual([body["Records"][0]["s3"]["object"]["key"] for body in self.fence()],
                         ["a+b/100%25"])

    def test_bridge(self):
        self.set(EventBridgeConfiguration={})
        self.put("nobody listens")
        kist("target", "add", "default", self.hook.url, "--private", "--form", "eventbridge",
             server=self.server)
        self.put("nobody was there when the configuration was put")
        self.set(EventBridgeConfiguration={})
        self.put("told")
        told = self.next()
        kist("target", "rm", "default", server=self.server)
        self.assertEqual((told["source"], told["detail-type"], told["detail"]["object"]["key"]),
                         ("aws.s3", "Object Created", "told"))
        self.assertEqual(self.show(), {"EventBridgeConfiguration": {}})
