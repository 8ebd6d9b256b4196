#!/usr/bin/python3
"""The rules of the house that no compiler knows: scripts/lint.py FILE...

Includes go to lower layers only, and siblings never include each other; a library's headers
stay in the one place that uses it; functions and files have a length; some functions of libc
have no safe use.
"""
import re
import sys

# Each layer may include itself and the ranks below, never another layer of its own rank.
RANKS = (("storage/base",), ("storage/schema",), ("storage/log", "storage/chunk"),
         ("storage/index",), ("storage/object",), ("auth",), ("server/http",),
         ("server/events",), ("server/functions", "server/s3", "server/admin", "server/cli"))
LAYER_RANK = {layer: rank for rank, layers in enumerate(RANKS) for layer in layers}

LIBRARIES = (
    (r"microhttpd\.h", r"server/http/|tests/"),
    (r"lmdb\.h", r"storage/index/|tests/"),
    (r"libxml/.*", r"server/s3/[^/]*xml[^/]*$|tests/"),
    (r"gnutls/.*", r"server/http/tls\.c$|tests/"),
    (r"protobuf-c/.*", r"storage/schema/|tests/"),
    (r"jansson\.h", r"auth/(policy_parse|post_policy|jwt|jwks|oidc_fetch)\.c$|"
     r"server/s3/kms\.c$|server/cli/|server/events/|server/functions/|tests/"),
    (r"unicode/.*", r"server/events/cron\.c$|tests/"),
    (r"archive(_entry)?\.h", r"server/functions/unzip\.c$|server/cli/fn_zip\.c$|tests/"),
    (r"yaml\.h", r"server/cli/yml\.c$|tests/"),
    (r"seccomp\.h", r"server/functions/sandbox_filter\.c$|tests/"),
    (r"curl/.*", r"server/cli/client\.c$|auth/oidc_fetch\.c$|"
     r"server/events/target(_http|_url|)\.c$|tests/"),
    (r"hiredis/.*", r"server/events/target_redis\.c$"),
    (r"nats/.*", r"server/events/target_nats\.c$"),
    (r"mosquitto\.h", r"server/events/target_mqtt\.c$"),
    (r"amqp.*\.h", r"server/events/target_amqp\.c$"),
    (r"librdkafka/.*", r"server/events/target_kafka\.c$|tests/"),
)
BANNED = re.compile(r"(?<![\w.>])(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof|alloca)"
                    r"\s*\(")
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 800
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)


def layer_of(path):
    return next((layer for layer in LAYER_RANK if path.startswith(layer + "/")), None)


def without_comments_and_strings(text):
    """The same lines, with comments and literals blanked."""
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def include_faults(path, text):
    own = layer_of(path)
    for match in INCLUDE.finditer(text):
        name, line = match.group(1), text.count("\n", 0, match.start(1)) + 1
        for library, allowed in LIBRARIES:
            if re.fullmatch(library, name) and not re.match(allowed, path):
                yield line, f"<{name}> does not belong here"
        other = layer_of(name)
        if not path.startswith("tests/") and name.startswith("tests/"):
            yield line, "the program includes its tests"
        if own and other and own != other and LAYER_RANK[other] >= LAYER_RANK[own]:
            yield line, f"{own} includes {name}, which is not below it"
        if other and own != other and re.search(r"internal\.h$", name) \
                and not path.startswith("tests/"):
            yield line, f"{name} is private to {other}"


def size_faults(path, lines):
    if len(lines) > FILE_LINES_MAX:
        yield 1, f"{len(lines)} lines; {FILE_LINES_MAX} are allowed"
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            if number - start - 1 > FUNCTION_LINES_MAX:
                yield start, f"a function of {number - start - 1} lines; {FUNCTION_LINES_MAX} are allowed"
            start = None


def text_faults(path, text, plain):
    for match in BANNED.finditer(plain):
        yield plain.count("\n", 0, match.start()) + 1, f"{match.group(1)}() is banned"
    for number, line in enumerate(text.splitlines(), 1):
        if "\t" in line or line != line.rstrip():
            yield number, "a tab, or blanks at the end"
    if path.endswith(".h"):
        if not re.search(r"^#ifndef (KIST_\w+_H)\n#define \1$", text, re.M):
            yield 1, "no include guard KIST_..._H"


def main():
    count = 0
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        plain = without_comments_and_strings(text)
        faults = [*include_faults(path, text), *size_faults(path, plain.splitlines()),
                  *text_faults(path, text, plain)]
        for line, fault in sorted(faults):
            print(f"{path}:{line}: {fault}")
        count += len(faults)
    return 1 if count else 0


sys.exit(main())
