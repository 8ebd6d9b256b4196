"""Users, groups, roles and sessions through the AWS tools, and what they then may do."""
import json
import os
import subprocess

from botocore.exceptions import ClientError

from identities import Identities
from s3_raw import Signature
from workflow import boto_client

ALLOW_READ = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}}
ALLOW_WRITE = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": "s3:PutObject",
    "Resource": "arn:aws:s3:::s-iam-iam/${aws:username}/*"}}
DENY_ALL = {"Version": "2012-10-17", "Statement": {
    "Effect": "Deny", "Action": "*", "Resource": "*"}}


class Iam(Identities):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"x")

    def test_life_of_a_user(self):
        made = self.iam.create_user(UserName="life", Path="/staff/")["User"]
        self.assertTrue(made["Arn"].endswith(":user/staff/life"))
        self.fails("EntityAlreadyExists", 409, self.iam.create_user, UserName="life")
        self.assertEqual(self.iam.get_user(UserName="life")["User"]["UserId"], made["UserId"])
        self.assertIn("life", [u["UserName"] for u in self.iam.list_users()["Users"]])
        key = self.iam.create_access_key(UserName="life")["AccessKey"]
        self.fails("DeleteConflict", 409, self.iam.delete_user, UserName="life")
        s3 = self.client("s3", key["AccessKeyId"], key["SecretAccessKey"])
        self.denied(s3.list_buckets)
        self.iam.update_access_key(UserName="life", AccessKeyId=key["AccessKeyId"],
                                   Status="Inactive")
        self.fails("InvalidAccessKeyId", 403, s3.list_buckets)
        self.assertEqual([k["Status"] for k in self.iam.list_access_keys(UserName="life")
                          ["AccessKeyMetadata"]], ["Inactive"])
        self.iam.delete_access_key(UserName="life", AccessKeyId=key["AccessKeyId"])
        self.iam.delete_user(UserName="life")
        self.fails("NoSuchEntity", 404, self.iam.get_user, UserName="life")

    def test_inline_policies_decide(self):
        _, s3 = self.user("reader", ALLOW_READ, ALLOW_WRITE)
        self.assertEqual(s3.get_object(Bucket=self.bucket, Key="k")["Body"].read(), b"x")
        self.denied(s3.put_object, Bucket=self.bucket, Key="k", Body=b"y")
        self.denied(s3.delete_object, Bucket=self.bucket, Key="k")
        s3.put_object(Bucket=self.bucket, Key="reader/k", Body=b"own")
        self.denied(s3.put_object, Bucket=self.bucket, Key="other/k", Body=b"y")
        kept = self.iam.get_user_policy(UserName="reader", PolicyName="p0")
        self.assertEqual(kept["PolicyDocument"], ALLOW_READ)
        self.iam.put_user_policy(UserName="reader", PolicyName="stop",
                                 PolicyDocument=json.dumps(DENY_ALL))
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")     # at once
        self.iam.delete_user_policy(UserName="reader", PolicyName="stop")
        s3.get_object(Bucket=self.bucket, Key="k")
        self.fails("MalformedPolicyDocument", 400, self.iam.put_user_policy, UserName="reader",
                   PolicyName="bad", PolicyDocument="{}")

    def test_managed_policies_and_groups(self):
        _, s3 = self.user("member")
        policy = self.iam.create_policy(PolicyName="read", PolicyDocument=json.dumps(ALLOW_READ))
        arn = policy["Policy"]["Arn"]
        self.iam.create_group(GroupName="readers")
        self.iam.attach_group_policy(GroupName="readers", PolicyArn=arn)
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        self.iam.add_user_to_group(GroupName="readers", UserName="member")
        s3.get_object(Bucket=self.bucket, Key="k")
        members = self.iam.get_group(GroupName="readers")["Users"]
        self.assertEqual([u["UserName"] for u in members], ["member"])
        self.fails("DeleteConflict", 409, self.iam.delete_policy, PolicyArn=arn)
        self.iam.remove_user_from_group(GroupName="readers", UserName="member")
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        self.iam.attach_user_policy(UserName="member", PolicyArn=arn)
        s3.get_object(Bucket=self.bucket, Key="k")
        attached = self.iam.list_attached_user_policies(UserName="member")["AttachedPolicies"]
        self.assertEqual(attached, [{"PolicyName": "read", "PolicyArn": arn}])
        document = self.iam.get_policy_version(PolicyArn=arn, VersionId="v1")
        self.assertEqual(document["PolicyVersion"]["Document"], ALLOW_READ)

    def test_versions_of_a_policy(self):
        _, s3 = self.user("versioned")
        iam, read, deny = self.iam, json.dumps(ALLOW_READ), json.dumps(DENY_ALL)
        arn = iam.create_policy(PolicyName="versions", PolicyDocument=read)["Policy"]["Arn"]
        iam.attach_user_policy(UserName="versioned", PolicyArn=arn)
        s3.get_object(Bucket=self.bucket, Key="k")
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=deny)["PolicyVersion"]
        self.assertEqual((made["VersionId"], made["IsDefaultVersion"]), ("v2", False))
        s3.get_object(Bucket=self.bucket, Key="k")                  # v1 is in force
        iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")     # at once
        self.assertEqual(iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"], "v2")
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=read, SetAsDefault=True)
        self.assertTrue(made["PolicyVersion"]["IsDefaultVersion"])
        s3.get_object(Bucket=self.bucket, Key="k")
        for _ in range(2):
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=deny)
        self.fails("LimitExceeded", 409, iam.create_policy_version, PolicyArn=arn,
                   PolicyDocument=read)
        listed = iam.list_policy_versions(PolicyArn=arn)["Versions"]
        self.assertEqual([(v["VersionId"], v["IsDefaultVersion"]) for v in listed],
                         [("v5", False), ("v4", False), ("v3", True), ("v2", False),
                          ("v1", False)])
        document = iam.get_policy_version(PolicyArn=arn, VersionId="v2")["PolicyVersion"]
        self.assertEqual(document["Document"], DENY_ALL)
        self.fails("DeleteConflict", 409, iam.delete_policy_version, PolicyArn=arn,
                   VersionId="v3")
        self.fails("NoSuchEntity", 404, iam.delete_policy_version, PolicyArn=arn, VersionId="v9")
        self.fails("NoSuchEntity", 404, iam.set_default_policy_version, PolicyArn=arn,
                   VersionId="v9")
        self.fails("MalformedPolicyDocument", 400, iam.create_policy_version, PolicyArn=arn,
                   PolicyDocument="{}")
        iam.delete_policy_version(PolicyArn=arn, VersionId="v5")
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=read)["PolicyVersion"]
        self.assertEqual(made["VersionId"], "v6")                   # no number comes twice
        iam.detach_user_policy(UserName="versioned", PolicyArn=arn)
        self.fails("DeleteConflict", 409, iam.delete_policy, PolicyArn=arn)
        for version in ("v1", "v2", "v4", "v6"):
            iam.delete_policy_version(PolicyArn=arn, VersionId=version)
        iam.delete_policy(PolicyArn=arn)

    def test_managed_session_policies(self):
        """What inline and managed ones allow together bounds the role."""
        key, _ = self.user("bounded")
        arn = self.iam.get_user(UserName="bounded")["User"]["Arn"]
        role = self.iam.create_role(RoleName="bound", AssumeRolePolicyDocument=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}}))
        role_arn = role["Role"]["Arn"]
        self.iam.put_role_policy(RoleName="bound", PolicyName="p", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Action": "s3:*", "Resource": "*"}}))
        allow = lambda action: json.dumps({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": action, "Resource": "*"}})
        get, put = [self.iam.create_policy(PolicyName=f"session-{name}",
                                           PolicyDocument=allow(f"s3:{name}"))["Policy"]["Arn"]
                    for name in ("GetObject", "PutObject")]
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])

        def session(*arns, **more):
            given = sts.assume_role(RoleArn=role_arn, RoleSessionName="bounded", **more,
                                    PolicyArns=[{"arn": arn} for arn in arns])["Credentials"]
            return self.client("s3", given["AccessKeyId"], given["SecretAccessKey"],
                               given["SessionToken"])

        s3 = session(get)
        s3.get_object(Bucket=self.bucket, Key="k")
        self.denied(s3.put_object, Bucket=self.bucket, Key="s", Body=b"x")
        both = session(get, put)
        both.get_object(Bucket=self.bucket, Key="k")
        both.put_object(Bucket=self.bucket, Key="s", Body=b"x")
        self.denied(both.list_objects_v2, Bucket=self.bucket)
        mixed = session(get, Policy=allow("s3:ListBucket"))
        mixed.get_object(Bucket=self.bucket, Key="k")
        mixed.list_objects_v2(Bucket=self.bucket)
        self.denied(mixed.put_object, Bucket=self.bucket, Key="s", Body=b"x")
        self.iam.delete_policy(PolicyArn=get)                       # what is gone allows nothing
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        self.fails("ValidationError", 400, session, get)
        self.fails("ValidationError", 400, session, *[put] * 11)

    def test_bucket_policy_for_a_user(self):
        _, s3 = self.user("guest")
        arn = self.iam.get_user(UserName="guest")["User"]["Arn"]
        bucket = "s-iam-guest"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": {"AWS": arn}, "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}}))
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        self.denied(s3.put_object, Bucket=self.bucket, Key="k", Body=b"x")

    def test_users_cannot_raise_themselves(self):
        key, _ = self.user("climber", ALLOW_READ)
        iam = self.client("iam", key["AccessKeyId"], key["SecretAccessKey"])
        for call, params in ((iam.create_user, {"UserName": "x"}), (iam.list_users, {}),
                             (iam.get_user, {"UserName": "reader"}),
                             (iam.put_user_policy, {"UserName": "climber", "PolicyName": "p",
                                                    "PolicyDocument": json.dumps(ALLOW_READ)}),
                             (iam.create_access_key, {"UserName": "climber"})):
            self.denied(call, **params)

    def test_caller_identity_and_sessions(self):
        key, _ = self.user("traveller", ALLOW_READ)
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
        arn = self.iam.get_user(UserName="traveller")["User"]["Arn"]
        self.assertEqual(sts.get_caller_identity()["Arn"], arn)
        self.assertTrue(self.sts.get_caller_identity()["Arn"].endswith(":root"))
        given = sts.get_session_token(DurationSeconds=900)["Credentials"]
        s3 = self.client("s3", given["AccessKeyId"], given["SecretAccessKey"],
                         given["SessionToken"])
        s3.get_object(Bucket=self.bucket, Key="k")
        url = s3.generate_presigned_url("get_object", {"Bucket": self.bucket, "Key": "k"})
        reply = self.raw.anonymous("GET", url[url.index("/", 8):])
        self.assertEqual((reply.status, reply.body), (200, b"x"))
        self.denied(s3.put_object, Bucket=self.bucket, Key="k", Body=b"y")
        token = given["SessionToken"]
        for bad in (token[:-4] + "AAA=", "x", token[4:]):
            wrong = self.client("s3", given["AccessKeyId"], given["SecretAccessKey"], bad)
            self.fails("InvalidToken", 400, wrong.get_object, Bucket=self.bucket, Key="k")
        other = self.client("s3", key["AccessKeyId"], key["SecretAccessKey"], token)
        self.fails("InvalidToken", 400, other.get_object, Bucket=self.bucket, Key="k")

    def test_roles(self):
        key, s3 = self.user("actor")
        arn = self.iam.get_user(UserName="actor")["User"]["Arn"]
        trust = {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}}
        role = self.iam.create_role(RoleName="part", AssumeRolePolicyDocument=json.dumps(trust))
        self.iam.put_role_policy(RoleName="part", PolicyName="p",
                                 PolicyDocument=json.dumps(ALLOW_READ))
        role_arn = role["Role"]["Arn"]
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
        given = sts.assume_role(RoleArn=role_arn, RoleSessionName="night")
        self.assertTrue(given["AssumedRoleUser"]["Arn"].endswith("assumed-role/part/night"))

        def as_role(credentials):
            return self.client("s3", credentials["AccessKeyId"], credentials["SecretAccessKey"],
                               credentials["SessionToken"])

        as_role(given["Credentials"]).get_object(Bucket=self.bucket, Key="k")
        bounded = sts.assume_role(RoleArn=role_arn, RoleSessionName="day", Policy=json.dumps(
            {"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}}))
        s3 = as_role(bounded["Credentials"])
        s3.list_objects_v2(Bucket=self.bucket)
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        stranger, _ = self.user("stranger")
        sts = self.client("sts", stranger["AccessKeyId"], stranger["SecretAccessKey"])
        self.denied(sts.assume_role, RoleArn=role_arn, RoleSessionName="any")
        self.denied(sts.assume_role, RoleArn=role_arn + "x", RoleSessionName="any")

    def test_roles_of_who_is_bounded(self):
        """A trust policy that names somebody does not lift what denies or bounds him."""
        key, _ = self.user("denied-actor", {"Version": "2012-10-17", "Statement": {
            "Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*"}})
        everything = {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "*", "Resource": "*"}}

        def role(name, principal):
            trust = {"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"}}
            made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
            self.iam.put_role_policy(RoleName=name, PolicyName="p",
                                     PolicyDocument=json.dumps(everything))
            return made["Role"]["Arn"]

        users = [self.iam.get_user(UserName="denied-actor")["User"]["Arn"]]
        first = role("bound-first", users + [self.iam_user_arn("free-actor")])
        second = role("bound-second", first)
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
        self.denied(sts.assume_role, RoleArn=first, RoleSessionName="session")
        key = self.keys["free-actor"]
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])

        def second_by(**bounds):
            given = sts.assume_role(RoleArn=first, RoleSessionName="session", **bounds)["Credentials"]
            again = self.client("sts", given["AccessKeyId"], given["SecretAccessKey"],
                                given["SessionToken"])
            return again.assume_role(RoleArn=second, RoleSessionName="session")

        second_by()
        self.denied(second_by, Policy=json.dumps(ALLOW_READ))

    def iam_user_arn(self, name):
        """A new user's, who may do nothing by himself."""
        self.keys = {name: self.user(name)[0]}
        return self.iam.get_user(UserName=name)["User"]["Arn"]

    def test_conditions_beside_s3(self):
        for condition in ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
                          {"StringLike": {"aws:UserAgent": "*oto*"}},
                          {"StringEquals": {"aws:PrincipalType": "User"}}):
            name = "timely-" + next(iter(condition))
            key, _ = self.user(name, {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Action": "*", "Resource": "*"},
                {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}]})
            iam = self.client("iam", key["AccessKeyId"], key["SecretAccessKey"])
            self.denied(iam.list_users)
            functions = self.client("lambda", key["AccessKeyId"], key["SecretAccessKey"])
            self.fails("AccessDeniedException", 403, functions.list_functions)

        key, _ = self.user("outsider")
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {
                "AWS": self.iam.get_user(UserName="outsider")["User"]["Arn"]},
             "Condition": {"StringEquals": {"sts:ExternalId": "agreed"}}},
            {"Effect": "Deny", "Action": "sts:AssumeRole", "Principal": "*",
             "Condition": {"StringEquals": {"sts:RoleSessionName": "barred"}}}]}
        arn = self.iam.create_role(RoleName="external", AssumeRolePolicyDocument=json.dumps(
            trust))["Role"]["Arn"]
        sts = self.client("sts", key["AccessKeyId"], key["SecretAccessKey"])
        sts.assume_role(RoleArn=arn, RoleSessionName="good", ExternalId="agreed")
        for name, said in (("good", {}), ("good", {"ExternalId": "other"}),
                           ("barred", {"ExternalId": "agreed"})):
            self.denied(sts.assume_role, RoleArn=arn, RoleSessionName=name, **said)

    def test_create_bucket_with_more(self):
        key, s3 = self.user("founder", {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*"}})
        for more in ({"ACL": "public-read", "ObjectOwnership": "ObjectWriter"},
                     {"ObjectOwnership": "ObjectWriter"}, {"ObjectLockEnabledForBucket": True}):
            self.denied(s3.create_bucket, Bucket="founded-more", **more)
        s3.create_bucket(Bucket="founded", ACL="private")
        self.iam.put_user_policy(UserName="founder", PolicyName="more", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Resource": "*", "Action": [
                    "s3:PutBucketAcl", "s3:PutBucketOwnershipControls", "s3:PutBucketVersioning",
                    "s3:PutBucketObjectLockConfiguration"]}}))
        s3.create_bucket(Bucket="founded-more", ACL="public-read", ObjectOwnership="ObjectWriter",
                         ObjectLockEnabledForBucket=True)

    def test_conditions_about_new_buckets(self):
        """Where a bucket is to be and which tags it gets; whose a resource is."""
        account = self.sts.get_caller_identity()["Account"]
        allow = lambda action, **condition: {"Effect": "Allow", "Action": action, "Resource": "*",
                                             "Condition": condition}
        _, s3 = self.user("placer", {"Version": "2012-10-17", "Statement": [
            allow("s3:CreateBucket", StringEquals={"s3:LocationConstraint": "us-east-1",
                                                   "s3:ResourceAccount": account}),
            allow("s3:CreateBucket", StringEquals={"aws:RequestTag/team": "blue"},
                  **{"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost"]}}),
            allow("s3:ListBucket", StringEquals={"aws:ResourceAccount": account}),
            allow("s3:GetBucketTagging", StringEquals={"aws:ResourceAccount": "1" * 12})]})
        create = lambda name, body: s3_raw.request("PUT", "/" + name, body=(
            f"<CreateBucketConfiguration>{body}</CreateBucketConfiguration>".encode()),
            signature=Signature(access=key["AccessKeyId"], secret=key["SecretAccessKey"])).status
        key, s3_raw = self.iam.create_access_key(UserName="placer")["AccessKey"], self.raw
        place = "<LocationConstraint>us-east-1</LocationConstraint>"
        tag = "<Tag><Key>{}</Key><Value>{}</Value></Tag>"
        tags = lambda *pairs: "<Tags>" + "".join(tag.format(*p) for p in pairs) + "</Tags>"
        self.denied(s3.create_bucket, Bucket="place-none")
        self.assertEqual(create("place-there", place), 200)
        blue = tags(("team", "blue"), ("cost", "1"))
        self.assertEqual(create("place-tagged", blue), 403)     # s3:TagResource as well
        self.iam.put_user_policy(UserName="placer", PolicyName="tags", PolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": allow("s3:TagResource")}))
        self.assertEqual(create("place-tagged", tags(("team", "red"))), 403)
        self.assertEqual(create("place-tagged", tags(("team", "blue"), ("other", "1"))), 403)
        self.assertEqual(create("place-tagged", blue.replace("<Value>1", "<Value>" + 300 * "1")),
                         400)
        self.assertEqual(create("place-tagged", blue), 200)
        self.assertEqual(self.s3.get_bucket_tagging(Bucket="place-tagged")["TagSet"],
                         [{"Key": "team", "Value": "blue"}, {"Key": "cost", "Value": "1"}])
        s3.list_objects_v2(Bucket="place-tagged")
        self.denied(s3.get_bucket_tagging, Bucket="place-tagged")

    def test_nobody_is_a_service(self):
        """A denial that spares AWS's own services bites everybody."""
        _, s3 = self.user("spared", ALLOW_READ)
        for key in ("aws:PrincipalIsAWSService", "aws:ViaAWSService"):
            s3.list_objects_v2(Bucket=self.bucket)
            deny = {"Version": "2012-10-17", "Statement": {
                "Effect": "Deny", "Action": "s3:*", "Resource": "*",
                "Condition": {"Bool": {key: "false"}}}}
            self.iam.put_user_policy(UserName="spared", PolicyName=key[4:],
                                     PolicyDocument=json.dumps(deny))
            self.denied(s3.list_objects_v2, Bucket=self.bucket)
            self.iam.delete_user_policy(UserName="spared", PolicyName=key[4:])

    def test_any_condition_key(self):
        """IAM takes keys that no service has: they are absent."""
        _, s3 = self.user("wordy", {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*",
             "Condition": {"Null": {"s3:NoSuchKey": "true", "aws:NoSuchKey": "true"}}}]})
        s3.list_objects_v2(Bucket=self.bucket)

    def test_bad_requests(self):
        self.fails("ValidationError", 400, self.iam.create_user, UserName="no spaces")
        self.fails("NoSuchEntity", 404, self.iam.delete_user, UserName="nobody")
        self.fails("NoSuchEntity", 404, self.iam.attach_user_policy, UserName="reader2",
                   PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        self.fails("InvalidAction", 400, self.iam.list_virtual_mfa_devices)
        wrong = self.client("iam", secret="wrong")
        with self.assertRaises(ClientError):
            wrong.list_users()

    def test_aws_cli(self):
        own = boto_client(self.server)._request_signer._credentials
        env = os.environ | {"AWS_ACCESS_KEY_ID": own.access_key,
                            "AWS_SECRET_ACCESS_KEY": own.secret_key,
                            "AWS_DEFAULT_REGION": "us-east-1", "AWS_PAGER": ""}
        run = subprocess.run(["/usr/bin/aws", "--endpoint-url", self.server.endpoint, "iam",
                              "create-user", "--user-name", "by-cli"], env=env,
                             capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(run.stdout)["User"]["UserName"], "by-cli")
