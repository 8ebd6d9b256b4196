"""Base of tests that make users and speak to the other AWS services."""
import json

import boto3
import botocore.config

from semantics import Semantics
from workflow import boto_client


class Identities(Semantics):
    """Clients of any AWS service, and users."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.iam, cls.sts = cls.client("iam"), cls.client("sts")

    @classmethod
    def client(cls, service, key=None, secret=None, token=None):
        own = boto_client(cls.server)._request_signer._credentials
        return boto3.client(service, endpoint_url=cls.server.endpoint, region_name="us-east-1",
                            aws_access_key_id=key or own.access_key,
                            aws_secret_access_key=secret or own.secret_key,
                            aws_session_token=token,
                            config=botocore.config.Config(
                                s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                                **({"signature_version": "s3v4"} if service == "s3" else {})))

    def user(self, name, *policies):
        """A new user with these inline policies; his S3 client, too."""
        self.iam.create_user(UserName=name)
        for i, policy in enumerate(policies):
            self.iam.put_user_policy(UserName=name, PolicyName=f"p{i}",
                                     PolicyDocument=json.dumps(policy))
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key, self.client("s3", key["AccessKeyId"], key["SecretAccessKey"])

    def denied(self, call, **params):
        self.fails("AccessDenied", 403, call, **params)
