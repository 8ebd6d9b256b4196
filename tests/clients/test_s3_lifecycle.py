"""Lifecycle: what rules remove, when, and what they leave alone. The server's lifecycle day is a
second long; documents are judged by the shared server."""
import time

import kist_server
from semantics import Semantics
from workflow import boto_client

DEADLINE_S = 30


def rule(status="Enabled", prefix="", **more):
    return {"ID": f"r{len(more)}{prefix}", "Status": status, "Filter": {"Prefix": prefix}, **more}


class LifecycleDocuments(Semantics):
    def test_kept(self):
        rules = [rule(prefix="a/", Expiration={"Days": 30}),
                 {"ID": "b", "Status": "Disabled", "Filter": {"And": {
                     "Prefix": "b/", "Tags": [{"Key": "k", "Value": "v"}],
                     "ObjectSizeGreaterThan": 10, "ObjectSizeLessThan": 1000}},
                  "NoncurrentVersionExpiration": {"NoncurrentDays": 3,
                                                  "NewerNoncurrentVersions": 2}}]
        self.s3.put_bucket_lifecycle_configuration(
            Bucket=self.bucket, LifecycleConfiguration={"Rules": rules})
        kept = self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket)["Rules"]
        self.assertEqual(kept, rules)
        self.put("a/k")
        self.assertIn('rule-id="r1a/"', self.get("a/k")["Expiration"])
        self.put("c/k")
        self.assertNotIn("Expiration", self.get("c/k"))
        self.s3.delete_bucket_lifecycle(Bucket=self.bucket)
        self.assertNotIn("Expiration", self.get("a/k"))
        self.fails("NoSuchLifecycleConfiguration", 404,
                   self.s3.get_bucket_lifecycle_configuration, Bucket=self.bucket)

    def test_rules_get_an_id(self):
        b = self.bucket
        rules = [{"Status": "Enabled", "Filter": {"Prefix": p}, "Expiration": {"Days": 3}}
                 for p in ("a/", "b/")] + [rule(prefix="c/", Expiration={"Days": 3})]
        self.s3.put_bucket_lifecycle_configuration(
            Bucket=b, LifecycleConfiguration={"Rules": rules})
        got = self.s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"]
        self.assertEqual([{k: v for k, v in g.items() if k != "ID"} for g in got[:2]], rules[:2])
        self.assertEqual(len({g["ID"] for g in got}), 3)
        self.assertTrue(all(len(g["ID"]) == 48 for g in got[:2]), got)
        self.assertEqual(got[2], rules[2])
        self.assertEqual(self.s3.get_bucket_lifecycle_configuration(Bucket=b)["Rules"], got)
        self.put("a/k")
        expires = self.get("a/k")["Expiration"]
        self.assertIn(f'rule-id="{got[0]["ID"]}"', expires)
        self.s3.delete_bucket_lifecycle(Bucket=b)

    def test_refused(self):
        enabled = "<Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
        days = "<Expiration><Days>1</Days></Expiration>"
        for code, inside in (
                ("InvalidArgument", enabled), ("MalformedXML", days),
                ("InvalidArgument", enabled + "<Expiration><Days>0</Days></Expiration>"),
                ("InvalidArgument", enabled + "<Expiration></Expiration>"),
                ("InvalidArgument", enabled + "<Expiration><Date>2030-01-01T01:00:00Z</Date>"
                                              "</Expiration>"),
                ("MalformedXML", enabled + "<Expiration><Days>-1</Days></Expiration>"),
                ("MalformedXML", enabled + "<Expiration><Days>99999999999</Days></Expiration>"),
                ("MalformedXML", "<Status>On</Status><Prefix></Prefix>" + days),
                ("MalformedXML", "<Status>Enabled</Status>" + days),
                ("MalformedXML", enabled + "<Prefix>x</Prefix>" + days),
                ("MalformedXML", "<Status>Enabled</Status><Filter><Prefix>a</Prefix>"
                 "<ObjectSizeLessThan>5</ObjectSizeLessThan></Filter>" + days),
                ("InvalidArgument", "<Status>Enabled</Status><Filter><Tag><Key>k</Key>"
                 "<Value>v</Value></Tag></Filter><AbortIncompleteMultipartUpload>"
                 "<DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>"),
                ("NotImplemented", enabled + "<Transition><Days>1</Days>"
                 "<StorageClass>GLACIER</StorageClass></Transition>")):
            body = f"<LifecycleConfiguration><Rule>{inside}</Rule></LifecycleConfiguration>"
            with self.subTest(inside=inside):
                self.raw_fails(code, 501 if code == "NotImplemented" else 400, "PUT",
                               f"/{self.bucket}?lifecycle", body=body.encode())


class Lifecycle(Semantics):
    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.Server(flags=["--lifecycle-day", "1"]).start()
        cls.addClassCleanup(cls.server.stop)
        cls.s3 = boto_client(cls.server)

    def bucket_of(self, name, *rules, versioning=False, **more):
        self.s3.create_bucket(Bucket=name, **more)
        if versioning:
            self.s3.put_bucket_versioning(Bucket=name,
                                          VersioningConfiguration={"Status": "Enabled"})
        if rules:
            self.set_rules(name, *rules)
        return name

    def set_rules(self, bucket, *rules):
        self.s3.put_bucket_lifecycle_configuration(
            Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})

    def keys(self, bucket):
        return [o["Key"] for o in self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])]

    def versions(self, bucket):
        page = self.s3.list_object_versions(Bucket=bucket)
        return [v["VersionId"] for v in page.get("Versions", [])], \
            [m["VersionId"] for m in page.get("DeleteMarkers", [])]

    def becomes(self, wanted, look):
        end = time.monotonic() + DEADLINE_S
        while (found := look()) != wanted and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(found, wanted)

    def fill(self, bucket):
        put = self.s3.put_object
        put(Bucket=bucket, Key="log/1", Body=b"x")
        put(Bucket=bucket, Key="log/2", Body=b"x" * 2000)
        put(Bucket=bucket, Key="log/3", Body=b"x", Tagging="keep=no")
        put(Bucket=bucket, Key="data/1", Body=b"x")

    def test_expiration_of_new_and_old_objects(self):
        new = self.bucket_of("l-new", rule(prefix="log/", Expiration={"Days": 1}))
        old = self.bucket_of("l-old")
        for bucket in (new, old):
            self.fill(bucket)
        self.set_rules(old, rule(prefix="log/", Expiration={"Days": 1}))
        for bucket in (new, old):
            self.becomes(["data/1"], lambda: self.keys(bucket))

    def test_filters(self):
        tagged = self.bucket_of("l-tag", {
            "ID": "t", "Status": "Enabled", "Expiration": {"Days": 1},
            "Filter": {"Tag": {"Key": "keep", "Value": "no"}}})
        sized = self.bucket_of("l-size", {
            "ID": "s", "Status": "Enabled", "Expiration": {"Days": 1},
            "Filter": {"And": {"Prefix": "log/", "ObjectSizeGreaterThan": 1000}}})
        for bucket in (tagged, sized):
            self.fill(bucket)
        self.s3.put_object_tagging(Bucket=tagged, Key="data/1", Tagging={
            "TagSet": [{"Key": "keep", "Value": "no"}]})
        self.becomes(["log/1", "log/2"], lambda: self.keys(tagged))
        self.becomes(["data/1", "log/1", "log/3"], lambda: self.keys(sized))

    def test_date_and_disabled(self):
        past = self.bucket_of("l-past", rule(Expiration={"Date": "2020-01-01T00:00:00Z"}))
        kept = self.bucket_of("l-kept", rule("Disabled", Expiration={"Days": 1}),
                              rule(prefix="x", Expiration={"Date": "2090-01-01T00:00:00Z"}))
        for bucket in (kept, past):
            self.fill(bucket)
        self.becomes([], lambda: self.keys(past))
        self.assertEqual(len(self.keys(kept)), 4)

    def test_versions(self):
        bucket = self.bucket_of("l-versions", rule(
            NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 1}),
            versioning=True)
        ids = [self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"]
               for _ in range(4)]
        self.becomes((ids[:1:-1], []), lambda: self.versions(bucket))

    def test_marker_then_nothing(self):
        bucket = self.bucket_of("l-markers", rule(Expiration={"Days": 1}),
                                {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""},
                                 "NoncurrentVersionExpiration": {"NoncurrentDays": 1}},
                                {"ID": "markers", "Status": "Enabled", "Filter": {"Prefix": ""},
                                 "Expiration": {"ExpiredObjectDeleteMarker": True}},
                                versioning=True)
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        self.becomes(([], []), lambda: self.versions(bucket))

    def test_locked_versions_stay(self):
        bucket = self.bucket_of("l-locked", rule(
            NoncurrentVersionExpiration={"NoncurrentDays": 1}), ObjectLockEnabledForBucket=True)
        held = self.s3.put_object(Bucket=bucket, Key="k", Body=b"1",
                                  ObjectLockLegalHoldStatus="ON")["VersionId"]
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"2")
        last = self.s3.put_object(Bucket=bucket, Key="k", Body=b"3")["VersionId"]
        self.becomes(([last, held], []), lambda: self.versions(bucket))

    def test_incomplete_uploads(self):
        bucket = self.bucket_of("l-uploads", rule(
            AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}))
        self.s3.create_multipart_upload(Bucket=bucket, Key="k")
        self.becomes([], lambda: self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []))

    def test_overwriting_starts_anew(self):
        bucket = self.bucket_of("l-again", rule(Expiration={"Days": 3}))
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        end = time.monotonic() + 6
        while time.monotonic() < end:
            self.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
            self.assertEqual(self.keys(bucket), ["k"])
            time.sleep(0.2)
        self.becomes([], lambda: self.keys(bucket))
