"""Real brokers for the tests, each on a free port of loopback and in a directory of its own.

    with Redis() as redis:
        redis.port
        redis.stop(); redis.start()     # the same port again

A broker is ready when it says so in its output. One that is not installed skips the test.
"""
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest
from pathlib import Path

READY_S = 60


def free_port():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Broker:
    program = ready = ""
    env = {}

    def __init__(self):
        self.path = shutil.which(self.program, path=os.environ["PATH"] + ":/usr/sbin")
        if not self.path:
            raise unittest.SkipTest(f"{self.program} is not installed")
        self.directory = tempfile.TemporaryDirectory(prefix="kist-broker-")
        self.port = free_port()
        self.process = None

    def start(self):
        self.lines, self.said = [], threading.Condition()
        self.process = subprocess.Popen(
            [self.path, *self.arguments()], cwd=self.directory.name, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **self.env})
        self.reader = threading.Thread(target=self.read, args=(self.process.stdout,), daemon=True)
        self.reader.start()
        self.wait_for(self.ready)
        return self

    def read(self, stream):
        for raw in stream:
            with self.said:
                self.lines.append(raw.decode("utf-8", "replace"))
                self.said.notify_all()
        with self.said:
            self.lines.append(None)
            self.said.notify_all()

    def wait_for(self, pattern):
        """Until a line of the output matches."""
        def found():
            return any(line is None or re.search(pattern, line) for line in self.lines)

        with self.said:
            if self.said.wait_for(found, READY_S) and self.lines[-1] is not None:
                return
        self.stop()
        raise AssertionError(f"{self.program} did not say {pattern}\n"
                             + "".join(line or "" for line in self.lines))

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(READY_S)
            self.reader.join(READY_S)
            self.process.stdout.close()
            self.process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.directory.cleanup()


class Redis(Broker):
    program, ready = "redis-server", "Ready to accept connections"
    password = "a:b@c"

    def arguments(self):
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--requirepass", self.password]

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def call(self, *words):
        """One command; its reply as text lines."""
        def encode(items):
            out = b"*%d\r\n" % len(items)
            return out + b"".join(b"$%d\r\n%s\r\n" % (len(i), i) for i in items)

        with self.connect() as sock:
            sock.sendall(encode([b"AUTH", self.password.encode()]))
            sock.sendall(encode([w.encode() for w in words]) + encode([b"QUIT"]))
            data = b""
            while piece := sock.recv(65536):
                data += piece
        return data.decode().split("\r\n")[1:-2]


class RedisTls(Redis):
    """The same with TLS alone; certificates: a directory with ca.pem, cert.pem and key.pem."""

    def __init__(self, certificates):
        super().__init__()
        self.certificates = certificates

    def arguments(self):
        tls = {"port": self.port, "cert-file": self.certificates / "cert.pem",
               "key-file": self.certificates / "key.pem",
               "ca-cert-file": self.certificates / "ca.pem", "auth-clients": "no"}
        options = [word for name, value in tls.items() for word in (f"--tls-{name}", str(value))]
        return [*super().arguments(), "--bind", "127.0.0.1", "127.0.0.2",
                "--port", "0", *options]

    def connect(self):
        context = ssl.create_default_context(cafile=self.certificates / "ca.pem")
        return context.wrap_socket(super().connect(), server_hostname="localhost")


class Nats(Broker):
    program, ready = "nats-server", "Server is ready"

    def arguments(self):
        return ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", self.directory.name,
                "--user", "kist", "--pass", "secret"]

    def ask(self, subject, request=""):
        """A request to JetStream; its reply."""
        login = {"verbose": False, "user": "kist", "pass": "secret"}
        body = json.dumps(request) if request else ""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock:
            sock.sendall(f"CONNECT {json.dumps(login)}\r\nSUB reply 1\r\n"
                         f"PUB {subject} reply {len(body)}\r\n{body}\r\n".encode())
            with sock.makefile("rb") as file:
                for line in file:
                    if line.startswith(b"MSG reply"):
                        return json.loads(file.read(int(line.split()[-1])))
        raise AssertionError("nats-server closed the connection")


class Mosquitto(Broker):
    program, ready = "mosquitto", "running"

    def arguments(self):
        return ["-v", "-p", str(self.port)]

    def subscribe(self, topic):
        """A subscriber that ends after one message, which it prints."""
        if not shutil.which("mosquitto_sub"):
            raise unittest.SkipTest("mosquitto_sub is not installed")
        process = subprocess.Popen(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(self.port),
                                    "-t", topic, "-q", "1", "-C", "1"],
                                   stdout=subprocess.PIPE, text=True)
        self.wait_for("Sending SUBACK")
        return process


class Rabbit(Broker):
    # Not Debian's script, which insists on a user of its own.
    program, ready = "/usr/lib/rabbitmq/bin/rabbitmq-server", "completed with"

    def __init__(self):
        super().__init__()
        where, distribution, epmd = self.directory.name, free_port(), free_port()
        Path(where, "enabled_plugins").write_text("[].\n")
        self.env = {"HOME": where, "RABBITMQ_NODENAME": f"kist{self.port}@localhost",
                    "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
                    "RABBITMQ_NODE_PORT": str(self.port),
                    "RABBITMQ_DIST_PORT": str(distribution), "RABBITMQ_MNESIA_BASE": where,
                    "RABBITMQ_LOG_BASE": where, "RABBITMQ_LOGS": "-",
                    "RABBITMQ_ENABLED_PLUGINS_FILE": str(Path(where, "enabled_plugins")),
                    "RABBITMQ_CONF_ENV_FILE": "/dev/null", "ERL_EPMD_PORT": str(epmd),
                    "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def arguments(self):
        return []

    def tool(self, name, *words, **more):
        if not shutil.which(name):
            raise unittest.SkipTest(f"{name} is not installed")
        return subprocess.run([name, "-u", f"amqp://127.0.0.1:{self.port}", *words], check=True,
                              capture_output=True, timeout=30, **more).stdout

    def __exit__(self, *unused):
        super().__exit__(*unused)
        subprocess.run(["epmd", "-kill"], env={**os.environ, **self.env}, capture_output=True,
                       check=False)
