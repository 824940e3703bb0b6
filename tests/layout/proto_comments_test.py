"""The checker of proto comments finds each kind of item that has none."""

import pathlib
import tempfile
import unittest

import proto_comments

_COMMENTED = """syntax = "proto3";
// Service.
service S {
  // Method.
  rpc Call(M) returns (M);
}
// Message.
message M {
  // Enum.
  enum E { UNSPECIFIED = 0; }
  // Nested message.
  message N {}
  oneof kind {
    // Field of a oneof.
    int32 a = 1;
  }
  int32 b = 2;  // Trailing comment.
  // A map has an entry type that nobody wrote.
  map<string, int32> c = 3;
}
"""


class ProtoCommentsTest(unittest.TestCase):

    def missing(self, text):
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "planted.proto").write_text(text)
            files = proto_comments.load_files(pathlib.Path(folder))
            return [message for file in files for message in proto_comments.missing_comments(file)]

    def test_accepts_a_file_with_all_comments(self):
        self.assertEqual(self.missing(_COMMENTED), [])

    def test_finds_every_kind_of_missing_comment(self):
        lines = {
            "// Service.": "S", "// Method.": "S.Call", "// Message.": "M", "// Enum.": "M.E",
            "// Nested message.": "M.N", "// Field of a oneof.": "M.a", "// Trailing comment.": "M.b",
            "// A map has an entry type that nobody wrote.": "M.c"
        }
        for comment, name in lines.items():
            with self.subTest(comment=comment):
                found = self.missing(_COMMENTED.replace(comment, ""))
                self.assertEqual(len(found), 1, found)
                self.assertIn(f" {name} has no comment", found[0])


if __name__ == "__main__":
    unittest.main()
