"""A webhook that receives events: what came, in order, and whoever waits for it is woken.

    with Webhook() as hook:
        kist_target(server, "add", "q", hook.url, "--private")
        ...
        record = hook.next()        # the next body's JSON

Waiting is bounded by PATIENCE_S, so that a lost event is a failure and no hang.
"""
import http.server
import json
import os
import queue
import subprocess
import threading
from http.server import ThreadingHTTPServer

import kist_server

PATIENCE_S = 60


class Webhook:
    def __init__(self, port=0):
        self.received = queue.Queue()
        self.each = self.received.put       # called for each body, from the server's threads
        self.status = 200                   # what it answers
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):  # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hook.each(json.loads(body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Says nothing."""

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                """Connections that a killed server leaves behind are no news."""

        self.server = Quiet(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def next(self):
        return self.received.get(timeout=PATIENCE_S)


def kist_target(server, *words):
    """Runs `kist target`; what it prints."""
    run = subprocess.run([kist_server.BIN, "target", *words, "--endpoint", server.endpoint],
                         capture_output=True, text=True, timeout=60,
                         env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                              "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY,
                              "AWS_REGION": kist_server.REGION})
    assert run.returncode == 0, (run.returncode, run.stdout, run.stderr)
    return run.stdout
