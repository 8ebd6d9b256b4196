"""The README's table of operations says what the program's own table does."""
import re
import unittest

from kist_server import ROOT

ROW = re.compile(r'^X\((\w+), \w+, (\w+), .*, (\w+), (?:NULL|"[^"]*")\)$', re.M)
LINE = re.compile(r"^\| (\w+) \| (yes|no|partly: .+) \|$", re.M)


class Operations(unittest.TestCase):
    def test_readme_tells_the_truth(self):
        table = (ROOT / "server" / "s3" / "operations.def").read_text(encoding="utf-8")
        built = {name: handler != "NULL" for name, scope, handler in ROW.findall(table)
                 if scope != "WEBSITE"}
        self.assertEqual(len(built), len([line for line in table.splitlines()
                                          if line.startswith("X(")]) - 1)
        readme = (ROOT / "README.md").read_text(encoding="utf-8")
        section = readme[readme.index("## S3's operations"):readme.index("## Measured")]
        told = {name: word != "no" for name, word in LINE.findall(section)}
        self.assertEqual(told, built)
