"""A real browser on a page that the store itself serves: the website, fetches to another origin,
and an upload from a form with its progress."""
import hashlib
import json
import os
import tempfile
import unittest
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from kist_server import DOMAIN
from semantics import Semantics
from workflow import MIB

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
HOME = b"<!DOCTYPE html><title>home</title><h1>welcome</h1><script src='app.js'></script>"
APP = b"document.querySelector('h1').dataset.ran = 'yes';"

FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(async r => done([r.status, await r.text(), r.headers.get('ETag')]),
                         e => done([0, e.name, null]));
"""
UPLOAD = """
const [url, fields, size, done] = arguments;
const form = new FormData();
for (const [name, value] of Object.entries(fields)) form.append(name, value);
const bytes = new Uint8Array(size);
for (let i = 0; i < size; i++) bytes[i] = i * 7 & 255;
form.append('file', new Blob([bytes]), 'from browser.bin');
const request = new XMLHttpRequest(), seen = [];
request.upload.onprogress = e => seen.push([e.loaded, e.total]);
request.onload = () => done([request.status, request.responseText, seen]);
request.onerror = () => done([0, 'failed', seen]);
request.open('POST', url);
request.send(form);
"""


class Browser(Semantics):
    @classmethod
    def setUpClass(cls):
        if not (os.access(CHROMIUM, os.X_OK) and os.access(DRIVER, os.X_OK)):
            raise unittest.SkipTest("chromium is not installed")
        super().setUpClass()
        cls.site = "browser-site"
        cls.origin = f"http://{cls.site}.web.{DOMAIN}:{cls.server.port}"
        cls.publish()
        cls.driver = cls.start_browser()

    @classmethod
    def publish(cls):
        cls.s3.create_bucket(Bucket=cls.site)
        for key, body, kind in (("index.html", HOME, "text/html"),
                                ("app.js", APP, "text/javascript"),
                                ("lost.html", b"<title>lost</title>", "text/html")):
            cls.s3.put_object(Bucket=cls.site, Key=key, Body=body, ContentType=kind)
        cls.s3.put_bucket_website(Bucket=cls.site, WebsiteConfiguration={
            "IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "lost.html"}})
        cls.s3.put_bucket_policy(Bucket=cls.site, Policy=json.dumps({
            "Version": "2012-10-17", "Statement": [{
                "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{cls.site}/*"}]}))

    @classmethod
    def start_browser(cls):
        from selenium import webdriver      # not there where chromium is not
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.chrome.service import Service
        home = tempfile.TemporaryDirectory(prefix="kist-browser-", ignore_cleanup_errors=True)
        cls.addClassCleanup(home.cleanup)
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     f"--user-data-dir={home.name}"):
            options.add_argument(flag)
        try:
            driver = webdriver.Chrome(service=Service(DRIVER), options=options)
        except WebDriverException as error:
            raise unittest.SkipTest(f"chromium does not start here: {error.msg}") from None
        cls.addClassCleanup(driver.quit)
        driver.set_script_timeout(60)
        return driver

    def setUp(self):
        self.driver.get(self.origin + "/")

    def allow(self, bucket, origin, methods):
        self.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [
            {"AllowedOrigins": [origin], "AllowedMethods": methods, "AllowedHeaders": ["*"],
             "ExposeHeaders": ["ETag"]}]})

    def presigned(self, operation, key, **more):
        return self.s3.generate_presigned_url(operation, {"Bucket": self.bucket, "Key": key, **more})

    def fetch(self, url, **options):
        return self.driver.execute_async_script(FETCH, url, options)

    def test_website(self):
        self.assertEqual(self.driver.title, "home")
        heading = self.driver.find_element("tag name", "h1")
        self.assertEqual((heading.text, heading.get_attribute("data-ran")), ("welcome", "yes"))
        self.driver.get(self.origin + "/no/such/page")
        self.assertEqual(self.driver.title, "lost")

    def test_fetches_to_another_origin(self):
        self.assertNotEqual(urlsplit(self.server.endpoint).hostname, urlsplit(self.origin).hostname)
        self.allow(self.bucket, self.origin, ["GET", "PUT"])
        put = self.fetch(self.presigned("put_object", "note", ContentType="text/x-note"),
                         method="PUT", body="from the page", headers={"Content-Type": "text/x-note"})
        self.assertEqual((put[0], put[2]), (200, '"%s"' % hashlib.md5(b"from the page").hexdigest()))
        self.assertEqual(self.fetch(self.presigned("get_object", "note"))[:2],
                         [200, "from the page"])
        self.assertEqual(self.get("note")["ContentType"], "text/x-note")

    def test_refused_origins_and_methods(self):
        self.allow(self.bucket, self.origin, ["GET"])
        url = self.presigned("put_object", "refused")
        self.assertEqual(self.fetch(url, method="PUT", body="x")[:2], [0, "TypeError"])
        self.allow(self.bucket, "http://elsewhere.example", ["GET", "PUT"])
        self.assertEqual(self.fetch(url, method="PUT", body="x")[:2], [0, "TypeError"])
        with self.assertRaises(ClientError):
            self.get("refused")
        self.put("readable")
        self.assertEqual(self.fetch(self.presigned("get_object", "readable"))[:2],
                         [0, "TypeError"])

    def test_upload_from_a_form(self):
        self.allow(self.bucket, self.origin, ["POST"])
        made = self.s3.generate_presigned_post(
            self.bucket, "up/${filename}", Fields={"success_action_status": "201"},
            Conditions=[{"success_action_status": "201"}, ["content-length-range", 1, 64 * MIB]])
        size = 24 * MIB
        status, text, seen = self.driver.execute_async_script(
            UPLOAD, f"{self.server.endpoint}/{self.bucket}", made["fields"], size)
        self.assertEqual(status, 201, text)
        self.assertIn("<Key>up/from browser.bin</Key>", text)
        self.assertGreaterEqual(len(seen), 1)
        self.assertEqual(seen[-1][0], seen[-1][1])
        self.assertEqual(sorted(seen), seen)
        self.assertEqual(hashlib.md5(self.body("up/from browser.bin")).digest(),
                         hashlib.md5(bytes(i * 7 & 255 for i in range(256)) * (size // 256)).digest())
