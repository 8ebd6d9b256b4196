"""Start, watch and stop a kist for the tests.

    with Server(tls=True, flags=["--header-timeout", "2"]) as kist:
        kist.endpoint       # "https://127.0.0.1:41234"
        kist.admin          # "http://127.0.0.1:41235"

A server lives in a directory of its own, listens on ports that the kernel picks, and is ready
when it says so: nothing here sleeps. Leaving the block sends SIGTERM and insists on exit
status 0; what the server had to say is shown when anything goes wrong.

KIST_BIN             the program to start (default build/kist)
KIST_TEST_ENDPOINT   use this running server instead, with the keys below; KIST_TEST_ENDPOINT_TLS
                     and KIST_TEST_CA name its HTTPS side. Tests that need flags are skipped then.
"""
import atexit
import functools
import os
import re
import shutil
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
BIN = os.environ.get("KIST_BIN", str(ROOT / "build" / "kist"))
ACCESS_KEY = "AKIAKISTTESTS0000001"
SECRET_KEY = "tests/of+kist/need+no/secret/0000000000"
REGION = "us-east-1"
# Two labels, because TLS libraries refuse a wildcard right under a top-level name.
DOMAIN = os.environ.get("KIST_TEST_DOMAIN", "s3.localhost")
# A process under ThreadSanitizer wants an address space that no sandbox gives it.
SANDBOXES = "tsan" not in os.environ.get("KIST_BUILD", "")
needs_sandboxes = unittest.skipUnless(SANDBOXES, "ThreadSanitizer's processes cannot start in a "
                                                 "sandbox")
READY_S = 30
STOP_S = 60


@functools.cache
def certificates():
    """A directory with ca.pem, cert.pem and key.pem: our CA, and a server certificate for it."""
    work = Path(tempfile.mkdtemp(prefix="kist-ca-"))
    atexit.register(shutil.rmtree, work, ignore_errors=True)
    (work / "san").write_text(
        f"subjectAltName=DNS:localhost,DNS:{DOMAIN},DNS:*.{DOMAIN},IP:127.0.0.1\n"
        "basicConstraints=CA:FALSE\n")

    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=work, check=True, capture_output=True)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "3", "-subj", "/CN=kist test CA", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", "/CN=kist test server", "-keyout", "key.pem", "-out", "csr.pem")
    openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "san", "-out", "cert.pem")
    return work


class Server:
    """One kist process, or the server that KIST_TEST_ENDPOINT names."""

    def __init__(self, tls=False, flags=(), env=None, data=None):
        self.tls, self.flags, self.env, self.data = tls, list(flags), env or {}, data
        self.process = self.admin = None
        self.lines = []
        self.ca = certificates() / "ca.pem" if tls else None

    @property
    def port(self):
        return urlsplit(self.endpoint).port

    @property
    def external(self):
        return "KIST_TEST_ENDPOINT" in os.environ

    def start(self):
        if self.external:
            return self._use_external()
        if not os.access(BIN, os.X_OK):
            raise unittest.SkipTest(f"{BIN} is not built")
        self.directory = Path(tempfile.mkdtemp(prefix="kist-test-"))
        return self._spawn()

    def _spawn(self):
        certs = certificates() if self.tls else None
        command = [BIN, "serve", "--data", str(self.data or self.directory / "data"),
                   "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
        if "--domain" not in self.flags:
            command += ["--domain", DOMAIN]
        if certs:
            command += ["--tls-cert", str(certs / "cert.pem"), "--tls-key", str(certs / "key.pem")]
        self.process = subprocess.Popen(
            command + self.flags, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "KIST_ROOT_ACCESS_KEY": ACCESS_KEY,
                 "KIST_ROOT_SECRET_KEY": SECRET_KEY, **self.env})
        self._await_ready()
        return self

    def _use_external(self):
        if self.flags or self.env or self.data:
            raise unittest.SkipTest("needs flags, which an external server does not take")
        name = "KIST_TEST_ENDPOINT_TLS" if self.tls else "KIST_TEST_ENDPOINT"
        if name not in os.environ:
            raise unittest.SkipTest(f"{name} is not set")
        self.endpoint = os.environ[name].rstrip("/")
        self.ca = os.environ.get("KIST_TEST_CA") if self.tls else None
        return self

    def _await_ready(self):
        """Reads the output for ever in a thread, so that the pipe never fills."""
        ready = threading.Event()
        found = {}

        def read():
            for raw in self.process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                self.lines.append(line)
                if match := re.search(r"(listening|admin) on (https?://\S+:\d+)", line):
                    found[match[1]] = match[2]
                    if len(found) == 2:
                        ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        if not ready.wait(READY_S) or len(found) != 2:
            self.process.kill()
            self.process.wait()
            raise AssertionError("kist did not become ready\n" + self.output())
        self.endpoint, self.admin = found["listening"], found["admin"]

    def kill(self):
        """kill -9, as a crash; restart() goes on with the same directory, on other ports."""
        self.process.kill()
        self.process.wait()
        self.reader.join(STOP_S)

    def restart(self):
        return self._spawn()

    def output(self):
        return "\n".join("    kist| " + line for line in self.lines[-60:])

    def alive(self):
        return self.external or self.process.poll() is None

    def resident_bytes(self):
        """Resident memory that is the process's own: mapped index pages do not count."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1]) * 1024

    def stop(self):
        """SIGTERM, and the exit status must be 0."""
        if self.process is None:
            return
        process, self.process = self.process, None
        early = process.poll()
        process.terminate()
        try:
            status = process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            status = f"none within {STOP_S} s of SIGTERM"
        self.reader.join(STOP_S)
        shutil.rmtree(self.directory, ignore_errors=True)
        if early is not None:
            raise AssertionError(f"kist ended by itself, status {early}\n{self.output()}")
        if status != 0:
            raise AssertionError(f"kist's exit status after SIGTERM: {status}\n{self.output()}")

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def own(case):
    """A server of this test class's own, until the class ends; skips it where there is none."""
    server = Server()
    case.addClassCleanup(server.stop)
    server.start()
    if server.external:
        raise unittest.SkipTest("needs a server of its own")
    return server


_shared = {}


def shared(tls=False):
    """The one server (of either kind) that all tests of this process use together."""
    if tls not in _shared:
        _shared[tls] = Server(tls).start()
    return _shared[tls]


def stop_shared():
    """Stops the shared servers; raises AssertionError when one did not end well."""
    errors = []
    while _shared:
        try:
            _shared.popitem()[1].stop()
        except AssertionError as error:
            errors.append(str(error))
    if errors:
        raise AssertionError("\n".join(errors))


atexit.register(stop_shared)
