"""boto3, Debian's, with its transfer manager for large bodies."""
import boto3.s3.transfer
from botocore.exceptions import ClientError

import workflow
from workflow import MIB, Workflow, matrix


class Boto3(Workflow):
    @classmethod
    def prepare(cls):
        cls.client = workflow.boto_client(cls.server, cls.vhost)

    @classmethod
    def make_bucket(cls, bucket):
        cls.client.create_bucket(Bucket=bucket)

    def put(self, bucket, key, path):
        config = boto3.s3.transfer.TransferConfig(multipart_threshold=8 * MIB)
        self.client.upload_file(str(path), bucket, key, Config=config)

    def get(self, bucket, key, path):
        try:
            self.client.download_file(bucket, key, str(path))
        except ClientError as error:
            raise AssertionError(str(error)) from error

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        self.client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(),
                               ContentType=content_type, Metadata=metadata)

    def get_range(self, bucket, key, first, last):
        reply = self.client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")
        return reply["Body"].read()

    def head(self, bucket, key):
        head = self.client.head_object(Bucket=bucket, Key=key)
        return {"size": head["ContentLength"], "type": head["ContentType"],
                "metadata": head["Metadata"]}

    def list(self, bucket, prefix, delimiter):
        keys, prefixes = [], []
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=prefix, Delimiter=delimiter)
        for page in pages:
            keys += [o["Key"] for o in page.get("Contents", ())]
            prefixes += [p["Prefix"] for p in page.get("CommonPrefixes", ())]
        return keys, prefixes

    def copy(self, bucket, key, new_key):
        self.client.copy({"Bucket": bucket, "Key": key}, bucket, new_key)

    def delete(self, bucket, key):
        self.client.delete_object(Bucket=bucket, Key=key)

    def delete_many(self, bucket, keys):
        reply = self.client.delete_objects(
            Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
        self.assertEqual(sorted(d["Key"] for d in reply["Deleted"]), sorted(keys))


matrix(globals(), Boto3)
