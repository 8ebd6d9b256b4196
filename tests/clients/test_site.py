"""kist site: what a deployment uploads, when visitors see it, and what goes wrong in the open."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import kist_server
from kist_server import DOMAIN
from semantics import Semantics

PNG = b"\x89PNG not really"
PAGES = {"index.html": b"<h1>home</h1>", "docs/index.html": b"<h1>docs</h1>",
         "404.html": b"<h1>gone</h1>", "style.css": b"body{}", "assets/app.3f9a1c2b.js": b"go()",
         "assets/index-B4cD9xYz.js": b"x", "img/photo-20240101.png": PNG, "a b/\u00fc&'.txt": b"u",
         "data": b"?"}
LASTING = "public, max-age=31536000, immutable"
FRESH = "public, max-age=0, must-revalidate"


class Site(Semantics):
    def setUp(self):
        self.dir = Path(tempfile.mkdtemp(prefix="kist-site-"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.name = "site-" + self._testMethodName.removeprefix("test_").replace("_", "-")

    def write(self, pages):
        for name, body in pages.items():
            path = self.dir / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)

    def command(self, *words, server=None):
        return [kist_server.BIN, "site", *map(str, words), "--endpoint",
                (server or self.server).endpoint]

    def environment(self):
        return {**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY, "AWS_REGION": "us-east-1"}

    def kist(self, *words, status=0, server=None):
        """stdout, or what went wrong."""
        run = subprocess.run(self.command(*words, server=server), capture_output=True, text=True,
                             timeout=60, env=self.environment(), errors="replace")
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        self.said = run.stderr
        return run.stderr if status else run.stdout

    def deploy(self, *options, **more):
        out = self.kist("deploy", self.dir, f"s3://{self.name}", *options, **more)
        return out if more.get("status") else dict(line.split() for line in out.splitlines())

    def releases(self):
        """name -> is it live"""
        rows = [line.split() for line in self.kist("ls", f"s3://{self.name}").splitlines()]
        return {row[0]: row[3:] == ["live"] for row in rows}

    def ask(self, path, **headers):
        return self.raw.anonymous("GET", path, headers={"host": f"{self.name}.web.{DOMAIN}",
                                                        **headers})

    def keys(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return [o["Key"] for page in pages for o in page.get("Contents", ())]

    def test_names_that_are_no_release(self):
        """What somebody else put beside the releases stays, and is in nobody's way."""
        self.write({"index.html": b"<h1>home</h1>"})
        self.s3.create_bucket(Bucket=self.name)
        others = [f".kist/{where}/{name}" for where in ("site", "manifest")
                  for name in ("a&b/x", "a?b/x", "a%2Fb/x", "<c>", "ä", "l" * 70 + "/x")]
        for key in others:
            self.s3.put_object(Bucket=self.name, Key=key, Body=b"theirs")
        for text in (b"one", b"two"):
            self.write({"page.html": text})
            self.deploy("--keep", "1")
            self.assertNotIn("never completed", self.said)
        self.assertEqual(len(self.releases()), 2)
        self.assertIn("no such release",
                      self.kist("rollback", f"s3://{self.name}", "a?b", status=1))
        self.kist("rollback", f"s3://{self.name}")
        self.assertLessEqual(set(others), set(self.keys(".kist/")))

    def test_first_deployment(self):
        self.write(PAGES)
        made = self.deploy()
        self.assertEqual((made["uploaded"], made["unchanged"]), (str(len(PAGES)), "0"))
        for what in ("made the bucket", "bucket policy", "website configuration"):
            self.assertIn(what, self.said)
        html = "text/html; charset=utf-8"
        for path, page, kind, cache in (
                ("/", "index.html", html, "no-cache"),
                ("/docs/", "docs/index.html", html, "no-cache"),
                ("/style.css", "style.css", "text/css; charset=utf-8", FRESH),
                ("/assets/app.3f9a1c2b.js", "assets/app.3f9a1c2b.js",
                 "text/javascript; charset=utf-8", LASTING),
                ("/assets/index-B4cD9xYz.js", "assets/index-B4cD9xYz.js",
                 "text/javascript; charset=utf-8", LASTING),
                ("/img/photo-20240101.png", "img/photo-20240101.png", "image/png", FRESH),
                ("/a%20b/%C3%BC&'.txt", "a b/\u00fc&'.txt", "text/plain; charset=utf-8", FRESH),
                ("/data", "data", "application/octet-stream", FRESH)):
            with self.subTest(path=path):
                reply = self.ask(path)
                self.assertEqual((reply.status, reply.body, reply.headers["Content-Type"],
                                  reply.headers["Cache-Control"]),
                                 (200, PAGES[page], kind, cache))
        missing = self.ask("/none")
        self.assertEqual((missing.status, missing.body), (404, PAGES["404.html"]))
        self.assertEqual(self.ask("/docs").headers["Location"], "/docs/")
        # Nothing else in the bucket is open, by whatever way.
        self.s3.put_object(Bucket=self.name, Key="private", Body=b"p")
        self.assertEqual(self.ask("/private").status, 404)
        self.assertEqual(self.raw.anonymous("GET", f"/{self.name}/private").status, 403)
        for path in ("/../private", "/%2e%2e/%2e%2e/%2e%2e/private", "/docs/%00"):
            self.assertIn(self.ask(path).status, (400, 404))

    def test_only_what_changed(self):
        self.write(PAGES)
        first = self.deploy()
        again = self.deploy()
        self.assertEqual((again["release"], again["uploaded"]), (first["release"], "0"))
        (self.dir / "data").rename(self.dir / "moved")          # the contents are there
        (self.dir / "404.html").unlink()
        self.write({"index.html": b"<h1>new</h1>"})
        plan = self.kist("deploy", self.dir, f"s3://{self.name}", "--dry-run").splitlines()
        self.assertEqual(sorted(plan), ["add moved", "change index.html", "remove 404.html",
                                        "remove data"])
        self.assertEqual(self.ask("/").body, PAGES["index.html"])
        second = self.deploy("--cache-control", "max-age=60")
        self.assertEqual((second["uploaded"], second["unchanged"], second["removed"]),
                         ("1", str(len(PAGES) - 2), "2"))
        self.assertEqual(self.ask("/").body, b"<h1>new</h1>")
        self.assertEqual((self.ask("/moved").body, self.ask("/data").status), (PAGES["data"], 404))
        self.assertEqual(self.ask("/style.css").headers["Cache-Control"], "max-age=60")
        self.assertEqual(self.ask("/style.css").headers["Content-Type"], "text/css; charset=utf-8")

    def test_rollback(self):
        made = []
        for n in range(3):
            self.write({"index.html": b"%d" % n})
            made.append(self.deploy()["release"])
        self.assertEqual(self.releases(), {made[0]: False, made[1]: False, made[2]: True})
        self.assertEqual(self.kist("rollback", f"s3://{self.name}"), f"release {made[1]}\n")
        self.assertEqual(self.ask("/").body, b"1")
        self.kist("rollback", f"s3://{self.name}", made[0])
        self.assertEqual(self.ask("/").body, b"0")
        self.assertIn("older", self.kist("rollback", f"s3://{self.name}", status=1))
        self.assertIn("no such release", self.kist("rollback", f"s3://{self.name}", "x", status=1))
        self.kist("rollback", f"s3://{self.name}", made[2])                 # and forward again
        self.assertEqual(self.releases(), {made[0]: False, made[1]: False, made[2]: True})

    def test_keeps_so_many(self):
        made = []
        for n in range(5):
            self.write({"index.html": b"%d" % n, "same.txt": b"same"})
            made.append(self.deploy("--keep", "2")["release"])
        self.assertEqual(self.releases(), {made[3]: False, made[4]: True})
        self.assertEqual({key.split("/")[2] for key in self.keys(".kist/")}, set(made[3:]))
        self.kist("rollback", f"s3://{self.name}", made[3])
        self.write({"index.html": b"5"})
        made.append(self.deploy("--keep", "1")["release"])
        # What was live a moment ago is still being read.
        self.assertEqual(self.releases(), {made[3]: False, made[5]: True})
        self.assertEqual(self.ask("/").body, b"5")

    def begun(self, *options):
        """A deployment stopped in the middle: its process, and its release."""
        known = {key.split("/")[2] for key in self.keys(".kist/site/")}
        process = subprocess.Popen(self.command("deploy", self.dir, f"s3://{self.name}", *options),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=self.environment())
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            listing = self.s3.list_objects_v2(Bucket=self.name, Prefix=".kist/site/",
                                              Delimiter="/")
            fresh = {p["Prefix"].split("/")[2] for p in listing.get("CommonPrefixes", ())} - known
            if fresh:
                process.send_signal(signal.SIGSTOP)
                self.assertFalse(any(self.releases().get(release) for release in fresh),
                                 "it was too quick")
                return process, fresh.pop()
        self.fail("no deployment was seen")

    def many(self, n):
        self.write({"index.html": b"%d" % n, **{f"p/{i}.txt": b"%d %d" % (i, n)
                                                for i in range(3000)}})

    def test_interrupted(self):
        self.write({"index.html": b"old"})
        old = self.deploy()["release"]
        self.many(1)
        process, left = self.begun()
        process.kill()
        process.wait()
        self.assertEqual((self.ask("/").body, self.releases()), (b"old", {old: True}))
        self.assertTrue(self.keys(f".kist/site/{left}/"))
        self.many(2)
        new = self.deploy()["release"]
        self.assertEqual(self.keys(f".kist/site/{left}/"), [])
        self.assertEqual((self.ask("/").body, self.releases()), (b"2", {old: False, new: True}))

    def test_overtaken(self):
        """Two at once: the one whose files were cleared away must not become live."""
        self.write({"index.html": b"old"})
        self.deploy()
        self.many(1)
        process, left = self.begun()
        self.write({"index.html": b"overtakes"})
        new = self.deploy()["release"]
        process.send_signal(signal.SIGCONT)
        said = process.communicate(timeout=60)[1]
        self.assertEqual(process.returncode, 1, said)
        self.assertIn("another deployment", said)
        self.assertEqual(self.ask("/").body, b"overtakes")
        self.assertTrue(self.releases()[new])
        self.assertNotIn(left, self.releases())

    def test_visitors_never_see_a_mix(self):
        def pages(n):
            self.write({f"{name}.html": b"%d " % n * 3000 for name in "abcdefgh"})
        pages(0)
        self.deploy("--index", "a.html")
        stop, faults, seen = threading.Event(), [], set()

        def visit(host):
            last, raw = 0, type(self.raw)(self.server)
            while not stop.is_set() and not faults:
                for name in "abcdefgh":
                    reply = raw.anonymous("GET", f"/{name}.html", headers={"host": host})
                    versions = set(reply.body.split()) if reply.status == 200 else set()
                    if len(versions) != 1 or int(next(iter(versions))) < last:
                        faults.append((name, last, reply.status, reply.body[:60]))
                        return
                    last = int(next(iter(versions)))
                    seen.add(last)

        visitors = [threading.Thread(target=visit, args=(f"{self.name}.web.{DOMAIN}",))
                    for _ in range(4)]
        for visitor in visitors:
            visitor.start()
        try:
            for n in range(1, 13):
                pages(n)
                self.deploy("--keep", "1")
        finally:
            stop.set()
            for visitor in visitors:
                visitor.join()
        self.assertEqual(faults, [])
        self.assertGreater(len(seen), 2)

    def test_what_cannot_be_deployed(self):
        self.write({"index.html": b"x"})
        (self.dir / "out").symlink_to("/etc/hostname")
        (self.dir / "nowhere").symlink_to("none")
        (self.dir / "docs").mkdir()
        (self.dir / "linked").symlink_to("docs")
        (self.dir / "inside").symlink_to("index.html")
        os.mkfifo(self.dir / "pipe")
        (self.dir / "line\nbreak").write_bytes(b"")
        with open(os.fsencode(self.dir) + b"/\xff\xfe", "wb"):
            pass
        wanted = ["out: a symbolic link that leads out", "nowhere: a symbolic link that leads no",
                  "linked: a symbolic link to a directory", "pipe: neither a file nor",
                  "line\\x0abreak: a control character", "\\xff\\xfe: its name is not UTF-8"]
        if os.geteuid():
            (self.dir / "closed").write_bytes(b"")
            (self.dir / "closed").chmod(0)
            wanted.append("closed: Permission denied")
        said = self.deploy(status=1)
        for what in wanted:
            self.assertIn(what, said)
        self.assertNotIn("inside", said)
        self.fails("NoSuchBucket", 404, self.s3.list_objects_v2, Bucket=self.name)
        for name in ("out", "nowhere", "linked", "pipe", "line\nbreak", "closed", b"\xff\xfe"):
            path = os.path.join(os.fsencode(self.dir), os.fsencode(name))
            if os.path.lexists(path):
                os.unlink(path)
        self.deploy()
        self.assertIn("docs: an empty directory", self.said)
        self.assertEqual(self.ask("/inside").body, b"x")
        shutil.rmtree(self.dir / "docs")
        for name in ("index.html", "inside"):
            (self.dir / name).unlink()
        self.assertIn("nothing to deploy", self.deploy(status=1))
        self.assertEqual(self.ask("/").body, b"x")
        self.kist("deploy", self.dir / "none", f"s3://{self.name}", status=1)
        self.kist("deploy", self.dir, self.name, status=2)
        self.kist("deploy", self.dir, f"s3://{self.name}", "--keep", "0", status=2)

    def test_what_is_there_stays(self):
        self.s3.create_bucket(Bucket=self.name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
            "Resource": f"arn:aws:s3:::{self.name}/*"}]})
        self.s3.put_bucket_policy(Bucket=self.name, Policy=policy)
        self.s3.put_bucket_website(Bucket=self.name, WebsiteConfiguration={
            "IndexDocument": {"Suffix": "home.html"}, "RoutingRules": [
                {"Condition": {"KeyPrefixEquals": "old/"},
                 "Redirect": {"ReplaceKeyPrefixWith": "new/"}}]})
        self.s3.put_object(Bucket=self.name, Key="home.html", Body=b"before")
        self.assertEqual(self.ask("/").body, b"before")
        self.write({"home.html": b"after", "start.html": b"start"})
        self.deploy()
        self.assertEqual(self.ask("/").body, b"after")
        self.deploy("--index", "start.html", "--error", "<none>.html")
        kept = self.s3.get_bucket_website(Bucket=self.name)
        self.assertEqual((kept["IndexDocument"], kept["ErrorDocument"], len(kept["RoutingRules"])),
                         ({"Suffix": "start.html"}, {"Key": "<none>.html"}, 1))
        self.assertEqual(self.ask("/").body, b"start")
        self.assertEqual(json.loads(self.s3.get_bucket_policy(Bucket=self.name)["Policy"]),
                         json.loads(policy))
        self.raw.request("DELETE", f"/{self.name}?site")
        self.s3.put_object(Bucket=self.name, Key="start.html", Body=b"plain")
        self.assertEqual(self.ask("/").body, b"plain")

    def test_pointer(self):
        target = f"/{self.bucket}?site"
        self.raw_fails("NoSuchWebsiteConfiguration", 404, "GET", target)
        for code, inner in (("InvalidArgument", "<Release>a/b</Release>"),
                            ("InvalidArgument", "<Release>../x</Release>"),
                            ("InvalidArgument", "<Release>" + "a" * 65 + "</Release>"),
                            ("MalformedXML", "<Release></Release>"), ("MalformedXML", "<X>a</X>")):
            body = f"<SiteConfiguration>{inner}</SiteConfiguration>".encode()
            with self.subTest(inner=inner):
                self.raw_fails(code, 400, "PUT", target, body=body)
        body = b"<SiteConfiguration><Release>r-1</Release></SiteConfiguration>"
        self.assertEqual(self.raw.anonymous("PUT", target, body=body).status, 403)
        self.assertEqual(self.raw.request("PUT", target, body=body).status, 200)
        self.assertIn(b"<Release>r-1</Release>", self.raw.request("GET", target).body)
        self.assertEqual(self.raw.request("DELETE", target).status, 204)
        self.raw_fails("NoSuchWebsiteConfiguration", 404, "GET", target)

    def test_https(self):
        server = kist_server.shared(tls=True)
        self.write({"index.html": b"safe"})
        self.assertIn("certificate", self.deploy(status=1, server=server))
        self.assertEqual(self.deploy("--ca-file", server.ca, server=server)["uploaded"], "1")

    def test_no_server(self):
        self.write({"index.html": b"x"})
        run = subprocess.run([kist_server.BIN, "site", "deploy", self.dir, f"s3://{self.name}",
                              "--endpoint", "http://127.0.0.1:1"], capture_output=True, text=True,
                             timeout=60, env=self.environment())
        self.assertEqual(run.returncode, 1)
        self.assertIn("127.0.0.1", run.stderr)
