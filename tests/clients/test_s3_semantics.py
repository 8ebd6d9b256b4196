"""What S3 promises, operation by operation: results, headers, error codes with their status.

boto3 where it can say what is meant, requests by hand (s3_raw) where it cannot. Multipart and
checksums are in test_s3_multipart.py, signatures and aws-chunked bodies in test_s3_auth.py,
refused garbage in test_bad_input.py.
"""
import base64
import concurrent.futures
import datetime
import hashlib
import re
import unittest
import urllib.parse

import kist_server
from s3_raw import RawClient
from semantics import Semantics
from workflow import LISTED_KEYS, TOP_KEYS, listing_bucket

UTC = datetime.timezone.utc


class Buckets(Semantics):
    def test_create_again(self):
        self.fails("BucketAlreadyOwnedByYou", 409, self.s3.create_bucket, Bucket=self.bucket)

    def test_location(self):
        location = self.s3.get_bucket_location(Bucket=self.bucket)
        self.assertIsNone(location["LocationConstraint"])       # us-east-1 has none
        body = (b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint>"
                b"</CreateBucketConfiguration>")                # old SDKs send it all the same
        reply = self.raw.request("PUT", "/s-with-location", body=body)
        self.assertEqual((reply.status, reply.headers["Location"]), (200, "/s-with-location"))
        reply = self.raw.request("PUT", "/s-elsewhere", body=body.replace(b"us-east", b"eu-west"))
        self.assertEqual(reply.status, 400)
        self.assertIn(reply.code, ("IllegalLocationConstraintException",    # a region of AWS's
                                   "InvalidLocationConstraint"))            # none of ours

    def test_names(self):
        for name in ("ab", "a" * 64, "Upper", "under_score", "-start", "end-", "two..dots",
                     "192.168.1.1", "xn--prefix", "name-s3alias", ".dot"):
            with self.subTest(name=name):
                self.raw_fails("InvalidBucketName", 400, "PUT", f"/{name}")
        for name in ("a1b", "with.dots.in-it", "9" * 63):
            with self.subTest(name=name):
                self.s3.create_bucket(Bucket=name)
                self.s3.delete_bucket(Bucket=name)

    def test_head(self):
        reply = self.raw.request("HEAD", f"/{self.bucket}")
        self.assertEqual((reply.status, reply.headers["x-amz-bucket-region"]), (200, "us-east-1"))
        reply = self.raw.request("HEAD", "/s-no-such-bucket")
        self.assertEqual((reply.status, reply.body), (404, b""))

    def test_delete(self):
        self.s3.create_bucket(Bucket="s-deleted")
        self.s3.put_object(Bucket="s-deleted", Key="k", Body=b"")
        self.fails("BucketNotEmpty", 409, self.s3.delete_bucket, Bucket="s-deleted")
        self.s3.delete_object(Bucket="s-deleted", Key="k")
        self.assertEqual(self.raw.request("DELETE", "/s-deleted").status, 204)
        self.fails("NoSuchBucket", 404, self.s3.delete_bucket, Bucket="s-deleted")

    def test_missing(self):
        name = "s-no-such-bucket"
        self.fails("NoSuchBucket", 404, self.s3.list_objects_v2, Bucket=name)
        self.fails("NoSuchBucket", 404, self.s3.put_object, Bucket=name, Key="k")
        self.fails("NoSuchBucket", 404, self.s3.get_object, Bucket=name, Key="k")
        self.fails("NoSuchBucket", 404, self.s3.get_bucket_location, Bucket=name)

    def test_list_and_its_pages(self):
        names = [f"s-paged-{n}" for n in range(5)]
        for name in names:
            self.s3.create_bucket(Bucket=name)
        listed = [b["Name"] for b in self.s3.list_buckets()["Buckets"]]
        self.assertEqual(listed, sorted(listed))
        self.assertLessEqual(set(names), set(listed))
        found, token = [], ""
        for _ in range(3):
            page = self.raw.request("GET", f"/?max-buckets=2&prefix=s-paged-{token}").body.decode()
            found.append(re.findall("<Name>(.*?)</Name>", page))
            mark = re.search("<ContinuationToken>(.*?)</ContinuationToken>", page)
            token = mark and "&continuation-token=" + urllib.parse.quote(mark[1], safe="")
        self.assertEqual(found, [names[:2], names[2:4], names[4:]])
        self.assertIsNone(token)

    def test_sub_resources_given_garbage(self):
        """Never the plain operation by mistake: each is refused, and changes nothing."""
        self.put("untouched", b"untouched")
        refused = {("MalformedXML", 400), ("MalformedPolicy", 400), ("NotImplemented", 501),
                   ("InvalidRequest", 400), ("MalformedACLError", 400)}
        bucket = ("acl", "cors", "lifecycle", "policy", "replication", "website", "logging",
                  "notification", "encryption", "object-lock", "requestPayment", "accelerate",
                  "analytics&id=a", "inventory&id=a", "metrics&id=a", "ownershipControls",
                  "publicAccessBlock", "intelligent-tiering&id=a", "versioning", "tagging")
        of_object = ("acl", "legal-hold", "retention", "tagging", "torrent", "restore",
                     "select&select-type=2")
        for name in bucket + of_object:
            method = {"restore": "POST", "select": "POST", "torrent": "GET"}.get(
                name.split("&")[0], "PUT")
            for target in [f"/{self.bucket}?{name}"] * (name in bucket) + \
                          [f"/{self.bucket}/untouched?{name}"] * (name in of_object):
                with self.subTest(target=target):
                    reply = self.raw.request(method, target, body=b"x")
                    self.assertIn((reply.code, reply.status), refused)
        self.assertEqual(self.body("untouched"), b"untouched")

    def test_wrong_methods(self):
        for method, target in (("POST", "/"), ("PUT", "/"), ("PATCH", f"/{self.bucket}/k"),
                               ("POST", f"/{self.bucket}/k")):
            with self.subTest(method=method, target=target):
                self.raw_fails("MethodNotAllowed", 405, method, target)


class Objects(Semantics):
    def test_etag_is_md5(self):
        self.assertEqual(self.put("e", b"abc")["ETag"], f'"{hashlib.md5(b"abc").hexdigest()}"')

    def test_headers_are_kept(self):
        kept = {"CacheControl": "max-age=60", "ContentDisposition": 'attachment; filename="f"',
                "ContentEncoding": "gzip", "ContentLanguage": "de", "ContentType": "text/x-y",
                "Metadata": {"a": "1", "b-c": "two words"}}
        expires = datetime.datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.put("kept", b"x", Expires=expires, **kept)
        for reply in (self.get("kept"), self.s3.head_object(Bucket=self.bucket, Key="kept")):
            self.assertEqual({k: reply[k] for k in kept}, kept)
            self.assertEqual(reply["Expires"], expires)
            self.assertEqual(reply["AcceptRanges"], "bytes")

    def test_default_type(self):
        reply = self.raw.request("PUT", f"/{self.bucket}/untyped", body=b"x")
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.get("untyped")["ContentType"], "binary/octet-stream")

    def test_metadata_limit(self):
        self.put("limit", Metadata={"n": "v" * 2047})
        self.fails("MetadataTooLarge", 400, self.put, "limit", Metadata={"n": "v" * 2048})

    def test_missing(self):
        self.fails("NoSuchKey", 404, self.get, "nothing")
        reply = self.raw.request("HEAD", f"/{self.bucket}/nothing")
        self.assertEqual((reply.status, reply.body), (404, b""))
        self.assertEqual(self.raw.request("DELETE", f"/{self.bucket}/nothing").status, 204)

    def test_error_document(self):
        reply = self.raw.request("GET", f"/{self.bucket}/a%20b%3C")
        self.assertEqual(reply.headers["Content-Type"], "application/xml")
        text = reply.body.decode()
        self.assertRegex(text, "<RequestId>.+</RequestId>")
        self.assertIn(reply.headers["x-amz-request-id"], text)
        self.assertEqual(re.search("<Key>(.*)</Key>", text)[1], "a b&lt;")

    def test_key_length(self):
        self.put("k" * 1024)
        for key in ("k" * 1025, "%C3%A9" * 513):
            self.raw_fails("KeyTooLongError", 400, "PUT", f"/{self.bucket}/{key}", body=b"x")

    def test_storage_class(self):
        self.put("class", StorageClass="STANDARD_IA")
        self.assertEqual(self.get("class")["StorageClass"], "STANDARD_IA")
        self.raw_fails("InvalidStorageClass", 400, "PUT", f"/{self.bucket}/class", body=b"x",
                       headers={"x-amz-storage-class": "CARDBOARD"})

    def test_response_overrides(self):
        self.put("over", ContentType="text/a")
        reply = self.get("over", ResponseContentType="text/b", ResponseCacheControl="no-store",
                         ResponseContentDisposition="inline", ResponseContentEncoding="x",
                         ResponseContentLanguage="fr",
                         ResponseExpires=datetime.datetime(2041, 1, 1, tzinfo=UTC))
        self.assertEqual(
            [reply[k] for k in ("ContentType", "CacheControl", "ContentDisposition",
                                "ContentEncoding", "ContentLanguage")],
            ["text/b", "no-store", "inline", "x", "fr"])
        self.assertEqual(reply["Expires"].year, 2041)
        self.assertEqual(self.get("over")["ContentType"], "text/a")

    def test_delete_many(self):
        keys = ["a", "b&<>\"'", "c/\u00e9\U0001F600", "gone before"]
        for key in keys[:3]:
            self.put(key)
        objects = {"Objects": [{"Key": key} for key in keys]}
        reply = self.s3.delete_objects(Bucket=self.bucket, Delete=objects)
        self.assertEqual(sorted(d["Key"] for d in reply["Deleted"]), sorted(keys))
        self.assertNotIn("Errors", reply)
        reply = self.s3.delete_objects(Bucket=self.bucket, Delete=objects | {"Quiet": True})
        self.assertNotIn("Deleted", reply)
        self.fails("NoSuchKey", 404, self.get, keys[1])

    def test_delete_many_on_conditions(self):
        self.put("conditional", b"four")
        right = self.s3.head_object(Bucket=self.bucket, Key="conditional")["LastModified"]
        etag = self.get("conditional")["ETag"]

        def delete(**condition):
            said = "".join(f"<{k}>{v}</{k}>" for k, v in condition.items())
            body = f"<Delete><Object><Key>conditional</Key>{said}</Object></Delete>".encode()
            reply = self.raw.request("POST", f"/{self.bucket}?delete", body=body)
            return re.findall(r"<Code>(\w+)", reply.body.decode())

        def http(date):
            return date.strftime("%a, %d %b %Y %H:%M:%S GMT")

        other = http(right - datetime.timedelta(days=1))
        for wrong in ({"Size": 5}, {"LastModifiedTime": other}, {"ETag": etag, "Size": 3},
                      {"ETag": '"x"'}):
            with self.subTest(**wrong):
                self.assertEqual(delete(**wrong), ["PreconditionFailed"])
        for bad in ({"Size": "much"}, {"LastModifiedTime": "yesterday"}):
            self.assertEqual(delete(**bad), ["MalformedXML"])
        self.assertEqual(self.body("conditional"), b"four")
        self.assertEqual(delete(ETag=etag, Size=4, LastModifiedTime=http(right)), [])
        self.assertEqual(delete(Size=4), ["NoSuchKey"])

    def test_delete_many_limits(self):
        over = {"Objects": [{"Key": str(n)} for n in range(1001)]}
        self.fails("MalformedXML", 400, self.s3.delete_objects, Bucket=self.bucket, Delete=over)
        self.raw_fails("MalformedXML", 400, "POST", f"/{self.bucket}?delete", headers={
            "content-md5": base64.b64encode(hashlib.md5(b"<Delete>").digest()).decode()},
            body=b"<Delete>")

    def test_content_md5(self):
        def md5(value):
            return {"headers": {"content-md5": value}, "body": b"body"}

        target = f"/{self.bucket}/md5"
        good = base64.b64encode(hashlib.md5(b"body").digest()).decode()
        self.assertEqual(self.raw.request("PUT", target, **md5(good)).status, 200)
        other = base64.b64encode(bytes(16)).decode()
        self.raw_fails("BadDigest", 400, "PUT", f"/{self.bucket}/md5-bad", **md5(other))
        for value in ("", "nonsense", good[:-4], base64.b64encode(bytes(15)).decode()):
            with self.subTest(value=value):
                self.raw_fails("InvalidDigest", 400, "PUT", f"/{self.bucket}/md5-bad", **md5(value))
        self.fails("NoSuchKey", 404, self.get, "md5-bad")


class Ranges(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = bytes(range(256)) * 16
        cls.s3.put_object(Bucket=cls.bucket, Key="r", Body=cls.data)

    def ask(self, value, method="GET", **headers):
        return self.raw.request(method, f"/{self.bucket}/r", headers={"range": value, **headers})

    def test_satisfiable(self):
        size = len(self.data)
        for value, first, last in (("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19),
                                   ("bytes=100-", 100, size - 1), ("bytes=-7", size - 7, size - 1),
                                   ("bytes=4000-99999999999999999999", 4000, size - 1),
                                   (f"bytes=-{size + 5}", 0, size - 1)):
            with self.subTest(range=value):
                reply = self.ask(value)
                self.assertEqual(reply.status, 206)
                self.assertEqual(reply.headers["Content-Range"], f"bytes {first}-{last}/{size}")
                self.assertEqual(reply.body, self.data[first:last + 1])

    def test_not_satisfiable(self):
        for value in (f"bytes={len(self.data)}-", "bytes=99999999999999999999-", "bytes=-0"):
            with self.subTest(range=value):
                reply = self.ask(value)
                self.assertEqual((reply.status, reply.code), (416, "InvalidRange"))
                self.assertEqual(reply.headers["Content-Range"], f"bytes */{len(self.data)}")

    def test_ignored(self):
        """RFC 9110 14.2: what is no valid byte range is as if it were not there."""
        for value in ("bytes=5-4", "bytes=a-b", "bytes=", "lines=1-2", "1-2", "bytes=-"):
            with self.subTest(range=value):
                reply = self.ask(value)
                self.assertEqual((reply.status, len(reply.body)), (200, len(self.data)))

    def test_head(self):
        reply = self.ask("bytes=1-5", method="HEAD")
        self.assertEqual((reply.status, reply.headers["Content-Length"], reply.body),
                         (206, "5", b""))

    def test_if_range(self):
        etag = self.s3.head_object(Bucket=self.bucket, Key="r")["ETag"]
        self.assertEqual(self.ask("bytes=0-0", **{"if-range": etag}).status, 206)
        self.assertEqual(self.ask("bytes=0-0", **{"if-range": '"other"'}).status, 200)

    def test_empty_object(self):
        self.put("empty", b"")
        self.raw_fails("InvalidRange", 416, "GET", f"/{self.bucket}/empty",
                       headers={"range": "bytes=0-0"})


class Conditions(Semantics):
    """RFC 9110 13: If-Match before If-Unmodified-Since, If-None-Match before If-Modified-Since."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.etag = cls.s3.put_object(Bucket=cls.bucket, Key="c", Body=b"c")["ETag"]
        cls.time = cls.s3.head_object(Bucket=cls.bucket, Key="c")["LastModified"]

    def status(self, method="GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        reply = self.raw.request(method, f"/{self.bucket}/c", headers=named)
        if reply.status == 304:
            self.assertEqual(reply.body, b"")
            self.assertEqual(reply.headers["ETag"], self.etag)
        elif reply.status == 412 and method != "HEAD":
            self.assertEqual(reply.code, "PreconditionFailed")
        return reply.status

    def date(self, seconds):
        when = self.time + datetime.timedelta(seconds=seconds)
        return when.strftime("%a, %d %b %Y %H:%M:%S GMT")

    def test_read(self):
        for method in ("GET", "HEAD"):
            for want, headers in (
                    (200, {"if_match": self.etag}), (200, {"if_match": "*"}),
                    (200, {"if_match": f'"x", {self.etag}'}), (412, {"if_match": '"x"'}),
                    (304, {"if_none_match": self.etag}), (304, {"if_none_match": "*"}),
                    (200, {"if_none_match": '"x"'}),
                    (304, {"if_none_match": self.etag.strip('"')}),
                    (304, {"if_modified_since": self.date(0)}),
                    (200, {"if_modified_since": self.date(-10)}),
                    (412, {"if_unmodified_since": self.date(-10)}),
                    (200, {"if_unmodified_since": self.date(0)}),
                    (200, {"if_match": self.etag, "if_unmodified_since": self.date(-10)}),
                    (304, {"if_none_match": self.etag, "if_modified_since": self.date(-10)}),
                    (200, {"if_modified_since": "not a date"})):
                with self.subTest(method=method, headers=headers):
                    self.assertEqual(self.status(method, **headers), want)

    def conditional_put(self, key, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.raw.request("PUT", f"/{self.bucket}/{key}", headers=named, body=b"new")

    def test_put_if_none_match(self):
        self.assertEqual(self.conditional_put("once", if_none_match="*").status, 200)
        reply = self.conditional_put("once", if_none_match="*")
        self.assertEqual((reply.status, reply.code), (412, "PreconditionFailed"))

    def test_put_if_match(self):
        etag = self.put("swap", b"old")["ETag"]
        reply = self.conditional_put("swap", if_match='"00000000000000000000000000000000"')
        self.assertEqual((reply.status, reply.code), (412, "PreconditionFailed"))
        self.assertEqual(self.body("swap"), b"old")
        self.assertEqual(self.conditional_put("swap", if_match=etag).status, 200)
        self.assertEqual(self.body("swap"), b"new")
        reply = self.conditional_put("never-there", if_match=etag)
        self.assertEqual((reply.status, reply.code), (404, "NoSuchKey"))

    def test_put_race_has_one_winner(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(
                lambda _: self.conditional_put("race", if_none_match="*").status, range(8)))
        self.assertEqual(statuses.count(200), 1, statuses)
        self.assertLessEqual(set(statuses), {200, 412, 409})

    def test_delete_if_match(self):
        etag = self.put("del", b"x")["ETag"]
        target = f"/{self.bucket}/del"
        self.raw_fails("PreconditionFailed", 412, "DELETE", target, headers={"if-match": '"x"'})
        self.assertEqual(self.raw.request("DELETE", target, headers={"if-match": etag}).status, 204)

    def test_complete_if_none_match(self):
        self.put("taken")
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="taken")["UploadId"]
        etag = self.part("taken", upload, 1, b"part")["ETag"]
        body = (f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>"
                "</Part></CompleteMultipartUpload>").encode()
        target = f"/{self.bucket}/taken?uploadId={upload}"
        self.raw_fails("PreconditionFailed", 412, "POST", target, body=body,
                       headers={"if-none-match": "*"})
        self.assertEqual(self.body("taken"), b"x")


class Copies(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.etag = cls.s3.put_object(Bucket=cls.bucket, Key="src +\u00e9", Body=b"source",
                                     ContentType="text/s", Metadata={"m": "1"},
                                     Tagging="t=1")["ETag"]
        cls.source = {"Bucket": cls.bucket, "Key": "src +\u00e9"}

    def copy(self, key, **more):
        return self.s3.copy_object(Bucket=self.bucket, Key=key,
                                   **({"CopySource": self.source} | more))

    def test_copy_directive(self):
        reply = self.copy("copied")
        self.assertEqual(reply["CopyObjectResult"]["ETag"], self.etag)
        got = self.get("copied")
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"]),
                         (b"source", "text/s", {"m": "1"}))
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="copied")["TagSet"]
        self.assertEqual(tags, [{"Key": "t", "Value": "1"}])

    def test_redirect_is_not_copied(self):
        self.put("redirected", WebsiteRedirectLocation="/there", CacheControl="no-store")
        source = {"Bucket": self.bucket, "Key": "redirected"}
        for more in ({}, {"WebsiteRedirectLocation": "/elsewhere"}):
            self.copy("redirect", CopySource=source, **more)
            got = self.get("redirect")
            self.assertEqual((got.get("WebsiteRedirectLocation"), got["CacheControl"]),
                             (more.get("WebsiteRedirectLocation"), "no-store"))

    def test_replace_directives(self):
        self.copy("replaced", MetadataDirective="REPLACE", Metadata={"n": "2"},
                  ContentType="text/r", TaggingDirective="REPLACE", Tagging="u=2")
        got = self.get("replaced")
        self.assertEqual((got["ContentType"], got["Metadata"]), ("text/r", {"n": "2"}))
        tags = self.s3.get_object_tagging(Bucket=self.bucket, Key="replaced")["TagSet"]
        self.assertEqual(tags, [{"Key": "u", "Value": "2"}])

    def test_onto_itself(self):
        self.put("self", b"same", Metadata={"v": "1"})
        source = {"Bucket": self.bucket, "Key": "self"}
        self.fails("InvalidRequest", 400, self.copy, "self", CopySource=source)
        self.copy("self", CopySource=source, MetadataDirective="REPLACE", Metadata={"v": "2"})
        got = self.get("self")
        self.assertEqual((got["Body"].read(), got["Metadata"]), (b"same", {"v": "2"}))

    def test_conditions(self):
        past = datetime.datetime(2001, 1, 1, tzinfo=UTC)
        for more in ({"CopySourceIfMatch": '"x"'}, {"CopySourceIfNoneMatch": self.etag},
                     {"CopySourceIfUnmodifiedSince": past}):
            with self.subTest(**more):
                self.fails("PreconditionFailed", 412, self.copy, "conditional", **more)
        self.fails("NoSuchKey", 404, self.get, "conditional")
        self.copy("conditional", CopySourceIfMatch=self.etag, CopySourceIfModifiedSince=past)

    def test_missing_source(self):
        self.fails("NoSuchKey", 404, self.copy, "x", CopySource=f"{self.bucket}/nothing")
        self.fails("NoSuchBucket", 404, self.copy, "x", CopySource="s-no-such-bucket/k")

    def test_directive_values(self):
        self.raw_fails("InvalidArgument", 400, "PUT", f"/{self.bucket}/x", headers={
            "x-amz-copy-source": f"/{self.bucket}/src%20%2B%C3%A9",
            "x-amz-metadata-directive": "SHRED"})
        self.raw_fails("InvalidArgument", 400, "PUT", f"/{self.bucket}/x",
                       headers={"x-amz-copy-source": "nonsense"})


class Listing(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.listed = listing_bucket(cls.server)

    def v2(self, **more):
        return self.s3.list_objects_v2(Bucket=self.listed, **more)

    def keys(self, page):
        return [o["Key"] for o in page.get("Contents", ())]

    def test_pages_v2(self):
        found, token = [], {}
        for size in (1000, 1000, 512):
            page = self.v2(**token)
            self.assertEqual(page["KeyCount"], size)
            found += self.keys(page)
            token = {"ContinuationToken": page.get("NextContinuationToken")}
        self.assertFalse(page["IsTruncated"])
        self.assertEqual(found, LISTED_KEYS)

    def test_pages_v1(self):
        found, marker = [], ""
        while True:
            page = self.s3.list_objects(Bucket=self.listed, Marker=marker, MaxKeys=700)
            found += self.keys(page)
            if not page["IsTruncated"]:
                break
            marker = found[-1]      # without a delimiter there is no NextMarker
        self.assertEqual(found, LISTED_KEYS)

    def test_delimiter_pages(self):
        """Prefixes and keys together count against MaxKeys, and pages do not repeat them."""
        for version in ("list_objects_v2", "list_objects"):
            keys, prefixes = [], []
            for page in self.s3.get_paginator(version).paginate(
                    Bucket=self.listed, Delimiter="/", PaginationConfig={"PageSize": 4}):
                here = [p["Prefix"] for p in page.get("CommonPrefixes", ())]
                self.assertLessEqual(len(here) + len(self.keys(page)), 4)
                prefixes += here
                keys += self.keys(page)
            with self.subTest(version=version):
                self.assertEqual(keys, TOP_KEYS)
                self.assertEqual(prefixes, [f"dir {d:02}+/" for d in range(25)])

    def test_long_delimiter(self):
        page = self.v2(Delimiter="+/item&", Prefix="dir 0")
        self.assertEqual([p["Prefix"] for p in page["CommonPrefixes"]],
                         [f"dir {d:02}+/item&" for d in range(10)])

    def test_start_after(self):
        after = LISTED_KEYS[1234]
        self.assertEqual(self.keys(self.v2(StartAfter=after, MaxKeys=3)), LISTED_KEYS[1235:1238])
        self.assertEqual(self.keys(self.v2(StartAfter=after + "\x01", MaxKeys=1)),
                         LISTED_KEYS[1235:1236])

    def test_max_keys(self):
        page = self.v2(MaxKeys=0)
        self.assertEqual((page["KeyCount"], page["IsTruncated"]), (0, False))
        self.assertEqual(self.v2(MaxKeys=5000)["KeyCount"], 1000)
        for value in ("-1", "x", "99999999999"):
            with self.subTest(value=value):
                self.raw_fails("InvalidArgument", 400, "GET",
                               f"/{self.listed}?list-type=2&max-keys={value}")

    def test_encoding_type(self):
        text = self.raw.request("GET", f"/{self.listed}?encoding-type=url&list-type=2&max-keys=1"
                                       "&prefix=dir%2000%2B%2F").body.decode()
        encoded = re.search("<Contents><Key>(.*?)</Key>", text)[1]
        self.assertIn(encoded, ("dir+00%2B/item%26000", "dir%2000%2B/item%26000"))
        self.assertEqual(re.search("<EncodingType>(.*?)<", text)[1], "url")
        self.raw_fails("InvalidArgument", 400, "GET", f"/{self.listed}?encoding-type=html")

    def test_fetch_owner(self):
        self.assertNotIn("Owner", self.v2(MaxKeys=1)["Contents"][0])
        self.assertTrue(self.v2(MaxKeys=1, FetchOwner=True)["Contents"][0]["Owner"]["ID"])
        v1 = self.s3.list_objects(Bucket=self.listed, MaxKeys=1)
        self.assertTrue(v1["Contents"][0]["Owner"]["ID"])

    def test_bad_token(self):
        self.raw_fails("InvalidArgument", 400, "GET",
                       f"/{self.listed}?continuation-token=%21bogus&list-type=2")

    def test_byte_order(self):
        keys = ["Z", "a", "a b", "a!", "a/", "a0", "\u00e9", "\uffee", "\U0001F600"]
        for key in keys:
            self.put(key)
        page = self.s3.list_objects_v2(Bucket=self.bucket)
        self.assertEqual(self.keys(page), sorted(keys, key=str.encode))

    def test_entry(self):
        entry = self.v2(MaxKeys=1)["Contents"][0]
        body = LISTED_KEYS[0].encode()
        self.assertEqual((entry["Size"], entry["ETag"], entry["StorageClass"]),
                         (len(body), f'"{hashlib.md5(body).hexdigest()}"', "STANDARD"))


class Tagging(Semantics):
    def test_object(self):
        where = {"Bucket": self.bucket, "Key": "tagged"}
        self.put("tagged", Tagging="a=1&b%20c=%26%2B")
        tags = self.s3.get_object_tagging(**where)["TagSet"]
        self.assertEqual(tags, [{"Key": "a", "Value": "1"}, {"Key": "b c", "Value": "&+"}])
        self.assertEqual(self.raw.request("GET", f"/{self.bucket}/tagged")
                         .headers["x-amz-tagging-count"], "2")
        self.s3.put_object_tagging(**where, Tagging={"TagSet": [{"Key": "n", "Value": "\u00e9"}]})
        self.assertEqual(self.s3.get_object_tagging(**where)["TagSet"],
                         [{"Key": "n", "Value": "\u00e9"}])
        self.s3.delete_object_tagging(**where)
        self.assertEqual(self.s3.get_object_tagging(**where)["TagSet"], [])
        self.fails("NoSuchKey", 404, self.s3.get_object_tagging, Bucket=self.bucket, Key="nothing")

    def test_bucket(self):
        self.fails("NoSuchTagSet", 404, self.s3.get_bucket_tagging, Bucket=self.bucket)
        tags = [{"Key": f"k{n:02}", "Value": "v"} for n in range(50)]
        self.s3.put_bucket_tagging(Bucket=self.bucket, Tagging={"TagSet": tags})
        self.assertEqual(self.s3.get_bucket_tagging(Bucket=self.bucket)["TagSet"], tags)
        self.s3.delete_bucket_tagging(Bucket=self.bucket)
        self.fails("NoSuchTagSet", 404, self.s3.get_bucket_tagging, Bucket=self.bucket)

    def test_limits(self):
        self.put("limits")

        def set_tags(*pairs):
            self.s3.put_object_tagging(Bucket=self.bucket, Key="limits", Tagging={
                "TagSet": [{"Key": k, "Value": v} for k, v in pairs]})

        set_tags(*((f"k{n}", "v" * 256) for n in range(10)))
        self.fails("BadRequest", 400, set_tags, *((f"k{n}", "v") for n in range(11)))
        self.fails("InvalidTag", 400, set_tags, ("k" * 129, "v"))
        self.fails("InvalidTag", 400, set_tags, ("k", "v" * 257))
        self.fails("InvalidTag", 400, set_tags, ("twice", "1"), ("twice", "2"))


class DefaultDomain(unittest.TestCase):
    def test_bucket_dot_localhost(self):
        """Without --domain, buckets are hosts under localhost."""
        with kist_server.Server(flags=["--domain", "localhost"]) as server:
            raw = RawClient(server)
            self.assertEqual(raw.request("PUT", "/in-path").status, 200)
            host = {"host": f"in-path.localhost:{server.port}"}
            self.assertEqual(raw.request("PUT", "/key", headers=host, body=b"x").status, 200)
            self.assertEqual(raw.request("GET", "/in-path/key").body, b"x")
