"""Quotas of buckets, and who pays for requests."""
import urllib.error
import urllib.request

import test_post
from accounts import TwoAccounts


class Quota(TwoAccounts):
    def limit(self, bucket, xml):
        return self.raw.request("PUT", f"/{bucket}?quota=",
                                body=f"<QuotaConfiguration>{xml}</QuotaConfiguration>".encode())

    def test_bytes_and_objects(self):
        bucket = "quota-bucket"
        self.s3.create_bucket(Bucket=bucket)
        put = lambda key, size: self.s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size)
        full = lambda call, **more: self.fails("QuotaExceeded", 403, call, Bucket=bucket, **more)
        self.assertEqual(self.raw.request("GET", f"/{bucket}?quota=").code,
                         "NoSuchQuotaConfiguration")
        put("a", 600)
        self.assertEqual(self.limit(bucket, "<Bytes>1000</Bytes>").status, 200)
        self.assertIn(b"<Bytes>1000</Bytes>", self.raw.request("GET", f"/{bucket}?quota=").body)
        full(self.s3.put_object, Key="b", Body=b"x" * 401)
        full(self.s3.copy_object, Key="b", CopySource=f"{bucket}/a")
        put("b", 400)
        full(self.s3.put_object, Key="a", Body=b"x" * 601)
        put("a", 500)                                   # what makes it smaller is allowed
        put("b", 500)
        self.limit(bucket, "<Objects>2</Objects>")
        put("a", 5000)
        full(self.s3.put_object, Key="c", Body=b"")
        self.s3.delete_object(Bucket=bucket, Key="b")
        put("c", 0)
        self.limit(bucket, "<Bytes>0</Bytes><Objects>0</Objects>")
        full(self.s3.put_object, Key="d", Body=b"")
        self.assertEqual(self.raw.request("DELETE", f"/{bucket}?quota=").status, 204)
        put("d", 100)

    def test_parts_count(self):
        """Parts of unfinished uploads take room, once, until the upload ends in some way."""
        bucket = "quota-parts"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket=bucket, Key="a", Body=b"x" * 100)
        put = lambda key, size: self.s3.put_object(Bucket=bucket, Key=key, Body=b"x" * size)
        full = lambda call, **more: self.fails("QuotaExceeded", 403, call, Bucket=bucket, **more)
        where = lambda: {"Key": "m", "UploadId": self.s3.create_multipart_upload(
            Bucket=bucket, Key="m")["UploadId"]}
        part = lambda up, n, size: self.s3.upload_part(Bucket=bucket, **up, PartNumber=n,
                                                       Body=b"x" * size)["ETag"]
        first, second = where(), where()
        part(first, 1, 300)                             # before there is a quota
        self.limit(bucket, "<Bytes>1000</Bytes>")
        part(first, 2, 300)
        full(self.s3.upload_part, **first, PartNumber=3, Body=b"x" * 301)
        full(self.s3.upload_part, **second, PartNumber=1, Body=b"x" * 301)
        part(second, 2, 250)
        full(self.s3.upload_part_copy, **second, PartNumber=1, CopySource=f"{bucket}/a")
        self.s3.abort_multipart_upload(Bucket=bucket, **second)
        second = where()
        full(self.s3.put_object, Key="b", Body=b"x" * 301)
        part(first, 2, 600)                             # in place of the other
        full(self.s3.upload_part, **second, PartNumber=1, Body=b"x")
        part(first, 2, 10)
        self.assertEqual(len(self.s3.list_parts(Bucket=bucket, **first)["Parts"]), 2)
        self.s3.abort_multipart_upload(Bucket=bucket, **first)
        put("b", 500)
        etag, other = part(second, 1, 400), None
        full(self.s3.put_object, Key="c", Body=b"x")
        self.s3.complete_multipart_upload(Bucket=bucket, **second, MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": etag}]})
        full(self.s3.put_object, Key="c", Body=b"x")
        self.s3.delete_object(Bucket=bucket, Key="m")
        put("c", 400)
        self.s3.delete_object(Bucket=bucket, Key="c")
        third = where()
        etag, other = part(third, 1, 200), part(third, 2, 200)
        self.limit(bucket, "<Bytes>100</Bytes>")
        self.s3.complete_multipart_upload(              # it makes the bucket smaller
            Bucket=bucket, **third, MultipartUpload={"Parts": [{"PartNumber": 2, "ETag": other}]})
        full(self.s3.put_object, Key="c", Body=b"x")

    def test_versions_count(self):
        bucket = "quota-versions"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=bucket,
                                      VersioningConfiguration={"Status": "Enabled"})
        self.limit(bucket, "<Objects>2</Objects>")
        for _ in range(2):
            self.s3.put_object(Bucket=bucket, Key="v", Body=b"1")
        self.fails("QuotaExceeded", 403, self.s3.put_object, Bucket=bucket, Key="v", Body=b"1")

    def test_bad_documents(self):
        for xml in ("", "<Bytes>-1</Bytes>", "<Bytes>x</Bytes>", "<Other>1</Other>",
                    "<Bytes>1</Bytes><Bytes>2</Bytes>", "<Bytes>99999999999999999999</Bytes>"):
            reply = self.limit(self.bucket, xml)
            self.assertEqual((reply.status, reply.code), (400, "MalformedXML"), xml)

    def test_requester_pays(self):
        bucket = "quota-payer"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        self.s3.put_bucket_policy(Bucket=bucket, Policy=(
            '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", '
            f'"Action": "s3:GetObject", "Resource": "arn:aws:s3:::{bucket}/*"}}}}'))
        self.b.s3.get_object(Bucket=bucket, Key="k")
        self.s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={
            "Payer": "Requester"})
        self.assertEqual(self.s3.get_bucket_request_payment(Bucket=bucket)["Payer"], "Requester")
        self.s3.get_object(Bucket=bucket, Key="k")      # the owner
        self.fails("AccessDenied", 403, self.b.s3.get_object, Bucket=bucket, Key="k")
        got = self.b.s3.get_object(Bucket=bucket, Key="k", RequestPayer="requester")
        self.assertEqual(got["RequestCharged"], "requester")

    def test_requester_pays_for_copies(self):
        """What is read from a bucket is paid for, wherever it goes."""
        source, target = "quota-payer-source", "quota-payer-target"
        self.s3.create_bucket(Bucket=source)
        self.b.s3.create_bucket(Bucket=target)
        self.s3.put_object(Bucket=source, Key="k", Body=b"x")
        self.s3.put_bucket_policy(Bucket=source, Policy=(
            '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", '
            f'"Action": "s3:GetObject", "Resource": "arn:aws:s3:::{source}/*"}}}}'))
        self.s3.put_bucket_request_payment(Bucket=source, RequestPaymentConfiguration={
            "Payer": "Requester"})
        copy = {"Bucket": target, "Key": "k", "CopySource": f"{source}/k"}
        self.fails("AccessDenied", 403, self.b.s3.copy_object, **copy)
        upload = self.b.s3.create_multipart_upload(Bucket=target, Key="k")["UploadId"]
        part = {**copy, "UploadId": upload, "PartNumber": 1}
        self.fails("AccessDenied", 403, self.b.s3.upload_part_copy, **part)
        for call, where in ((self.b.s3.copy_object, copy), (self.b.s3.upload_part_copy, part)):
            self.assertEqual(call(**where, RequestPayer="requester")["RequestCharged"], "requester")

    def test_requester_pays_for_forms(self):
        """Who pays is asked when the form has said who sends it."""
        bucket = "quota-form-payer"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_policy(Bucket=bucket, Policy=(
            '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", '
            f'"Action": "s3:PutObject", "Resource": "arn:aws:s3:::{bucket}/*"}}}}'))
        self.s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={
            "Payer": "Requester"})
        payer = {"x-amz-request-payer": "requester"}

        def send(s3, fields):
            made = s3.generate_presigned_post(bucket, "k", Fields=fields, Conditions=[fields])
            body = test_post.form(made["fields"].items())
            request = urllib.request.Request(made["url"], body, {
                "Content-Type": f'multipart/form-data; boundary="{test_post.BOUNDARY}"'})
            try:
                with urllib.request.urlopen(request) as reply:
                    return reply.status, reply.headers["x-amz-request-charged"]
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.headers["x-amz-request-charged"]

        self.assertEqual(send(self.s3, payer), (204, None))     # the owner
        self.assertEqual(send(self.s3, {"acl": "private"}), (204, None))
        self.assertEqual(send(self.b.s3, payer), (204, "requester"))
        self.assertEqual(send(self.b.s3, {"acl": "private"}), (403, None))
