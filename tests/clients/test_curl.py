"""curl --aws-sigv4. curl signs the path and the query as they are written, so both are written
encoded and in order here. For a body from memory it sends no x-amz-content-sha256."""
import re
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from kist_server import ACCESS_KEY, DOMAIN, REGION, SECRET_KEY
from workflow import MIB, Workflow, matrix

UNSIGNED = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
PART_BYTES = 8 * MIB


class Curl(Workflow):
    tool = "/usr/bin/curl"

    @classmethod
    def url(cls, bucket, key="", query=""):
        host = f"{cls.endpoint}/{bucket}"
        if cls.vhost:
            host = cls.endpoint.replace("://", f"://{bucket}.")
        return f"{host}/{urllib.parse.quote(key, safe='/-._~')}{query and '?' + query}"

    @classmethod
    def curl(cls, *args, signed=True):
        sign = ["--aws-sigv4", f"aws:amz:{REGION}:s3", "--user", f"{ACCESS_KEY}:{SECRET_KEY}"]
        resolve = [arg for name in ("*." + DOMAIN, DOMAIN)
                   for arg in ("--resolve", f"{name}:{cls.server.port}:127.0.0.1")]
        done = cls.run_tool(cls.tool, "-sS", "--fail-with-body", "--path-as-is", *resolve,
                            *(sign if signed else []), *args)
        return done

    @classmethod
    def command(cls, argv):
        """--resolve stands in for names: no namespace needed."""
        return [str(a) for a in argv]

    @classmethod
    def make_bucket(cls, bucket):
        cls.curl("-X", "PUT", cls.url(bucket))

    def put(self, bucket, key, path):
        if path.stat().st_size > 16 * MIB:
            return self.put_multipart(bucket, key, path)
        return self.curl(*UNSIGNED, "-T", path, self.url(bucket, key))

    # -T appends the file's name to a URL that ends in a slash.
    def put_key(self, bucket, key, path):
        self.curl("-X", "PUT", "--data-binary", f"@{path}", self.url(bucket, key))

    def put_multipart(self, bucket, key, path):
        upload = self.curl("-X", "POST", self.url(bucket, key, "uploads=")).decode()
        upload_id = re.search("<UploadId>(.*)</UploadId>", upload)[1]
        quoted = urllib.parse.quote(upload_id, safe="-._~")
        parts = []
        with open(path, "rb") as file:
            for number, data in enumerate(iter(lambda: file.read(PART_BYTES), b""), 1):
                url = self.url(bucket, key, f"partNumber={number}&uploadId={quoted}")
                out = self.curl(*UNSIGNED, "-T", self.small_file(data), "-D", "-", url).decode()
                parts.append((number, re.search('(?i)^etag: *"(.*)"', out, re.M)[1]))
        body = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>"
                       for n, e in parts)
        self.curl("--data-binary", f"<CompleteMultipartUpload>{body}</CompleteMultipartUpload>",
                  "-H", "Content-Type: application/xml",
                  self.url(bucket, key, f"uploadId={quoted}"))

    def get(self, bucket, key, path):
        self.curl("-o", path, self.url(bucket, key))

    def put_with_metadata(self, bucket, key, path, content_type, metadata):
        headers = [arg for k, v in metadata.items() for arg in ("-H", f"x-amz-meta-{k}: {v}")]
        self.curl(*UNSIGNED, *headers, "-H", f"Content-Type: {content_type}", "-T", path,
                  self.url(bucket, key))

    def get_range(self, bucket, key, first, last):
        return self.curl("-r", f"{first}-{last}", self.url(bucket, key))

    def head(self, bucket, key):
        lines = self.curl("-I", self.url(bucket, key)).decode().splitlines()[1:]
        headers = {name.lower(): value.strip() for name, _, value in
                   (line.partition(":") for line in lines)}
        return {"size": int(headers["content-length"]), "type": headers["content-type"],
                "metadata": {k.removeprefix("x-amz-meta-"): v for k, v in headers.items()}}

    def list(self, bucket, prefix, delimiter):
        def quote(text):
            return urllib.parse.quote(text, safe="-._~")

        keys, prefixes, token = [], [], ""
        while True:
            cont = token and f"continuation-token={quote(token)}&"
            page = ElementTree.fromstring(self.curl(self.url(
                bucket, "", f"{cont}delimiter={quote(delimiter)}&encoding-type=url&list-type=2"
                f"&prefix={quote(prefix)}")))
            name = "{http://s3.amazonaws.com/doc/2006-03-01/}"
            found = [e.text for e in page.iterfind(f"{name}Contents/{name}Key")]
            keys += map(urllib.parse.unquote_plus, found)
            found = [e.text for e in page.iterfind(f"{name}CommonPrefixes/{name}Prefix")]
            prefixes += map(urllib.parse.unquote_plus, found)
            if page.findtext(f"{name}IsTruncated") != "true":
                return keys, prefixes
            token = page.findtext(f"{name}NextContinuationToken")

    def copy(self, bucket, key, new_key):
        source = urllib.parse.quote(f"/{bucket}/{key}")
        self.curl("-X", "PUT", "-H", f"x-amz-copy-source: {source}", self.url(bucket, new_key))

    def delete(self, bucket, key):
        self.curl("-X", "DELETE", self.url(bucket, key))

    def delete_many(self, bucket, keys):
        body = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        path = self.small_file(f"<Delete>{body}</Delete>".encode())
        md5 = self.run_tool("/bin/sh", "-c", 'openssl md5 -binary "$0" | base64', path).decode()
        self.curl("-H", f"Content-MD5: {md5.strip()}", "--data-binary", f"@{path}",
                  "-H", "Content-Type: application/xml", self.url(bucket, "", "delete="))

    def test_body_signed_without_its_hash_in_a_header(self):
        body = b"hashed into the signature only"
        self.curl("-X", "PUT", "--data-binary", body.decode(), self.url(self.bucket, "hashed"))
        self.assertEqual(self.s3.get_object(Bucket=self.bucket, Key="hashed")["Body"].read(), body)

    def test_wrong_secret_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "SignatureDoesNotMatch"):
            self.curl("--user", f"{ACCESS_KEY}:wrong", self.url(self.bucket))

    def test_anonymous_is_refused(self):
        with self.assertRaisesRegex(AssertionError, "AccessDenied"):
            self.curl(self.url(self.bucket), signed=False)


matrix(globals(), Curl, slow=True)
