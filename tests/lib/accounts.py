"""Two accounts in one server: the root account's clients, and those of another one."""
import json
import os
import re
import subprocess
import unittest

import boto3
import botocore.config
from botocore import UNSIGNED

import kist_server
from semantics import Semantics


def kist_account(*words, server=None, data=None, status=0, env=None):
    """Runs `kist account`; its lines as a dictionary (or as they are, for ls)."""
    place = ["--endpoint", server.endpoint] if server else ["--data", str(data)]
    run = subprocess.run([kist_server.BIN, "account", *words, *place], capture_output=True,
                         text=True, timeout=60,
                         env={**os.environ, "KIST_ROOT_ACCESS_KEY": kist_server.ACCESS_KEY,
                              "KIST_ROOT_SECRET_KEY": kist_server.SECRET_KEY, **(env or {})})
    assert run.returncode == status, (run.returncode, run.stdout, run.stderr)
    if status:
        return run.stderr
    if words[0] == "ls":
        return [line.split() for line in run.stdout.splitlines()]
    return dict(line.split(" ", 1) for line in run.stdout.splitlines())


class Account:
    """An account's root (or a user) and its clients."""

    def __init__(self, server, access, secret, token=None):
        self.server, self.access, self.secret, self.token = server, access, secret, token
        self.s3, self.iam, self.sts = map(self.client, ("s3", "iam", "sts"))

    def client(self, service):
        config = {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 1}}
        if service == "s3":
            config["signature_version"] = "s3v4"
        if self.access is None:
            config["signature_version"] = UNSIGNED
        return boto3.client(service, endpoint_url=self.server.endpoint, region_name="us-east-1",
                            aws_access_key_id=self.access, aws_secret_access_key=self.secret,
                            aws_session_token=self.token, config=botocore.config.Config(**config))

    @property
    def id(self):
        return self.sts.get_caller_identity()["Account"]

    @property
    def canonical(self):
        return self.s3.list_buckets()["Owner"]["ID"]

    def user(self, name, *statements):
        """A user with this policy, and his clients."""
        self.iam.create_user(UserName=name)
        if statements:
            self.iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": list(statements)}))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return Account(self.server, key["AccessKeyId"], key["SecretAccessKey"])


class TwoAccounts(Semantics):
    """self.a is the first account, self.b another, self.nobody asks without a signature."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.server.external:
            raise unittest.SkipTest("needs kist account")
        cls.a = Account(cls.server, kist_server.ACCESS_KEY, kist_server.SECRET_KEY)
        made = kist_account("create", re.sub(r"\W", "", cls.__name__), server=cls.server)
        cls.b = Account(cls.server, made["access-key"], made["secret-key"])
        cls.b_id, cls.b_canonical = made["account-id"], made["canonical-id"]
        cls.nobody = Account(cls.server, None, None)
