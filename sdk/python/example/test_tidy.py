"""Natively, without WASM: `python3 -m unittest` in this folder with the SDK's folder in PYTHONPATH."""

import unittest

import sawlog
from tidy import Tidy

CONFIG = '{"at_least":"warn","fields":["body"],"add":{"name":"cluster","text":"eu-1"}}'


class TidyTest(unittest.TestCase):
    def test_tidy_natively(self):
        tidy, edits = Tidy(), sawlog.Edits(3)
        self.assertEqual(tidy.configure(CONFIG, {}).columns, ["level", "body"])
        levels = sawlog.Column.of(["info", "WARNING", None])
        bodies = sawlog.Column.of(["a@b.co", "by ann@example.com, 4111 1111 1111 1111.", "nothing"])
        tidy.process(sawlog.Batch(3, [levels, bodies]), edits)
        self.assertEqual(edits.keep, [0b110])
        self.assertEqual(edits.edits[0], ("update", "body", {0: b"[email]", 1: b"by [email], [card]."}))

    def test_a_wrong_level_is_refused(self):
        with self.assertRaises(ValueError):
            Tidy().configure(CONFIG.replace("warn", "loud"), {})


if __name__ == "__main__":
    unittest.main()
