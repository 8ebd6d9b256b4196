"""An OpenID Connect issuer on this machine, with keys of its own: as honest as a test wants it."""
import base64
import hashlib
import hmac
import http.server
import json
import ssl
import threading
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class Key:
    """An RSA or a P-256 key."""

    def __init__(self, kid, kind="RSA", bits=2048):
        self.kid, self.kind = kid, kind
        self.private = (rsa.generate_private_key(public_exponent=65537, key_size=bits)
                        if kind == "RSA" else ec.generate_private_key(ec.SECP256R1()))

    def jwk(self):
        numbers = self.private.public_key().public_numbers()
        if self.kind == "RSA":
            return {"kty": "RSA", "kid": self.kid, "use": "sig", "alg": "RS256",
                    "n": number(numbers.n), "e": number(numbers.e)}
        return {"kty": "EC", "kid": self.kid, "use": "sig", "crv": "P-256",
                "x": number(numbers.x, 32), "y": number(numbers.y, 32)}

    def pem(self):
        return self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, text):
        if self.kind == "RSA":
            return self.private.sign(text, padding.PKCS1v15(), hashes.SHA256())
        r, s = utils.decode_dss_signature(self.private.sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


class Issuer:
    """Serves its documents and counts who asks. `documents` may be overridden by path."""

    def __init__(self, path="", tls=None):
        self.keys, self.asked, self.documents, self.path = [], [], {}, path
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                status, headers, body = issuer.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_address[1]}"
        self.url = self.base + path
        self.name = self.url.partition("://")[2]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path):
        if path in self.documents:
            return self.documents[path]
        if path == self.path + "/.well-known/openid-configuration":
            return 200, {}, json.dumps({"issuer": self.url,
                                        "jwks_uri": self.base + "/keys"}).encode()
        if path == "/keys":
            return 200, {}, json.dumps({"keys": [k.jwk() for k in self.keys]}).encode()
        return 404, {}, b""

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def claims(self, **changes):
        now = int(time.time())
        claims = {"iss": self.url, "sub": "build-7", "aud": "kist", "iat": now, "exp": now + 600,
                  **changes}
        return {k: v for k, v in claims.items() if v is not None}

    def token(self, key, header=None, **changes):
        head = {"alg": "RS256" if key.kind == "RSA" else "ES256", "typ": "JWT", "kid": key.kid,
                **(header or {})}
        head = {k: v for k, v in head.items() if v is not None}
        text = b64(json.dumps(head).encode()) + "." + \
            b64(json.dumps(self.claims(**changes)).encode())
        if head.get("alg") == "HS256":      # the public key as if it were a shared secret
            return text + "." + b64(hmac.new(key.pem(), text.encode(), hashlib.sha256).digest())
        if head.get("alg") == "none":
            return text + "."
        return text + "." + b64(key.sign(text.encode()))
