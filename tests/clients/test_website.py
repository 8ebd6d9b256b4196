"""Static websites: what a browser asks for, and what it gets."""
import gzip
import json
import subprocess
import tempfile

from kist_server import DOMAIN
from semantics import Semantics

PAGES = {"index.html": ("text/html", b"<h1>home</h1>"),
         "docs/index.html": ("text/html", b"<h1>docs</h1>"),
         "style.css": (None, b"body{}"), "404.html": ("text/html", b"<h1>gone</h1>"),
         "app.js": ("text/javascript", b"alert(1);" * 100), "a b/\u00fc.txt": ("text/plain", b"u")}


def configuration(**more):
    return {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "404.html"},
            **more}


class Website(Semantics):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.site("www-site", configuration())

    @classmethod
    def site(cls, bucket, config, public=True):
        cls.s3.create_bucket(Bucket=bucket)
        for key, (kind, body) in PAGES.items():
            if kind:
                cls.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
            else:                                   # boto3 would say binary/octet-stream
                cls.raw.request("PUT", f"/{bucket}/{key}", body=body)
        cls.s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=config)
        if public:
            cls.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({
                "Version": "2012-10-17", "Statement": [{
                    "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                    "Resource": f"arn:aws:s3:::{bucket}/*"}]}))

    def ask(self, path, bucket="www-site", method="GET", host=None, **headers):
        headers = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.raw.anonymous(method, path, headers={
            "host": host or f"{bucket}.web.{DOMAIN}", **headers})

    def test_pages(self):
        for path, page in (("/", "index.html"), ("/index.html", "index.html"),
                           ("/docs/", "docs/index.html"), ("/?utm=x", "index.html"),
                           ("/a%20b/%C3%BC.txt", "a b/\u00fc.txt")):
            with self.subTest(path=path):
                reply = self.ask(path)
                self.assertEqual((reply.status, reply.body, reply.headers["Content-Type"]),
                                 (200, PAGES[page][1], PAGES[page][0]))
        self.assertEqual(self.ask("/style.css").headers["Content-Type"], "text/css")
        head = self.ask("/", method="HEAD")
        self.assertEqual((head.status, head.headers["Content-Length"]), (200, "13"))

    def test_directory_without_slash(self):
        reply = self.ask("/docs")
        self.assertEqual((reply.status, reply.headers["Location"]), (302, "/docs/"))

    def test_missing(self):
        reply = self.ask("/none")
        self.assertEqual((reply.status, reply.body), (404, b"<h1>gone</h1>"))
        self.assertEqual(self.ask("/none/").status, 404)
        self.assertEqual(self.ask("/", method="POST").status, 405)
        self.assertEqual(self.ask("/", bucket="www-none").status, 404)
        self.assertEqual(self.ask("/", bucket=self.bucket).status, 404)    # has no website

    def test_requester_pays(self):
        bucket = "www-pays"
        self.site(bucket, configuration())
        for payer, status in (("Requester", 403), ("BucketOwner", 200)):
            self.s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={
                "Payer": payer})
            for headers in ({}, {"x-amz-request-payer": "requester"}):
                self.assertEqual(self.ask("/", bucket=bucket, **headers).status, status)
            self.assertEqual(self.ask("/docs", bucket=bucket).status,
                             302 if status == 200 else 403)

    def test_validation_and_ranges(self):
        first = self.ask("/app.js")
        self.assertEqual(self.ask("/app.js", if_none_match=first.headers["ETag"]).status, 304)
        since = first.headers["Last-Modified"]
        self.assertEqual(self.ask("/app.js", if_modified_since=since).status, 304)
        part = self.ask("/app.js", range="bytes=0-4")
        self.assertEqual((part.status, part.body, part.headers["Content-Range"]),
                         (206, b"alert", "bytes 0-4/900"))
        self.assertEqual(self.ask("/none", range="bytes=0-1").status, 404)

    def test_compressed_variants(self):
        packed = gzip.compress(PAGES["app.js"][1])
        self.s3.put_object(Bucket="www-site", Key="app.js.gz", Body=packed)
        try:
            reply = self.ask("/app.js", accept_encoding="deflate, gzip;q=0.8")
            self.assertEqual((reply.body, reply.headers["Content-Encoding"],
                              reply.headers["Content-Type"], reply.headers["Vary"]),
                             (packed, "gzip", "text/javascript", "Accept-Encoding"))
            for refused in ("identity", "gzip;q=0", "br"):
                reply = self.ask("/app.js", accept_encoding=refused)
                self.assertEqual(reply.body, PAGES["app.js"][1])
            self.s3.put_object(Bucket="www-site", Key="app.js.br", Body=b"brotli")
            reply = self.ask("/app.js", accept_encoding="gzip, br")
            self.assertEqual((reply.body, reply.headers["Content-Encoding"]), (b"brotli", "br"))
        finally:
            for key in ("app.js.gz", "app.js.br"):
                self.s3.delete_object(Bucket="www-site", Key=key)

    def test_policy_decides(self):
        self.site("www-closed", configuration(), public=False)
        self.assertEqual(self.ask("/", bucket="www-closed").status, 403)
        self.assertNotIn(b"home", self.ask("/", bucket="www-closed").body)

    def test_redirects(self):
        self.site("www-moved", configuration(RoutingRules=[
            {"Condition": {"KeyPrefixEquals": "old/"},
             "Redirect": {"ReplaceKeyPrefixWith": "new/", "HttpRedirectCode": "302"}},
            {"Condition": {"HttpErrorCodeReturnedEquals": "404", "KeyPrefixEquals": "app/"},
             "Redirect": {"HostName": "other.example", "Protocol": "https",
                          "ReplaceKeyWith": "app.html"}}]))
        reply = self.ask("/old/a%0d%0ab", bucket="www-moved")
        self.assertEqual((reply.status, reply.headers["Location"]), (302, "/new/a%0D%0Ab"))
        reply = self.ask("/app/x", bucket="www-moved")
        self.assertEqual((reply.status, reply.headers["Location"]),
                         (301, "https://other.example/app.html"))
        self.s3.put_object(Bucket="www-moved", Key="short",
                           WebsiteRedirectLocation="https://example.org/long")
        reply = self.ask("/short", bucket="www-moved")
        self.assertEqual((reply.status, reply.headers["Location"]),
                         (301, "https://example.org/long"))
        self.site("www-all", {"RedirectAllRequestsTo": {"HostName": "example.org",
                                                        "Protocol": "https"}})
        reply = self.ask("/any/thing", bucket="www-all")
        self.assertEqual((reply.status, reply.headers["Location"]),
                         (301, "https://example.org/any/thing"))

    def test_own_domain(self):
        self.site("www.kist-test.example", configuration())
        reply = self.ask("/", host="www.kist-test.example")
        self.assertEqual((reply.status, reply.body), (200, b"<h1>home</h1>"))
        self.assertEqual(self.ask("/", host="www.kist-none.example").status, 403)  # S3's, anonymous

    def test_documents(self):
        kept = self.s3.get_bucket_website(Bucket="www-site")
        self.assertEqual(kept["IndexDocument"], {"Suffix": "index.html"})
        for code, document in (
                ("InvalidArgument", "<ErrorDocument><Key>e</Key></ErrorDocument>"),
                ("InvalidArgument", "<IndexDocument><Suffix>a/b</Suffix></IndexDocument>"),
                ("MalformedXML", "<IndexDocument><Suffix></Suffix></IndexDocument>"),
                ("InvalidArgument", "<IndexDocument><Suffix>i</Suffix></IndexDocument>"
                 "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>"),
                ("MalformedXML", "<IndexDocument><Suffix>i</Suffix></IndexDocument><RoutingRules>"
                 "<RoutingRule><Redirect></Redirect></RoutingRule></RoutingRules>")):
            body = f"<WebsiteConfiguration>{document}</WebsiteConfiguration>".encode()
            with self.subTest(document=document):
                self.raw_fails(code, 400, "PUT", "/www-site?website", body=body)
        self.assertEqual(self.s3.get_bucket_website(Bucket="www-site")["IndexDocument"],
                         kept["IndexDocument"])

    def test_curl(self):
        with tempfile.NamedTemporaryFile() as out:
            run = subprocess.run(
                ["curl", "-sSL", "--resolve", f"www-site.web.{DOMAIN}:{self.server.port}:127.0.0.1",
                 "-o", out.name, "-w", "%{http_code} %{num_redirects}",
                 f"http://www-site.web.{DOMAIN}:{self.server.port}/docs"],
                capture_output=True, text=True, check=True)
            self.assertEqual((run.stdout, out.read()), ("200 1", b"<h1>docs</h1>"))
