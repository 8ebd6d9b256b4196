"""Server access logs: who asked what of a bucket, delivered as objects in another."""
import re
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import boto3
from botocore.config import Config

from accounts import Account, kist_account
from kist_server import ACCESS_KEY, BIN, SECRET_KEY, Server
from s3_raw import RawClient, Signature
from semantics import Semantics
from workflow import boto_client

FIELD = re.compile(r'\[[^\]]*\]|"[^"]*"|\S+')
NAMES = ("owner bucket time ip requester request operation key uri status error sent size total "
         "turn referer agent version host_id signature cipher auth host tls point acl").split()


def parse(line):
    fields = FIELD.findall(line)
    assert len(fields) == len(NAMES), line
    return dict(zip(NAMES, fields))


class AccessLog(Semantics):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(flags=["--access-log-interval", "1"]).start()
        cls.addClassCleanup(cls.server.stop)
        cls.s3, cls.raw = boto_client(cls.server), RawClient(cls.server)
        cls.s3.create_bucket(Bucket="logs")

    def log_to(self, bucket, target, prefix, key_format=""):
        body = (f"<BucketLoggingStatus><LoggingEnabled><TargetBucket>{target}</TargetBucket>"
                f"<TargetPrefix>{prefix}</TargetPrefix>{key_format}</LoggingEnabled>"
                "</BucketLoggingStatus>")
        reply = self.raw.request("PUT", f"/{bucket}?logging", body=body.encode())
        self.assertEqual(reply.status, 200, reply.body)

    def enable(self, bucket, prefix, key_format=""):
        self.s3.create_bucket(Bucket=bucket)
        self.log_to(bucket, "logs", prefix, key_format)

    def keys(self, prefix, bucket="logs"):
        page = self.s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
        return [o["Key"] for o in page.get("Contents", [])]

    def lines(self, prefix, enough, bucket="logs"):
        """Waits until so many lines were delivered. Those of one connection are in order."""
        until = time.monotonic() + 30
        while True:
            found = [parse(line) for key in self.keys(prefix, bucket)
                     for line in self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                     .decode().splitlines()]
            if len(found) >= enough or time.monotonic() > until:
                self.assertEqual(len(found), enough, found)
                return found
            time.sleep(0.2)

    def test_fields(self):
        self.enable("fields", "f/")
        key = 'a b"ä.txt'
        reply = self.raw.request("PUT", "/fields/" + quote(key), body=b"12345", headers={
            "User-Agent": 'quo"ted agent', "Referer": "http://x/y"})
        self.lines("f/", 1)
        self.assertEqual(self.s3.get_object(Bucket="fields", Key=key)["Body"].read(), b"12345")
        self.s3.head_object(Bucket="fields", Key=key)
        self.fails("NoSuchKey", 404, self.s3.get_object, Bucket="fields", Key="none")
        self.s3.list_objects_v2(Bucket="fields")
        self.s3.get_bucket_versioning(Bucket="fields")
        self.s3.copy_object(Bucket="fields", Key="c", CopySource={"Bucket": "fields", "Key": key})
        lines = self.lines("f/", 7)
        self.assertEqual([(x["operation"], x["status"], x["error"], x["size"]) for x in lines], [
            ("REST.PUT.OBJECT", "200", "-", "5"), ("REST.GET.OBJECT", "200", "-", "5"),
            ("REST.HEAD.OBJECT", "200", "-", "5"), ("REST.GET.OBJECT", "404", "NoSuchKey", "-"),
            ("REST.GET.BUCKET", "200", "-", "-"), ("REST.GET.VERSIONING", "200", "-", "-"),
            ("REST.COPY.OBJECT", "200", "-", "5")])
        put, get = lines[:2]
        owner = self.s3.list_buckets()["Owner"]["ID"]
        self.assertEqual((put["owner"], put["requester"], put["bucket"], put["ip"]),
                         (owner, owner, "fields", "127.0.0.1"))
        self.assertEqual(put["request"], reply.headers["x-amz-request-id"])
        self.assertEqual(put["host_id"], reply.headers["x-amz-id-2"])
        self.assertEqual(put["key"], quote(key))
        self.assertEqual(put["uri"], f'"PUT /fields/{quote(key)} HTTP/1.1"')
        self.assertEqual((put["agent"], put["referer"]), ('"quo%22ted agent"', '"http://x/y"'))
        self.assertEqual((put["sent"], get["sent"]), ("-", "5"))
        self.assertEqual((put["signature"], put["auth"]), ("SigV4", "AuthHeader"))
        self.assertRegex(put["time"], r"^\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]$")
        self.assertTrue(put["total"].isdigit() and put["turn"].isdigit())
        self.assertEqual(lines[4]["key"], "-")
        self.assertRegex(self.keys("f/")[0], r"^f/\d{4}(-\d\d){5}-[0-9A-F]{16}$")

    def test_strangers_and_liars(self):
        self.enable("strangers", "s/")
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{self.server.endpoint}/strangers/x")
        caught.exception.close()
        self.raw_fails("SignatureDoesNotMatch", 403, "GET", "/strangers/y",
                       signature=Signature(secret="wrong" * 8))
        first, second = sorted(self.lines("s/", 2), key=lambda line: line["uri"])
        self.assertEqual((first["requester"], first["error"], first["signature"], first["auth"]),
                         ("-", "AccessDenied", "-", "-"))
        self.assertEqual((second["requester"], second["error"]), ("-", "SignatureDoesNotMatch"))

    def test_what_is_presigned_stays_secret(self):
        """Who may read the log must not be able to use what it says."""
        self.enable("presigned", "u/")
        self.s3.put_object(Bucket="presigned", Key="k", Body=b"x")
        token = "a+session/token="
        urls = [boto3.client(
            "s3", endpoint_url=self.server.endpoint, region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
            aws_session_token=token if version == "s3v4" else None,
            config=Config(signature_version=version, s3={"addressing_style": "path"})
        ).generate_presigned_url("get_object", Params={"Bucket": "presigned", "Key": "k"})
            for version in ("s3v4", "s3")]
        urls.append(urls[1].replace("Signature=", "Sig%6Eature=") + "&a=b&"
                    "x-amz-server-side-encryption-customer-key=c2VjcmV0LWtleQ%3D%3D")
        for before, url in enumerate(urls, 1):
            self.lines("u/", before)
            request = urllib.request.Request(url, headers={"Referer": url})
            try:
                urllib.request.urlopen(request).close()
            except urllib.error.HTTPError as error:
                error.close()
        lines = self.lines("u/", 4)[1:]
        hidden = re.compile(r"((?:Signature|Sig%6Eature|Token|customer-key)=)[^&]*")
        for line, url in zip(lines, urls):
            redacted = hidden.sub(r"\1REDACTED", url)
            self.assertNotEqual(redacted, url)
            self.assertEqual(line["referer"], f'"{redacted}"')
            self.assertEqual(line["uri"], f'"GET /{redacted.split("/", 3)[3]} HTTP/1.1"')
        self.assertIn(f"X-Amz-Credential={ACCESS_KEY}%2F", lines[0]["uri"])

    def test_the_target_may_be_itself(self):
        """Deliveries are no requests: they are not logged, and nothing grows by itself."""
        self.s3.create_bucket(Bucket="itself")
        self.log_to("itself", "itself", "log/")
        self.s3.put_object(Bucket="itself", Key="a", Body=b"x")
        time.sleep(4.5)
        self.s3.put_bucket_logging(Bucket="itself", BucketLoggingStatus={})
        operations = [x["operation"] for x in self.lines("log/", 2, bucket="itself")]
        self.assertEqual(operations, ["REST.PUT.OBJECT", "REST.PUT.LOGGING_STATUS"])
        self.assertEqual(len(self.keys("log/", bucket="itself")), 2)

    def test_partitioned(self):
        for source in ("DeliveryTime", "EventTime"):
            bucket = "part-" + source.lower()
            self.enable(bucket, f"p-{source}/", f"<TargetObjectKeyFormat><PartitionedPrefix>"
                        f"<PartitionDateSource>{source}</PartitionDateSource>"
                        "</PartitionedPrefix></TargetObjectKeyFormat>")
            self.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
            self.lines(f"p-{source}/", 1)
            clock = r"00-00-00" if source == "EventTime" else r"\d\d-\d\d-\d\d"
            self.assertRegex(self.keys(f"p-{source}/")[0],
                             rf"^p-{source}/\d{{12}}/us-east-1/{bucket}/\d{{4}}/\d\d/\d\d/"
                             rf"\d{{4}}-\d\d-\d\d-{clock}-[0-9A-F]{{16}}$")

    def test_configuration(self):
        self.s3.create_bucket(Bucket="config")
        self.assertNotIn("LoggingEnabled", self.s3.get_bucket_logging(Bucket="config"))
        self.log_to("config", "logs", "", "<TargetObjectKeyFormat><SimplePrefix/>"
                    "</TargetObjectKeyFormat>")
        found = self.s3.get_bucket_logging(Bucket="config")["LoggingEnabled"]
        self.assertEqual((found["TargetBucket"], found.get("TargetPrefix", "")), ("logs", ""))
        self.s3.put_bucket_logging(Bucket="config", BucketLoggingStatus={})
        self.assertNotIn("LoggingEnabled", self.s3.get_bucket_logging(Bucket="config"))
        self.fails("InvalidTargetBucketForLogging", 400, self.s3.put_bucket_logging,
                   Bucket="config", BucketLoggingStatus={"LoggingEnabled": {
                       "TargetBucket": "nowhere", "TargetPrefix": ""}})
        for body in (b"<BucketLoggingStatus><LoggingEnabled/></BucketLoggingStatus>",
                     b"<BucketLoggingStatus><What/></BucketLoggingStatus>", b"<x/>"):
            self.raw_fails("MalformedXML", 400, "PUT", "/config?logging", body=body)

    def test_accounts(self):
        """Another account's bucket is no target, not even one that took the target's name."""
        made = kist_account("create", "logs-b", server=self.server)
        a = Account(self.server, ACCESS_KEY, SECRET_KEY)
        b = Account(self.server, made["access-key"], made["secret-key"])
        b.s3.create_bucket(Bucket="of-b")
        self.s3.create_bucket(Bucket="to-go")
        self.enable("accounts", "acc/")
        self.raw_fails("InvalidTargetBucketForLogging", 400, "PUT", "/accounts?logging", body=(
            b"<BucketLoggingStatus><LoggingEnabled><TargetBucket>of-b</TargetBucket>"
            b"<TargetPrefix/></LoggingEnabled></BucketLoggingStatus>"))
        self.lines("acc/", 1)
        user = a.user("reader", {"Effect": "Allow", "Action": "s3:*", "Resource": "*"})
        user.s3.list_objects_v2(Bucket="accounts")
        self.lines("acc/", 2)
        self.fails("AccessDenied", 403, b.s3.list_objects_v2, Bucket="accounts")
        refused, mine, theirs = self.lines("acc/", 3)
        self.assertEqual(refused["error"], "InvalidTargetBucketForLogging")
        self.assertRegex(mine["requester"], r"^arn:aws:iam::\d{12}:user/reader$")
        self.assertEqual((theirs["requester"], theirs["owner"]), (b.canonical, a.canonical))
        self.log_to("accounts", "to-go", "")
        self.s3.delete_bucket(Bucket="to-go")
        b.s3.create_bucket(Bucket="to-go")
        self.s3.list_objects_v2(Bucket="accounts")
        time.sleep(2.5)
        self.assertNotIn("Contents", b.s3.list_objects_v2(Bucket="to-go"))

    def test_grants(self):
        """Who else may read the logs, where the target has lists of that kind."""
        made = kist_account("create", "logs-c", server=self.server)
        b = Account(self.server, made["access-key"], made["secret-key"])
        everybody = "http://acs.amazonaws.com/groups/global/AllUsers"
        by_id = {"Grantee": {"Type": "CanonicalUser", "ID": b.canonical}, "Permission": "READ"}
        by_group = {"Grantee": {"Type": "Group", "URI": everybody}, "Permission": "READ"}

        def grant(*grants, target="granted-logs"):
            self.s3.put_bucket_logging(Bucket="granted", BucketLoggingStatus={"LoggingEnabled": {
                "TargetBucket": target, "TargetPrefix": "g/", "TargetGrants": grants}})

        self.s3.create_bucket(Bucket="granted")
        self.s3.create_bucket(Bucket="granted-logs", ObjectOwnership="BucketOwnerPreferred")
        self.fails("AccessControlListNotSupported", 400, grant, by_id, target="logs")
        grant(target="logs")                                # none are no grants
        grant(by_id, by_group)
        told = self.s3.get_bucket_logging(Bucket="granted")["LoggingEnabled"]["TargetGrants"]
        self.assertEqual(told, [by_id, by_group])
        self.s3.list_objects_v2(Bucket="granted")
        self.lines("g/", 2, bucket="granted-logs")
        for key in self.keys("g/", bucket="granted-logs"):
            acl = self.s3.get_object_acl(Bucket="granted-logs", Key=key)
            grants = [(g["Grantee"].get("ID") or g["Grantee"]["URI"], g["Permission"])
                      for g in acl["Grants"]]
            self.assertEqual(grants, [(acl["Owner"]["ID"], "FULL_CONTROL"), (b.canonical, "READ"),
                                      (everybody, "READ")])
            b.s3.get_object(Bucket="granted-logs", Key=key)["Body"].read()
        # What the target allows when it is delivered counts.
        self.s3.put_bucket_ownership_controls(Bucket="granted-logs", OwnershipControls={
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
        self.s3.list_objects_v2(Bucket="granted")
        self.lines("g/", 3, bucket="granted-logs")
        self.fails("AccessDenied", 403, b.s3.get_object, Bucket="granted-logs", Key=key)
        self.s3.put_bucket_ownership_controls(Bucket="granted-logs", OwnershipControls={
            "Rules": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
        nobody = {"Grantee": {"Type": "CanonicalUser", "ID": "f" * 64}, "Permission": "READ"}
        email = {"Grantee": {"Type": "AmazonCustomerByEmail", "EmailAddress": "a@example.org"},
                 "Permission": "READ"}
        group = {"Grantee": {"Type": "Group", "URI": "http://example.org/"}, "Permission": "READ"}
        self.fails("InvalidArgument", 400, grant, nobody)
        self.fails("InvalidArgument", 400, grant, group)
        self.fails("MethodNotAllowed", 405, grant, email)
        self.fails("MalformedXML", 400, grant, {**by_id, "Permission": "WRITE_ACP"})

    def test_stops_when_told(self):
        self.enable("stops", "stop/")
        self.s3.put_object(Bucket="stops", Key="a", Body=b"x")
        self.lines("stop/", 1)
        self.s3.put_bucket_logging(Bucket="stops", BucketLoggingStatus={})
        self.s3.put_object(Bucket="stops", Key="b", Body=b"x")
        time.sleep(2.5)
        operations = [x["operation"] for x in self.lines("stop/", 2)]
        self.assertEqual(operations, ["REST.PUT.OBJECT", "REST.PUT.LOGGING_STATUS"])

    def test_encrypted_target(self):
        self.s3.create_bucket(Bucket="sealed-logs")
        self.s3.put_bucket_encryption(
            Bucket="sealed-logs", ServerSideEncryptionConfiguration={"Rules": [
                {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]})
        self.s3.create_bucket(Bucket="sealed-source")
        self.s3.put_bucket_logging(Bucket="sealed-source", BucketLoggingStatus={
            "LoggingEnabled": {"TargetBucket": "sealed-logs", "TargetPrefix": "e/"}})
        self.s3.put_object(Bucket="sealed-source", Key="a", Body=b"x")
        self.lines("e/", 1, bucket="sealed-logs")
        head = self.s3.head_object(Bucket="sealed-logs",
                                   Key=self.keys("e/", bucket="sealed-logs")[0])
        self.assertEqual(head["ServerSideEncryption"], "AES256")

    def test_many_lines_and_a_stop(self):
        """What is buffered when the server stops is delivered."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as work:
            data = Path(work, "data")
            flags = ["--access-log-interval", "3600"]
            with Server(data=data, flags=flags) as server:
                s3 = boto_client(server)
                s3.create_bucket(Bucket="logs")
                s3.create_bucket(Bucket="many")
                s3.put_bucket_logging(Bucket="many", BucketLoggingStatus={"LoggingEnabled": {
                    "TargetBucket": "logs", "TargetPrefix": "m-"}})
                for _ in range(700):
                    s3.get_bucket_location(Bucket="many")
                self.assertNotIn("Contents", s3.list_objects_v2(Bucket="logs"))
            with Server(data=data) as server:
                s3 = boto_client(server)
                keys = [o["Key"] for o in s3.list_objects_v2(Bucket="logs")["Contents"]]
                self.assertEqual(len(keys), 1)
                body = s3.get_object(Bucket="logs", Key=keys[0])["Body"].read().decode()
                self.assertEqual([parse(x)["operation"] for x in body.splitlines()],
                                 ["REST.GET.LOCATION"] * 700)
            checked = subprocess.run([BIN, "fsck", "--data", str(data)], capture_output=True,
                                     text=True, check=False)
            self.assertEqual(checked.returncode, 0, checked.stdout)
