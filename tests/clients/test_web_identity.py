"""Roles taken by another issuer's tokens: AssumeRoleWithWebIdentity and OIDC providers."""
import hashlib
import http.client
import json
import os
import ssl
import subprocess
import tempfile
import time
import urllib.parse

import boto3
import botocore
import botocore.config
from botocore.exceptions import ClientError

from identities import Identities
from kist_server import certificates
from oidc_issuer import Issuer, Key, b64

READ = {"Version": "2012-10-17", "Statement": {
    "Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}}


class WebIdentity(Identities):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.s3.put_object(Bucket=cls.bucket, Key="k", Body=b"x")
        cls.rsa, cls.ec = Key("rsa-1"), Key("ec-1", "EC")
        cls.issuer = cls.new_issuer("/realm")
        cls.provider = cls.provide(cls.issuer)
        cls.role = cls.trusting("web", cls.issuer)
        cls.anyone = boto3.client("sts", endpoint_url=cls.server.endpoint, region_name="us-east-1",
                                  config=botocore.config.Config(
                                      signature_version=botocore.UNSIGNED,
                                      retries={"max_attempts": 0}))

    @classmethod
    def new_issuer(cls, path=""):
        issuer = Issuer(path)
        issuer.keys = [cls.rsa, cls.ec]
        cls.addClassCleanup(issuer.close)
        return issuer

    @classmethod
    def provide(cls, issuer):
        return cls.iam.create_open_id_connect_provider(
            Url=issuer.url, ClientIDList=["kist", "other"], ThumbprintList=[])[
                "OpenIDConnectProviderArn"]

    @classmethod
    def trusting(cls, name, issuer, condition=None, principal=None):
        account = cls.sts.get_caller_identity()["Account"]
        statement = {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
                     "Principal": principal or {
                         "Federated": f"arn:aws:iam::{account}:oidc-provider/{issuer.name}"}}
        if condition:
            statement["Condition"] = condition
        role = cls.iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(
            {"Version": "2012-10-17", "Statement": statement}))["Role"]["Arn"]
        cls.iam.put_role_policy(RoleName=name, PolicyName="read", PolicyDocument=json.dumps(READ))
        return role

    def take(self, token, role=None, **params):
        return self.anyone.assume_role_with_web_identity(
            RoleArn=role or self.role, RoleSessionName="job", WebIdentityToken=token, **params)

    def refused(self, code, status, token, **params):
        self.fails(code, status, self.take, token=token, **params)

    # ---- what is given ----

    def test_session_by_either_algorithm(self):
        for key in self.rsa, self.ec:
            with self.subTest(key.kid):
                got = self.take(self.issuer.token(key))
                self.assertEqual(got["SubjectFromWebIdentityToken"], "build-7")
                self.assertEqual(got["Audience"], "kist")
                self.assertEqual(got["Provider"], self.issuer.url)
                self.assertTrue(got["AssumedRoleUser"]["Arn"].endswith(":assumed-role/web/job"))
                self.assertNotIn("PackedPolicySize", got)
                left = got["Credentials"]["Expiration"].timestamp() - time.time()
                self.assertTrue(3500 < left < 3700, left)
                s3 = self.session_client(got)
                self.assertEqual(s3.get_object(Bucket=self.bucket, Key="k")["Body"].read(), b"x")
                self.denied(s3.put_object, Bucket=self.bucket, Key="k", Body=b"y")

    def session_client(self, got, service="s3"):
        c = got["Credentials"]
        return self.client(service, c["AccessKeyId"], c["SecretAccessKey"], c["SessionToken"])

    def test_session_policy_and_duration(self):
        none = {"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}}
        got = self.take(self.issuer.token(self.rsa), Policy=json.dumps(none), DurationSeconds=900)
        self.assertTrue(0 < got["PackedPolicySize"] < 100)
        s3 = self.session_client(got)
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        s3.list_objects_v2(Bucket=self.bucket)
        self.refused("ValidationError", 400, self.issuer.token(self.rsa), DurationSeconds=43200)

    def test_claims_in_the_roles_policies(self):
        name = self.issuer.name
        role = self.trusting("own-prefix", self.issuer)
        self.iam.put_role_policy(RoleName="own-prefix", PolicyName="write",
                                 PolicyDocument=json.dumps({
                                     "Version": "2012-10-17", "Statement": {
                                         "Effect": "Allow", "Action": "s3:PutObject", "Resource":
                                         f"arn:aws:s3:::{self.bucket}/${{{name}:sub}}/*"}}))
        s3 = self.session_client(self.take(self.issuer.token(self.rsa, sub="ann"), role=role))
        s3.put_object(Bucket=self.bucket, Key="ann/k", Body=b"x")
        self.denied(s3.put_object, Bucket=self.bucket, Key="bob/k", Body=b"x")

    def test_conditions_of_the_trust(self):
        name = self.issuer.name
        role = self.trusting("picky", self.issuer, {
            "StringEquals": {f"{name}:aud": "kist"},
            "StringLike": {f"{name}:sub": "repo:kist/*"},
            "ForAnyValue:StringEquals": {f"{name}:amr": ["mfa"]}})
        good = {"sub": "repo:kist/main", "amr": ["pwd", "mfa"]}
        self.take(self.issuer.token(self.rsa, **good), role=role)
        for change in {"sub": "repo:other/main"}, {"amr": ["pwd"]}, {"amr": None}, \
                {"aud": "other"}:
            with self.subTest(change):
                self.refused("AccessDenied", 403,
                             self.issuer.token(self.rsa, **{**good, **change}), role=role)

    def test_roles_that_trust_somebody_else(self):
        account = self.sts.get_caller_identity()["Account"]
        token = self.issuer.token(self.rsa)
        for name, principal in (("root-only", {"AWS": account}),
                                ("another", {"Federated": self.provider + "x"})):
            role = self.trusting(name, self.issuer, principal=principal)
            self.refused("AccessDenied", 403, token, role=role)
        self.refused("AccessDenied", 403, token, role=self.role + "-none")
        self.fails("AccessDenied", 403, self.sts.assume_role, RoleArn=self.role,
                   RoleSessionName="job")

    def test_several_audiences_need_the_party(self):
        self.refused("InvalidIdentityToken", 400, self.issuer.token(self.rsa, aud=["kist", "b"]))
        got = self.take(self.issuer.token(self.rsa, aud=["b", "kist"], azp="kist"))
        self.assertEqual(got["Audience"], "kist")
        self.refused("InvalidIdentityToken", 400,
                     self.issuer.token(self.rsa, aud=["a", "b"], azp="kist"))

    # ---- what is refused ----

    def test_bad_tokens(self):
        now, rsa = int(time.time()), self.rsa
        forged = Key("rsa-1")
        good = self.issuer.token(rsa)
        head, body, signature = good.split(".")
        other = b64(json.dumps(self.issuer.claims(sub="root")).encode())
        cases = {
            "alg none": self.issuer.token(rsa, {"alg": "none"}),
            "alg none, signed": self.issuer.token(rsa, {"alg": "none"}) + signature,
            "alg HS256 by the public key": self.issuer.token(rsa, {"alg": "HS256"}),
            "alg RS512": self.issuer.token(rsa, {"alg": "RS512"}),
            "ES256 of an RSA key": self.issuer.token(rsa, {"alg": "ES256"}),
            "RS256 of a P-256 key": self.issuer.token(self.ec, {"alg": "RS256"}),
            "no kid among two keys, wrong alg": self.issuer.token(rsa, {"alg": "PS256"}),
            "crit": self.issuer.token(rsa, {"crit": ["exp"]}),
            "another's key under the kid": self.issuer.token(forged),
            "changed claims": f"{head}.{other}.{signature}",
            "no signature": f"{head}.{body}.",
            "wrong aud": self.issuer.token(rsa, aud="stranger"),
            "wrong iss": self.issuer.token(rsa, iss="https://example.com"),
            "iss with a slash": self.issuer.token(rsa, iss=self.issuer.url + "/"),
            "no sub": self.issuer.token(rsa, sub=None),
            "no exp": self.issuer.token(rsa, exp=None),
            "exp is text": self.issuer.token(rsa, exp=str(now + 600)),
            "bad base64": good.replace(".", ".*", 1),
            "padding": good + "=",
            "two parts": f"{head}.{body}",
            "four parts": good + ".x",
            "an access token": "opaque-access-token",
        }
        for name, token in cases.items():
            with self.subTest(name):
                self.refused("InvalidIdentityToken", 400, token)
        self.refused("ExpiredTokenException", 400, self.issuer.token(rsa, exp=now - 1))
        self.refused("IDPRejectedClaim", 403, self.issuer.token(rsa, nbf=now + 300))
        self.refused("InvalidIdentityToken", 400, self.issuer.token(forged, exp=now - 1))

    def post(self, body, headers=None):
        url = urllib.parse.urlsplit(self.server.endpoint)
        c = http.client.HTTPConnection(url.hostname, url.port, timeout=20)
        try:
            c.request("POST", "/", body, {"Content-Type": "application/x-www-form-urlencoded",
                                          **(headers or {})})
            reply = c.getresponse()
            return reply.status, reply.read().decode()
        finally:
            c.close()

    def test_without_a_signature_nothing_else(self):
        for action in "AssumeRole", "GetCallerIdentity", "GetSessionToken":
            status, text = self.post(f"Action={action}&Version=2011-06-15")
            self.assertEqual(status, 403)
            self.assertIn("MissingAuthenticationToken", text)
        status, text = self.post("Action=CreateUser&UserName=x&Version=2010-05-08")
        self.assertEqual(status, 400)
        self.assertIn("InvalidAction", text)

    def test_oversize(self):
        form = {"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15",
                "RoleArn": self.role, "RoleSessionName": "job"}
        status, text = self.post(urllib.parse.urlencode({**form, "WebIdentityToken": "a" * 20001}))
        self.assertEqual(status, 400)
        self.assertIn("ValidationError", text)
        status, _ = self.post("a" * (1 << 20))
        self.assertEqual(status, 400)
        deep = ".".join((b64(b'{"alg":"RS256","x":' + b"[" * 9000), b64(b"{}"), "AA"))
        status, text = self.post(urllib.parse.urlencode({**form, "WebIdentityToken": deep}))
        self.assertIn("InvalidIdentityToken", text)

    # ---- keys ----

    def test_a_new_key_is_fetched_once(self):
        issuer = self.new_issuer()
        self.provide(issuer)
        role = self.trusting("rotating", issuer)
        self.take(issuer.token(self.rsa), role=role)
        self.take(issuer.token(self.ec), role=role)
        self.assertEqual(issuer.asked.count("/keys"), 1)
        fresh = Key("rsa-2")
        issuer.keys = [fresh]
        self.take(issuer.token(fresh), role=role)
        self.assertEqual(issuer.asked.count("/keys"), 2)
        self.refused("InvalidIdentityToken", 400, issuer.token(self.rsa), role=role)
        for _ in range(3):      # nobody makes us knock
            self.refused("InvalidIdentityToken", 400, issuer.token(Key("no", "EC")), role=role)
        self.assertEqual(issuer.asked.count("/keys"), 2)

    def test_issuers_that_do_not_answer(self):
        admin = urllib.parse.urlsplit(self.server.admin or "")
        discovery = "/.well-known/openid-configuration"

        def document(of, **changes):
            return 200, {}, json.dumps({"issuer": of.url, "jwks_uri": of.base + "/keys",
                                        **changes}).encode()
        cases = {
            "gone": lambda i: i.close(),
            "no-document": lambda i: i.documents.update({discovery: (404, {}, b"")}),
            "anothers": lambda i: i.documents.update(
                {discovery: document(i, issuer="https://example.com")}),
            "redirect": lambda i: i.documents.update(
                {discovery: (302, {"Location": i.base + "/moved"}, b""), "/moved": document(i)}),
            "too-large": lambda i: i.documents.update(
                {"/keys": (200, {}, i.answer("/keys")[2] + b" " * (300 << 10))}),
            "no-json": lambda i: i.documents.update({"/keys": (200, {}, b"<html>")}),
            "file": lambda i: i.documents.update(
                {discovery: document(i, jwks_uri="file:///etc/passwd")}),
            "line-feed": lambda i: i.documents.update(
                {discovery: document(i, jwks_uri=i.base + "/keys\nlistening on")}),
            "abroad": lambda i: i.documents.update(
                {discovery: document(i, jwks_uri="http://192.0.2.1/keys")}),
        }
        if admin.port:
            cases["admin"] = lambda i: i.documents.update(
                {discovery: document(i, jwks_uri=f"{self.server.admin}/metrics")})
        for name, spoil in cases.items():
            with self.subTest(name):
                issuer = Issuer()
                if name != "gone":
                    self.addCleanup(issuer.close)
                issuer.keys = [self.rsa]
                self.provide(issuer)
                role = self.trusting("deaf-" + name, issuer)
                spoil(issuer)
                self.refused("IDPCommunicationError", 400, issuer.token(self.rsa), role=role)
                asked = len(issuer.asked)
                self.refused("IDPCommunicationError", 400, issuer.token(self.rsa), role=role)
                self.assertEqual(len(issuer.asked), asked)      # remembered

        if admin.port:      # the connection was left before anything was sent
            self.assertTrue([line for line in self.server.lines
                             if "/metrics" in line and "callback" in line])

    def test_private_authority(self):
        """Over TLS, an authority that the system does not know counts by its thumbprint."""
        certs = certificates()
        with tempfile.NamedTemporaryFile("wb") as chain:
            for name in "cert.pem", "ca.pem":
                chain.write((certs / name).read_bytes())
            chain.flush()
            issuer = Issuer(tls=(chain.name, certs / "key.pem"))
        self.addCleanup(issuer.close)
        issuer.keys = [self.rsa]
        der = ssl.PEM_cert_to_DER_cert((certs / "ca.pem").read_text())
        arn = self.provide(issuer)
        role = self.trusting("private", issuer)
        self.refused("IDPCommunicationError", 400, issuer.token(self.rsa), role=role)
        self.iam.update_open_id_connect_provider_thumbprint(
            OpenIDConnectProviderArn=arn, ThumbprintList=["ab" * 20])
        self.refused("IDPCommunicationError", 400, issuer.token(self.rsa), role=role)
        self.assertEqual(issuer.asked, [])
        self.iam.update_open_id_connect_provider_thumbprint(
            OpenIDConnectProviderArn=arn, ThumbprintList=[hashlib.sha1(der).hexdigest()])
        self.take(issuer.token(self.rsa), role=role)

    # ---- providers ----

    def test_life_of_a_provider(self):
        made = self.iam.create_open_id_connect_provider(
            Url="https://id.example.com/a/b", ClientIDList=["one"], ThumbprintList=["ab" * 20])
        arn = made["OpenIDConnectProviderArn"]
        self.assertTrue(arn.endswith(":oidc-provider/id.example.com/a/b"))
        self.fails("EntityAlreadyExists", 409, self.iam.create_open_id_connect_provider,
                   Url="https://id.example.com/a/b", ThumbprintList=["ab" * 20])
        self.iam.add_client_id_to_open_id_connect_provider(
            OpenIDConnectProviderArn=arn, ClientID="two")
        self.iam.remove_client_id_from_open_id_connect_provider(
            OpenIDConnectProviderArn=arn, ClientID="one")
        self.iam.update_open_id_connect_provider_thumbprint(
            OpenIDConnectProviderArn=arn, ThumbprintList=["cd" * 20, "ef" * 20])
        got = self.iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.assertEqual((got["Url"], got["ClientIDList"], got["ThumbprintList"]),
                         ("id.example.com/a/b", ["two"], ["cd" * 20, "ef" * 20]))
        listed = self.iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]
        self.assertIn(arn, [p["Arn"] for p in listed])
        self.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.fails("NoSuchEntity", 404, self.iam.get_open_id_connect_provider,
                   OpenIDConnectProviderArn=arn)

    def test_tags_of_a_provider(self):
        iam = self.iam
        arn = iam.create_open_id_connect_provider(
            Url="https://id.example.com/tagged", ClientIDList=[], ThumbprintList=[],
            Tags=[{"Key": "Team", "Value": "a b+c"}])["OpenIDConnectProviderArn"]
        self.addCleanup(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)
        tags = lambda: {t["Key"]: t["Value"] for t in iam.list_open_id_connect_provider_tags(
            OpenIDConnectProviderArn=arn)["Tags"]}
        put = lambda *pairs: iam.tag_open_id_connect_provider(
            OpenIDConnectProviderArn=arn, Tags=[{"Key": k, "Value": v} for k, v in pairs])
        self.assertEqual(tags(), {"Team": "a b+c"})
        put(("cost", ""), ("team", "b"))                # in any case the same key
        self.assertEqual(tags(), {"team": "b", "cost": ""})
        told = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.assertEqual(len(told["Tags"]), 2)
        iam.untag_open_id_connect_provider(OpenIDConnectProviderArn=arn,
                                           TagKeys=["TEAM", "absent"])
        self.assertEqual(tags(), {"cost": ""})
        self.fails("InvalidInput", 400, put, ("aws:x", "1"))
        self.fails("InvalidInput", 400, put, ("x", "1"), ("X", "2"))
        put(*[(f"k{i}", "v") for i in range(49)])
        self.fails("LimitExceeded", 409, put, ("one-more", "v"))
        self.fails("NoSuchEntity", 404, iam.tag_open_id_connect_provider,
                   OpenIDConnectProviderArn=arn + "x", Tags=[{"Key": "k", "Value": "v"}])

    def test_managed_session_policies(self):
        none = json.dumps({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}})
        arn = self.iam.create_policy(PolicyName="web-bound", PolicyDocument=none)["Policy"]["Arn"]
        s3 = self.session_client(self.take(self.issuer.token(self.rsa),
                                           PolicyArns=[{"arn": arn}]))
        s3.list_objects_v2(Bucket=self.bucket)
        self.denied(s3.get_object, Bucket=self.bucket, Key="k")
        self.refused("ValidationError", 400, self.issuer.token(self.rsa),
                     PolicyArns=[{"arn": arn + "x"}])

    def test_bad_providers(self):
        for url in ("http://id.example.com", "https://", "ftp://127.0.0.1", "id.example.com",
                    "https://u@id.example.com", "https://id.example.com/?q", "https:///a",
                    "http://127.0.0.1.example.com", "https://id.example.com/" + "a" * 250):
            with self.subTest(url):
                self.fails("InvalidInput", 400, self.iam.create_open_id_connect_provider,
                           Url=url, ThumbprintList=["ab" * 20])
        self.fails("InvalidInput", 400, self.iam.create_open_id_connect_provider,
                   Url="https://id.example.com/t", ThumbprintList=["xy" * 20])
        _, _ = self.user("nobody-oidc")
        key = self.iam.create_access_key(UserName="nobody-oidc")["AccessKey"]
        iam = self.client("iam", key["AccessKeyId"], key["SecretAccessKey"])
        self.denied(iam.list_open_id_connect_providers)
        self.denied(iam.create_open_id_connect_provider, Url="https://id.example.com/n",
                    ThumbprintList=["ab" * 20])
        self.denied(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=self.provider)

    def test_deleted_provider_lets_nobody_in(self):
        issuer = self.new_issuer()
        arn = self.provide(issuer)
        role = self.trusting("left", issuer)
        self.take(issuer.token(self.rsa), role=role)
        self.iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        self.refused("InvalidIdentityToken", 400, issuer.token(self.rsa), role=role)

    # ---- the tools ----

    def test_aws_cli(self):
        out = subprocess.run(
            ["aws", "--endpoint-url", self.server.endpoint, "--region", "us-east-1", "--output",
             "json", "sts", "assume-role-with-web-identity", "--role-arn", self.role,
             "--role-session-name", "cli", "--web-identity-token", self.issuer.token(self.ec)],
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"}, check=True,
            capture_output=True, text=True, timeout=60).stdout
        got = json.loads(out)
        self.assertEqual(got["SubjectFromWebIdentityToken"], "build-7")
        self.assertTrue(got["Credentials"]["AccessKeyId"].startswith("ASIA"))

    def test_boto3_by_token_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(self.issuer.token(self.rsa))
            file.flush()
            code = ("import boto3, sys\n"
                    "s = boto3.Session(region_name='us-east-1')\n"
                    "c = s.client('s3', endpoint_url=sys.argv[1])\n"
                    "print(c.get_object(Bucket=sys.argv[2], Key='k')['Body'].read().decode())\n")
            # Old SDKs cannot be told the STS endpoint by the environment: the credentials are
            # asked for through a session that knows it.
            code = ("import botocore.session, functools\n"
                    "real = botocore.session.Session.create_client\n"
                    "def create(self, name, *a, **k):\n"
                    "    import sys\n"
                    "    k.setdefault('endpoint_url', sys.argv[1])\n"
                    "    return real(self, name, *a, **k)\n"
                    "botocore.session.Session.create_client = create\n") + code
            out = subprocess.run(
                ["python3", "-c", code, self.server.endpoint, self.bucket], check=True,
                env={"PATH": os.environ["PATH"], "HOME": "/nonexistent",
                     "AWS_ROLE_ARN": self.role, "AWS_ROLE_SESSION_NAME": "file",
                     "AWS_WEB_IDENTITY_TOKEN_FILE": file.name},
                capture_output=True, text=True, timeout=60).stdout
        self.assertEqual(out.strip(), "x")

    def test_caller_identity_of_the_session(self):
        got = self.take(self.issuer.token(self.rsa))
        sts = self.session_client(got, "sts")
        self.assertEqual(sts.get_caller_identity()["Arn"], got["AssumedRoleUser"]["Arn"])
        self.assertRaises(ClientError, sts.get_session_token)
