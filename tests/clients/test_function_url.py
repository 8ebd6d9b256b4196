"""Function URLs: HTTP in and out of a function, who may, and what browsers are told."""
import http.client
import json
import shutil
import unittest

import botocore.auth
import botocore.awsrequest
import botocore.credentials

import kist_server
from functions import package
from s3_raw import RawClient
from workflow import aws_client

HANDLER = """
import base64, json
def handler(event, context):
    path = event["rawPath"]
    if path == "/echo":
        return {"statusCode": 201, "headers": {"X-Mine": "1", "content-type": "text/plain"},
                "cookies": ["a=1", "b=2"], "body": json.dumps(event)}
    if path == "/bytes":
        return {"statusCode": 200, "isBase64Encoded": True,
                "body": base64.b64encode(bytes(range(256))).decode()}
    if path == "/plain":
        return "just text"
    if path == "/object":
        return {"hello": "world"}
    if path == "/bad":
        return {"statusCode": 7}
    raise ValueError(path)
"""

# The second piece is not written before "go" is there, which is put by who has read the first.
STREAM = """
const stream = awslambda.streamifyResponse, from = awslambda.HttpResponseStream.from;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
async function until(key) {
    while (!(await fetch(process.env.AWS_ENDPOINT_URL + "/flow/" + key)).ok) await sleep(20);
}
const put = (key) => fetch(process.env.AWS_ENDPOINT_URL + "/flow/" + key,
                           { method: "PUT", body: "x" });
exports.handler = stream(async (event, out) => {
    const path = event.rawPath;
    if (path === "/fails") throw new Error("at once");
    if (path === "/plain") {
        out.write("as it ");
        await until("plain");
        return out.end("is");
    }
    if (path === "/endless-head") {
        out.setContentType("application/vnd.awslambda.http-integration-response");
        return out.end("x".repeat(100000));
    }
    const body = from(out, { statusCode: path === "/none" ? 204 : 202, cookies: ["a=1", "b=2"],
        headers: { "X-Mine": "1", "Content-Type": "text/event-stream", Connection: "x" } });
    if (path === "/none") return body.end();
    if (path === "/large") {
        const block = Buffer.alloc(1 << 16, "x");
        let written = 0;
        while (written < 18 << 20) {
            written += block.length;
            if (!body.write(block)) {
                const stuck = sleep(1000).then(() => "stuck");
                const drain = new Promise((done) => body.once("drain", done));
                if (await Promise.race([stuck, drain]) === "stuck") {
                    await put("stuck-" + written);
                    await drain;
                }
            }
        }
        await put("all");
        return body.end();
    }
    body.write("first;");
    await until(path.slice(1));
    if (path === "/breaks") throw new Error("in the middle");
    if (path === "/leaves") {
        for (let i = 0; i < 100; i++) body.write("x".repeat(10000));
        body.end();
        return;
    }
    body.end("second;");
});
"""


@kist_server.needs_sandboxes
@unittest.skipUnless(shutil.which("python3", path="/usr/bin"), "needs Debian's python3")
class FunctionUrls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = kist_server.own(cls)
        cls.api = aws_client("lambda", cls.server)
        cls.code = package({"app.py": HANDLER})
        cls.open = cls.function("open", "NONE", Cors={
            "AllowOrigins": ["https://page.example"], "AllowMethods": ["GET", "POST"],
            "AllowHeaders": ["x-thing"], "MaxAge": 60, "AllowCredentials": True})
        cls.api.add_permission(FunctionName="open", StatementId="all", Principal="*",
                               Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        cls.closed = cls.function("closed", "AWS_IAM")

    @classmethod
    def function(cls, name, auth, **more):
        cls.api.create_function(FunctionName=name, Runtime="python3.11", Role="",
                                Handler="app.handler", Code={"ZipFile": cls.code}, Timeout=30)
        url = cls.api.create_function_url_config(FunctionName=name, AuthType=auth, **more)
        return url["FunctionUrl"].split("/")[2]

    def mode(self, name, mode):
        """By hand: Debian's botocore is older than InvokeMode."""
        target = f"/2021-10-31/functions/{name}/url"
        request = botocore.awsrequest.AWSRequest("PUT", self.server.endpoint + target, data=(
            json.dumps({"InvokeMode": mode})))
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(
            kist_server.ACCESS_KEY, kist_server.SECRET_KEY), "lambda", "us-east-1").add_auth(
                request)
        reply = self.ask("PUT", request.headers.get("Host", f"127.0.0.1:{self.server.port}"),
                         target, request.body, dict(request.prepare().headers))
        self.assertEqual((reply.status, json.loads(reply.data)["InvokeMode"]), (200, mode))

    def ask(self, method, host, target, body=None, headers=None):
        """Names below localhost need not resolve: the Host header is what counts."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        connection.request(method, target, body, {"Host": host, **(headers or {})})
        reply = connection.getresponse()
        reply.data = reply.read()
        connection.close()
        return reply

    def test_event_and_reply(self):
        reply = self.ask("POST", self.open, "/echo?a=1&b=x%20y&a=2", b"\xc3\xbcber",
                         {"Cookie": "k=v; l=w", "X-Two": "2", "User-Agent": "test/1"})
        self.assertEqual((reply.status, reply.headers["x-mine"], reply.headers["content-type"]),
                         (201, "1", "text/plain"))
        self.assertEqual(reply.headers.get_all("set-cookie"), ["a=1", "b=2"])
        event = json.loads(reply.data)
        self.assertEqual((event["version"], event["rawQueryString"], event["cookies"]),
                         ("2.0", "a=1&b=x%20y&a=2", ["k=v", "l=w"]))
        self.assertEqual(event["queryStringParameters"], {"a": "1,2", "b": "x y"})
        self.assertEqual((event["body"], event["isBase64Encoded"]), ("über", False))
        self.assertEqual(event["headers"]["x-two"], "2")
        context = event["requestContext"]
        self.assertEqual((context["http"]["method"], context["http"]["path"],
                          context["http"]["userAgent"], context["accountId"]),
                         ("POST", "/echo", "test/1", "anonymous"))

    def test_bytes_both_ways(self):
        self.assertEqual(self.ask("GET", self.open, "/bytes").data, bytes(range(256)))
        event = json.loads(self.ask("PUT", self.open, "/echo", b"\xff\x00").data)
        self.assertEqual((event["body"], event["isBase64Encoded"]), ("/wA=", True))

    def test_answers_without_a_status(self):
        reply = self.ask("GET", self.open, "/plain")
        self.assertEqual((reply.status, reply.data), (200, b"just text"))
        reply = self.ask("GET", self.open, "/object")
        self.assertEqual((reply.headers["content-type"], json.loads(reply.data)),
                         ("application/json", {"hello": "world"}))

    def test_failures(self):
        self.assertEqual(self.ask("GET", self.open, "/raises").status, 502)
        self.assertEqual(self.ask("GET", self.open, "/bad").status, 502)
        unknown = "a" * 32 + self.open[self.open.index("."):]
        self.assertEqual(self.ask("GET", unknown, "/").status, 403)

    def test_browsers(self):
        origin = {"Origin": "https://page.example"}
        reply = self.ask("OPTIONS", self.open, "/echo", headers={
            **origin, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-thing"})
        self.assertEqual((reply.status, reply.headers["access-control-allow-methods"],
                          reply.headers["access-control-allow-headers"],
                          reply.headers["access-control-max-age"]), (200, "POST", "x-thing", "60"))
        reply = self.ask("GET", self.open, "/plain", headers=origin)
        self.assertEqual((reply.headers["access-control-allow-origin"],
                          reply.headers["access-control-allow-credentials"]),
                         ("https://page.example", "true"))
        reply = self.ask("GET", self.open, "/plain", headers={"Origin": "https://other.example"})
        self.assertIsNone(reply.headers["access-control-allow-origin"])

    def test_signatures(self):
        self.assertEqual(self.ask("GET", self.closed, "/plain").status, 403)
        request = botocore.awsrequest.AWSRequest("GET", f"http://{self.closed}/plain")
        botocore.auth.SigV4Auth(botocore.credentials.Credentials(
            kist_server.ACCESS_KEY, kist_server.SECRET_KEY), "lambda", "us-east-1").add_auth(
                request)
        reply = self.ask("GET", self.closed, "/plain",
                         headers=dict(request.prepare().headers))
        self.assertEqual((reply.status, reply.data), (200, b"just text"))

    def test_website_and_function_under_one_host(self):
        client = RawClient(self.server)
        site = lambda target, method="GET", body=None: self.ask(
            method, f"application.web.{kist_server.DOMAIN}", target, body)
        put = lambda rule: client.request("PUT", "/application?website=", body=(
            "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument>"
            f"<RoutingRules><RoutingRule>{rule}</RoutingRule></RoutingRules>"
            "</WebsiteConfiguration>").encode())
        api = "<Condition><KeyPrefixEquals>api/</KeyPrefixEquals></Condition>"
        client.request("PUT", "/application")
        client.request("PUT", "/application/index.html", body=b"<h1>page</h1>")
        client.request("PUT", "/application?policy=", body=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::application/*"}}).encode())
        code = HANDLER.replace('"/echo"', '"/api/echo"').replace('"/plain"', '"/api/plain"')
        self.api.create_function(FunctionName="api", Runtime="python3.11", Role="",
                                 Handler="app.handler",
                                 Code={"ZipFile": package({"app.py": code})},
                                 Timeout=30)
        self.assertEqual(put(api + "<Function>api</Function>").status, 200)
        self.assertEqual(site("/").data, b"<h1>page</h1>")
        self.assertEqual(site("/api/plain").status, 403)        # nobody was let in yet
        self.api.add_permission(FunctionName="api", StatementId="all", Principal="*",
                                Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        self.assertEqual(site("/api/plain").data, b"just text")
        event = json.loads(site("/api/echo?x=1", "POST", b"sent").data)
        self.assertEqual((event["requestContext"]["http"]["method"], event["body"],
                          event["rawQueryString"]), ("POST", "sent", "x=1"))
        self.assertEqual(site("/other", "POST", b"x").status, 405)
        other = "<Function>arn:aws:lambda:us-east-1:000000000000:function:api</Function>"
        self.assertEqual(put(api + other).status, 200)
        self.assertEqual(site("/api/plain").status, 403)        # another account's
        for bad in (api, "<Function>api</Function>",
                    api + "<Function>api</Function><Redirect><HostName>h</HostName></Redirect>"):
            self.assertIn(put(bad).status, (400,), bad)

    def streams(self):
        """The host of STREAM, and a client for the bucket by which it is told to go on."""
        if not shutil.which("node", path="/usr/bin"):
            self.skipTest("needs Debian's nodejs")
        flow = RawClient(self.server)
        if hasattr(self, "stream_host"):
            return self.stream_host, flow
        flow.request("PUT", "/flow")
        flow.request("PUT", "/flow?policy=", body=json.dumps({
            "Version": "2012-10-17", "Statement": {
                "Effect": "Allow", "Principal": "*", "Action": "s3:*",
                "Resource": ["arn:aws:s3:::flow/*", "arn:aws:s3:::flow"]}}).encode())
        self.api.create_function(FunctionName="streams", Runtime="nodejs20.x", Role="",
                                 Handler="index.handler",
                                 Code={"ZipFile": package({"index.js": STREAM})},
                                 Timeout=60, MemorySize=256)
        url = self.api.create_function_url_config(FunctionName="streams", AuthType="NONE")
        self.mode("streams", "RESPONSE_STREAM")
        self.api.add_permission(FunctionName="streams", StatementId="all", Principal="*",
                                Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        type(self).stream_host = url["FunctionUrl"].split("/")[2]
        return self.stream_host, flow

    def open_stream(self, host, target):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("GET", target, headers={"Host": host})
        return connection, connection.getresponse()

    def test_stream(self):
        host, flow = self.streams()
        _, reply = self.open_stream(host, "/go")
        self.assertEqual((reply.status, reply.headers["x-mine"], reply.headers["content-type"],
                          reply.headers["transfer-encoding"]),
                         (202, "1", "text/event-stream", "chunked"))
        self.assertEqual(reply.headers.get_all("set-cookie"), ["a=1", "b=2"])
        self.assertNotEqual(reply.headers["connection"], "x")
        self.assertEqual(reply.read(6), b"first;")
        flow.request("PUT", "/flow/go", body=b"")
        self.assertEqual(reply.read(), b"second;")
        reply = self.ask("HEAD", host, "/go")
        self.assertEqual((reply.status, reply.headers["x-mine"], reply.data), (202, "1", b""))

    def test_stream_without_a_head(self):
        host, flow = self.streams()
        _, reply = self.open_stream(host, "/plain")
        self.assertEqual((reply.status, reply.headers["content-type"], reply.read(6)),
                         (200, "application/octet-stream", b"as it "))
        flow.request("PUT", "/flow/plain", body=b"")
        self.assertEqual(reply.read(), b"is")
        reply = self.ask("GET", host, "/none")
        self.assertEqual((reply.status, reply.data, reply.headers["x-mine"]), (204, b"", "1"))

    def test_streams_that_fail(self):
        host, flow = self.streams()
        self.assertEqual(self.ask("GET", host, "/fails").status, 502)
        self.assertEqual(self.ask("GET", host, "/endless-head").status, 502)
        _, reply = self.open_stream(host, "/breaks")
        self.assertEqual(reply.read(6), b"first;")
        flow.request("PUT", "/flow/breaks", body=b"")
        with self.assertRaises(http.client.IncompleteRead):
            reply.read()
        connection, reply = self.open_stream(host, "/leaves")
        self.assertEqual(reply.read(6), b"first;")
        reply.close()
        connection.close()
        flow.request("PUT", "/flow/leaves", body=b"")
        flow.request("PUT", "/flow/go", body=b"")
        self.assertEqual(self.ask("GET", host, "/go").data, b"first;second;")

    def test_stream_waits_for_its_reader(self):
        """The function is held back while nobody reads what it has written."""
        host, flow = self.streams()
        _, reply = self.open_stream(host, "/large")
        while b"<Key>stuck-" not in (listed := flow.request("GET", "/flow?list-type=2").body):
            self.assertNotIn(b"<Key>all<", listed)
        self.assertEqual(len(reply.read()), 18 << 20)
        self.assertEqual(flow.request("GET", "/flow/all").status, 200)

    def test_buffered_answers_at_a_streaming_url(self):
        """And the reverse: a streamed answer at a URL that is not."""
        host = self.function("whole", "NONE")
        self.mode("whole", "RESPONSE_STREAM")
        self.api.add_permission(FunctionName="whole", StatementId="all", Principal="*",
                                Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        reply = self.ask("GET", host, "/echo")
        self.assertEqual((reply.status, reply.headers["x-mine"]), (201, "1"))
        self.assertEqual(self.ask("GET", host, "/plain").data, b"just text")
        self.assertEqual(self.ask("GET", host, "/raises").status, 502)
        host, flow = self.streams()
        self.mode("streams", "BUFFERED")
        self.addCleanup(self.mode, "streams", "RESPONSE_STREAM")
        flow.request("PUT", "/flow/go", body=b"")
        reply = self.ask("GET", host, "/go")
        self.assertEqual((reply.status, reply.headers["content-length"], reply.data),
                         (202, "13", b"first;second;"))

    def test_closed_again(self):
        host = self.function("shut", "NONE")
        self.assertEqual(self.ask("GET", host, "/plain").status, 403)  # no permission yet
        self.api.add_permission(FunctionName="shut", StatementId="all", Principal="*",
                                Action="lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE")
        self.assertEqual(self.ask("GET", host, "/plain").status, 200)
        self.api.delete_function_url_config(FunctionName="shut")
        self.assertEqual(self.ask("GET", host, "/plain").status, 403)


if __name__ == "__main__":
    unittest.main()
