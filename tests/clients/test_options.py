"""What the command line takes: mistakes are named and change nothing; helps and the manual agree."""
import os
import re
import subprocess
import tempfile
import unittest

import kist_server


class Options(unittest.TestCase):
    def kist(self, *words, status=0, env=None):
        run = subprocess.run([kist_server.BIN, *words], capture_output=True, text=True,
                             timeout=20, stdin=subprocess.DEVNULL, check=False,
                             env={**os.environ, **(env or {})})
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return run.stderr if status else run.stdout

    def test_serve(self):
        with tempfile.TemporaryDirectory(prefix="kist-options-") as data:
            def refused(*words, env=None):
                said = self.kist("serve", "--data", data, "--listen", "127.0.0.1:0", "--admin",
                                 "off", *words, status=2, env=env)
                self.assertEqual(said.count("\n"), 1)
                self.assertEqual(os.listdir(data), [])
                return said
            # Who says that it should not be so does not get the contrary.
            self.assertIn("--no-sync=false", refused("--no-sync=false"))
            self.assertIn("KIST_NO_SYNC", refused(env={"KIST_NO_SYNC": "maybe"}))
            for word in ("no", "false", "0", "OFF"):
                self.assertIn("--frob", refused("--frob", env={"KIST_NO_SYNC": word}))
            # 4294967297 loops are not one loop.
            for number in ("4294967297", "-1", "x", "18446744073709551616"):
                self.assertIn("--loops", refused("--loops", number))
            self.assertIn("KIST_MEMORY", refused(env={"KIST_MEMORY": "64Q"}))
            self.assertIn("--memory", refused("--memory", "18014398509481984K"))

    def test_mistakes_are_named(self):
        """One line that says what is wrong, on standard error, and nothing is asked of anybody."""
        tools = ("account", "apply", "bench", "dump", "events", "fn", "fsck", "key", "kms",
                 "lineage", "policy", "scrub", "site", "target", "trace", "usage", "user")
        for tool in tools:
            verb = {"kms": ["ls"], "target": ["ls"], "events": ["ls"]}.get(tool, [])
            said = self.kist(tool, *verb, "--frob", status=2)
            self.assertRegex(said, f"^kist: {tool}: --frob: .*see kist {tool} --help.\\n$")
            said = self.kist(tool, *verb, "--frob", "x", status=2)
            self.assertRegex(said, f"^kist: {tool}: --frob: .*\\n$")
            self.assertEqual(self.kist(tool, "--help"), self.kist(tool, "-h"))
        for words in (["events"], ["target"], ["kms"], ["trace"], ["lineage", "x"], ["fn", "x"],
                      ["events", "replay", "x", "y"], ["events", "drop", "x"],
                      ["target", "add", "n", "u", "--option", "x"],
                      ["bench", "--region", "r" * 5000], ["bench", "--size", "99999999999999G"]):
            self.assertEqual(self.kist(*words, status=2).count("\n"), 1, words)
        self.assertEqual(self.kist("-h"), self.kist("--help"))

    def test_what_json_cannot_hold(self):
        """Bytes that are no UTF-8 are refused: they would be left out without a word."""
        for words in (["target", "add", "n", "http://x", "--secret", b"\xff"],
                      ["target", "add", "n", "http://x", "--dead-letter", b"\xff"],
                      ["target", "add", "n", "http://x", "--option", b"k=\xff"],
                      ["events", "redrive", "t", b"\xff"],
                      ["fn", "deploy", "n", "f", "--env", b"K=\xff"]):
            self.assertIn("not UTF-8", self.kist(*words, status=2))

    def test_manual(self):
        """Each command, option and variable of the helps is in the manual, and no other option."""
        manual = (kist_server.ROOT / "scripts" / "kist.1").read_text(encoding="utf-8")
        known = set(re.findall(r"Fl -([a-z][a-z-]+)", manual))
        tools = re.findall(r"^  (\w+) ", self.kist("--help"), re.MULTILINE)
        self.assertIn("serve", tools)
        named = {"version"}
        for tool in tools:
            text = self.kist(tool, "--help")
            options = set(re.findall(r"--([a-z][a-z-]+)", text))
            variables = set(re.findall(r"\b(?:KIST|AWS)_[A-Z_]+\b", text))
            self.assertRegex(manual, rf"(?m)^\.Cm {tool}\b")
            self.assertRegex(manual, rf"(?m)^\.Ss .*kist {tool}\b")
            self.assertEqual(options - known, set(), tool)
            self.assertEqual({v for v in variables if v not in manual}, set(), tool)
            named |= options
        self.assertEqual(known - named, set())

    def test_no_data_directory(self):
        """What only looks at a store makes none."""
        with tempfile.TemporaryDirectory(prefix="kist-options-") as data:
            for words in (["usage"], ["scrub"], ["fsck"], ["dump"], ["account", "ls"],
                          ["account", "rm", "x"]):
                self.assertIn(f"{data}: this is no data directory" if words != ["dump"]
                              else "this is no data directory",
                              self.kist(*words, "--data", data, status=1))
                self.assertEqual(os.listdir(data), [])
            self.assertIn("No such file", self.kist("usage", "--data", f"{data}/no", status=1))
            self.kist("account", "create", "first", "--data", data)
            self.assertIn(" first", self.kist("account", "ls", "--data", data))
            self.assertEqual(self.kist("dump", data), self.kist("dump", "--data", data))
            self.kist("usage", "--data", data)


if __name__ == "__main__":
    unittest.main()
