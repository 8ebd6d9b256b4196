"""Access control lists and object ownership, between two accounts."""
import json
import os
import subprocess

from accounts import TwoAccounts

ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"


class Acl(TwoAccounts):
    def make(self, name, ownership="ObjectWriter", **more):
        self.a.s3.create_bucket(Bucket=name, ObjectOwnership=ownership, **more)
        return name

    def denied(self, call, **params):
        self.fails("AccessDenied", 403, call, **params)

    def grants(self, acl):
        return sorted((g["Grantee"].get("ID") or g["Grantee"]["URI"], g["Permission"])
                      for g in acl["Grants"])

    def reads(self, who, bucket, key="k", **more):
        return who.s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read()

    def test_disabled_by_default(self):
        self.put("k")
        for call, more in ((self.s3.put_bucket_acl, {"ACL": "public-read"}),
                           (self.s3.put_object_acl, {"Key": "k", "ACL": "public-read"}),
                           (self.s3.put_object, {"Key": "n", "ACL": "public-read"}),
                           (self.s3.put_object, {"Key": "n", "GrantRead": f'uri="{ALL_USERS}"'}),
                           (self.s3.create_multipart_upload, {"Key": "n", "ACL": "public-read"})):
            self.fails("AccessControlListNotSupported", 400, call, Bucket=self.bucket, **more)
        self.put("k", ACL="bucket-owner-full-control")
        self.s3.put_object_acl(Bucket=self.bucket, Key="k", ACL="private")
        acl = self.s3.get_object_acl(Bucket=self.bucket, Key="k")
        self.assertEqual(self.grants(acl), [(self.a.canonical, "FULL_CONTROL")])
        self.s3.put_object_acl(Bucket=self.bucket, Key="k", AccessControlPolicy={
            "Owner": acl["Owner"], "Grants": acl["Grants"]})
        self.fails("InvalidBucketAclWithObjectOwnership", 400, self.s3.create_bucket,
                   Bucket="acl-wrong", ACL="public-read")

    def test_ownership_controls(self):
        bucket = self.make("acl-controls", "BucketOwnerPreferred")
        get = lambda: self.s3.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"][
            "Rules"][0]["ObjectOwnership"]
        put = lambda to: self.s3.put_bucket_ownership_controls(
            Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": to}]})
        self.assertEqual(get(), "BucketOwnerPreferred")
        put("ObjectWriter")
        self.assertEqual(get(), "ObjectWriter")
        self.s3.put_bucket_acl(Bucket=bucket, ACL="public-read")
        self.fails("InvalidBucketAclWithObjectOwnership", 400, put, "BucketOwnerEnforced")
        self.s3.put_bucket_acl(Bucket=bucket, ACL="private")
        put("BucketOwnerEnforced")
        self.assertEqual(get(), "BucketOwnerEnforced")
        self.s3.delete_bucket_ownership_controls(Bucket=bucket)
        self.fails("OwnershipControlsNotFoundError", 404, get)
        self.fails("MalformedXML", 400, put, "Nobody")
        self.fails("InvalidArgument", 400, self.s3.create_bucket, Bucket="acl-bad",
                   ObjectOwnership="Nobody")

    def test_canned_lists_of_objects(self):
        bucket, me = self.make("acl-canned"), self.a.canonical
        own = (me, "FULL_CONTROL")
        for acl, more in (("private", []), ("public-read", [(ALL_USERS, "READ")]),
                          ("public-read-write", [(ALL_USERS, "READ"), (ALL_USERS, "WRITE")]),
                          ("authenticated-read", [(AUTHENTICATED, "READ")]),
                          ("aws-exec-read", []), ("bucket-owner-read", []),
                          ("bucket-owner-full-control", [])):
            with self.subTest(acl):
                self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=acl)
                got = self.s3.get_object_acl(Bucket=bucket, Key="k")
                self.assertEqual(self.grants(got), sorted([own, *more]))
                self.assertEqual(got["Owner"]["ID"], me)
        self.fails("InvalidArgument", 400, self.s3.put_object, Bucket=bucket, Key="k", ACL="odd")
        self.s3.put_bucket_acl(Bucket=bucket, ACL="log-delivery-write")
        self.assertEqual(self.grants(self.s3.get_bucket_acl(Bucket=bucket)), sorted(
            [own, (LOG_DELIVERY, "READ_ACP"), (LOG_DELIVERY, "WRITE")]))

    def test_who_reads(self):
        bucket = self.make("acl-reads")
        user = self.a.user("acl-reader")        # no policy of his own
        for acl, everybody, account in (("private", False, False), ("public-read", True, True),
                                        ("authenticated-read", False, True)):
            with self.subTest(acl):
                self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL=acl)
                for who, may in ((self.nobody, everybody), (self.b, account), (user, account)):
                    if may:
                        self.assertEqual(self.reads(who, bucket), b"x")
                        who.s3.head_object(Bucket=bucket, Key="k")
                    else:
                        self.denied(who.s3.get_object, Bucket=bucket, Key="k")
                for who in (self.nobody, self.b):
                    self.denied(who.s3.get_object_acl, Bucket=bucket, Key="k")
                    self.denied(who.s3.put_object, Bucket=bucket, Key="k", Body=b"y")
                    self.denied(who.s3.list_objects, Bucket=bucket)

    def test_denial_wins(self):
        bucket = self.make("acl-deny")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Deny", "Principal": {"AWS": self.b_id}, "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/*"}}))
        self.denied(self.b.s3.get_object, Bucket=bucket, Key="k")
        self.assertEqual(self.reads(self.nobody, bucket), b"x")

    def test_grants_to_an_account(self):
        bucket, b = self.make("acl-grants"), f'id="{self.b_canonical}"'
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", GrantRead=b)
        self.assertEqual(self.grants(self.s3.get_object_acl(Bucket=bucket, Key="k")),
                         [(self.b_canonical, "READ")])
        self.assertEqual(self.reads(self.b, bucket), b"x")
        self.denied(self.b.s3.get_object_acl, Bucket=bucket, Key="k")
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="k")
        user = self.b.user("acl-user")
        self.denied(user.s3.get_object, Bucket=bucket, Key="k")     # his account gives nothing on
        self.s3.put_object_acl(Bucket=bucket, Key="k", GrantReadACP=b, GrantWriteACP=b,
                               GrantFullControl=f'id="{self.a.canonical}"')
        self.denied(self.b.s3.get_object, Bucket=bucket, Key="k")
        self.b.s3.get_object_acl(Bucket=bucket, Key="k")
        self.b.s3.put_object_acl(Bucket=bucket, Key="k", ACL="public-read")
        self.assertEqual(self.reads(self.nobody, bucket), b"x")
        self.s3.put_bucket_acl(Bucket=bucket, GrantRead=b)
        self.b.s3.list_objects_v2(Bucket=bucket)
        self.denied(self.nobody.s3.list_objects_v2, Bucket=bucket)
        self.denied(self.b.s3.put_object, Bucket=bucket, Key="n", Body=b"")

    def test_xml(self):
        bucket = self.make("acl-xml")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        owner = self.s3.get_bucket_acl(Bucket=bucket)["Owner"]
        grants = [{"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "READ"},
                  {"Grantee": {"Type": "CanonicalUser", "ID": self.b_canonical},
                   "Permission": "WRITE_ACP"}]
        put = lambda grants, owner=owner: self.s3.put_object_acl(
            Bucket=bucket, Key="k", AccessControlPolicy={"Owner": owner, "Grants": grants})
        put(grants)
        self.assertEqual(self.grants(self.s3.get_object_acl(Bucket=bucket, Key="k")),
                         sorted([(ALL_USERS, "READ"), (self.b_canonical, "WRITE_ACP")]))
        self.denied(put, grants=grants, owner={"ID": self.b_canonical})
        grantee = lambda **g: [{"Grantee": g, "Permission": "READ"}]
        self.fails("MethodNotAllowed", 405, put,
                   grantee(Type="AmazonCustomerByEmail", EmailAddress="a@example.org"))
        self.fails("InvalidArgument", 400, put, grantee(Type="CanonicalUser", ID="0" * 64))
        self.fails("InvalidArgument", 400, put, grantee(Type="Group", URI="http://example.org/"))
        self.fails("MalformedACLError", 400, put,
                   [{"Grantee": {"Type": "Group", "URI": ALL_USERS}, "Permission": "ODD"}])
        self.raw_fails("MalformedACLError", 400, "PUT", f"/{bucket}/k?acl=", body=b"<x/>")
        self.raw_fails("MissingSecurityHeader", 400, "PUT", f"/{bucket}/k?acl=")
        self.raw_fails("UnexpectedContent", 400, "PUT", f"/{bucket}/k?acl=", body=b"<x/>",
                       headers={"x-amz-acl": "private"})
        self.fails("InvalidRequest", 400, self.s3.put_object, Bucket=bucket, Key="k",
                   ACL="private", GrantRead=f'uri="{ALL_USERS}"')
        self.fails("MethodNotAllowed", 405, self.s3.put_object, Bucket=bucket, Key="k",
                   GrantRead='emailAddress="a@example.org"')

    def test_objects_belong_to_their_writer(self):
        bucket = self.make("acl-writer", ACL="public-read-write")
        self.b.s3.put_object(Bucket=bucket, Key="k", Body=b"b's")
        self.assertEqual(self.b.s3.get_object_acl(Bucket=bucket, Key="k")["Owner"]["ID"],
                         self.b_canonical)
        self.assertEqual(self.reads(self.b, bucket), b"b's")
        self.denied(self.a.s3.get_object, Bucket=bucket, Key="k")   # not even the bucket's owner
        self.denied(self.a.s3.get_object_acl, Bucket=bucket, Key="k")
        owners = {c["Key"]: c["Owner"] for c in self.s3.list_objects(Bucket=bucket)["Contents"]}
        self.assertEqual(owners["k"]["ID"], self.b_canonical)
        self.assertEqual(owners["k"]["DisplayName"], "Acl")
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{bucket}/*"}}))
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="k")  # a's policy, b's object
        self.b.s3.put_object(Bucket=bucket, Key="k", Body=b"2", ACL="bucket-owner-full-control")
        self.assertEqual(self.reads(self.a, bucket), b"2")
        self.denied(self.nobody.s3.put_object, Bucket=bucket, Key="k", Body=b"over")
        self.nobody.s3.put_object(Bucket=bucket, Key="new", Body=b"anybody's")
        # with lists disabled all of it is the bucket owner's
        self.s3.put_bucket_acl(Bucket=bucket, ACL="private")
        self.s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={
            "Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]})
        self.assertEqual(self.reads(self.a, bucket, "new"), b"anybody's")
        self.assertEqual(self.s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"],
                         self.a.canonical)
        for key in ("k", "new"):
            self.s3.delete_object(Bucket=bucket, Key=key)

    def test_bucket_owner_preferred(self):
        bucket = self.make("acl-preferred", "BucketOwnerPreferred", ACL="public-read-write")
        self.b.s3.put_object(Bucket=bucket, Key="given", Body=b"x",
                             ACL="bucket-owner-full-control")
        self.b.s3.put_object(Bucket=bucket, Key="kept", Body=b"x")
        owners = {c["Key"]: c["Owner"]["ID"]
                  for c in self.s3.list_objects(Bucket=bucket)["Contents"]}
        self.assertEqual(owners, {"given": self.a.canonical, "kept": self.b_canonical})
        self.s3.get_object(Bucket=bucket, Key="given")
        self.denied(self.a.s3.get_object, Bucket=bucket, Key="kept")
        self.s3.delete_object(Bucket=bucket, Key="kept")    # which is its right

    def test_copies_and_uploads(self):
        bucket = self.make("acl-copies", ACL="public-read-write")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")
        self.s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k")
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="c")
        self.s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k", ACL="public-read")
        self.assertEqual(self.reads(self.nobody, bucket, "c"), b"x")
        upload = self.b.s3.create_multipart_upload(Bucket=bucket, Key="m", ACL="public-read")[
            "UploadId"]
        etag = self.b.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1,
                                     Body=b"part")["ETag"]
        listed = self.b.s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)
        self.assertEqual((listed["Initiator"]["ID"], listed["Owner"]["ID"]),
                         (self.b_canonical, self.b_canonical))
        self.denied(self.nobody.s3.abort_multipart_upload, Bucket=bucket, Key="m",
                    UploadId=upload)
        self.b.s3.complete_multipart_upload(
            Bucket=bucket, Key="m", UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        self.assertEqual(self.reads(self.nobody, bucket, "m"), b"part")
        self.assertEqual(self.b.s3.get_object_acl(Bucket=bucket, Key="m")["Owner"]["ID"],
                         self.b_canonical)

    def test_versions_have_lists_of_their_own(self):
        bucket = self.make("acl-versions")
        self.s3.put_bucket_versioning(Bucket=bucket,
                                      VersioningConfiguration={"Status": "Enabled"})
        old = self.s3.put_object(Bucket=bucket, Key="k", Body=b"1", ACL="public-read")["VersionId"]
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"2")
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="k")
        self.assertEqual(self.reads(self.nobody, bucket, VersionId=old), b"1")
        self.s3.put_object_acl(Bucket=bucket, Key="k", VersionId=old, ACL="private")
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="k", VersionId=old)

    def test_public_access_block(self):
        bucket = self.make("acl-block")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x", ACL="public-read")

        def block(**on):
            self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=on)

        block(IgnorePublicAcls=True)
        self.denied(self.nobody.s3.get_object, Bucket=bucket, Key="k")
        self.denied(self.b.s3.get_object, Bucket=bucket, Key="k")
        block(BlockPublicAcls=True)
        self.assertEqual(self.reads(self.nobody, bucket), b"x")     # what is there stays
        for acl in ("public-read", "public-read-write", "authenticated-read"):
            self.denied(self.s3.put_object, Bucket=bucket, Key="n", ACL=acl)
            self.denied(self.s3.put_object_acl, Bucket=bucket, Key="k", ACL=acl)
            self.denied(self.s3.put_bucket_acl, Bucket=bucket, ACL=acl)
        self.s3.put_object(Bucket=bucket, Key="n", GrantRead=f'id="{self.b_canonical}"')
        self.reads(self.b, bucket, "n")

    def test_awscli(self):
        bucket = self.make("acl-cli")
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        env = {**os.environ, "AWS_ACCESS_KEY_ID": self.a.access,
               "AWS_SECRET_ACCESS_KEY": self.a.secret, "AWS_DEFAULT_REGION": "us-east-1"}

        def aws(*words):
            run = subprocess.run(["aws", "--endpoint-url", self.server.endpoint, "s3api", *words],
                                 env=env, capture_output=True, text=True, timeout=60)
            self.assertEqual(run.returncode, 0, run.stderr)
            return json.loads(run.stdout) if run.stdout else None

        aws("put-object-acl", "--bucket", bucket, "--key", "k", "--acl", "public-read")
        got = aws("get-object-acl", "--bucket", bucket, "--key", "k")
        self.assertIn((ALL_USERS, "READ"), self.grants(got))
        self.assertEqual(self.reads(self.nobody, bucket), b"x")
        aws("put-bucket-acl", "--bucket", bucket, "--grant-read", f"id={self.b_canonical}")
        self.assertEqual(self.grants(aws("get-bucket-acl", "--bucket", bucket)),
                         [(self.b_canonical, "READ")])
