"""Several accounts in one store: what each sees, what it may, and how they are managed."""
import json
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import kist_server
from accounts import Account, TwoAccounts, kist_account
from s3_raw import Signature

ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}


class Accounts(TwoAccounts):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.a.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"a's")
        cls.a_id = cls.a.id

    def policy(self, principal, bucket=None, actions="s3:GetObject"):
        bucket = bucket or self.bucket
        self.a.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": principal, "Action": actions,
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}}))
        self.addCleanup(self.a.s3.delete_bucket_policy, Bucket=bucket)

    def reads(self, who):
        self.assertEqual(who.s3.get_object(Bucket=self.bucket, Key="k")["Body"].read(), b"a's")

    def denied(self, call, **params):
        self.fails("AccessDenied", 403, call, **params)

    def denied_read(self, who):
        self.denied(who.s3.get_object, Bucket=self.bucket, Key="k")

    def test_identities_differ(self):
        self.assertEqual(self.b.id, self.b_id)
        self.assertEqual(self.b.canonical, self.b_canonical)
        self.assertNotEqual((self.a.id, self.a.canonical), (self.b.id, self.b.canonical))
        self.assertEqual(self.b.sts.get_caller_identity()["Arn"], f"arn:aws:iam::{self.b_id}:root")
        self.assertEqual(self.b.s3.list_buckets()["Owner"].get("DisplayName", "Accounts"),
                         "Accounts")

    def names(self, who, query=""):
        """Debian's boto3 knows no parameters of ListBuckets."""
        reply = self.raw.request("GET", "/" + query,
                                 signature=Signature(access=who.access, secret=who.secret))
        return re.findall("<Name>(.*?)</Name>", reply.body.decode())

    def test_each_lists_its_own_buckets(self):
        self.b.s3.create_bucket(Bucket="acc-b1")
        self.b.s3.create_bucket(Bucket="acc-b2")
        self.a.s3.create_bucket(Bucket="acc-a1")
        names = self.names
        self.assertEqual(names(self.b, "?prefix=acc-"), ["acc-b1", "acc-b2"])
        self.assertEqual(names(self.a, "?prefix=acc-"), ["acc-a1"])
        self.assertEqual(names(self.b, "?max-buckets=1&prefix=acc-"), ["acc-b1"])
        self.assertEqual(names(self.b, "?continuation-token=acc-b1&prefix=acc-"), ["acc-b2"])
        self.fails("BucketAlreadyExists", 409, self.a.s3.create_bucket, Bucket="acc-b1")
        self.fails("BucketAlreadyExists", 409, self.b.s3.create_bucket, Bucket="acc-a1")
        self.fails("BucketAlreadyOwnedByYou", 409, self.b.s3.create_bucket, Bucket="acc-b1")
        self.denied(self.a.s3.delete_bucket, Bucket="acc-b1")   # root of another account
        self.b.s3.put_object(Bucket="acc-b1", Key="k", Body=b"x")
        owner = self.b.s3.list_objects(Bucket="acc-b1")["Contents"][0]["Owner"]
        self.assertEqual(owner["ID"], self.b_canonical)
        self.b.s3.delete_object(Bucket="acc-b1", Key="k")
        for bucket in ("acc-b1", "acc-b2"):
            self.b.s3.delete_bucket(Bucket=bucket)
        self.assertEqual(names(self.b), [])
        self.a.s3.create_bucket(Bucket="acc-b2")    # the name is free again, for anybody
        self.assertEqual(names(self.a, "?prefix=acc-"), ["acc-a1", "acc-b2"])

    def test_strangers_are_denied(self):
        for call, more in ((self.b.s3.get_object, {"Key": "k"}), (self.b.s3.list_objects, {}),
                           (self.b.s3.put_object, {"Key": "n", "Body": b""}),
                           (self.b.s3.get_bucket_policy, {}),
                           (self.b.s3.delete_object, {"Key": "k"})):
            self.denied(call, Bucket=self.bucket, **more)
        self.b.s3.create_bucket(Bucket="acc-steal")
        self.denied(self.b.s3.copy_object, Bucket="acc-steal", Key="k",
                    CopySource=f"{self.bucket}/k")
        self.b.s3.delete_bucket(Bucket="acc-steal")

    def test_principals_by_every_name(self):
        for principal in ({"AWS": self.b_id}, {"AWS": f"arn:aws:iam::{self.b_id}:root"},
                          {"CanonicalUser": self.b_canonical}, "*"):
            with self.subTest(principal):
                self.policy(principal)
                self.reads(self.b)
                self.denied(self.b.s3.put_object, Bucket=self.bucket, Key="k", Body=b"")
                self.a.s3.delete_bucket_policy(Bucket=self.bucket)
                self.denied_read(self.b)
        self.policy({"AWS": self.a_id})
        self.denied_read(self.b)

    def test_across_accounts_both_must_allow(self):
        without, reader = self.b.user("without"), self.b.user("reader", READ)
        self.denied_read(reader)
        self.policy({"AWS": self.b_id})
        self.reads(reader)
        self.denied_read(without)
        self.policy({"AWS": f"arn:aws:iam::{self.b_id}:user/without"})
        self.denied_read(without)       # named, but his account has given him nothing
        self.denied_read(reader)        # not named
        self.policy({"AWS": f"arn:aws:iam::{self.b_id}:user/reader"})
        self.reads(reader)

    def test_within_an_account_either_suffices(self):
        named, reader = self.a.user("acc-named"), self.a.user("acc-reader", READ)
        self.reads(reader)
        self.denied_read(named)
        self.policy({"AWS": f"arn:aws:iam::{self.a_id}:user/acc-named"})
        self.reads(named)

    def test_users_of_the_same_name(self):
        of_a, of_b = self.a.user("twin", ALL), self.b.user("twin", ALL)
        self.assertEqual(of_a.sts.get_caller_identity()["Arn"],
                         f"arn:aws:iam::{self.a_id}:user/twin")
        self.assertEqual(of_b.sts.get_caller_identity()["Arn"],
                         f"arn:aws:iam::{self.b_id}:user/twin")
        self.reads(of_a)
        self.denied_read(of_b)
        self.policy({"AWS": f"arn:aws:iam::{self.b_id}:user/twin"})
        self.reads(of_b)
        self.assertEqual([u["UserName"] for u in self.b.iam.list_users()["Users"]
                          if u["UserName"] == "twin"], ["twin"])
        key = of_a.access
        self.fails("NoSuchEntity", 404, self.b.iam.delete_access_key, UserName="twin",
                   AccessKeyId=key)
        self.b.iam.delete_user_policy(UserName="twin", PolicyName="p")
        self.denied(of_b.s3.list_buckets)
        self.reads(of_a)

    def test_groups_and_managed_policies_are_the_account_s(self):
        user = self.b.user("member")
        arn = self.b.iam.create_policy(PolicyName="all", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": [ALL]}))["Policy"]["Arn"]
        self.assertEqual(arn, f"arn:aws:iam::{self.b_id}:policy/all")
        self.fails("NoSuchEntity", 404, self.a.iam.get_policy, PolicyArn=arn)
        self.b.iam.create_group(GroupName="g")
        self.b.iam.attach_group_policy(GroupName="g", PolicyArn=arn)
        self.fails("NoSuchEntity", 404, self.a.iam.get_group, GroupName="g")
        self.denied(user.s3.list_buckets)
        self.b.iam.add_user_to_group(GroupName="g", UserName="member")
        user.s3.list_buckets()
        self.denied_read(user)

    def test_roles_across_accounts(self):
        trust = {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{self.b_id}:user/agent"},
            "Action": "sts:AssumeRole"}}
        role = self.a.iam.create_role(RoleName="acc-open", AssumeRolePolicyDocument=json.dumps(
            trust))["Role"]["Arn"]
        self.a.iam.put_role_policy(RoleName="acc-open", PolicyName="p", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": READ}))
        agent, poor = self.b.user("agent", ALL), self.b.user("poor", ALL)
        self.denied(poor.sts.assume_role, RoleArn=role, RoleSessionName="ses")
        got = agent.sts.assume_role(RoleArn=role, RoleSessionName="ses")
        self.assertEqual(got["AssumedRoleUser"]["Arn"],
                         f"arn:aws:sts::{self.a_id}:assumed-role/acc-open/ses")
        c = got["Credentials"]
        session = Account(self.server, c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])
        self.assertEqual(session.sts.get_caller_identity()["Account"], self.a_id)
        self.reads(session)
        # a policy names a role's sessions by the role, or one by its own ARN
        bucket = "acc-of-b"
        self.b.s3.create_bucket(Bucket=bucket)
        self.b.s3.put_object(Bucket=bucket, Key="k", Body=b"b's")
        self.denied(session.s3.get_object, Bucket=bucket, Key="k")
        for principal in (role, got["AssumedRoleUser"]["Arn"]):
            self.b.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
                "Version": "2012-10-17", "Statement": {
                    "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "s3:GetObject",
                    "Resource": f"arn:aws:s3:::{bucket}/*"}}))
            session.s3.get_object(Bucket=bucket, Key="k")
        # across accounts the trust's word alone is not enough
        self.b.iam.delete_user_policy(UserName="agent", PolicyName="p")
        self.denied(agent.sts.assume_role, RoleArn=role, RoleSessionName="ses")

    def test_session_of_another_account(self):
        c = self.b.sts.get_session_token()["Credentials"]
        session = Account(self.server, c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])
        self.assertEqual(session.sts.get_caller_identity()["Account"], self.b_id)
        self.denied_read(session)

    def test_expected_bucket_owner(self):
        self.a.s3.head_bucket(Bucket=self.bucket, ExpectedBucketOwner=self.a_id)
        self.fails("403", 403, self.a.s3.head_bucket, Bucket=self.bucket,
                   ExpectedBucketOwner=self.b_id)
        self.policy({"AWS": self.b_id})
        self.b.s3.get_object(Bucket=self.bucket, Key="k", ExpectedBucketOwner=self.a_id)
        self.denied(self.b.s3.get_object, Bucket=self.bucket, Key="k",
                    ExpectedBucketOwner=self.b_id)      # the caller's is not the owner's
        self.denied(self.a.s3.copy_object, Bucket=self.bucket, Key="c",
                    CopySource=f"{self.bucket}/k", ExpectedSourceBucketOwner=self.b_id)

    def test_managing_through_the_server(self):
        made = kist_account("create", "managed", "--access-key", "MANAGED", "--secret-key",
                            "secret/of+managed", server=self.server)
        self.assertEqual((made["access-key"], made["secret-key"]),
                         ("MANAGED", "secret/of+managed"))
        who = Account(self.server, "MANAGED", "secret/of+managed")
        self.assertEqual(who.id, made["account-id"])
        rows = {row[2]: row for row in kist_account("ls", server=self.server)}
        self.assertEqual(rows["managed"], [made["account-id"], made["canonical-id"], "managed",
                                           "MANAGED"])
        self.assertEqual(rows["root"][0], self.a_id)
        for words in (("create", "managed"), ("create", "root"), ("create", "no/name"),
                      ("create", "other", "--access-key", "MANAGED", "--secret-key", "x"),
                      ("create", "other", "--access-key", kist_server.ACCESS_KEY,
                       "--secret-key", "x"), ("rm", "root"), ("rm", "nobody"),
                      ("key", "create", "root"), ("key", "rm", "managed", "NONE")):
            with self.subTest(words):
                kist_account(*words, server=self.server, status=1)
        new = kist_account("key", "rotate", "managed", server=self.server)
        self.fails("InvalidAccessKeyId", 403, who.s3.list_buckets)
        who = Account(self.server, new["access-key"], new["secret-key"])
        who.s3.create_bucket(Bucket="acc-managed")
        self.assertIn("owns buckets", kist_account("rm", "managed", server=self.server, status=1))
        who.s3.delete_bucket(Bucket="acc-managed")
        who.iam.create_user(UserName="u")
        kist_account("rm", "managed", server=self.server, status=1)
        who.iam.delete_user(UserName="u")
        kist_account("rm", "managed", server=self.server)
        self.fails("InvalidAccessKeyId", 403, who.s3.list_buckets)
        self.assertNotIn("managed", [row[2] for row in kist_account("ls", server=self.server)])

    def test_only_the_first_account_manages(self):
        keys = {"KIST_ROOT_ACCESS_KEY": self.b.access, "KIST_ROOT_SECRET_KEY": self.b.secret}
        self.assertIn("first account", kist_account("create", "sub", server=self.server, env=keys,
                                                    status=1))
        user = self.a.user("acc-clerk", READ)
        keys = {"KIST_ROOT_ACCESS_KEY": user.access, "KIST_ROOT_SECRET_KEY": user.secret}
        kist_account("ls", server=self.server, env=keys, status=1)
        keys["KIST_ROOT_SECRET_KEY"] = "wrong"
        kist_account("ls", server=self.server, env=keys, status=1)


    def test_over_https(self):
        server = kist_server.shared(tls=True)
        trust = {"AWS_CA_BUNDLE": str(server.ca)}
        made = kist_account("create", "secure", server=server, env=trust)
        self.assertEqual(made["name"], "secure")
        kist_account("rm", "secure", "--ca-file", str(server.ca), server=server)
        self.assertIn("certificate", kist_account("ls", server=server, status=1,
                                                  env={"AWS_CA_BUNDLE": ""}))


class Directory(unittest.TestCase):
    """Without a server, and from one start to the next."""

    def setUp(self):
        self.data = Path(tempfile.mkdtemp(prefix="kist-accounts-")) / "data"
        self.addCleanup(shutil.rmtree, self.data.parent)

    def test_before_the_first_start(self):
        made = kist_account("create", "early", data=self.data,
                            env={"KIST_ACCOUNT_ACCESS_KEY": "EARLY",
                                 "KIST_ACCOUNT_SECRET_KEY": "early/secret"})
        self.assertEqual(made["access-key"], "EARLY")
        with kist_server.Server(data=self.data) as server:
            who = Account(server, "EARLY", "early/secret")
            self.assertEqual(who.id, made["account-id"])
            who.s3.create_bucket(Bucket="early")
            error = kist_account("ls", data=self.data, status=1)
            self.assertIn("--endpoint", error)
        self.assertIn("owns buckets", kist_account("rm", "early", data=self.data, status=1))
        self.assertEqual([row[2] for row in kist_account("ls", data=self.data)
                          if row[2] == "early"], ["early"])
        with kist_server.Server(data=self.data) as server:
            who = Account(server, "EARLY", "early/secret")
            who.s3.delete_bucket(Bucket="early")
        kist_account("rm", "early", data=self.data)

    def test_ids_stay_when_the_root_key_changes(self):
        with kist_server.Server(data=self.data) as server:
            root = Account(server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY)
            root.s3.create_bucket(Bucket="mine")
            ids = root.id, root.canonical
        other = {"KIST_ROOT_ACCESS_KEY": "OTHER", "KIST_ROOT_SECRET_KEY": "other/secret"}
        with kist_server.Server(data=self.data, env=other) as server:
            root = Account(server, "OTHER", "other/secret")
            self.assertEqual((root.id, root.canonical), ids)
            self.assertEqual([b["Name"] for b in root.s3.list_buckets()["Buckets"]], ["mine"])
            root.s3.delete_bucket(Bucket="mine")
