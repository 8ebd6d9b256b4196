# Runs Lambda handlers in Python: asks kist's Runtime API for work, calls the handler, answers.
# Imports little, because every start waits for it.
import sys
import _socket
from os import environ
from time import time, strftime, gmtime

sys.stdout.reconfigure(line_buffering=True)
sys.stderr.reconfigure(line_buffering=True)
TASK = environ.get("LAMBDA_TASK_ROOT", "/var/task")
HOST, PORT = environ["AWS_LAMBDA_RUNTIME_API"].rsplit(":", 1)
API = "/2018-06-01/runtime/"
VERSION = "python%d.%d" % sys.version_info[:2]
OPT = environ.get("KIST_OPT_DIR", "/opt")
LOGS_JSON = environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON"
LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "FATAL": 50}
current_id = ""

sys.argv = [""]
sys.path[:0] = [TASK, OPT + "/python/lib/" + VERSION + "/site-packages", OPT + "/python"]
sys.path[1:1] = [p for p in environ.get("PYTHONPATH", "").split(":") if p]
sys.path += ["/usr/local/lib/" + VERSION + "/dist-packages", "/usr/lib/python3/dist-packages"]

import json  # noqa: E402  the function's own json.py, if it brings one, as in Lambda


class Connection:
    def __init__(self):
        self.socket = None

    def ask(self, method, path, body=b"", headers=""):
        head = "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n" % (
            method, API + path, HOST, len(body), headers)
        if self.socket is None:
            self.socket = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
            self.socket.connect((HOST, int(PORT)))
            self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if len(body) <= 65536:
            self.socket.sendall(head.encode() + body)
        else:
            self.socket.sendall(head.encode())
            self.socket.sendall(body)
        return self.reply()

    def reply(self):
        data = b""
        while True:
            end = data.find(b"\r\n\r\n")
            if end >= 0:
                break
            more = self.socket.recv(65536)
            if not more:
                sys.exit("the Runtime API has gone")
            data += more
        lines = data[:end].decode("utf-8", "surrogateescape").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        parts, got = [data[end + 4:]], len(data) - end - 4
        length = int(headers.get("content-length", "0"))
        while got < length:
            more = self.socket.recv(min(length - got, 1 << 20))
            if not more:
                sys.exit("the Runtime API has gone")
            parts.append(more)
            got += len(more)
        return int(lines[0].split(" ", 2)[1]), headers, b"".join(parts)


class Record(dict):
    def __getattr__(self, name):
        return self.get(name)


class Identity:
    cognito_identity_id = None
    cognito_identity_pool_id = None


class Context:
    def __init__(self, headers):
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        self.function_name = environ.get("AWS_LAMBDA_FUNCTION_NAME")
        self.function_version = environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_limit_in_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.identity = Identity()
        self.client_context = None
        self.tenant_id = None
        given = headers.get("lambda-runtime-client-context")
        if given:
            fields = json.loads(given)
            self.client_context = Record(fields)
            self.client_context["client"] = Record(fields.get("client") or {})
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(self._deadline_ms - int(time() * 1000), 0)

    def log(self, message):
        sys.stdout.write(str(message))


# Lambda's handler and format.
def set_up_logging(logging):
    class Formatter(logging.Formatter):
        def format(self, record):
            record.aws_request_id = current_id
            return super().format(record)

        def formatTime(self, record, datefmt=None):
            return "%s.%03dZ" % (strftime("%Y-%m-%dT%H:%M:%S", gmtime(record.created)),
                                 int(record.msecs))

    class JsonFormatter(Formatter):
        def format(self, record):
            line = {"timestamp": self.formatTime(record), "level": record.levelname,
                    "message": record.getMessage(), "logger": record.name,
                    "requestId": current_id}
            if record.exc_info and record.exc_info[0]:
                line.update(errorType=record.exc_info[0].__name__,
                            errorMessage=str(record.exc_info[1]),
                            stackTrace=self.formatException(record.exc_info).split("\n"))
            return json.dumps(line, ensure_ascii=False)

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter() if LOGS_JSON else Formatter("[%(levelname)s]\t%(asctime)s\t%(aws_request_id)s\t%(message)s"))
    logging.getLogger().addHandler(handler)
    if LOGS_JSON:
        logging.getLogger().setLevel(LEVELS.get(environ.get("AWS_LAMBDA_LOG_LEVEL"), 20))


# botocore reads AWS_ENDPOINT_URL by itself from 1.31 on; distributions have older ones.
def set_up_botocore(session):
    from botocore import __version__
    if tuple(int(n) for n in __version__.split(".")[:2]) >= (1, 31):
        return
    create = session.Session.create_client

    def create_client(self, service_name, *args, **kwargs):
        name = "AWS_ENDPOINT_URL_" + service_name.upper().replace("-", "_")
        url = environ.get(name) or environ.get("AWS_ENDPOINT_URL")
        if len(args) < 5 and url and not kwargs.get("endpoint_url"):
            kwargs["endpoint_url"] = url
        return create(self, service_name, *args, **kwargs)
    session.Session.create_client = create_client


# Whoever imports these modules finds them set up already.
class SetUpFinder:
    wanted = {"logging": set_up_logging, "botocore.session": set_up_botocore}

    def find_spec(self, name, path=None, target=None):
        set_up = self.wanted.pop(name, None)
        if not set_up:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec:
                break
        else:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            set_up(module)
        spec.loader.exec_module = exec_module
        return spec


class UnmarshalError(Exception):
    pass


class MarshalError(Exception):
    pass


def describe(error):
    import traceback
    frames = traceback.extract_tb(error.__traceback__)
    frames = [f for f in frames if f.filename != __file__]
    trace = traceback.format_list(frames)
    kind = type(error).__name__
    if isinstance(error, (UnmarshalError, MarshalError)):
        kind = "Runtime." + kind
    record = {"errorMessage": str(error), "errorType": kind, "requestId": current_id,
              "stackTrace": trace}
    if LOGS_JSON:
        now = time()
        stamp = "%s.%03dZ" % (strftime("%Y-%m-%dT%H:%M:%S", gmtime(now)), now % 1 * 1000)
        print(json.dumps({"timestamp": stamp, "level": "ERROR", **record}))
    else:
        print("[ERROR] %s: %s\nTraceback (most recent call last):\n%s" % (
            kind, error, "".join(trace)))
    return record


def report(connection, path, record):
    body = json.dumps(record).encode()
    kind = "".join(c for c in record["errorType"] if c.isalnum() or c in "._")
    connection.ask("POST", path, body, "Lambda-Runtime-Function-Error-Type: %s\r\n"
                                       "Content-Type: application/json\r\n" % kind)


def plain(value):
    import decimal
    if isinstance(value, decimal.Decimal):
        return float(value)
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def load():
    name = environ["_HANDLER"]
    module_name, dot, function = name.rpartition(".")
    if not dot:
        raise ValueError("Bad handler '%s': not enough values to unpack (expected 2, got 1)" % name)
    module = __import__(module_name.replace("/", "."), fromlist=["_"])
    if not hasattr(module, function):
        raise AttributeError("Handler '%s' missing on module '%s'" % (function, module_name))
    return getattr(module, function)


def init_failure(error):
    record = describe(error)
    if isinstance(error, ImportError):
        record["errorType"] = "Runtime.ImportModuleError"
        record["errorMessage"] = "Unable to import module '%s': %s" % (
            environ["_HANDLER"].rpartition(".")[0], error)
    elif isinstance(error, SyntaxError):
        record["errorType"] = "Runtime.UserCodeSyntaxError"
    elif isinstance(error, AttributeError) and "Handler '" in str(error):
        record["errorType"] = "Runtime.HandlerNotFound"
    elif isinstance(error, ValueError) and "Bad handler" in str(error):
        record["errorType"] = "Runtime.MalformedHandlerName"
    return record


def serve(connection, handler):
    global current_id
    while True:
        status, headers, event = connection.ask("GET", "invocation/next")
        if status != 200:
            sys.exit("the Runtime API refuses work: %d" % status)
        current_id = headers["lambda-runtime-aws-request-id"]
        environ["_X_AMZN_TRACE_ID"] = headers.get("lambda-runtime-trace-id", "")
        path = "invocation/" + current_id
        try:
            try:
                event = json.loads(event)
            except ValueError as error:
                raise UnmarshalError("Unable to unmarshal input: %s" % error)
            result = handler(event, Context(headers))
            try:
                body = json.dumps(result, default=plain, ensure_ascii=False).encode()
            except (TypeError, ValueError) as error:
                raise MarshalError("Unable to marshal response: %s" % error)
        except Exception as error:
            record = describe(error)
            sys.stdout.flush()
            report(connection, path + "/error", record)
            continue
        sys.stdout.flush()
        connection.ask("POST", path + "/response", body, "Content-Type: application/json\r\n")


def main():
    connection = Connection()
    sys.meta_path.insert(0, SetUpFinder())
    try:
        handler = load()
    except Exception as error:
        record = init_failure(error)
        sys.stdout.flush()
        report(connection, "init/error", record)
        sys.exit(1)
    serve(connection, handler)


main()
