"""The checker of documented flags finds flags that only one side knows."""

import unittest

import documented_flags

_HELP = """Usage: densityd serve [OPTIONS]
Options:
  -h,--help                   Print this help
Network:
  --address TEXT [127.0.0.1:50051]
                              host:port; see --port-file
  --port-file TEXT            File
"""
_DOCUMENT = """Prose may mention --anything.
| flag | meaning |
|---|---|
| `--address` | where; not --port |
| `--port-file` | file |
"""


class DocumentedFlagsTest(unittest.TestCase):

    def test_accepts_a_document_that_names_all_flags(self):
        self.assertEqual(documented_flags.differences(_HELP, _DOCUMENT), [])

    def test_finds_a_flag_that_is_not_documented(self):
        self.assertEqual(documented_flags.differences(_HELP + "  --root TEXT  Folder\n", _DOCUMENT),
                         ["--root is not documented"])

    def test_finds_a_documented_flag_that_does_not_exist(self):
        self.assertEqual(documented_flags.differences(_HELP, _DOCUMENT + "| `--tls-cert`, `--tls-key` | PEM |\n"), [
            "--tls-cert is documented, but densityd does not have it",
            "--tls-key is documented, but densityd does not have it"
        ])


if __name__ == "__main__":
    unittest.main()
