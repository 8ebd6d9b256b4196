"""Versions and object lock: what each operation does to a key's history.

The random test keeps a model of what S3 documents and compares every listing with it.
"""
import datetime
import random

from semantics import Semantics

UTC = datetime.timezone.utc


class Model:
    """Keys to histories, newest first: (version id, is delete marker, body)."""

    def __init__(self):
        self.keys, self.status = {}, None

    def add(self, key, version, marker, body):
        history = self.keys.setdefault(key, [])
        if self.status != "Enabled":
            history[:] = [v for v in history if v[0] != "null"]
        history.insert(0, (version, marker, body))

    def remove(self, key, version):
        history = self.keys.get(key, [])
        history[:] = [v for v in history if v[0] != version]
        if not history:
            self.keys.pop(key, None)

    def listing(self):
        return [(key, version, marker, i == 0) for key in sorted(self.keys)
                for i, (version, marker, _) in enumerate(self.keys[key])]

    def current(self):
        return {key: h[0][2] for key, h in self.keys.items() if not h[0][1]}


class Versions(Semantics):
    def bucket_of(self, name, status="Enabled"):
        self.s3.create_bucket(Bucket=name)
        if status:
            self.set_status(name, status)
        return name

    def set_status(self, bucket, status):
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})

    def put(self, bucket, key, body=b"x", **more):
        return self.s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId")

    def versions(self, bucket, **query):
        """As (key, version id, is marker, is latest), over pages of the given size."""
        found = []
        while True:
            page = self.s3.list_object_versions(Bucket=bucket, **query)
            rows = [(v, False) for v in page.get("Versions", [])]
            rows += [(v, True) for v in page.get("DeleteMarkers", [])]
            keys = [v["Key"] for v, _ in rows]
            self.assertLessEqual(len(keys), query.get("MaxKeys", 1000))
            found += [(v["Key"], v["VersionId"], m, v["IsLatest"]) for v, m in rows]
            if not page["IsTruncated"]:
                return found
            query["KeyMarker"] = page["NextKeyMarker"]
            query.pop("VersionIdMarker", None)
            if "NextVersionIdMarker" in page:
                query["VersionIdMarker"] = page["NextVersionIdMarker"]

    def test_status(self):
        bucket = self.bucket_of("v-status", None)
        self.assertNotIn("Status", self.s3.get_bucket_versioning(Bucket=bucket))
        self.assertIsNone(self.put(bucket, "plain"))
        for status in ("Enabled", "Suspended"):
            self.set_status(bucket, status)
            self.assertEqual(self.s3.get_bucket_versioning(Bucket=bucket)["Status"], status)
        self.fails("MalformedXML", 400, self.set_status, bucket, "Off")
        self.fails("NotImplemented", 501, self.s3.put_bucket_versioning, Bucket=bucket, MFA="1 2",
                   VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"})

    def test_put_get_delete(self):
        bucket = self.bucket_of("v-objects")
        first, second = self.put(bucket, "k", b"one"), self.put(bucket, "k", b"two")
        self.assertNotEqual(first, second)
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"two")
        old = self.s3.get_object(Bucket=bucket, Key="k", VersionId=first)
        self.assertEqual((old["Body"].read(), old["VersionId"]), (b"one", first))
        gone = self.s3.delete_object(Bucket=bucket, Key="k")
        self.assertTrue(gone["DeleteMarker"])
        reply = self.raw.request("GET", f"/{bucket}/k")
        self.assertEqual((reply.status, reply.code, reply.headers["x-amz-delete-marker"],
                          reply.headers["x-amz-version-id"]),
                         (404, "NoSuchKey", "true", gone["VersionId"]))
        reply = self.raw.request("GET", f"/{bucket}/k?versionId={gone['VersionId']}")
        self.assertEqual((reply.status, reply.code), (405, "MethodNotAllowed"))
        self.assertEqual(self.s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0)
        self.fails("BucketNotEmpty", 409, self.s3.delete_bucket, Bucket=bucket)
        undone = self.s3.delete_object(Bucket=bucket, Key="k", VersionId=gone["VersionId"])
        self.assertTrue(undone["DeleteMarker"])
        self.assertEqual(self.s3.head_object(Bucket=bucket, Key="k")["VersionId"], second)
        self.s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"one")
        self.s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
        self.assertEqual(self.versions(bucket), [])
        self.s3.delete_bucket(Bucket=bucket)

    def test_ids_that_are_none(self):
        bucket = self.bucket_of("v-ids")
        version = self.put(bucket, "k")
        self.put(bucket, "other")
        for bad in ("x", "0" * 32, "g" * 32, version[:-1], version.replace(version[0], "_")):
            with self.subTest(bad=bad):
                self.raw_fails("InvalidArgument", 400, "GET", f"/{bucket}/k?versionId={bad}")
        self.raw_fails("InvalidArgument", 400, "GET", f"/{bucket}/k?versionId=")
        self.raw_fails("NoSuchVersion", 404, "GET", f"/{bucket}/k?versionId=null")
        self.raw_fails("NoSuchVersion", 404, "GET", f"/{bucket}/other?versionId={version}")

    def test_null_version(self):
        bucket = self.bucket_of("v-null", None)
        self.put(bucket, "k", b"before")
        self.set_status(bucket, "Enabled")
        self.put(bucket, "k", b"after")
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k", VersionId="null")
                         ["Body"].read(), b"before")
        self.set_status(bucket, "Suspended")
        self.assertEqual(self.put(bucket, "k", b"third"), "null")
        self.assertEqual([v[1] == "null" for v in self.versions(bucket)], [True, False])
        self.s3.delete_object(Bucket=bucket, Key="k")
        self.assertEqual(sorted((v[1] == "null", v[2], v[3]) for v in self.versions(bucket)),
                         [(False, False, False), (True, True, True)])

    def test_copy(self):
        bucket = self.bucket_of("v-copy")
        for size in (10, 300000):
            first = self.put(bucket, "k", b"a" * size)
            self.put(bucket, "k", b"b" * size)
            source = {"Bucket": bucket, "Key": "k", "VersionId": first}
            back = self.s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
            self.assertEqual(back["CopySourceVersionId"], first)
            found = self.s3.get_object(Bucket=bucket, Key="k")
            self.assertEqual((found["Body"].read(), found["VersionId"]),
                             (b"a" * size, back["VersionId"]))
            replaced = self.s3.copy_object(Bucket=bucket, Key="k", MetadataDirective="REPLACE",
                                           CopySource={"Bucket": bucket, "Key": "k"},
                                           Metadata={"a": "b"})
            self.assertEqual(self.s3.get_object(Bucket=bucket, Key="k")["Body"].read(),
                             b"a" * size)
            self.assertNotEqual(replaced["VersionId"], back["VersionId"])
        marker = self.s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
        source = {"Bucket": bucket, "Key": "k"}
        self.fails("NoSuchKey", 404, self.s3.copy_object, Bucket=bucket, Key="x",
                   CopySource=source)
        self.fails("InvalidRequest", 400, self.s3.copy_object, Bucket=bucket, Key="x",
                   CopySource=source | {"VersionId": marker})

    def test_multipart_and_tags(self):
        bucket = self.bucket_of("v-multipart")
        first = self.put(bucket, "k", b"one")
        upload = self.s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        part = self.s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1,
                                   Body=b"two")
        done = self.s3.complete_multipart_upload(
            Bucket=bucket, Key="k", UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
        self.assertEqual([v[1] for v in self.versions(bucket)], [done["VersionId"], first])
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        self.s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=first, Tagging=tags)
        self.assertEqual(self.s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"], [])
        self.assertEqual(self.s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)
                         ["TagSet"], tags["TagSet"])

    def test_delete_many(self):
        bucket = self.bucket_of("v-many")
        first, second = self.put(bucket, "a"), self.put(bucket, "a")
        self.put(bucket, "b")
        reply = self.s3.delete_objects(Bucket=bucket, Delete={"Objects": [
            {"Key": "a", "VersionId": first}, {"Key": "b"}, {"Key": "b"},
            {"Key": "none", "VersionId": second}]})
        self.assertEqual([(d["Key"], d.get("VersionId"), d.get("DeleteMarker", False))
                          for d in reply["Deleted"]],
                         [("a", first, False), ("b", None, True), ("b", None, True),
                          ("none", second, False)])
        self.assertEqual([v[0] for v in self.versions(bucket)], ["a", "b", "b"])

    def test_list_pages_prefixes(self):
        bucket = self.bucket_of("v-list")
        for key in ("a/1", "a/2", "b", "c/1"):
            self.put(bucket, key)
            self.put(bucket, key)
        self.s3.delete_object(Bucket=bucket, Key="c/1")
        page = self.s3.list_object_versions(Bucket=bucket, Delimiter="/")
        self.assertEqual([p["Prefix"] for p in page["CommonPrefixes"]], ["a/", "c/"])
        self.assertEqual([v["Key"] for v in page["Versions"]], ["b", "b"])
        self.assertEqual(len(self.versions(bucket, Prefix="a/")), 4)
        everything = sorted(self.versions(bucket))
        for size in (1, 2, 3):
            self.assertEqual(sorted(self.versions(bucket, MaxKeys=size)), everything)

    def test_random_history(self):
        bucket = self.bucket_of("v-random", None)
        model, seed = Model(), random.randrange(1 << 30)
        rng = random.Random(seed)
        for step in range(400):
            key = rng.choice(("a", "a/b", "ab", "b"))
            action = rng.choice(("put", "put", "put", "delete", "version", "version", "status"))
            if action == "put":
                body = rng.randbytes(rng.choice((0, 100, 70000)))
                version = self.put(bucket, key, body) or "null"
                model.add(key, version, False, body)
            elif action == "delete":
                reply = self.s3.delete_object(Bucket=bucket, Key=key)
                if model.status:
                    model.add(key, reply["VersionId"], True, None)
                else:
                    model.remove(key, "null")
            elif action == "version" and model.keys.get(key):
                version = rng.choice(model.keys[key])[0]
                self.s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
                model.remove(key, version)
            elif action == "status" and step > 40:
                model.status = rng.choice(("Enabled", "Enabled", "Suspended"))
                self.set_status(bucket, model.status)
            if step % 5 == 0 or step > 390:
                found = self.versions(bucket, MaxKeys=rng.choice((1, 3, 1000)))
                self.assertEqual(sorted(found), sorted(model.listing()),
                                 f"seed {seed} step {step}")
                listed = self.s3.list_objects_v2(Bucket=bucket).get("Contents", [])
                self.assertEqual([o["Key"] for o in listed], sorted(model.current()))
        for key, history in model.keys.items():
            for version, marker, body in history:
                if not marker:
                    found = self.s3.get_object(Bucket=bucket, Key=key, VersionId=version)
                    self.assertEqual(found["Body"].read(), body)


class Lock(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.locked = "v-locked"
        cls.s3.create_bucket(Bucket=cls.locked, ObjectLockEnabledForBucket=True)

    def soon(self, seconds=3600):
        return datetime.datetime.now(UTC) + datetime.timedelta(seconds=seconds)

    def remove(self, key, version, **more):
        return self.s3.delete_object(Bucket=self.locked, Key=key, VersionId=version, **more)

    def test_bucket(self):
        self.assertEqual(self.s3.get_bucket_versioning(Bucket=self.locked)["Status"], "Enabled")
        self.fails("InvalidBucketState", 409, self.s3.put_bucket_versioning, Bucket=self.locked,
                   VersioningConfiguration={"Status": "Suspended"})
        self.fails("ObjectLockConfigurationNotFoundError", 404,
                   self.s3.get_object_lock_configuration, Bucket=self.bucket)
        self.fails("InvalidBucketState", 409, self.s3.put_object_lock_configuration,
                   Bucket=self.bucket,
                   ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
        self.fails("InvalidRequest", 400, self.s3.put_object, Bucket=self.bucket, Key="k",
                   ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=self.soon())

    def test_compliance(self):
        until = self.soon().replace(microsecond=0)
        version = self.s3.put_object(Bucket=self.locked, Key="c", Body=b"x",
                                     ObjectLockMode="COMPLIANCE",
                                     ObjectLockRetainUntilDate=until)["VersionId"]
        head = self.s3.head_object(Bucket=self.locked, Key="c")
        self.assertEqual((head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]),
                         ("COMPLIANCE", until))
        for bypass in (False, True):
            self.fails("AccessDenied", 403, self.remove, "c", version,
                       BypassGovernanceRetention=bypass)
        reply = self.s3.delete_objects(Bucket=self.locked, Delete={
            "Objects": [{"Key": "c", "VersionId": version}]})
        self.assertEqual(reply["Errors"][0]["Code"], "AccessDenied")
        change = {"Bucket": self.locked, "Key": "c", "BypassGovernanceRetention": True}
        self.fails("AccessDenied", 403, self.s3.put_object_retention, **change,
                   Retention={"Mode": "COMPLIANCE", "RetainUntilDate": self.soon(60)})
        self.fails("AccessDenied", 403, self.s3.put_object_retention, **change, Retention={})
        self.s3.put_object_retention(**change, Retention={
            "Mode": "COMPLIANCE", "RetainUntilDate": self.soon(7200)})
        # A new version and a delete marker do not touch the locked one.
        self.s3.put_object(Bucket=self.locked, Key="c", Body=b"y")
        self.s3.delete_object(Bucket=self.locked, Key="c")
        found = self.s3.get_object(Bucket=self.locked, Key="c", VersionId=version)
        self.assertEqual(found["Body"].read(), b"x")

    def test_governance(self):
        version = self.s3.put_object(Bucket=self.locked, Key="g", Body=b"x",
                                     ObjectLockMode="GOVERNANCE",
                                     ObjectLockRetainUntilDate=self.soon())["VersionId"]
        self.fails("AccessDenied", 403, self.remove, "g", version)
        self.fails("AccessDenied", 403, self.s3.put_object_retention, Bucket=self.locked, Key="g",
                   Retention={"Mode": "GOVERNANCE", "RetainUntilDate": self.soon(60)})
        self.remove("g", version, BypassGovernanceRetention=True)

    def test_legal_hold(self):
        version = self.s3.put_object(Bucket=self.locked, Key="h", Body=b"x",
                                     ObjectLockLegalHoldStatus="ON")["VersionId"]
        self.fails("AccessDenied", 403, self.remove, "h", version, BypassGovernanceRetention=True)
        hold = {"Bucket": self.locked, "Key": "h"}
        self.assertEqual(self.s3.get_object_legal_hold(**hold)["LegalHold"]["Status"], "ON")
        self.s3.put_object_legal_hold(**hold, LegalHold={"Status": "OFF"})
        self.remove("h", version)

    def test_default(self):
        bucket = "v-default-lock"
        self.s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        self.assertEqual(self.s3.get_object_lock_configuration(Bucket=bucket)
                         ["ObjectLockConfiguration"], {"ObjectLockEnabled": "Enabled"})
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}
        self.s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled", "Rule": rule})
        self.assertEqual(self.s3.get_object_lock_configuration(Bucket=bucket)
                         ["ObjectLockConfiguration"]["Rule"], rule)
        self.s3.put_object(Bucket=bucket, Key="k", Body=b"")
        kept = self.s3.get_object_retention(Bucket=bucket, Key="k")["Retention"]
        left = kept["RetainUntilDate"] - datetime.datetime.now(UTC)
        self.assertEqual((kept["Mode"], left.days), ("GOVERNANCE", 1))
        both = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2, "Years": 1}}
        self.fails("MalformedXML", 400, self.s3.put_object_lock_configuration, Bucket=bucket,
                   ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": both})
