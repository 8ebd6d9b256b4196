"""boto3 with what newer versions of it know: appending and RenameObject.

    s3 = express_client(server)
    s3.put_object(..., WriteOffsetBytes=10)["Size"]
    s3.rename_object(Bucket=..., Key=..., RenameSource=...)
"""
from email.utils import format_datetime
from urllib.parse import quote

from botocore.exceptions import ClientError

from s3_raw import RawClient
from workflow import boto_client

HEADERS = {"RenameSource": "x-amz-rename-source", "ClientToken": "x-amz-client-token"}
for end, where in (("", "Destination"), ("x-amz-rename-source-", "Source")):
    for what in ("Match", "None-Match", "Modified-Since", "Unmodified-Since"):
        HEADERS[f"{where}If{what.replace('-', '')}"] = f"{end}if-{what.lower()}"


def take_extras(params, context, **_):
    """Before boto3 looks whether it knows the parameters."""
    context["extras"] = {name: params.pop(name) for name in
                         ("WriteOffsetBytes", "IfMatch", "IfNoneMatch") if name in params}
    return params


def add_headers(params, context, **_):
    names = {"WriteOffsetBytes": "x-amz-write-offset-bytes", "IfMatch": "If-Match",
             "IfNoneMatch": "If-None-Match"}
    for name, value in context.get("extras", {}).items():
        params["headers"][names[name]] = str(value)


def add_size(parsed, http_response, **_):
    size = http_response.headers.get("x-amz-object-size")
    if size is not None:
        parsed["Size"] = int(size)


def express_client(server):
    s3, raw = boto_client(server), RawClient(server)
    s3.meta.events.register("provide-client-params.s3.PutObject", take_extras)
    s3.meta.events.register("before-call.s3.PutObject", add_headers)
    s3.meta.events.register("after-call.s3.PutObject", add_size)

    def rename_object(Bucket, Key, **more):
        headers = {HEADERS[name]: format_datetime(value, usegmt=True)
                   if hasattr(value, "tzinfo") else value for name, value in more.items()}
        reply = raw.request("PUT", f"/{Bucket}/{quote(Key)}?renameObject", headers=headers)
        if reply.status != 200:
            raise ClientError({"Error": {"Code": reply.code},
                               "ResponseMetadata": {"HTTPStatusCode": reply.status}},
                              "RenameObject")
        return reply

    s3.rename_object = rename_object
    return s3
