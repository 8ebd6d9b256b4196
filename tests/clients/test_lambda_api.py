"""Lambda's control API through boto3: the life of a function, and each documented error."""
import base64
import concurrent.futures
import hashlib
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.request
import zipfile
from http.client import HTTPConnection

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError

import kist_server
from accounts import TwoAccounts
from functions import package
from workflow import boto_client

ACCOUNT_TRUST = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"},
    "Action": "sts:AssumeRole"}}

HANDLER = package({"x.py": "def handler(event, context):\n    return event\n"})
OTHER = package({"x.py": "def handler(event, context):\n    return 2\n"})


class LambdaBase(TwoAccounts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.fn = cls.service("lambda")
        cls.iam = cls.service("iam")
        cls.account = cls.service("sts").get_caller_identity()["Account"]
        cls.role = cls.iam.create_role(
            RoleName=f"fn-{cls.__name__}", AssumeRolePolicyDocument=json.dumps(ACCOUNT_TRUST))["Role"]["Arn"]

    @classmethod
    def service(cls, name, key=None, secret=None):
        import boto3
        import botocore.config
        own = boto_client(cls.server)._request_signer._credentials
        return boto3.client(name, endpoint_url=cls.server.endpoint, region_name="us-east-1",
                            aws_access_key_id=key or own.access_key,
                            aws_secret_access_key=secret or own.secret_key,
                            config=botocore.config.Config(retries={"max_attempts": 1}))

    def arn(self, name, qualifier=None):
        tail = f":{qualifier}" if qualifier else ""
        return f"arn:aws:lambda:us-east-1:{self.account}:function:{name}{tail}"

    def make(self, name, **more):
        settings = {"Runtime": "python3.11", "Role": self.role, "Handler": "x.handler",
                    "Code": {"ZipFile": HANDLER}}
        settings.update(more)
        made = self.fn.create_function(FunctionName=name, **settings)
        self.addCleanup(self.gone, name)
        return made

    def gone(self, name):
        try:
            self.fn.delete_function(FunctionName=name)
        except ClientError as e:
            self.assertEqual(e.response["Error"]["Code"], "ResourceNotFoundException")

    def wrong(self, code, call, status=400, **params):
        with self.assertRaises(ClientError) as caught:
            call(**params)
        error, meta = caught.exception.response["Error"], caught.exception.response[
            "ResponseMetadata"]
        self.assertEqual((error["Code"], meta["HTTPStatusCode"]), (code, status), error)
        self.assertTrue(error["Message"], error)
        return caught.exception.response

    def signed(self, method, path, body=b"", headers=None):
        """What boto3 has no name for: (status, headers, body)."""
        credentials = self.fn._request_signer._credentials
        request = AWSRequest(method, self.server.endpoint + path, data=body or None,
                             headers=headers or {})
        SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        http = urllib.request.Request(request.url, data=body or None, method=method,
                                      headers=dict(request.headers))
        try:
            with urllib.request.urlopen(http, timeout=30) as reply:
                return reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as e:
            return e.code, e.headers, e.read()


class Functions(LambdaBase):
    def test_whole_life(self):
        made = self.make("life", Description="d", MemorySize=256, Timeout=10,
                         Environment={"Variables": {"KEY": "value"}}, Tags={"a": "b"})
        self.assertEqual(made["ResponseMetadata"]["HTTPStatusCode"], 201)
        self.assertEqual(made["FunctionArn"], self.arn("life"))
        self.assertEqual(made["CodeSha256"],
                         base64.b64encode(hashlib.sha256(HANDLER).digest()).decode())
        self.assertEqual(made["CodeSize"], len(HANDLER))
        want = {"State": "Active", "LastUpdateStatus": "Successful", "PackageType": "Zip",
                "Architectures": [os.uname().machine.replace("aarch64", "arm64")],
                "EphemeralStorage": {"Size": 512}, "TracingConfig": {"Mode": "PassThrough"},
                "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
                "Version": "$LATEST", "MemorySize": 256, "Timeout": 10, "Description": "d",
                "Environment": {"Variables": {"KEY": "value"}}, "Runtime": "python3.11",
                "Role": self.role, "Handler": "x.handler", "FunctionName": "life"}
        self.assertEqual({k: made[k] for k in want}, want)
        self.assertRegex(made["LastModified"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000$")
        raw = json.loads(self.signed("GET", "/2015-03-31/functions/life/configuration")[2])
        self.assertEqual(raw["LoggingConfig"],
                         {"LogFormat": "Text", "LogGroup": "/aws/lambda/life"})
        got = self.fn.get_function(FunctionName="life")
        self.assertEqual(got["Tags"], {"a": "b"})
        self.assertEqual(got["Code"]["RepositoryType"], "S3")
        self.assertEqual(got["Configuration"]["RevisionId"], made["RevisionId"])
        path = got["Code"]["Location"].split("/", 3)[3]
        status, _, body = self.signed("GET", "/" + path)
        self.assertEqual((status, body), (200, HANDLER))

        for name in (self.arn("life"), f"{self.account}:function:life", "life:$LATEST"):
            self.assertEqual(self.fn.get_function_configuration(FunctionName=name)["CodeSha256"],
                             made["CodeSha256"])
        updated = self.fn.update_function_configuration(
            FunctionName="life", Timeout=20, Environment={"Variables": {}},
            TracingConfig={"Mode": "Active"}, RevisionId=made["RevisionId"])
        self.assertEqual(updated["Timeout"], 20)
        self.assertNotIn("Environment", updated)
        self.assertEqual(updated["MemorySize"], 256)
        self.assertNotEqual(updated["RevisionId"], made["RevisionId"])
        code = self.fn.update_function_code(FunctionName="life", ZipFile=OTHER)
        self.assertEqual(code["CodeSize"], len(OTHER))
        self.assertEqual(code["Timeout"], 20)
        self.assertEqual(self.fn.delete_function(FunctionName="life")["ResponseMetadata"]
                         ["HTTPStatusCode"], 204)
        self.wrong("ResourceNotFoundException", self.fn.get_function, 404, FunctionName="life")
        self.wrong("ResourceNotFoundException", self.fn.delete_function, 404,
                   FunctionName="life")

    def test_errors_of_create(self):
        self.make("twice")
        self.wrong("ResourceConflictException", self.make, 409, name="twice")
        bad = [
            ("InvalidParameterValueException", {"Runtime": "cobol85"}),
            ("InvalidParameterValueException", {"Handler": ""}),
            ("ValidationException", {"Handler": "h" * 129}),
            ("ValidationException", {"Description": "d" * 257}),
            ("ValidationException", {"Role": "arn:aws:iam::x"}),
            ("InvalidParameterValueException",
             {"Role": f"arn:aws:iam::{self.account}:role/nobody"}),
            ("InvalidParameterValueException", {"Code": {"ZipFile": b"no zip at all"}}),
            ("InvalidParameterValueException", {"Code": {"ZipFile": b""}}),
            ("InvalidParameterValueException", {"Code": {}}),
            ("InvalidParameterValueException",
             {"Code": {"S3Bucket": "no-such-bucket", "S3Key": "k"}}),
            ("InvalidParameterValueException", {"Code": {"S3Bucket": self.bucket, "S3Key": "no"}}),
            ("InvalidParameterValueException",
             {"Environment": {"Variables": {"AWS_REGION": "x"}}}),
            ("InvalidParameterValueException",
             {"Environment": {"Variables": {"LONG": "x" * 4097}}}),
            ("ValidationException", {"Environment": {"Variables": {"1no": "x"}}}),
            ("InvalidParameterValueException", {"Architectures": ["riscv"]}),
            ("InvalidParameterValueException", {"PackageType": "Image"}),
            ("InvalidParameterValueException", {"Layers": ["arn:aws:lambda:us-east-1:"
                                                           f"{self.account}:layer:none:1"]}),
            ("InvalidParameterValueException", {"VpcConfig": {"SubnetIds": ["subnet-1"],
                                                              "SecurityGroupIds": []}}),
            ("ValidationException", {"TracingConfig": {"Mode": "Loud"}}),
        ]
        for code, settings in bad:
            with self.subTest(settings=str(settings)[:80]):
                self.wrong(code, self.make, name="wrong", **settings)
        for name in ("with space", "a" * 65, "dot.ted"):
            self.wrong("ValidationException", self.make, name=name)
        for member, value in (("MemorySize", 127), ("MemorySize", 10241), ("Timeout", 0),
                              ("Timeout", 901)):
            status, headers, body = self.signed("POST", "/2015-03-31/functions", json.dumps({
                "FunctionName": "wrong", "Runtime": "python3.11", "Role": "",
                "Handler": "x.handler", member: value,
                "Code": {"ZipFile": base64.b64encode(HANDLER).decode()}}).encode())
            self.assertEqual((status, headers["x-amzn-ErrorType"]),
                             (400, "ValidationException"), body)
        for body in (b"{", b"[]", b'{"FunctionName": 7}', b'{"a": 1, "a": 2}', b"\xff"):
            status, headers, reply = self.signed("POST", "/2015-03-31/functions", body)
            self.assertEqual((status, headers["x-amzn-ErrorType"]),
                             (400, "InvalidRequestContentException"), reply)
            self.assertEqual(json.loads(reply)["Type"], "User")
        status, headers, _ = self.signed("POST", "/2015-03-31/functions/x/nonsense", b"{}")
        self.assertEqual((status, headers["x-amzn-ErrorType"]), (501, "NotImplementedException"))
        self.wrong("ResourceNotFoundException", self.fn.get_function, 404, FunctionName="wrong")

    def test_role_must_trust_lambda(self):
        other = self.iam.create_role(RoleName="not-for-lambda", AssumeRolePolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole"}}))["Role"]["Arn"]
        reply = self.wrong("InvalidParameterValueException", self.make, name="untrusted",
                           Role=other)
        self.assertIn("cannot be assumed by Lambda", reply["Error"]["Message"])
        status, _, body = self.signed("POST", "/2015-03-31/functions", json.dumps({
            "FunctionName": "no-role", "Runtime": "python3.11", "Role": "", "Handler": "x.handler",
            "Code": {"ZipFile": base64.b64encode(HANDLER).decode()}}).encode())
        self.assertEqual((status, json.loads(body)["Role"]), (201, ""))
        self.gone("no-role")

    def test_code_from_a_bucket(self):
        self.s3.put_object(Bucket=self.bucket, Key="code.zip", Body=HANDLER)
        made = self.make("from-bucket", Code={"S3Bucket": self.bucket, "S3Key": "code.zip"})
        self.assertEqual(made["CodeSize"], len(HANDLER))
        self.s3.put_object(Bucket=self.bucket, Key="sealed.zip", Body=OTHER,
                           ServerSideEncryption="AES256")
        sealed = self.fn.update_function_code(FunctionName="from-bucket", S3Bucket=self.bucket,
                                              S3Key="sealed.zip")
        self.assertEqual(sealed["CodeSha256"],
                         base64.b64encode(hashlib.sha256(OTHER).digest()).decode())
        self.s3.put_object(Bucket=self.bucket, Key="kms.zip", Body=OTHER,
                           ServerSideEncryption="aws:kms")
        self.wrong("InvalidParameterValueException", self.fn.update_function_code,
                   FunctionName="from-bucket", S3Bucket=self.bucket, S3Key="kms.zip")
        self.fn.update_function_code(FunctionName="from-bucket", S3Bucket=self.bucket,
                                     S3Key="code.zip")
        self.s3.put_object(Bucket=self.bucket, Key="bad.zip", Body=b"PK not")
        self.wrong("InvalidParameterValueException", self.fn.update_function_code,
                   FunctionName="from-bucket", S3Bucket=self.bucket, S3Key="bad.zip")
        dry = self.fn.update_function_code(FunctionName="from-bucket", ZipFile=OTHER, DryRun=True)
        self.assertEqual(dry["CodeSize"], len(OTHER))
        kept = self.fn.get_function_configuration(FunctionName="from-bucket")
        self.assertEqual(kept["CodeSize"], len(HANDLER))

    def test_bad_zips(self):
        def link(name, to):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            return info, to
        def special(entries):
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
                for info, text in entries:
                    z.writestr(info, text)
            return out.getvalue()
        plain = ("x.py", "def handler(e, c):\n    return 1\n")
        bad = {"traversal": special([plain, ("../../evil", "x")]),
               "absolute": special([plain, ("/etc/evil", "x")]),
               "link out": special([plain, link("out", "/etc/passwd")]),
               "link up": special([plain, link("a/b", "../../out")]),
               "cut": HANDLER[:len(HANDLER) // 2], "not a zip": b"\x7fELF" + b"x" * 100,
               "bomb": special([plain, ("zeros", b"\0" * (251 << 20))])}
        for what, code in bad.items():
            with self.subTest(what):
                self.wrong("InvalidParameterValueException", self.make, name="bad-zip",
                           Code={"ZipFile": code})
        self.wrong("ResourceNotFoundException", self.fn.get_function, 404,
                   FunctionName="bad-zip")

    def test_bucket_of_code_is_hidden(self):
        self.make("hidden")
        self.assertFalse([b["Name"] for b in self.s3.list_buckets()["Buckets"]
                          if b["Name"].startswith(".")])
        for path in ("/.kist-functions", "/.kist-functions/", "/%2Ekist-functions/?list-type=2",
                     "/.kist-functions/code/x"):
            for method in ("GET", "PUT", "DELETE", "HEAD"):
                reply = self.raw.request(method, path, body=b"x" if method == "PUT" else b"")
                self.assertIn(reply.status, (400, 404), (method, path, reply.body))
        reply = self.raw.request("PUT", f"/{self.bucket}/copy", body=b"", headers={
            "x-amz-copy-source": "/.kist-functions/code/x"})
        self.assertIn(reply.status, (400, 404))
        self.wrong("InvalidParameterValueException", self.fn.update_function_code,
                   FunctionName="hidden", S3Bucket=".kist-functions", S3Key="code/x")

    def test_list_and_paging(self):
        names = [f"page-{i:02}" for i in range(7)]
        for name in names:
            self.make(name)
        self.fn.publish_version(FunctionName=names[0])
        seen, marker, pages = [], None, 0
        while True:
            reply = self.fn.list_functions(MaxItems=3, **({"Marker": marker} if marker else {}))
            seen += [f["FunctionName"] for f in reply["Functions"]]
            pages += 1
            marker = reply.get("NextMarker")
            if not marker:
                break
        self.assertEqual([n for n in seen if n.startswith("page-")], names)
        self.assertEqual(len(seen), len(set(seen)))
        self.assertGreaterEqual(pages, 3)
        every = [f["FunctionArn"] for page in self.fn.get_paginator("list_functions").paginate(
            FunctionVersion="ALL", PaginationConfig={"PageSize": 2}) for f in page["Functions"]]
        self.assertEqual(len(every), len(set(every)))
        self.assertIn(self.arn(names[0], 1), every)
        self.assertIn(self.arn(names[6], "$LATEST"), every)
        self.wrong("InvalidParameterValueException", self.fn.list_functions, Marker="%%%")

    def test_revision_must_match(self):
        self.make("revision")
        old = "00000000-0000-4000-8000-000000000000"
        for call, more in ((self.fn.update_function_configuration, {"Timeout": 5}),
                           (self.fn.update_function_code, {"ZipFile": OTHER}),
                           (self.fn.publish_version, {})):
            self.wrong("PreconditionFailedException", call, 412, FunctionName="revision",
                       RevisionId=old, **more)

    def test_access(self):
        self.make("mine")
        self.iam.create_user(UserName="fn-user")
        key = self.iam.create_access_key(UserName="fn-user")["AccessKey"]
        his = self.service("lambda", key["AccessKeyId"], key["SecretAccessKey"])
        self.wrong("AccessDeniedException", his.get_function, 403, FunctionName="mine")
        self.wrong("AccessDeniedException", his.list_functions, 403)
        self.iam.put_user_policy(UserName="fn-user", PolicyName="p", PolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": ["lambda:GetFunction", "lambda:CreateFunction"],
                 "Resource": self.arn("*")}]}))
        his.get_function(FunctionName="mine")
        self.wrong("AccessDeniedException", his.delete_function, 403, FunctionName="mine")
        # iam:PassRole is a right of its own
        self.wrong("AccessDeniedException", his.create_function, 403, FunctionName="his",
                   Runtime="python3.11", Role=self.role, Handler="x.handler",
                   Code={"ZipFile": HANDLER})
        other = self.service("lambda", self.b.access, self.b.secret)
        self.wrong("AccessDeniedException", other.get_function, 403, FunctionName=self.arn("mine"))
        self.wrong("ResourceNotFoundException", other.get_function, 404, FunctionName="mine")


class Versions(LambdaBase):
    def test_versions(self):
        self.make("v")
        one = self.fn.publish_version(FunctionName="v", Description="first")
        self.assertEqual((one["Version"], one["FunctionArn"], one["Description"]),
                         ("1", self.arn("v", 1), "first"))
        self.assertEqual(self.fn.publish_version(FunctionName="v")["Version"], "1")  # no change
        two = self.fn.update_function_code(FunctionName="v", ZipFile=OTHER, Publish=True)
        self.assertEqual(two["Version"], "2")
        listed = self.fn.list_versions_by_function(FunctionName="v")["Versions"]
        self.assertEqual([v["Version"] for v in listed], ["$LATEST", "1", "2"])
        self.assertEqual(listed[1]["CodeSize"], len(HANDLER))
        got = self.fn.get_function(FunctionName="v", Qualifier="1")
        path = got["Code"]["Location"].split("/", 3)[3]
        self.assertEqual(self.signed("GET", "/" + path)[2], HANDLER)
        self.wrong("InvalidParameterValueException", self.fn.publish_version, FunctionName="v",
                   CodeSha256="other")
        self.wrong("InvalidParameterValueException", self.fn.delete_function, FunctionName="v",
                   Qualifier="$LATEST")
        self.wrong("InvalidParameterValueException", self.fn.get_function, FunctionName="v:1",
                   Qualifier="2")
        self.fn.delete_function(FunctionName="v", Qualifier="1")
        self.wrong("ResourceNotFoundException", self.fn.get_function, 404, FunctionName="v:1")
        self.fn.update_function_configuration(FunctionName="v", Timeout=9)
        self.assertEqual(self.fn.publish_version(FunctionName="v")["Version"], "3")
        pages = self.fn.get_paginator("list_versions_by_function").paginate(
            FunctionName="v", PaginationConfig={"PageSize": 1})
        self.assertEqual([v["Version"] for p in pages for v in p["Versions"]],
                         ["$LATEST", "2", "3"])
        self.fn.delete_function(FunctionName="v")
        self.make("v")
        self.assertEqual([v["Version"] for v in self.fn.list_versions_by_function(
            FunctionName="v")["Versions"]], ["$LATEST"])

    def test_aliases(self):
        self.make("a", Publish=True)
        self.fn.update_function_code(FunctionName="a", ZipFile=OTHER, Publish=True)
        made = self.fn.create_alias(FunctionName="a", Name="live", FunctionVersion="1",
                                    Description="d")
        self.assertEqual((made["AliasArn"], made["FunctionVersion"]),
                         (self.arn("a", "live"), "1"))
        self.wrong("ResourceConflictException", self.fn.create_alias, 409, FunctionName="a",
                   Name="live", FunctionVersion="1")
        self.wrong("ResourceNotFoundException", self.fn.create_alias, 404, FunctionName="a",
                   Name="next", FunctionVersion="9")
        self.wrong("ValidationException", self.fn.create_alias, FunctionName="a", Name="12",
                   FunctionVersion="1")
        through = self.fn.get_function_configuration(FunctionName="a", Qualifier="live")
        self.assertEqual((through["Version"], through["FunctionArn"]),
                         ("1", self.arn("a", "live")))
        routed = self.fn.update_alias(FunctionName="a", Name="live", RoutingConfig={
            "AdditionalVersionWeights": {"2": 0.25}}, RevisionId=made["RevisionId"])
        self.assertEqual(routed["RoutingConfig"], {"AdditionalVersionWeights": {"2": 0.25}})
        self.wrong("PreconditionFailedException", self.fn.update_alias, 412, FunctionName="a",
                   Name="live", FunctionVersion="2", RevisionId=made["RevisionId"])
        self.wrong("ResourceConflictException", self.fn.delete_function, 409, FunctionName="a",
                   Qualifier="2")
        self.fn.create_alias(FunctionName="a", Name="next", FunctionVersion="$LATEST")
        self.assertEqual([x["Name"] for x in self.fn.list_aliases(FunctionName="a")["Aliases"]],
                         ["live", "next"])
        self.assertEqual([x["Name"] for x in self.fn.list_aliases(
            FunctionName="a", FunctionVersion="1")["Aliases"]], ["live"])
        self.fn.delete_alias(FunctionName="a", Name="live")
        self.wrong("ResourceNotFoundException", self.fn.get_alias, 404, FunctionName="a",
                   Name="live")
        self.fn.delete_function(FunctionName="a", Qualifier="2")


class Settings(LambdaBase):
    def test_permissions(self):
        self.make("p")
        self.wrong("ResourceNotFoundException", self.fn.get_policy, 404, FunctionName="p")
        added = self.fn.add_permission(
            FunctionName="p", StatementId="s3", Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com", SourceArn="arn:aws:s3:::photos",
            SourceAccount=self.account)
        self.assertEqual(json.loads(added["Statement"]), {
            "Sid": "s3", "Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "lambda:InvokeFunction", "Resource": self.arn("p"),
            "Condition": {"StringEquals": {"AWS:SourceAccount": self.account},
                          "ArnLike": {"AWS:SourceArn": "arn:aws:s3:::photos"}}})
        self.fn.add_permission(FunctionName="p", StatementId="b", Action="lambda:InvokeFunction",
                               Principal=self.b.id)
        self.wrong("ResourceConflictException", self.fn.add_permission, 409, FunctionName="p",
                   StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com")
        self.wrong("InvalidParameterValueException", self.fn.add_permission, FunctionName="p",
                   StatementId="x", Action="lambda:InvokeFunction", Principal="nobody")
        policy = json.loads(self.fn.get_policy(FunctionName="p")["Policy"])
        self.assertEqual([s["Sid"] for s in policy["Statement"]], ["s3", "b"])
        other = self.service("lambda", self.b.access, self.b.secret)
        reply = other.invoke(FunctionName=self.arn("p"), InvocationType="DryRun")
        self.assertEqual(reply["StatusCode"], 204)
        self.fn.remove_permission(FunctionName="p", StatementId="b")
        self.wrong("AccessDeniedException", other.invoke, 403, FunctionName=self.arn("p"),
                   InvocationType="DryRun")
        self.wrong("ResourceNotFoundException", self.fn.remove_permission, 404, FunctionName="p",
                   StatementId="b")
        self.fn.remove_permission(FunctionName="p", StatementId="s3")
        self.wrong("ResourceNotFoundException", self.fn.get_policy, 404, FunctionName="p")

    def test_changes_at_once(self):
        """Of changes at the same time none is lost."""
        self.make("many")
        arn = self.arn("many")

        def change(i):
            self.fn.add_permission(FunctionName="many", StatementId=f"s{i}", Principal=self.b.id,
                                   Action="lambda:InvokeFunction")
            self.fn.tag_resource(Resource=arn, Tags={f"k{i}": "v"})
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(change, range(8)))
        policy = json.loads(self.fn.get_policy(FunctionName="many")["Policy"])
        self.assertEqual({s["Sid"] for s in policy["Statement"]}, {f"s{i}" for i in range(8)})
        self.assertEqual(len(self.fn.list_tags(Resource=arn)["Tags"]), 8)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            versions = list(pool.map(lambda _: self.fn.publish_version(FunctionName="many")[
                "Version"], range(4)))
        self.assertEqual(set(versions), {"1"})

    def test_concurrency(self):
        self.make("c")
        self.assertNotIn("ReservedConcurrentExecutions",
                         self.fn.get_function_concurrency(FunctionName="c"))
        put = self.fn.put_function_concurrency(FunctionName="c", ReservedConcurrentExecutions=0)
        self.assertEqual(put["ReservedConcurrentExecutions"], 0)
        self.assertEqual(self.fn.get_function(FunctionName="c")["Concurrency"],
                         {"ReservedConcurrentExecutions": 0})
        self.fn.delete_function_concurrency(FunctionName="c")
        self.assertNotIn("Concurrency", self.fn.get_function(FunctionName="c"))
        settings = self.fn.get_account_settings()
        self.assertGreaterEqual(settings["AccountUsage"]["FunctionCount"], 1)
        self.assertEqual(self.fn.list_provisioned_concurrency_configs(FunctionName="c")[
            "ProvisionedConcurrencyConfigs"], [])

    def test_event_invoke_config(self):
        self.make("e")
        calls = {"FunctionName": "e"}
        self.wrong("ResourceNotFoundException", self.fn.get_function_event_invoke_config, 404,
                   **calls)
        self.wrong("ResourceNotFoundException", self.fn.update_function_event_invoke_config, 404,
                   MaximumRetryAttempts=1, **calls)
        put = self.fn.put_function_event_invoke_config(
            MaximumRetryAttempts=0, DestinationConfig={
                "OnFailure": {"Destination": f"arn:aws:sqs:us-east-1:{self.account}:dead"}},
            **calls)
        self.assertEqual(put["MaximumRetryAttempts"], 0)
        self.fn.update_function_event_invoke_config(MaximumEventAgeInSeconds=60, **calls)
        got = self.fn.get_function_event_invoke_config(**calls)
        self.assertEqual((got["MaximumRetryAttempts"], got["MaximumEventAgeInSeconds"]), (0, 60))
        self.assertTrue(got["DestinationConfig"]["OnFailure"]["Destination"].endswith(":dead"))
        self.assertEqual(len(self.fn.list_function_event_invoke_configs(**calls)[
            "FunctionEventInvokeConfigs"]), 1)
        self.fn.delete_function_event_invoke_config(**calls)
        self.wrong("ResourceNotFoundException", self.fn.get_function_event_invoke_config, 404,
                   **calls)

    def test_destinations_are_ones_own(self):
        """The server writes there by itself: nobody names what he could not write to."""
        self.make("d")
        self.b.s3.create_bucket(Bucket="s-theirs-alone")
        self.addCleanup(self.b.s3.delete_bucket, Bucket="s-theirs-alone")
        for target in ("s3://s-theirs-alone/x/", "s3://no-such-bucket-there/", "s3://", "nowhere",
                       "s3://.kist-functions/code/", "arn:aws:sqs",
                       f"arn:aws:lambda:us-east-1:{self.b.id}:function:f",
                       f"arn:aws:sqs:us-east-1:{self.b.id}:q"):
            with self.subTest(target):
                status, headers, body = self.signed(
                    "PUT", "/2019-09-25/functions/d/event-invoke-config", json.dumps(
                        {"DestinationConfig": {"OnSuccess": {"Destination": target}}}).encode())
                self.assertEqual((status, headers["x-amzn-ErrorType"]),
                                 (400, "InvalidParameterValueException"), body)
                status, headers, body = self.signed(
                    "PUT", "/2015-03-31/functions/d/configuration", json.dumps(
                        {"DeadLetterConfig": {"TargetArn": target}}).encode())
                self.assertEqual(status, 400, body)
        self.fn.update_function_configuration(FunctionName="d", DeadLetterConfig={
            "TargetArn": f"arn:aws:lambda:us-east-1:{self.account}:function:d"})
        got = self.fn.update_function_configuration(FunctionName="d",
                                                    DeadLetterConfig={"TargetArn": ""})
        self.assertNotIn("DeadLetterConfig", got)

    def test_urls(self):
        self.make("u", Publish=True)
        self.fn.create_alias(FunctionName="u", Name="live", FunctionVersion="1")
        made = self.fn.create_function_url_config(FunctionName="u", AuthType="NONE", Cors={
            "AllowOrigins": ["*"]})
        self.assertRegex(made["FunctionUrl"], r"^http://[a-z2-7]{32}\.lambda-url\.us-east-1\.")
        self.wrong("ResourceConflictException", self.fn.create_function_url_config, 409,
                   FunctionName="u", AuthType="NONE")
        self.wrong("ValidationException", self.fn.create_function_url_config, FunctionName="u",
                   Qualifier="1", AuthType="NONE")
        alias = self.fn.create_function_url_config(FunctionName="u", Qualifier="live",
                                                   AuthType="AWS_IAM")
        self.assertNotEqual(alias["FunctionUrl"], made["FunctionUrl"])
        status, _, body = self.signed("PUT", "/2021-10-31/functions/u/url",
                                      b'{"InvokeMode": "RESPONSE_STREAM"}')
        got = json.loads(body)
        self.assertEqual((got["InvokeMode"], got["Cors"], got["AuthType"]),
                         ("RESPONSE_STREAM", {"AllowOrigins": ["*"]}, "NONE"))
        self.assertEqual(len(self.fn.list_function_url_configs(FunctionName="u")[
            "FunctionUrlConfigs"]), 2)
        self.fn.delete_function_url_config(FunctionName="u")
        self.wrong("ResourceNotFoundException", self.fn.get_function_url_config, 404,
                   FunctionName="u")

    def test_tags(self):
        self.make("t", Tags={"a": "1"})
        arn = self.arn("t")
        self.fn.tag_resource(Resource=arn, Tags={"a": "2", "b": "3", "c": "4"})
        self.fn.untag_resource(Resource=arn, TagKeys=["b", "c"])
        self.assertEqual(self.fn.list_tags(Resource=arn)["Tags"], {"a": "2"})
        self.wrong("InvalidParameterValueException", self.fn.tag_resource, Resource=arn,
                   Tags={f"k{i}": "v" for i in range(51)})

    def test_layers(self):
        publish = lambda body: self.fn.publish_layer_version(
            LayerName="lay", Description="d", Content={"ZipFile": body},
            CompatibleRuntimes=["python3.9"], CompatibleArchitectures=["x86_64"],
            LicenseInfo="MIT")
        one, two = publish(HANDLER), publish(OTHER)
        self.assertEqual((one["Version"], two["Version"]), (1, 2))
        arn = f"arn:aws:lambda:us-east-1:{self.account}:layer:lay"
        self.assertEqual((one["LayerArn"], one["LayerVersionArn"]), (arn, arn + ":1"))
        self.assertEqual(one["Content"]["CodeSize"], len(HANDLER))
        got = self.fn.get_layer_version_by_arn(Arn=arn + ":2")
        self.assertEqual((got["Version"], got["CompatibleArchitectures"]), (2, ["x86_64"]))
        self.assertEqual(self.signed("GET", "/" + got["Content"]["Location"].split("/", 3)[3])[2],
                         OTHER)
        for more, count in (({"CompatibleArchitecture": "arm64"}, 0),
                            ({"CompatibleArchitecture": "x86_64"}, 2),
                            ({"CompatibleRuntime": "python3.8"}, 0),
                            ({"CompatibleRuntime": "python3.9"}, 2)):
            self.assertEqual(len(self.fn.list_layer_versions(LayerName="lay", **more)[
                "LayerVersions"]), count, more)
        self.assertEqual([v["Version"] for v in self.fn.list_layer_versions(LayerName="lay")[
            "LayerVersions"]], [1, 2])
        layers = self.fn.list_layers()["Layers"]
        self.assertEqual([(x["LayerName"], x["LatestMatchingVersion"]["Version"])
                          for x in layers], [("lay", 2)])
        made = self.make("with-layer", Layers=[arn + ":1"])
        self.assertEqual(made["Layers"], [{"Arn": arn + ":1", "CodeSize": len(HANDLER)}])
        self.wrong("InvalidParameterValueException", self.fn.update_function_configuration,
                   FunctionName="with-layer", Layers=[arn + ":1", arn + ":2"])
        theirs = self.service("lambda", self.b.access, self.b.secret)
        self.wrong("AccessDeniedException", theirs.create_function, 403, FunctionName="theirs",
                   Runtime="python3.11", Role="", Handler="x.handler", Layers=[arn + ":1"],
                   Code={"ZipFile": HANDLER})
        self.wrong("AccessDeniedException", theirs.get_layer_version_by_arn, 403, Arn=arn + ":1")
        self.fn.delete_layer_version(LayerName="lay", VersionNumber=2)
        self.wrong("ResourceNotFoundException", self.fn.get_layer_version, 404, LayerName="lay",
                   VersionNumber=2)
        self.assertEqual(publish(OTHER)["Version"], 3)          # numbers are not given again
        self.wrong("InvalidParameterValueException", self.fn.publish_layer_version,
                   LayerName="lay", Content={"ZipFile": b"no"})

    def test_what_terraform_reads(self):
        self.make("tf")
        signing = self.fn.get_function_code_signing_config(FunctionName="tf")
        self.assertEqual(signing["FunctionName"], "tf")
        self.assertEqual(json.loads(self.signed(
            "GET", "/2021-07-20/functions/tf/runtime-management-config")[2]),
            {"UpdateRuntimeOn": "Auto", "FunctionArn": self.arn("tf", "$LATEST")})
        self.assertEqual(self.signed("GET", "/2024-08-31/functions/tf/recursion-config")[2],
                         b'{"RecursiveLoop":"Terminate"}')
        self.assertEqual(self.fn.list_event_source_mappings()["EventSourceMappings"], [])
        self.wrong("InvalidParameterValueException", self.fn.create_event_source_mapping,
                   FunctionName="tf", EventSourceArn="arn:aws:sqs:us-east-1:000000000000:q")


class Invocations(LambdaBase):
    """What is decided before the function runs."""

    def test_refused(self):
        self.make("i")
        invoke = self.fn.invoke
        self.wrong("ResourceNotFoundException", invoke, 404, FunctionName="none")
        self.wrong("ResourceNotFoundException", invoke, 404, FunctionName="i", Qualifier="7")
        for body in (b"{", b"nul", b'{"a":}', b"[1,]", b"\xff", b"1 2", b"[" * 600 + b"]" * 600):
            self.wrong("InvalidRequestContentException", invoke, FunctionName="i", Payload=body)
        self.wrong("RequestTooLargeException", invoke, 413, FunctionName="i",
                   Payload=b'"' + b"x" * (6 << 20) + b'"')
        self.wrong("RequestTooLargeException", invoke, 413, FunctionName="i",
                   InvocationType="Event", Payload=b'"' + b"x" * (1 << 20) + b'"')
        self.wrong("InvalidParameterValueException", invoke, FunctionName="i",
                   InvocationType="Sometimes")
        self.wrong("InvalidRequestContentException", invoke, FunctionName="i",
                   ClientContext="!!!")
        self.assertEqual(invoke(FunctionName="i", InvocationType="DryRun")["StatusCode"], 204)
        self.assertEqual(invoke(FunctionName="i", InvocationType="Event",
                                Payload=b"{}")["StatusCode"], 202)


class AwsCli(LambdaBase):
    def aws(self, *args, **more):
        own = self.fn._request_signer._credentials
        env = {**os.environ, "AWS_ACCESS_KEY_ID": own.access_key,
               "AWS_SECRET_ACCESS_KEY": own.secret_key, "AWS_DEFAULT_REGION": "us-east-1",
               "AWS_PAGER": ""}
        done = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.server.endpoint, "lambda",
                               *args], env=env, capture_output=True, text=True, check=False,
                              **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def test_life(self):
        path = os.path.join(self.server.work if hasattr(self.server, "work") else "/tmp",
                            "aws-cli-code.zip")
        with open(path, "wb") as f:
            f.write(HANDLER)
        self.addCleanup(os.unlink, path)
        made = self.aws("create-function", "--function-name", "cli", "--runtime", "python3.11",
                        "--role", self.role, "--handler", "x.handler", "--zip-file",
                        f"fileb://{path}")
        self.addCleanup(self.gone, "cli")
        self.assertEqual(made["FunctionArn"], self.arn("cli"))
        self.aws("wait", "function-active", "--function-name", "cli")
        self.aws("update-function-configuration", "--function-name", "cli", "--timeout", "7")
        self.assertEqual(self.aws("get-function", "--function-name", "cli")["Configuration"][
            "Timeout"], 7)
        self.assertEqual(self.aws("publish-version", "--function-name", "cli")["Version"], "1")
        self.assertIn("cli", [f["FunctionName"] for f in self.aws("list-functions")["Functions"]])
        self.aws("delete-function", "--function-name", "cli")


WORKER = package({"x.py": '''
import os, sys, time
import boto3_free
def handler(event, context):
    print("saw", event)
    if event == "fail":
        raise ValueError("as asked")
    if event == "exit":
        os._exit(7)
    if event == "hang":
        time.sleep(60)
    return {"event": event, "version": context.function_version, "env": os.environ.get("KEY"),
            "arn": context.invoked_function_arn, "client": getattr(
                context.client_context, "custom", None)}
''', "boto3_free.py": ""})
KEYS = package({"x.py": '''
import os
def handler(event, context):
    return [os.environ["AWS_" + name] for name in (
        "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN")]
'''})
LOGS = package({"x.py": '''
import logging
def handler(event, context):
    logging.getLogger().info("one %d", 1)
    logging.getLogger("my").warning("two %d", 2)
    raise ValueError("as asked")
'''})
LOGS_JS = package({"x.js": '''
exports.handler = async () => {
  console.log("one %d", 1);
  console.warn("two %d", 2);
  throw new Error("as asked");
};
'''})


@kist_server.needs_sandboxes
class Running(LambdaBase):
    """What comes back of functions that run."""

    def test_answers(self):
        self.make("run", Code={"ZipFile": WORKER}, Environment={"Variables": {"KEY": "v"}},
                  Timeout=10)
        reply = self.fn.invoke(FunctionName="run", Payload=b'{"a": [1, "\xc3\xa9"]}',
                               LogType="Tail")
        self.assertEqual((reply["StatusCode"], reply["ExecutedVersion"]), (200, "$LATEST"))
        self.assertNotIn("FunctionError", reply)
        self.assertEqual(json.loads(reply["Payload"].read()), {
            "event": {"a": [1, "\u00e9"]}, "version": "$LATEST", "env": "v",
            "arn": self.arn("run"), "client": None})
        tail = base64.b64decode(reply["LogResult"]).decode()
        request = reply["ResponseMetadata"]["RequestId"]
        for part in (f"START RequestId: {request}", "saw {'a'", f"END RequestId: {request}",
                     f"REPORT RequestId: {request}", "Billed Duration:", "Max Memory Used:"):
            self.assertIn(part, tail)
        context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
        reply = self.fn.invoke(FunctionName="run", ClientContext=context)
        self.assertEqual(json.loads(reply["Payload"].read())["client"], {"k": "v"})

    def test_versions_and_aliases_run(self):
        self.make("rv", Code={"ZipFile": WORKER}, Publish=True)
        self.fn.create_alias(FunctionName="rv", Name="live", FunctionVersion="1")
        self.fn.update_function_code(FunctionName="rv", ZipFile=OTHER)
        reply = self.fn.invoke(FunctionName="rv", Qualifier="live", Payload=b"1")
        self.assertEqual(reply["ExecutedVersion"], "1")
        self.assertEqual(json.loads(reply["Payload"].read())["event"], 1)
        self.assertEqual(self.fn.invoke(FunctionName="rv")["Payload"].read(), b"2")
        self.fn.update_function_code(FunctionName="rv", ZipFile=HANDLER)
        self.assertEqual(self.fn.invoke(FunctionName="rv", Payload=b"[3]")["Payload"].read(),
                         b"[3]")

    def test_errors(self):
        self.make("err", Code={"ZipFile": WORKER}, Timeout=1)
        reply = self.fn.invoke(FunctionName="err", Payload=b'"fail"')
        error = json.loads(reply["Payload"].read())
        self.assertEqual((reply["StatusCode"], reply["FunctionError"]), (200, "Unhandled"))
        self.assertEqual((error["errorType"], error["errorMessage"]), ("ValueError", "as asked"))
        self.assertIn("stackTrace", error)
        for payload, said in ((b'"exit"', "exited"), (b'"hang"', "timed out")):
            reply = self.fn.invoke(FunctionName="err", Payload=payload)
            self.assertEqual(reply["FunctionError"], "Unhandled")
            self.assertIn(said, json.loads(reply["Payload"].read())["errorMessage"])
        self.assertNotIn("FunctionError", self.fn.invoke(FunctionName="err"))    # it lives on
        self.make("broken", Handler="absent.handler")
        reply = self.fn.invoke(FunctionName="broken")
        self.assertEqual(reply["FunctionError"], "Unhandled")
        self.assertIn("absent", json.loads(reply["Payload"].read())["errorMessage"])

    def test_throttled(self):
        self.make("none", Code={"ZipFile": HANDLER})
        self.fn.put_function_concurrency(FunctionName="none", ReservedConcurrentExecutions=0)
        reply = self.wrong("TooManyRequestsException", self.fn.invoke, 429, FunctionName="none")
        self.assertIn("retry-after", reply["ResponseMetadata"]["HTTPHeaders"])

    def test_large_payloads(self):
        self.make("large", Code={"ZipFile": HANDLER}, MemorySize=512)
        payload = json.dumps("x" * (5 << 20)).encode()
        reply = self.fn.invoke(FunctionName="large", Payload=payload)
        self.assertEqual(reply["Payload"].read(), payload)

    def logs(self, name, **params):
        query = "&".join(f"{k}={v}" for k, v in params.items())
        status, _, body = self.signed("GET", f"/2015-03-31/functions/{name}/kist-logs?{query}")
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def test_events(self):
        self.make("later", Code={"ZipFile": WORKER})
        reply = self.fn.invoke(FunctionName="later", InvocationType="Event",
                               Payload=b'{"mark": 77}')
        self.assertEqual((reply["StatusCode"], reply["Payload"].read()), (202, b""))
        request, after = reply["ResponseMetadata"]["RequestId"], 0
        for _ in range(40):         # each waits until there is something new
            page = self.logs("later", after=after, wait=10)
            after = page["Next"]
            if any("'mark': 77" in line["Text"] for line in page["Lines"]):
                break
        else:
            self.fail("the event never came to the function")
        self.assertIn(request, [line["RequestId"] for line in self.logs("later")["Lines"]])

    def test_credentials_carry_the_chain(self):
        """Whichever way a function's requests come, they are a step of what it is doing."""
        self.iam.put_role_policy(RoleName=self.role.rpartition("/")[2], PolicyName="invoke",
                                 PolicyDocument=json.dumps({
                                     "Version": "2012-10-17", "Statement": {
                                         "Effect": "Allow", "Resource": "*",
                                         "Action": ["lambda:InvokeFunction", "s3:*"]}}))
        self.make("chain", Code={"ZipFile": KEYS})
        self.fn.put_function_concurrency(FunctionName="chain", ReservedConcurrentExecutions=1)
        own = json.loads(self.fn.invoke(FunctionName="chain")["Payload"].read())
        names = dict(zip(("aws_access_key_id", "aws_secret_access_key", "aws_session_token"), own))
        import boto3
        there = {"endpoint_url": self.server.endpoint, "region_name": "us-east-1", **names}
        fn, s3, steps = boto3.client("lambda", **there), boto3.client("s3", **there), 1
        s3.create_bucket(Bucket="chain")
        try:
            while steps < 40:
                reply = fn.invoke(FunctionName="chain")
                self.assertEqual(json.loads(reply["Payload"].read()), own)
                steps += 1
        except ClientError as error:
            self.assertEqual(error.response["Error"]["Code"], "RecursiveInvocationException")
        self.assertEqual(steps, 16)
        s3.put_object(Bucket="chain", Key="k", Body=b"")
        headers = s3.head_object(Bucket="chain", Key="k")["ResponseMetadata"]["HTTPHeaders"]
        self.assertEqual(headers["x-kist-lineage-depth"], "16")

    def said(self, name):
        """What was printed by a call that has failed."""
        reply = self.fn.invoke(FunctionName=name, LogType="Tail")
        self.assertEqual(reply["FunctionError"], "Unhandled")
        lines = base64.b64decode(reply["LogResult"]).decode().splitlines()
        return [line for line in map(json.loads, lines) if "level" in line]

    def set_level(self, name, level):
        """boto3 1.26 does not know LoggingConfig."""
        status, _, body = self.signed(
            "PUT", f"/2015-03-31/functions/{name}/configuration", json.dumps({"LoggingConfig": {
                "LogFormat": "JSON", "ApplicationLogLevel": level}}).encode())
        self.assertEqual(status, 200, body)
        self.assertEqual(json.loads(body)["LoggingConfig"]["ApplicationLogLevel"], level)

    def test_log_levels(self):
        for name, runtime, code in (("py", "python3.11", LOGS), ("node", "nodejs18.x", LOGS_JS)):
            if runtime.startswith("node") and not shutil.which("node"):
                continue
            name = f"levels-{name}"
            self.make(name, Runtime=runtime, Code={"ZipFile": code})
            self.set_level(name, "WARN")
            said = self.said(name)
            self.assertEqual([line["level"][:4] for line in said], ["WARN", "ERRO"])
            self.assertEqual(said[0]["message"], "two 2")
            self.assertEqual(said[1]["errorMessage"], "as asked")
            self.assertTrue(said[0]["timestamp"].endswith("Z") and said[0]["requestId"])
            self.set_level(name, "INFO")
            said = self.said(name)
            self.assertEqual([line.get("message") for line in said][:2], ["one 1", "two 2"])

    BOOTSTRAP = r"""
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* The Runtime API in a few lines: asks for work, answers with its length. */
static char buf[1 << 16];
static int talk(const char *request, size_t len)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    char host[64];
    snprintf(host, sizeof(host), "%s", getenv("AWS_LAMBDA_RUNTIME_API"));
    char *colon = strchr(host, ':');
    *colon = 0;
    to.sin_port = htons((unsigned short)atoi(colon + 1));
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), n, at = 0;
    if (connect(fd, (void *)&to, sizeof(to)) || write(fd, request, len) < 0)
        return -1;
    while ((n = (int)read(fd, buf + at, sizeof(buf) - 1 - (size_t)at)) > 0)
        at += n;
    buf[at] = 0;
    close(fd);
    return at;
}
int main(void)
{
    static const char next[] = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n"
                               "Host: x\r\nConnection: close\r\n\r\n";
    for (;;) {
        char answer[512], body[64], id[64] = "";
        if (talk(next, sizeof(next) - 1) <= 0)
            return 1;
        char *at = strcasestr(buf, "lambda-runtime-aws-request-id:");
        char *payload = strstr(buf, "\r\n\r\n");
        if (!at || !payload || sscanf(at + 30, " %63[^\r]", id) != 1)
            return 2;
        int n = snprintf(body, sizeof(body), "{\"length\":%zu}", strlen(payload + 4));
        n = snprintf(answer, sizeof(answer),
                     "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
                     "Connection: close\r\nContent-Length: %d\r\n\r\n%s", id, n, body);
        talk(answer, (size_t)n);
    }
}
"""

    def test_bootstrap_in_c(self):
        with tempfile.TemporaryDirectory() as work:
            source, program = os.path.join(work, "b.c"), os.path.join(work, "bootstrap")
            with open(source, "w", encoding="utf-8") as f:
                f.write(self.BOOTSTRAP)
            subprocess.run(["gcc", "-D_GNU_SOURCE", "-O1", "-o", program, source], check=True)
            with open(program, "rb") as f:
                code = package({"bootstrap": f.read()}, {"bootstrap": 0o100755}.items())
        self.make("native", Runtime="provided.al2023", Handler="any", Code={"ZipFile": code})
        for payload in (b"{}", b"[1, 2]", json.dumps("x" * 1000).encode()):
            reply = self.fn.invoke(FunctionName="native", Payload=payload)
            self.assertEqual(json.loads(reply["Payload"].read()), {"length": len(payload)})

    def stream(self, name, payload=b"{}", **headers):
        """The messages of a streamed answer: [(event type, payload)]."""
        status, reply, body = self.signed(
            "POST", f"/2021-11-15/functions/{name}/response-streaming-invocations", payload,
            headers)
        self.assertEqual((status, reply["Content-Type"]),
                         (200, "application/vnd.amazon.eventstream"), body)
        buffer = EventStreamBuffer()        # checks lengths and checksums
        buffer.add_data(body)
        return [(e.headers[":event-type"], e.payload) for e in buffer]

    def test_streams(self):
        self.make("streams", Code={"ZipFile": WORKER}, Timeout=10)
        events = self.stream("streams", b'"a"', **{"X-Amz-Log-Type": "Tail"})
        self.assertEqual([e[0] for e in events], ["PayloadChunk", "InvokeComplete"])
        self.assertEqual(json.loads(events[0][1])["event"], "a")
        tail = base64.b64decode(json.loads(events[1][1])["LogResult"])
        self.assertIn(b"REPORT RequestId", tail)
        kind, end = self.stream("streams", b'"fail"')[-1]
        self.assertEqual((kind, json.loads(end)["ErrorCode"]), ("InvokeComplete", "Unhandled"))
        self.assertIn("as asked", json.loads(end)["ErrorDetails"])
        large = json.dumps("x" * (1 << 20)).encode()
        self.make("streams-large", Code={"ZipFile": HANDLER}, MemorySize=256)
        events = self.stream("streams-large", large)
        self.assertEqual(b"".join(p for kind, p in events if kind == "PayloadChunk"), large)
        status, headers, _ = self.signed(
            "POST", "/2021-11-15/functions/nothing/response-streaming-invocations", b"{}")
        self.assertEqual((status, headers["x-amzn-ErrorType"]),
                         (404, "ResourceNotFoundException"))

    def test_streams_as_they_come(self):
        """Node's streamifyResponse: the first piece is here before the function has ended."""
        if not shutil.which("node"):
            self.skipTest("no node here")
        code = package({"index.mjs": """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
    stream.write("first;");
    await new Promise((done) => setTimeout(done, 300));
    stream.write("second;");
    stream.end();
});
"""})
        self.make("pieces", Runtime="nodejs20.x", Handler="index.handler",
                  Code={"ZipFile": code}, Timeout=20, MemorySize=256)
        events = self.stream("pieces")
        chunks = [p for kind, p in events if kind == "PayloadChunk"]
        self.assertEqual(b"".join(chunks), b"first;second;")
        self.assertGreaterEqual(len(chunks), 2)

    def test_dead_letters(self):
        """DeadLetterConfig, and OnFailure before it."""
        self.make("dead", Code={"ZipFile": WORKER},
                  DeadLetterConfig={"TargetArn": f"s3://{self.bucket}/config/"})
        self.fn.put_function_event_invoke_config(FunctionName="dead", MaximumRetryAttempts=0)

        def letter(prefix):
            self.fn.invoke(FunctionName="dead", InvocationType="Event", Payload=b'"fail"')
            until = time.monotonic() + 60
            while time.monotonic() < until:
                found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
                if found["KeyCount"]:
                    return self.body(found["Contents"][0]["Key"])
                time.sleep(0.05)
            self.fail(f"no dead letter in {prefix}")
        self.assertIn(b"as asked", letter("config/"))
        self.fn.update_function_event_invoke_config(FunctionName="dead", DestinationConfig={
            "OnFailure": {"Destination": f"s3://{self.bucket}/failure/"}})
        self.assertIn(b"as asked", letter("failure/"))

    def test_another_account(self):
        """A function acts for its own account, by its role."""
        theirs = self.service("lambda", self.b.access, self.b.secret)
        role = self.b.iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=json.dumps(
            ACCOUNT_TRUST))["Role"]["Arn"]
        self.wrong("AccessDeniedException", self.make, 403, name="borrowed", Role=role)
        who = package({"x.py": """
import boto3
def handler(event, context):
    me = boto3.client("sts").get_caller_identity()
    try:
        boto3.client("s3").list_buckets()
        may = True
    except Exception as e:
        may = type(e).__name__
    return {"account": me["Account"], "arn": me["Arn"], "may": may}
"""})
        self.addCleanup(theirs.delete_function, FunctionName="theirs")
        made = theirs.create_function(FunctionName="theirs", Runtime="python3.11", Role=role,
                                      Handler="x.handler", Code={"ZipFile": who}, Timeout=30,
                                      MemorySize=256)
        self.assertIn(f":{self.b.id}:function:theirs", made["FunctionArn"])
        reply = json.loads(theirs.invoke(FunctionName="theirs")["Payload"].read())
        self.assertEqual((reply["account"], reply["may"]), (self.b.id, "ClientError"))
        self.assertIn(":assumed-role/theirs/", reply["arn"])
        self.assertNotIn("theirs", [f["FunctionName"] for f in self.fn.list_functions()[
            "Functions"]])
        self.wrong("ResourceNotFoundException", self.fn.invoke, 404, FunctionName="theirs")
        self.wrong("AccessDeniedException", self.fn.invoke, 403,
                   FunctionName=made["FunctionArn"])

    def test_request_too_large(self):
        """Refused by its header: not a byte of it is waited for."""
        length = 70167212
        request = AWSRequest("POST", self.server.endpoint + "/2015-03-31/functions", data=b"{}")
        SigV4Auth(self.fn._request_signer._credentials, "lambda", "us-east-1").add_auth(request)
        http = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        http.putrequest("POST", "/2015-03-31/functions")
        for name, value in {**dict(request.headers), "Content-Length": str(length)}.items():
            http.putheader(name, value)
        http.endheaders()
        reply = http.getresponse()
        self.assertEqual((reply.status, reply.headers["x-amzn-ErrorType"]),
                         (413, "RequestEntityTooLargeException"), reply.read())
        http.close()

    def test_stream_that_nobody_reads(self):
        """The client goes while the function still writes: the next one is served."""
        if not shutil.which("node"):
            self.skipTest("no node here")
        code = package({"index.mjs": """
export const handler = awslambda.streamifyResponse(async (event, stream) => {
    for (let i = 0; i < 20; i++) {
        stream.write("x".repeat(10000));
        await new Promise((done) => setTimeout(done, 20));
    }
    stream.end();
});
"""})
        self.make("unread", Runtime="nodejs20.x", Handler="index.handler",
                  Code={"ZipFile": code}, Timeout=20, MemorySize=256)
        path = "/2021-11-15/functions/unread/response-streaming-invocations"
        for _ in range(3):
            request = AWSRequest("POST", self.server.endpoint + path, data=b"{}")
            SigV4Auth(self.fn._request_signer._credentials, "lambda",
                      "us-east-1").add_auth(request)
            http = HTTPConnection("127.0.0.1", self.server.port, timeout=30)
            http.request("POST", path, body=b"{}", headers=dict(request.headers))
            self.assertTrue(http.getresponse().read(100))
            http.close()
        chunks = [p for kind, p in self.stream("unread") if kind == "PayloadChunk"]
        self.assertEqual(b"".join(chunks), b"x" * 200000)
