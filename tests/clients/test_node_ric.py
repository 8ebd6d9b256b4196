"""Amazon's runtime interface client for Node, unmodified, as the bootstrap of a function.

It has a native part that npm builds with cmake, autoconf and Node's headers, for minutes: where
KIST_NODE_RIC names a node_modules directory with aws-lambda-ric built in it, it is tried; elsewhere
this is skipped aloud.
"""
import json
import os
import shutil
import tempfile
import unittest
from pathlib import Path

import kist_server
from hook import kist

HANDLER = """
exports.handler = async (event, context) => {
    if (event.fail) throw new Error("as told");
    return { got: event, name: context.functionName, left: context.getRemainingTimeInMillis() > 0 };
};
"""
BOOTSTRAP = """#!/bin/sh
exec node /var/task/node_modules/aws-lambda-ric/bin/index.mjs index.handler
"""


class NodeRic(unittest.TestCase):
    def test_serves(self):
        modules = os.environ.get("KIST_NODE_RIC")
        if not modules:
            self.skipTest("KIST_NODE_RIC names no node_modules with aws-lambda-ric")
        with tempfile.TemporaryDirectory() as folder, kist_server.Server() as server:
            code = Path(folder)
            shutil.copytree(modules, code / "node_modules", symlinks=True,
                            ignore=shutil.ignore_patterns("deps", "build"))
            (code / "index.js").write_text(HANDLER)
            (code / "bootstrap").write_text(BOOTSTRAP)
            (code / "bootstrap").chmod(0o755)
            kist("fn", "deploy", "ric", folder, "--runtime", "provided.al2023", "--handler",
                 "index.handler", "--memory", "512", "--timeout", "30", server=server)
            answer = json.loads(kist("fn", "invoke", "ric", '{"a": 1}', server=server))
            self.assertEqual(answer, {"got": {"a": 1}, "name": "ric", "left": True})
            kist("fn", "invoke", "ric", '{"fail": true}', server=server, status=1)


if __name__ == "__main__":
    unittest.main()
