"""AWS SDK for JavaScript v3 (js/aws_sdk.mjs)."""
from js_client import JsClient
from workflow import SIZES, matrix, sample, sha256


class AwsSdkJs(JsClient):
    script = "aws_sdk.mjs"

    def test_put_buffer(self):
        for name, size in SIZES.items():
            with self.subTest(size=name):
                self.call("put_buffer", self.bucket, "buffer", sample(size))
                self.assert_stored("buffer", sha256(sample(size)))


matrix(globals(), AwsSdkJs)
