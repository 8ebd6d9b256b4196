"""Uploads from forms: policies, fields, answers, and forms that are broken."""
import base64
import datetime
import hashlib
import hmac
import http.client
import json
import re
import urllib.parse

import boto3
from botocore.config import Config
from kist_server import ACCESS_KEY, SECRET_KEY
from semantics import Semantics

BOUNDARY = "----a boundary'7"
MIB = 1 << 20


def form(fields, data=b"data", filename="f.txt", boundary=BOUNDARY, tail=b""):
    """The bytes of a form; data None: without a file."""
    out = b""
    for name, value in fields:
        value = value if isinstance(value, bytes) else value.encode()
        out += (f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() +
                value + b"\r\n")
    if data is not None:
        out += (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
                f'filename="{filename}"\r\nContent-Type: text/plain\r\n\r\n'.encode() +
                data + b"\r\n")
    return out + tail + f"--{boundary}--\r\n".encode()


class Post(Semantics):
    def send(self, body, boundary=BOUNDARY, kind="multipart/form-data", headers=None, pieces=None):
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=20)
        c.putrequest("POST", f"/{self.bucket}")
        c.putheader("Content-Type", f'{kind}; boundary="{boundary}"')
        c.putheader("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            c.putheader(name, value)
        c.endheaders()
        try:
            for i in range(0, len(body), pieces or max(1, len(body))):
                c.send(body[i:i + pieces] if pieces else body)
        except OSError:
            pass        # refused while we were still talking
        reply = c.getresponse()
        reply.body = reply.read()
        c.close()
        found = re.search(rb"<Code>(\w+)</Code>", reply.body)
        reply.code = found and found[1].decode()
        return reply

    def signed(self, fields, conditions=None, minutes=5, **changes):
        """Version 4 by hand; conditions None: one for each field."""
        now = datetime.datetime.now(datetime.timezone.utc)
        date = now.strftime("%Y%m%dT%H%M%SZ")
        scope = f"{date[:8]}/us-east-1/s3/aws4_request"
        own = [("x-amz-algorithm", "AWS4-HMAC-SHA256"),
               ("x-amz-credential", f"{ACCESS_KEY}/{scope}"), ("x-amz-date", date)]
        if conditions is None:
            conditions = [{name: value} for name, value in fields]
        conditions = conditions + [{"bucket": self.bucket}] + [dict([f]) for f in own]
        until = (now + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        policy = base64.b64encode(json.dumps(
            {"expiration": until, "conditions": conditions}).encode()).decode()
        key = ("AWS4" + SECRET_KEY).encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, policy.encode(), hashlib.sha256).hexdigest()
        all_fields = dict(list(fields) + own + [("policy", policy), ("x-amz-signature", signature)])
        all_fields.update(changes)
        return [(n, v) for n, v in all_fields.items() if v is not None]

    def refused(self, reply, status, code):
        self.assertEqual((reply.status, reply.code), (status, code), reply.body)
        self.assertNotIn("Contents", self.s3.list_objects_v2(Bucket=self.bucket, Prefix="no/"))

    def test_boto3(self):
        for version in ("s3v4", "s3"):
            s3 = boto3.client("s3", endpoint_url=self.server.endpoint, region_name="us-east-1",
                              aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                              config=Config(signature_version=version,
                                            s3={"addressing_style": "path"}))
            made = s3.generate_presigned_post(
                self.bucket, "up/${filename}", Fields={"Content-Type": "text/x-test"},
                Conditions=[["starts-with", "$Content-Type", "text/"],
                            ["content-length-range", 1, 10 * MIB]])
            self.assertTrue(made["url"].endswith("/" + self.bucket))
            data = bytes(range(256)) * 12000
            reply = self.send(form(made["fields"].items(), data, "C:\\dir\\my file.bin"))
            self.assertEqual(reply.status, 204, reply.body)
            got = self.get("up/my file.bin")
            self.assertEqual(got["Body"].read(), data)
            self.assertEqual(got["ContentType"], "text/x-test")
            self.assertEqual(reply.headers["ETag"], got["ETag"])

    def test_answers(self):
        base = [("key", "answers")]
        reply = self.send(form(self.signed(base + [("success_action_status", "201")])))
        self.assertEqual(reply.status, 201)
        for name, value in (("Bucket", self.bucket), ("Key", "answers")):
            self.assertIn(f"<{name}>{value}</{name}>".encode(), reply.body)
        self.assertTrue(reply.headers["Location"].endswith(f"/{self.bucket}/answers"))
        self.assertEqual(self.send(form(self.signed(base + [
            ("success_action_status", "200")]))).status, 200)
        self.assertEqual(self.send(form(self.signed(base + [
            ("success_action_status", "999")]))).status, 204)
        reply = self.send(form(self.signed(base + [
            ("success_action_redirect", "http://example.org/done?x=1")])))
        self.assertEqual(reply.status, 303)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(reply.headers["Location"]).query)
        self.assertEqual(query["x"] + query["bucket"] + query["key"],
                         ["1", self.bucket, "answers"])
        self.assertEqual(self.send(form(self.signed(base + [
            ("redirect", "javascript:alert(1)")]))).status, 204)

    def test_fields_are_headers(self):
        tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
        md5 = base64.b64encode(hashlib.md5(b"data").digest()).decode()
        fields = [("key", "headers"), ("Content-Type", "text/x"), ("Cache-Control", "no-store"),
                  ("x-amz-meta-color", "red"), ("tagging", tags), ("acl", "private"),
                  ("x-amz-storage-class", "STANDARD_IA"), ("Content-MD5", md5),
                  ("x-amz-server-side-encryption", "AES256"), ("x-ignore-me", "1")]
        reply = self.send(form(self.signed(fields, [{n: v} for n, v in fields[:-1]])),
                          headers={"x-amz-meta-not": "a field"})
        self.assertEqual(reply.status, 204, reply.body)
        got = self.s3.head_object(Bucket=self.bucket, Key="headers")
        self.assertEqual((got["ContentType"], got["CacheControl"], got["Metadata"],
                          got["StorageClass"], got["ServerSideEncryption"]),
                         ("text/x", "no-store", {"color": "red"}, "STANDARD_IA", "AES256"))
        self.assertEqual(self.s3.get_object_tagging(Bucket=self.bucket, Key="headers")["TagSet"],
                         [{"Key": "a", "Value": "b"}])
        fields[7] = ("Content-MD5", base64.b64encode(b"x" * 16).decode())
        fields[0] = ("key", "no/headers")
        self.refused(self.send(form(self.signed(fields, [{n: v} for n, v in fields[:-1]]))),
                     400, "BadDigest")

    def test_sizes(self):
        for size in (0, 1, 65536, 65537, 5 * MIB + 1):
            data = b"\r\n--" * (size // 4) + b"x" * (size % 4)
            reply = self.send(form(self.signed([("key", "sized")]), data))
            self.assertEqual(reply.status, 204, reply.body)
            self.assertEqual(self.body("sized"), data)
        limits = lambda low, high: [{"key": "no/limits"}, ["content-length-range", low, high]]
        fields = [("key", "no/limits")]
        self.refused(self.send(form(self.signed(fields, limits(5, 10)), b"1234")),
                     400, "EntityTooSmall")
        self.refused(self.send(form(self.signed(fields, limits(5, 10)), b"x" * 11)),
                     400, "EntityTooLarge")
        self.refused(self.send(form(self.signed(fields, limits("5", "10")), b"x" * MIB)),
                     400, "EntityTooLarge")

    def test_every_cut(self):
        """However the bytes come, the form is the same."""
        data = b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\r\n--\r\n" + b"y" * 50
        for pieces in (1, 2, 3, 7, 61):
            reply = self.send(form(self.signed([("key", "cut")]), data), pieces=pieces)
            self.assertEqual(reply.status, 204, reply.body)
            self.assertEqual(self.body("cut"), data)

    def test_policies(self):
        key = [("key", "no/policy")]
        ok = lambda conditions, fields=key, **more: self.send(form(
            self.signed(fields, conditions, **more)))
        for conditions in ([{"key": "other"}], [["eq", "$key", "other"]],
                           [["starts-with", "$key", "yes/"]], [{"Key": "no/policy"}, {"acl": "x"}],
                           [{"key": "no/policy"}, ["eq", "$x-amz-meta-a", "1"]], []):
            self.refused(ok(conditions), 403, "AccessDenied")
        self.refused(ok([{"key": "no/policy"}], key + [("x-amz-meta-more", "1")]),
                     403, "AccessDenied")
        self.refused(ok([{"key": "no/policy"}], minutes=-1), 403, "AccessDenied")
        for conditions in ([["between", "$key", "a"]], [["eq", "key", "no/policy"]], ["x"],
                           [{"key": "a", "b": "c"}], [{"key": 1}], [["eq", "$key"]],
                           [["content-length-range", -1, 5]], [["content-length-range", "a", 5]],
                           [{}]):
            self.refused(ok(conditions), 400, "InvalidPolicyDocument")
        for policy in ("!", base64.b64encode(b"{").decode(), base64.b64encode(b"[]").decode(),
                       base64.b64encode(b'{"conditions":[]}').decode(),
                       base64.b64encode(b"[" * 9000).decode()):
            signed = dict(self.signed(key))
            scope = signed["x-amz-credential"].split("/", 1)[1]
            k = ("AWS4" + SECRET_KEY).encode()
            for part in scope.split("/"):
                k = hmac.new(k, part.encode(), hashlib.sha256).digest()
            signed["policy"] = policy
            signed["x-amz-signature"] = hmac.new(k, policy.encode(), hashlib.sha256).hexdigest()
            self.refused(self.send(form(signed.items())), 400, "InvalidPolicyDocument")

    def test_forms_are_under_no_condition(self):
        """If-None-Match is no field of a form: policies that ask for it refuse the form."""
        policy = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
                  "Resource": f"arn:aws:s3:::{self.bucket}/no/*",
                  "Condition": {"Null": {"s3:if-none-match": "true"}}}
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps({"Statement": policy}))
        reply = self.send(form(self.signed([("key", "no/condition"), ("if-none-match", "*")])),
                          headers={"If-None-Match": "*"})
        self.s3.delete_bucket_policy(Bucket=self.bucket)
        self.refused(reply, 403, "AccessDenied")

    def test_signatures(self):
        key = [("key", "no/signature")]
        for changes, code in (({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
                              ({"x-amz-signature": ""}, "SignatureDoesNotMatch"),
                              ({"x-amz-signature": None}, "SignatureDoesNotMatch"),
                              ({"x-amz-security-token": "x"}, "InvalidToken")):
            reply = self.send(form(self.signed(key, **changes)))
            self.assertEqual(reply.code, code, reply.body)
        for changes in ({"x-amz-algorithm": "none"}, {"x-amz-date": "yesterday"},
                        {"x-amz-credential": "x"}, {"x-amz-credential": "a/b/c/d/e/f"},
                        {"x-amz-credential": f"{ACCESS_KEY}/20200101/us-east-1/s3/aws4_request"},
                        {"x-amz-algorithm": None}):
            self.refused(self.send(form(self.signed(key, **changes))), 400,
                         "AuthorizationQueryParametersError")
        other = dict(self.signed(key))["x-amz-credential"].replace(ACCESS_KEY, "AKIANOBODY")
        self.refused(self.send(form(self.signed(key, **{"x-amz-credential": other}))), 403,
                     "InvalidAccessKeyId")
        self.refused(self.send(form(key)), 403, "AccessDenied")     # anonymous

    def test_anonymous(self):
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{self.bucket}/public/*"}]}))
        self.assertEqual(self.send(form([("key", "public/a")])).status, 204)
        self.refused(self.send(form([("key", "no/a")])), 403, "AccessDenied")
        self.refused(self.send(form([("key", "public/t"), ("tagging", "<Tagging/>")])), 403,
                     "AccessDenied")
        self.s3.delete_bucket_policy(Bucket=self.bucket)

    def test_signed_header(self):
        """Of a form that its policy does not sign, no hash of the body is believed."""
        kind = {"content-type": f'multipart/form-data; boundary="{BOUNDARY}"'}
        body = form([("key", "no/header")])
        reply = self.raw.request("POST", f"/{self.bucket}", headers=kind, body=body)
        self.refused(reply, 400, "InvalidRequest")
        reply = self.raw.request("POST", f"/{self.bucket}", headers=kind, body=body,
                                 payload="UNSIGNED-PAYLOAD")
        self.assertEqual(reply.status, 204)
        self.s3.delete_object(Bucket=self.bucket, Key="no/header")
        reply = self.raw.request("POST", f"/{self.bucket}", headers=kind,
                                 body=form(self.signed([("key", "by-both")])))
        self.assertEqual(reply.status, 204, reply.body)

    def test_fields_given_twice(self):
        fields = self.signed([("key", "no/twice"), ("x-amz-meta-a", "1")])
        for more in (("x-amz-meta-a", "2"), ("X-Amz-Meta-A", "2")):
            for twice in (fields + [more], [more] + fields):
                self.refused(self.send(form(twice)), 403, "AccessDenied")

    def test_conditions_about_tags(self):
        def tagging(value):
            return ("tagging", "<Tagging><TagSet><Tag><Key>level</Key><Value>" + value +
                    "</Value></Tag></TagSet></Tagging>")
        self.s3.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Deny", "Principal": "*", "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{self.bucket}/*", "Condition": {
                    "StringEquals": {"s3:RequestObjectTag/level": "secret"}}}]}))
        self.assertEqual(self.send(form(self.signed([("key", "tag"), tagging("open")]))).status,
                         204)
        self.refused(self.send(form(self.signed([("key", "no/tag"), tagging("secret")]))), 403,
                     "AccessDenied")
        self.s3.delete_bucket_policy(Bucket=self.bucket)

    def test_broken_forms(self):
        fields = self.signed([("key", "no/broken")])
        good = form(fields)
        self.refused(self.send(good, kind="text/plain"), 412, "PreconditionFailed")
        self.refused(self.send(good, boundary="x" * 71), 412, "PreconditionFailed")
        self.refused(self.send(good[:-4]), 400, "MalformedPOSTRequest")
        self.refused(self.send(good, boundary="another"), 400, "MalformedPOSTRequest")
        self.refused(self.send(form(fields, None)), 400, "IncorrectNumberOfFilesInPostRequest")
        self.refused(self.send(form(fields) [:-len(f"--{BOUNDARY}--\r\n")] + form([], b"2")), 400,
                     "IncorrectNumberOfFilesInPostRequest")
        self.refused(self.send(form(fields[1:])), 403, "AccessDenied")
        self.refused(self.send(form([("key", "no/big"), ("x-ignore-a", "a" * 21000)])), 400,
                     "MaxPostPreDataLengthExceededError")
        self.refused(self.send(form([(f"x-ignore-{i}", "") for i in range(200)])), 400,
                     "MaxPostPreDataLengthExceededError")
        self.refused(self.send(form([("a" * 5000, "x")])), 400, "MalformedPOSTRequest")
        self.refused(self.send(good.replace(b"form-data; name", b"form-data; nome")), 400,
                     "MalformedPOSTRequest")
        self.refused(self.send(b""), 400, "MalformedPOSTRequest")
        self.refused(self.send(form(self.signed([("key", "k" * 1025)]))), 400, "KeyTooLongError")
        self.refused(self.send(form(self.signed([("key", "")]))), 400, "InvalidArgument")
        late = form(fields, tail=f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="late"'
                                 f'\r\n\r\nignored\r\n'.encode())
        self.assertEqual(self.send(late).status, 204)
        self.s3.delete_object(Bucket=self.bucket, Key="no/broken")

    def test_browser_on_another_origin(self):
        self.s3.put_bucket_cors(Bucket=self.bucket, CORSConfiguration={"CORSRules": [
            {"AllowedMethods": ["POST"], "AllowedOrigins": ["http://app.example"],
             "ExposeHeaders": ["ETag"]}]})
        reply = self.send(form(self.signed([("key", "cors")])),
                          headers={"Origin": "http://app.example"})
        self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]),
                         (204, "http://app.example"))
        reply = self.send(form([("key", "no/cors")]), headers={"Origin": "http://app.example"})
        self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]),
                         (403, "http://app.example"))
