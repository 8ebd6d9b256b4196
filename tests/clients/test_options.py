"""What the command line takes: mistakes are named and change nothing; helps and the manual agree."""
import os
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


if __name__ == "__main__":
    unittest.main()
