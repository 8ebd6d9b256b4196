"""S3 by hand: SigV4 and aws-chunked from the documents, over sockets that tests may misuse.

    client = RawClient(server)
    reply = client.request("PUT", "/bucket/key", body=b"...")      # signed, payload hash in header
    reply = client.request("PUT", "/bucket/key", **aws_chunked([b"..."]))
    reply.status, reply.code, reply.headers, reply.body

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import re
import socket
import ssl
import zlib
from urllib.parse import quote, urlsplit

from kist_server import ACCESS_KEY, REGION, SECRET_KEY

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_CHUNKS_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_CHUNKS_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
TIMEOUT_S = 30


def hmac_sha256(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


class Reply:
    """A response. `code` is the <Code> of an error document, or None."""

    def __init__(self, response):
        self.status, self.headers = response.status, response.headers
        self.body = response.read()

    @property
    def code(self):
        match = re.search(rb"<Error>.*<Code>(\w+)</Code>", self.body, re.S)
        return match[1].decode() if match else None


class Signature:
    """What a request was signed with; chunks go on from it."""

    def __init__(self, when=None, secret=SECRET_KEY, access=ACCESS_KEY, region=REGION,
                 service="s3"):
        when = when or datetime.datetime.now(datetime.timezone.utc)
        self.time = when.strftime("%Y%m%dT%H%M%SZ")
        self.scope = f"{self.time[:8]}/{region}/{service}/aws4_request"
        self.access = access
        self.key = ("AWS4" + secret).encode()
        for part in self.scope.split("/"):
            self.key = hmac_sha256(self.key, part).digest()

    def sign(self, algorithm, *lines):
        text = "\n".join([algorithm, self.time, self.scope, *lines])
        return hmac_sha256(self.key, text).hexdigest()

    def authorization(self, method, target, headers):
        """Signs the request; the value of its Authorization header."""
        path, _, query = target.partition("?")
        pairs = sorted(p.partition("=")[::2] for p in query.split("&") if p)
        named = sorted((k.lower(), " ".join(v.split())) for k, v in headers.items())
        names = ";".join(k for k, _ in named)
        canonical = "\n".join([method, path, "&".join(map("=".join, pairs)),
                               *(f"{k}:{v}" for k, v in named), "", names,
                               headers["x-amz-content-sha256"]])
        self.previous = self.sign("AWS4-HMAC-SHA256",
                                  hashlib.sha256(canonical.encode()).hexdigest())
        return (f"AWS4-HMAC-SHA256 Credential={self.access}/{self.scope},"
                f"SignedHeaders={names},Signature={self.previous}")

    def chunk(self, data):
        self.previous = self.sign("AWS4-HMAC-SHA256-PAYLOAD", self.previous, EMPTY_SHA256,
                                  hashlib.sha256(data).hexdigest())
        return self.previous

    def trailer(self, lines):
        self.previous = self.sign("AWS4-HMAC-SHA256-TRAILER", self.previous,
                                  hashlib.sha256(lines).hexdigest())
        return self.previous


class RawClient:
    """Signs requests and sends them exactly as told."""

    def __init__(self, server):
        self.server = server
        self.host = urlsplit(server.endpoint).netloc
        self.context = ssl.create_default_context(cafile=server.ca) if server.tls else None

    def connect(self, timeout=TIMEOUT_S):
        address = urlsplit(self.server.endpoint)
        sock = socket.create_connection((address.hostname, address.port), timeout)
        if self.context:
            sock = self.context.wrap_socket(sock, server_hostname=address.hostname)
        return sock

    def signed_headers(self, method, target, headers=None, body=b"", payload=None,
                       signature=None):
        signature = signature or Signature()
        headers = {"host": self.host, "x-amz-date": signature.time,
                   "x-amz-content-sha256": payload or hashlib.sha256(body).hexdigest(),
                   **{k.lower(): v for k, v in (headers or {}).items()}}
        return headers | {"authorization": signature.authorization(method, target, headers)}

    def head_bytes(self, method, target, headers):
        lines = [f"{method} {target} HTTP/1.1"] + [f"{k}: {v}" for k, v in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def signed(self, method, target, headers=None, body=b"", **signing):
        """The bytes of a whole good request."""
        headers = self.signed_headers(method, target, headers, body, **signing)
        if body or method in ("PUT", "POST"):
            headers["content-length"] = str(len(body))
        return self.head_bytes(method, target, headers) + body

    def request(self, method, target, headers=None, body=b"", payload=None, signature=None,
                encode=None):
        """One request on a connection of its own. encode(signature) makes an aws-chunked body."""
        signature = signature or Signature()
        headers = self.signed_headers(method, target, headers, body, payload, signature)
        if encode:
            body = encode(signature)
        if body or method in ("PUT", "POST"):
            headers["content-length"] = str(len(body))
        with self.connect() as sock:
            sock.sendall(self.head_bytes(method, target, headers) + body)
            return self.reply(sock, method)

    def anonymous(self, method, target, headers=None, body=b""):
        headers = {"host": self.host, **(headers or {})}
        if body or method in ("PUT", "POST"):
            headers["content-length"] = str(len(body))
        with self.connect() as sock:
            sock.sendall(self.head_bytes(method, target, headers) + body)
            return self.reply(sock, method)

    @staticmethod
    def reply(sock, method="GET"):
        response = http.client.HTTPResponse(sock, method=method)
        response.begin()
        return Reply(response)


def presign(client, method, target, expires, headers=(), signature=None, **extra):
    """target with SigV4 in its query."""
    signature = signature or Signature()
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256",
             "X-Amz-Credential": f"{signature.access}/{signature.scope}",
             "X-Amz-Date": signature.time, "X-Amz-Expires": str(expires),
             "X-Amz-SignedHeaders": "host", **extra}
    pairs = "&".join(f"{k}={quote(v, safe='-._~')}" for k, v in sorted(query.items()))
    canonical = f"{method}\n{target}\n{pairs}\nhost:{client.host}\n\nhost\n{UNSIGNED}"
    value = signature.sign("AWS4-HMAC-SHA256", hashlib.sha256(canonical.encode()).hexdigest())
    return f"{target}?{pairs}&X-Amz-Signature={value}"


def crc32_base64(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def aws_chunked(chunks, signed=True, trailer=None, spoil=lambda body: body, decoded=None):
    """Arguments of RawClient.request for a body in aws-chunked.

    trailer   (name, value), sent after the last chunk and signed where the chunks are
    spoil     changes the encoded bytes after they were signed
    decoded   a lie about x-amz-decoded-content-length
    """
    payload = UNSIGNED_CHUNKS_TRAILER if not signed else (
        SIGNED_CHUNKS_TRAILER if trailer else SIGNED_CHUNKS)
    length = sum(map(len, chunks)) if decoded is None else decoded
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(length)}
    if trailer:
        headers["x-amz-trailer"] = trailer[0]

    def encode(signature):
        out = b""
        for data in [*chunks, b""]:
            extension = f";chunk-signature={signature.chunk(data)}" if signed else ""
            out += f"{len(data):x}{extension}\r\n".encode()
            out += data + b"\r\n" if data else b""
        if trailer:
            out += f"{trailer[0]}:{trailer[1]}\r\n".encode()
            if signed:
                value = signature.trailer(f"{trailer[0]}:{trailer[1]}\n".encode())
                out += f"x-amz-trailer-signature:{value}\r\n".encode()
        return spoil(out + b"\r\n")

    return {"payload": payload, "headers": headers, "encode": encode}
