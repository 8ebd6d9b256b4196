"""minio-js (js/minio.mjs)."""
from js_client import JsClient
from workflow import matrix


class MinioJs(JsClient):
    script = "minio.mjs"


matrix(globals(), MinioJs)
