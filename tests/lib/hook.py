"""A webhook that takes events, for tests.

    with Hook() as hook:
        ... kist_target("add", "name", hook.url, "--private", server=server)
        record = hook.wait(lambda body: "key" in body)
        ... or, one after the other: document = hook.next()

`status` is what it answers; `answer` may be set to a function of the request's handler and body
that sends another reply, of requests that then are not kept; `pause()` and `resume()` close and
open the port, so that connections are refused. Waiting is bounded by WAIT_S, so that a lost event
is a failure and no hang.
"""
import http.server
import json
import os
import subprocess
import threading
import time

import kist_server

WAIT_S = 60


class Hook:
    def __init__(self):
        self.requests, self.changed = [], threading.Condition()
        self.answer = None
        self.status = 200
        self.told = 0           # requests that next() has given
        self.port = 0
        self.server = None

    def __enter__(self):
        self.resume()
        return self

    def __exit__(self, *_):
        self.pause()

    def resume(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):          # pylint: disable=invalid-name
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if hook.answer and hook.answer(self, body):
                    return
                hook.take({k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(hook.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request, client_address):
                """Connections that a killed server leaves behind are no news."""

        self.server = Listener(("127.0.0.1", self.port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def pause(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/hook"

    def take(self, headers, body):
        with self.changed:
            self.requests.append((headers, body))
            self.changed.notify_all()

    def wait_for(self, condition, what="an event"):
        """Until condition(requests) gives something true, which is returned."""
        end = time.monotonic() + WAIT_S
        with self.changed:
            while not (found := condition(self.requests)):
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{what} did not come; there came: {self.requests[-5:]}")
                self.changed.wait(left)
            return found

    def wait(self, fits, what="an event"):
        """The first document that fits."""
        return self.wait_for(lambda all_: next(
            (d for d in (json.loads(body) for _, body in all_) if fits(d)), None), what)

    def next(self):
        """The next document, in the order in which they came."""
        self.wait_for(lambda all_: len(all_) > self.told)
        self.told += 1
        return json.loads(self.requests[self.told - 1][1])

    def records(self):
        with self.changed:
            return [r for _, body in self.requests
                    for r in json.loads(body).get("Records", [])]


def kist(*words, server, status=0, data=None):
    """Runs one of kist's commands against a server; what it printed."""
    run = subprocess.run([kist_server.BIN, *words, "--endpoint", server.endpoint],
                         capture_output=True, text=True, timeout=120, input=data, check=False,
                         env={**os.environ, "AWS_ACCESS_KEY_ID": kist_server.ACCESS_KEY,
                              "AWS_SECRET_ACCESS_KEY": kist_server.SECRET_KEY})
    assert run.returncode == status, (words, run.returncode, run.stdout, run.stderr)
    return run.stdout if status == 0 else run.stderr
