"""Functions that mean harm, or are broken: each ends in the documented error, and the server and
its other functions do not notice."""
import json
import re
import shutil
import unittest

import kist_server
from functions import package
from workflow import aws_client

HARM = """
import os, socket, sys, time

def good(event, context):
    return {"pid": os.getpid(), "event": event}

def forks(event, context):
    children, failed = 0, False
    for _ in range(100000):
        try:
            pid = os.fork()
        except OSError:
            failed = True
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        children += 1
    return {"children": children, "failed": failed}

def fills_tmp(event, context):
    try:
        with open("/tmp/big", "wb") as out:
            for _ in range(4096):
                out.write(bytes(1 << 20))
    except OSError as error:
        return {"error": error.errno}
    return {"error": 0}

def eats_memory(event, context):
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * (8 << 20)))

def talks(event, context):
    for i in range(200000):
        print("a line that nobody wants", i)
    return "said"

def talks_without_end(event, context):
    for i in range(1000):
        sys.stdout.write("x" * 10000)
    return "said"

def large(event, context):
    return "x" * (7 << 20)

def exits(event, context):
    os._exit(7)

def hangs(event, context):
    time.sleep(60)

def raises(event, context):
    raise ValueError("\\x00\\n\\"quoted\\" \\u2603")

def unserializable(event, context):
    return object()

def closes_early(event, context):
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    s = socket.create_connection((host, int(port)))
    s.sendall(b"POST /2018-06-01/runtime/invocation/" + context.aws_request_id.encode() +
              b"/response HTTP/1.1\\r\\nContent-Length: 1000\\r\\n\\r\\nhalf")
    s.close()
    return "whole"

def talks_rubbish(event, context):
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    answers = []
    for junk in (b"\\x00" * 100, b"GET\\r\\n\\r\\n", b"GET / HTTP/1.1\\r\\nA : b\\r\\n\\r\\n",
                 b"POST /x HTTP/1.1\\r\\nContent-Length: 1\\r\\nContent-Length: 2\\r\\n\\r\\n",
                 b"POST /x HTTP/1.1\\r\\nContent-Length: 1\\r\\n"
                 b"Transfer-Encoding: chunked\\r\\n\\r\\n", b"A" * 20000,
                 b"GET /2018-06-01/nothing HTTP/1.1\\r\\n\\r\\n"):
        s = socket.create_connection((host, int(port)))
        s.sendall(junk)
        answers.append(s.recv(4096).split(b"\\r\\n")[0].decode())
        s.close()
    return answers

def many_connections(event, context):
    host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
    held = [socket.create_connection((host, int(port))) for _ in range(100)]
    return len(held)

def many_to_the_store(event, context):
    host, port = os.environ["AWS_ENDPOINT_URL"].rpartition("/")[2].split(":")
    held, answered = [socket.create_connection((host, int(port))) for _ in range(400)], 0
    for s in held:
        try:
            s.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
            answered += bool(s.recv(4096))
        except OSError:
            pass
    return answered
"""


@kist_server.needs_sandboxes
@unittest.skipUnless(shutil.which("python3", path="/usr/bin"), "needs Debian's python3")
class FunctionHarm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.own(cls)
        cls.api = aws_client("lambda", cls.server, retries={"max_attempts": 0}, read_timeout=60)
        cls.code = package({"app.py": HARM})
        cls.made = set()
        cls.neighbour = cls.call("good", 0)["pid"]

    @classmethod
    def invoke(cls, name, event, timeout=20):
        if name not in cls.made:
            cls.api.create_function(FunctionName=name, Runtime="python3.11", Role="",
                                    Handler="app." + name, Code={"ZipFile": cls.code},
                                    Timeout=timeout, MemorySize=128)
            cls.made.add(name)
        return cls.api.invoke(FunctionName=name, Payload=json.dumps(event), LogType="Tail")

    @classmethod
    def call(cls, name, event=None, timeout=20):
        reply = cls.invoke(name, event, timeout)
        payload = json.loads(reply["Payload"].read())
        assert "FunctionError" not in reply, payload
        return payload

    def fails(self, name, kind, timeout=20):
        reply = self.invoke(name, None, timeout)
        error = json.loads(reply["Payload"].read())
        self.assertEqual(reply.get("FunctionError"), "Unhandled", error)
        self.assertEqual(error["errorType"], kind)
        return error["errorMessage"]

    def tearDown(self):
        # The neighbour is the same process still, and answers.
        answer = self.call("good", {"a": 1})
        self.assertEqual(answer, {"pid": self.neighbour, "event": {"a": 1}})

    def needs(self, *parts):
        """Skips aloud where the sandbox lacks one of them; the server says at its start."""
        said = next((line for line in self.server.lines if "kist: functions:" in line), "")
        for part in parts:
            if not re.search(rf"\b{part}\b", said):
                self.skipTest(f"this machine's sandboxes have no {part}: {said}")

    def test_forks(self):
        self.needs("pids")
        # Either limit is met first, that of processes or that of memory.
        reply = self.invoke("forks", None)
        answer = json.loads(reply["Payload"].read())
        if "FunctionError" in reply:
            self.assertIn(answer["errorType"], ("Runtime.OutOfMemory", "Runtime.ExitError"))
        else:
            self.assertTrue(answer["failed"])
            self.assertLess(answer["children"], 1100)

    def test_fills_tmp(self):
        self.needs("mount")
        self.assertIn(self.call("fills_tmp")["error"], (28, 12, 27, 122))

    def test_eats_memory(self):
        reply = self.invoke("eats_memory", None)
        error = json.loads(reply["Payload"].read())
        self.assertIn(error["errorType"],
                      ("Runtime.OutOfMemory", "Runtime.ExitError", "MemoryError"))

    def test_talks(self):
        self.assertEqual(self.call("talks"), "said")
        self.assertEqual(self.call("talks_without_end"), "said")

    def test_large(self):
        message = self.fails("large", "Function.ResponseSizeTooLarge")
        self.assertIn("6291556", message)
        self.fails("large", "Function.ResponseSizeTooLarge")

    def test_exits(self):
        self.assertIn("exit status 7", self.fails("exits", "Runtime.ExitError"))
        self.assertIn("exit status 7", self.fails("exits", "Runtime.ExitError"))

    def test_hangs(self):
        message = self.fails("hangs", "Sandbox.Timedout", timeout=1)
        self.assertIn("Task timed out after 1.00 seconds", message)

    def test_raises(self):
        self.assertEqual(self.fails("raises", "ValueError"), "\x00\n\"quoted\" \u2603")
        self.fails("unserializable", "Runtime.MarshalError")

    def test_closes_early(self):
        self.assertEqual(self.call("closes_early"), "whole")

    def test_talks_rubbish(self):
        answers = self.call("talks_rubbish")
        self.assertEqual(answers, ["HTTP/1.1 400 Bad Request"] * 6 + ["HTTP/1.1 404 Not Found"])

    def test_many_connections(self):
        self.assertEqual(self.call("many_connections"), 100)
        self.assertEqual(self.call("many_connections"), 100)

    def test_many_connections_to_the_store(self):
        self.assertEqual(self.call("many_to_the_store"), 256)


if __name__ == "__main__":
    unittest.main()
