"""Who may do what: bucket policies, public access block, anonymous requests, CORS, and the
configurations that only need to be kept."""
import datetime
import json
import ssl

import kist_server
from s3_raw import RawClient, Signature
from semantics import Semantics
from workflow import boto_client

ORIGIN = "https://app.example.org"


def statement(bucket, effect="Allow", principal="*", action="s3:GetObject", resource="/*",
              **more):
    resources = [f"arn:aws:s3:::{bucket}{r}" for r in resource.split()] \
        if resource else f"arn:aws:s3:::{bucket}"
    return {"Effect": effect, "Principal": principal, "Action": action, "Resource": resources,
            **more}


class Access(Semantics):
    def bucket_of(self, name, *statements):
        self.s3.create_bucket(Bucket=name)
        if statements:
            self.set_policy(name, *statements)
        return name

    def set_policy(self, bucket, *statements):
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(
            {"Version": "2012-10-17", "Statement": list(statements)}))

    def anonymous(self, method, target, **more):
        return self.raw.anonymous(method, target, **more)

    def assert_denied(self, reply):
        self.assertEqual((reply.status, reply.code), (403, "AccessDenied"))

    def test_policy_is_kept(self):
        bucket = self.bucket_of("a-kept")
        self.fails("NoSuchBucketPolicy", 404, self.s3.get_bucket_policy, Bucket=bucket)
        self.fails("NoSuchBucketPolicy", 404, self.s3.get_bucket_policy_status, Bucket=bucket)
        self.set_policy(bucket, statement(bucket))
        kept = json.loads(self.s3.get_bucket_policy(Bucket=bucket)["Policy"])
        self.assertEqual(kept["Statement"], [statement(bucket)])
        self.assertTrue(self.s3.get_bucket_policy_status(Bucket=bucket)
                        ["PolicyStatus"]["IsPublic"])
        for bad in ("x", "[]", "{}", json.dumps({"Statement": [statement("other")]}),
                    " " * 20481, json.dumps({"Statement": [statement(bucket, effect="allow")]})):
            self.raw_fails("MalformedPolicy" if len(bad) < 20480 else "MaxMessageLengthExceeded",
                           400, "PUT", f"/{bucket}?policy", body=bad.encode())
        self.assertEqual(json.loads(self.s3.get_bucket_policy(Bucket=bucket)["Policy"]), kept)
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.fails("NoSuchBucketPolicy", 404, self.s3.get_bucket_policy, Bucket=bucket)

    def test_anonymous_needs_a_policy(self):
        bucket = self.bucket_of("a-anonymous")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        for method, target in (("GET", f"/{bucket}/k"), ("PUT", f"/{bucket}/k"), ("GET", "/"),
                               ("GET", f"/{bucket}"), ("DELETE", f"/{bucket}/k"),
                               ("PUT", "/a-new-bucket"), ("GET", f"/{bucket}?policy"),
                               ("POST", f"/{bucket}/k?uploads"), ("GET", f"/{bucket}/none")):
            with self.subTest(method=method, target=target):
                self.assert_denied(self.anonymous(method, target))
        self.set_policy(bucket, statement(bucket))
        self.assertEqual(self.anonymous("GET", f"/{bucket}/k").body, b"x")
        self.assertEqual(self.anonymous("HEAD", f"/{bucket}/k").status, 200)
        self.assert_denied(self.anonymous("PUT", f"/{bucket}/k", body=b"y"))
        self.assert_denied(self.anonymous("GET", f"/{bucket}/none"))  # may not list: may not know
        self.set_policy(bucket, statement(bucket), statement(bucket, action="s3:ListBucket",
                                                             resource=""))
        self.assertEqual(self.anonymous("GET", f"/{bucket}/none").code, "NoSuchKey")
        self.assertIn(b"<Key>k</Key>", self.anonymous("GET", f"/{bucket}?list-type=2").body)
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.assert_denied(self.anonymous("GET", f"/{bucket}/k"))

    def test_anonymous_uploads(self):
        bucket = self.bucket_of("a-dropbox")
        self.set_policy(bucket, statement(bucket, action="s3:PutObject", resource="/in/*"))
        self.assertEqual(self.anonymous("PUT", f"/{bucket}/in/k", body=b"dropped").status, 200)
        self.assert_denied(self.anonymous("PUT", f"/{bucket}/out", body=b"x"))
        self.assert_denied(self.anonymous("GET", f"/{bucket}/in/k"))
        self.assert_denied(self.anonymous("PUT", f"/{bucket}/in/k", body=b"x",
                                          headers={"x-amz-tagging": "a=b"}))
        self.assert_denied(self.anonymous("PUT", f"/{bucket}/in/copy", headers={
            "x-amz-copy-source": f"/{bucket}/in/k"}))
        found = self.s3.get_object(Bucket=bucket, Key="in/k")
        self.assertEqual(found["Body"].read(), b"dropped")

    def test_deny_holds_for_the_owner(self):
        bucket = self.bucket_of("a-deny")
        self.s3.put_object(Bucket=bucket, Key="fixed/k", Body=b"x")
        self.s3.put_object(Bucket=bucket, Key="free/k", Body=b"x")
        self.set_policy(bucket, statement(bucket, "Deny", action=["s3:DeleteObject*",
                                                                  "s3:PutObject"],
                                          resource="/fixed/*"))
        self.fails("AccessDenied", 403, self.s3.delete_object, Bucket=bucket, Key="fixed/k")
        self.fails("AccessDenied", 403, self.s3.put_object, Bucket=bucket, Key="fixed/k")
        reply = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [
            {"Key": "fixed/k"}, {"Key": "free/k"}]})
        self.assertEqual([d["Key"] for d in reply["Deleted"]], ["free/k"])
        self.assertEqual([(e["Key"], e["Code"]) for e in reply["Errors"]],
                         [("fixed/k", "AccessDenied")])
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="fixed/k")["Body"].read(), b"x")

    def test_conditions(self):
        bucket = self.bucket_of("a-conditions")
        tags = {"TagSet": [{"Key": "open", "Value": "yes"}]}
        for key in ("tagged", "plain"):
            self.s3.put_object(Bucket=bucket, Key=key, Body=b"x")
        self.s3.put_object_tagging(Bucket=bucket, Key="tagged", Tagging=tags)
        self.set_policy(bucket, statement(bucket, Condition={
            "StringEquals": {"s3:ExistingObjectTag/open": "yes"}}))
        self.assertEqual(self.anonymous("GET", f"/{bucket}/tagged").status, 200)
        self.assert_denied(self.anonymous("GET", f"/{bucket}/plain"))
        for condition, allowed in (
                ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
                ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, False),
                ({"Bool": {"aws:SecureTransport": "false"}}, True),
                ({"Bool": {"aws:SecureTransport": "true"}}, False),
                ({"StringLike": {"aws:Referer": "https://me/*"}}, True),
                ({"StringLike": {"aws:Referer": "https://you/*"}}, False),
                ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False)):
            with self.subTest(condition=condition):
                self.set_policy(bucket, statement(bucket, Condition=condition))
                reply = self.anonymous("GET", f"/{bucket}/plain",
                                       headers={"referer": "https://me/page"})
                self.assertEqual(reply.status, 200 if allowed else 403)
        self.set_policy(bucket, statement(bucket, action="s3:ListBucket", resource="", Condition={
            "StringLike": {"s3:prefix": "pub/*"}}))
        self.assertEqual(self.anonymous("GET", f"/{bucket}?prefix=pub/a").status, 200)
        self.assert_denied(self.anonymous("GET", f"/{bucket}?prefix=priv/a"))
        self.assert_denied(self.anonymous("GET", f"/{bucket}"))

    def test_condition_keys_exist(self):
        bucket = self.bucket_of("a-keys", statement("a-keys"))
        kept = self.s3.get_bucket_policy(Bucket=bucket)["Policy"]
        for key in ("s3:prefixes", "s3:ExistingObjectTag/", "aws:SourceIpp"):
            reply = self.raw_fails("MalformedPolicy", 400, "PUT", f"/{bucket}?policy=", body=json.dumps(
                {"Statement": [statement(bucket, Condition={"Null": {key: "true"}})]}).encode())
            self.assertIn(b"<Message>Policy has an invalid condition key</Message>", reply.body)
        self.assertEqual(self.s3.get_bucket_policy(Bucket=bucket)["Policy"], kept)
        self.set_policy(bucket, statement(bucket, Condition={"Null": {
            "s3:DataAccessPointArn": "true", "aws:SourceVpce": "true", "aws:TagKeys": "true"}}))
        self.assertEqual(self.anonymous("GET", f"/{bucket}/none").status, 403)  # may not list

    def holds(self, bucket, condition, ask):
        """Whether a denial under the condition bites."""
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:*", Condition=condition))
        status = ask()
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.assertIn(status, (200, 403))
        return status == 403

    def test_conditions_about_signatures(self):
        bucket = self.bucket_of("a-signed")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(minutes=5)
        url = boto_client(self.server, signature_version="s3v4").generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=600)
        sigv2 = boto_client(self.server, signature_version="s3").generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=600)
        fresh = lambda: self.raw.request("GET", f"/{bucket}/k").status
        old = lambda: self.raw.request("GET", f"/{bucket}/k", signature=Signature(when=ago)).status
        presigned = lambda link: lambda: self.anonymous("GET", "/" + link.split("/", 3)[3]).status
        older = {"NumericGreaterThan": {"s3:signatureAge": "250000"}}
        known = {"NumericLessThan": {"s3:signatureAge": "250000"}}
        unknown = {"Null": {"s3:signatureAge": "true"}}
        for ask, expected in ((fresh, (False, True, False)), (old, (True, False, False)),
                              (presigned(url), (False, True, False)),
                              (presigned(sigv2), (False, False, True))):
            self.assertEqual(tuple(self.holds(bucket, c, ask) for c in (older, known, unknown)),
                             expected)

    def test_conditions_about_tls(self):
        secure = kist_server.shared(tls=True)
        s3, raw = boto_client(secure), RawClient(secure)
        bucket = "a-tls"
        s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Statement": [statement(
            bucket, "Deny", Condition={"NumericLessThan": {"s3:TlsVersion": "1.3"}})]}))
        self.assertEqual(raw.request("GET", f"/{bucket}/k").status, 200)
        raw.context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.assert_denied(raw.request("GET", f"/{bucket}/k"))
        plain = self.bucket_of("a-tls-plain")
        self.s3.put_object(Bucket=plain, Key="k", Body=b"x")
        self.assertTrue(self.holds(plain, {"Null": {"s3:TlsVersion": "true"}}, lambda:
                                   self.raw.request("GET", f"/{plain}/k").status))

    def test_conditions_about_writes(self):
        """As AWS's guide has it: no object without a condition, but uploads may have parts."""
        bucket = self.bucket_of("a-written")
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:PutObject", Condition={
            "Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}))
        new = {"headers": {"If-None-Match": "*"}}
        self.raw_fails("AccessDenied", 403, "PUT", f"/{bucket}/k", body=b"x")
        self.assertEqual(self.raw.request("PUT", f"/{bucket}/k", body=b"x", **new).status, 200)
        upload = self.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
        part = self.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"x")
        target, body = f"/{bucket}/m?uploadId={upload}", (
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber>"
            f"<ETag>{part['ETag']}</ETag></Part></CompleteMultipartUpload>").encode()
        self.raw_fails("AccessDenied", 403, "POST", target, body=body)
        self.assertEqual(self.raw.request("POST", target, body=body, **new).status, 200)

    def test_conditions_about_versions(self):
        bucket = self.bucket_of("a-versions")
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        version = self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
        self.set_policy(bucket, statement(bucket, "Deny", action=[
            "s3:DeleteObjectVersion", "s3:GetObjectVersion"], Condition={
                "StringEquals": {"s3:VersionId": version}}))
        exact = {"Key": "k", "VersionId": version}
        self.fails("AccessDenied", 403, self.s3.get_object, Bucket=bucket, **exact)
        self.fails("AccessDenied", 403, self.s3.copy_object, Bucket=bucket, Key="copy",
                   CopySource={"Bucket": bucket, **exact})
        reply = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [exact]})
        self.assertEqual([e["Code"] for e in reply.get("Errors", [])], ["AccessDenied"])
        self.s3.get_object(Bucket=bucket, Key="k")
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:GetObjectVersion", Condition={
            "StringNotEquals": {"s3:VersionId": "null"}}))
        self.fails("AccessDenied", 403, self.s3.get_object, Bucket=bucket, **exact)
        self.fails("NoSuchVersion", 404, self.s3.get_object, Bucket=bucket, Key="k",
                   VersionId="null")

    def test_conditions_about_bodies(self):
        """What a body asks for is what a header would ask for."""
        bucket = "a-bodies"
        self.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        where = {"Bucket": bucket, "Key": "k"}

        def forbid(action, operator, **condition):
            self.set_policy(bucket, statement(bucket, "Deny", action="s3:" + action, Condition={
                operator: {"s3:" + k.replace("_", "-"): v for k, v in condition.items()}}))

        def tag(**tags):
            self.s3.put_object_tagging(**where, Tagging={
                "TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]})

        forbid("PutObjectTagging", "StringEquals", **{"RequestObjectTag/level": "secret"})
        tag(level="open", other="secret")
        self.fails("AccessDenied", 403, tag, other="x", level="secret")
        forbid("PutObjectTagging", "ForAnyValue:StringNotEquals", RequestObjectTagKeys=["level"])
        tag(level="secret")
        self.fails("AccessDenied", 403, tag, level="open", other="x")
        self.assertEqual(self.s3.get_object_tagging(**where)["TagSet"],
                         [{"Key": "level", "Value": "secret"}])
        hold = self.s3.put_object_legal_hold
        forbid("PutObjectLegalHold", "StringEquals", object_lock_legal_hold="ON")
        hold(**where, LegalHold={"Status": "OFF"})
        self.fails("AccessDenied", 403, hold, **where, LegalHold={"Status": "ON"})

        def retain(days, mode="GOVERNANCE"):
            self.s3.put_object_retention(**where, BypassGovernanceRetention=True, Retention={
                "Mode": mode, "RetainUntilDate": datetime.datetime.now(datetime.timezone.utc)
                + datetime.timedelta(days=days, hours=1)})

        forbid("PutObjectRetention", "NumericGreaterThan", object_lock_remaining_retention_days="5")
        retain(5)
        self.fails("AccessDenied", 403, retain, 6)
        forbid("PutObjectRetention", "StringEquals", object_lock_mode="COMPLIANCE")
        retain(4)
        self.fails("AccessDenied", 403, retain, 4, "COMPLIANCE")
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.assertEqual(self.s3.get_object_retention(**where)["Retention"]["Mode"], "GOVERNANCE")

    def test_conditions_about_grants(self):
        bucket = self.bucket_of("a-grants")
        everybody = 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'
        for name in ("Read", "WriteACP", "FullControl"):
            key = "x-amz-grant-" + {"WriteACP": "write-acp", "FullControl": "full-control"}.get(
                name, "read")
            self.set_policy(bucket, statement(bucket, "Deny", action="s3:PutObject", Condition={
                "StringLike": {"s3:" + key: "*AllUsers*"}}))
            self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
            self.fails("AccessDenied", 403, self.s3.put_object, Bucket=bucket, Key="k",
                       **{"Grant" + name: everybody})

    def test_nobody_locks_himself_out(self):
        bucket = self.bucket_of("a-lock-out")
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:*"),
                        statement(bucket, "Deny", action="s3:*", resource=""))
        self.fails("AccessDenied", 403, self.s3.list_objects_v2, Bucket=bucket)
        self.fails("AccessDenied", 403, self.s3.put_bucket_tagging, Bucket=bucket,
                   Tagging={"TagSet": []})
        self.assert_denied(self.anonymous("DELETE", f"/{bucket}?policy"))
        self.assertIn("Deny", self.s3.get_bucket_policy(Bucket=bucket)["Policy"])
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.s3.list_objects_v2(Bucket=bucket)

    def test_attributes_are_read(self):
        bucket = self.bucket_of("a-attributes")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        self.set_policy(bucket, statement(bucket, "Deny"))
        self.fails("AccessDenied", 403, self.s3.get_object_attributes, Bucket=bucket, Key="k",
                   ObjectAttributes=["ETag"])

    def test_copies_of_what_is_not_shown(self):
        bucket = self.bucket_of("a-copies")
        self.s3.put_object(Bucket=bucket, Key="tagged", Body=b"x", Tagging="a=b")
        self.s3.put_object(Bucket=bucket, Key="plain", Body=b"x")

        def copy(key, **more):
            self.s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/{key}", **more)

        for action in ("s3:GetObjectTagging", "s3:PutObjectTagging"):
            with self.subTest(action=action):
                self.set_policy(bucket, statement(bucket, "Deny", action=action))
                copy("plain")
                self.fails("AccessDenied", 403, copy, "tagged")
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:GetObjectTagging"))
        copy("tagged", TaggingDirective="REPLACE", Tagging="c=d")
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:ListBucket", resource=""))
        self.fails("AccessDenied", 403, copy, "nothing")
        self.s3.delete_bucket_policy(Bucket=bucket)
        self.fails("NoSuchKey", 404, copy, "nothing")

    def test_public_access_block(self):
        bucket = self.bucket_of("a-blocked")
        self.fails("NoSuchPublicAccessBlockConfiguration", 404, self.s3.get_public_access_block,
                   Bucket=bucket)
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        self.set_policy(bucket, statement(bucket))
        block = {"BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
                 "RestrictPublicBuckets": True}
        self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=block)
        self.assertEqual(self.s3.get_public_access_block(Bucket=bucket)
                         ["PublicAccessBlockConfiguration"], block)
        self.assert_denied(self.anonymous("GET", f"/{bucket}/k"))
        self.fails("AccessDenied", 403, self.set_policy, bucket, statement(bucket))
        self.set_policy(bucket, statement(bucket, "Deny", action="s3:PutObject"))
        self.s3.delete_public_access_block(Bucket=bucket)
        self.set_policy(bucket, statement(bucket))
        self.assertEqual(self.anonymous("GET", f"/{bucket}/k").status, 200)

    def test_what_is_not_set(self):
        bucket = self.bucket_of("a-unset")
        s3 = self.s3
        rule = s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"]["Rules"]
        self.assertEqual(rule, [{"ObjectOwnership": "BucketOwnerEnforced"}])
        self.assertEqual(s3.get_bucket_request_payment(Bucket=bucket)["Payer"], "BucketOwner")
        self.assertNotIn("LoggingEnabled", s3.get_bucket_logging(Bucket=bucket))
        self.assertNotIn("Status", s3.get_bucket_accelerate_configuration(Bucket=bucket))
        notification = s3.get_bucket_notification_configuration(Bucket=bucket)
        notification.pop("ResponseMetadata")
        self.assertEqual(notification, {})
        for code, call in (("NoSuchCORSConfiguration", s3.get_bucket_cors),
                           ("NoSuchWebsiteConfiguration", s3.get_bucket_website),
                           ("NoSuchLifecycleConfiguration",
                            s3.get_bucket_lifecycle_configuration),
                           ("ServerSideEncryptionConfigurationNotFoundError",
                            s3.get_bucket_encryption)):
            self.fails(code, 404, call, Bucket=bucket)

    def test_acls_are_disabled(self):
        bucket = self.bucket_of("a-acl")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="bucket-owner-full-control")
        for reply in (self.s3.get_bucket_acl(Bucket=bucket),
                      self.s3.get_object_acl(Bucket=bucket, Key="k")):
            self.assertEqual([(g["Grantee"]["ID"], g["Permission"]) for g in reply["Grants"]],
                             [(reply["Owner"]["ID"], "FULL_CONTROL")])
        self.s3.put_bucket_acl(Bucket=bucket, ACL="private")
        self.fails("AccessControlListNotSupported", 400, self.s3.put_bucket_acl, Bucket=bucket,
                   ACL="public-read")
        self.fails("AccessControlListNotSupported", 400, self.s3.put_object_acl, Bucket=bucket,
                   Key="k", GrantRead="uri=http://acs.amazonaws.com/groups/global/AllUsers")


class Cors(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_bucket_cors(Bucket=cls.bucket, CORSConfiguration={"CORSRules": [
            {"ID": "app", "AllowedOrigins": [ORIGIN, "https://*.example.net"],
             "AllowedMethods": ["GET", "PUT"], "AllowedHeaders": ["content-type", "x-amz-*"],
             "ExposeHeaders": ["ETag", "x-amz-version-id"], "MaxAgeSeconds": 600},
            {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"]}]})
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"x")

    def preflight(self, origin, method, headers=None, bucket=None):
        sent = {"origin": origin, "access-control-request-method": method}
        if headers:
            sent["access-control-request-headers"] = headers
        return self.raw.anonymous("OPTIONS", f"/{bucket or self.bucket}/k", headers=sent)

    def test_preflight(self):
        reply = self.preflight(ORIGIN, "PUT", "content-type, x-amz-date")
        self.assertEqual(reply.status, 200)
        for name, value in (("Access-Control-Allow-Origin", ORIGIN),
                            ("Access-Control-Allow-Methods", "GET, PUT"),
                            ("Access-Control-Allow-Headers", "content-type, x-amz-date"),
                            ("Access-Control-Expose-Headers", "ETag, x-amz-version-id"),
                            ("Access-Control-Max-Age", "600"),
                            ("Access-Control-Allow-Credentials", "true")):
            self.assertEqual(reply.headers[name], value)
        self.assertIn("Origin", reply.headers["Vary"])
        self.assertEqual(self.preflight("https://a.example.net", "GET").headers
                         ["Access-Control-Allow-Origin"], "https://a.example.net")
        self.assertEqual(self.preflight("https://any.where", "GET").headers
                         ["Access-Control-Allow-Origin"], "*")
        for refused in ((ORIGIN, "DELETE"), (ORIGIN, "PUT", "x-other"),
                        ("https://any.where", "PUT"), ("https://example.net", "PUT")):
            with self.subTest(refused=refused):
                reply = self.preflight(*refused)
                self.assertEqual((reply.status, reply.code), (403, "AccessForbidden"))
        self.assertEqual(self.preflight(ORIGIN, "GET", bucket="s-none").status, 403)
        reply = self.raw.anonymous("OPTIONS", f"/{self.bucket}/k")
        self.assertEqual(reply.status, 400)

    def test_actual_requests(self):
        reply = self.raw.request("GET", f"/{self.bucket}/k", headers={"origin": ORIGIN})
        self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]),
                         (200, ORIGIN))
        reply = self.raw.request("GET", f"/{self.bucket}/none", headers={"origin": ORIGIN})
        self.assertEqual((reply.status, reply.headers["Access-Control-Allow-Origin"]),
                         (404, ORIGIN))
        reply = self.raw.request("DELETE", f"/{self.bucket}/none", headers={"origin": ORIGIN})
        self.assertIsNone(reply.headers["Access-Control-Allow-Origin"])
        reply = self.raw.request("GET", f"/{self.bucket}/k")
        self.assertIsNone(reply.headers["Access-Control-Allow-Origin"])

    def test_documents(self):
        kept = self.s3.get_bucket_cors(Bucket=self.bucket)["CORSRules"]
        self.assertEqual((len(kept), kept[0]["ID"], kept[0]["MaxAgeSeconds"]), (2, "app", 600))

        def rule(inside):
            return f"<CORSConfiguration><CORSRule>{inside}</CORSRule></CORSConfiguration>".encode()

        origin, get = "<AllowedOrigin>*</AllowedOrigin>", "<AllowedMethod>GET</AllowedMethod>"
        for code, document in (
                ("InvalidRequest", rule(origin + "<AllowedMethod>PATCH</AllowedMethod>")),
                ("InvalidRequest", rule("<AllowedOrigin>*.*</AllowedOrigin>" + get)),
                ("InvalidRequest", rule(origin + get + "<ExposeHeader>x-*</ExposeHeader>")),
                ("MalformedXML", rule(origin)), ("MalformedXML", rule(get)),
                ("MalformedXML", rule(origin + get + "<Other>1</Other>")),
                ("MalformedXML", rule(origin + get + "<MaxAgeSeconds>-1</MaxAgeSeconds>")),
                ("MalformedXML", b"<CORSConfiguration></CORSConfiguration>"),
                ("MalformedXML", b"<Other></Other>"),
                ("MalformedXML", b"<CORSConfiguration>" + rule(origin + get)[19:-20] * 101
                 + b"</CORSConfiguration>")):
            with self.subTest(document=document[:120]):
                self.raw_fails(code, 400, "PUT", f"/{self.bucket}?cors", body=document)
        self.assertEqual(self.s3.get_bucket_cors(Bucket=self.bucket)["CORSRules"], kept)
