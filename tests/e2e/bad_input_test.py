"""Bad input through the real programs: the right exit code, a message that names the place, and nothing left behind."""

import subprocess
import unittest

import harness
from harness import QUICK, correlated, csv, npy


class BadInputTest(harness.ServerTestCase):
    """Without a model: everything that a training or a name can get wrong."""

    def refused(self, *arguments, code=3, says=(), text=None):
        """densityctl ends with `code`, says each of `says`, and prints no answer."""
        out = self.server.ctl(*arguments, text=text, code=code)
        self.assertEqual(out, "")
        for part in says:
            self.assertIn(part, self.server.err)

    def refused_training(self, *flags, data=None, code=3, says=()):
        text = csv(correlated(500)) if data is None else data
        self.refused("train", "m", *(flags or QUICK), "--data", "-", "--detach", text=text, code=code, says=says)
        self.assertEqual(self.server.ctl_json("models"), [])
        self.assertEqual(self.server.leftovers(), [])

    def failed_training(self, data, says):
        """What only the whole data show: the training starts, and fails."""
        self.refused("train", "m", *QUICK, "--data", "-", text=data, code=9, says=says)
        self.assertEqual(self.server.ctl_json("models"), [])

    def test_a_ceiling_that_leaves_no_memory_ends_the_start_with_what_would_do(self):
        started = subprocess.run([harness.DENSITYD, "--root", self.folder / "other", "--address", "127.0.0.1:0",
                                  "--metrics-address", "", "--max-memory", "1MiB"], capture_output=True, text=True,
                                 timeout=harness.PATIENCE)
        self.assertNotEqual(started.returncode, 0)
        self.assertRegex(started.stderr, r"--max-memory: .*1048576 bytes do not do.*allow at least \d+")

    def test_a_ragged_csv_names_line_and_column(self):
        self.refused_training(data="a,b\n1,2\n3\n", says=["INVALID_ARGUMENT", "standard input", "line 3"])
        self.refused_training(data="a,b\n1,2\n3,x\n", says=["line 3", "column 2"])

    def test_a_truncated_npy_names_the_file(self):
        whole = npy(correlated(100))
        for size in (6, 9, 40, len(whole) - 1):
            path = self.write("short.npy", whole[:size])
            self.refused("upload", path, says=["INVALID_ARGUMENT", "short.npy"])
        self.assertEqual(self.server.ctl_json("datasets"), [])

    def test_an_npy_header_that_promises_too_much_is_refused(self):
        path = self.write("huge.npy", npy([(1.0, 2.0)], shape=(2**60, 2)))
        self.refused("upload", path, says=["huge.npy"])

    def test_a_row_that_is_not_finite_is_named(self):
        rows = correlated(500)
        rows[123] = (1.0, float("nan"))
        self.refused("upload", "-", text=npy(rows), says=["INVALID_ARGUMENT", "row 123"])
        self.assertEqual(self.server.ctl_json("datasets"), [])
        self.assertEqual(self.server.leftovers(), [])

    def test_a_constant_column_is_named(self):
        self.failed_training(data=csv([(a, 4.0) for a, _ in correlated(500)], ("a", "level")), says=["level"])

    def test_too_few_rows_are_counted(self):
        self.refused_training(data=csv(correlated(9)), says=["9 rows"])

    def test_an_unknown_preset_is_named(self):
        self.refused_training("--preset", "glowy", says=["preset", "glowy"])

    def test_options_out_of_range_name_the_option(self):
        for flag, value, field in (("--steps", "0", "steps"), ("--batch-size", "0", "batch_size"),
                                   ("--learning-rate", "-1", "learning_rate"),
                                   ("--validation-fraction", "0.9", "validation_fraction"),
                                   ("--ema-decay", "1", "ema_decay"), ("--transforms", "1000", "transforms")):
            with self.subTest(flag=flag):
                self.refused_training("--preset", "realnvp", f"{flag}={value}", says=["INVALID_ARGUMENT", field])

    def test_a_spec_with_a_wrong_layer_names_its_path(self):
        spec = self.write("flow.json", '{"layers": [{"coupling": {"mask": {"transformed": [0, 1]}}}]}')
        self.refused_training("--spec", spec, says=["layers[0].coupling.mask"])

    def test_unknown_columns_are_named(self):
        self.refused_training(*QUICK, "--context-columns", "nope", says=["nope"])

    def test_hostile_names_are_refused_everywhere(self):
        for name in ("..", "../../etc", "a/b", ".tmp", "x" * 4096, "m\u0430x", "Name", "a b"):
            with self.subTest(name=name[:20]):
                self.refused("train", name, *QUICK, "--data", "-", "--detach", text=csv(correlated(500)),
                             says=["INVALID_ARGUMENT", "model"])
                for command in (("sample", name), ("load", name), ("unload", name), ("models", "show", name),
                                ("delete", name + "@1"), ("alias", "set", name, "stable", "1")):
                    self.refused(*command, says=["INVALID_ARGUMENT"])
        for alias in ("..", "A", "x" * 65, "a/b"):
            self.refused("alias", "set", "m", alias, "1", says=["INVALID_ARGUMENT", "alias"])
        for identifier in ("..", "../models", "x" * 4096):
            for command in (("watch", identifier), ("cancel", identifier), ("datasets", "show", identifier),
                            ("datasets", "delete", identifier)):
                with self.subTest(command=command[0], identifier=identifier[:20]):
                    self.refused(*command, says=["INVALID_ARGUMENT"])
        self.assertEqual(self.server.ctl_json("models"), [])

    def test_what_is_not_there_is_not_found(self):
        row = csv([(1.0, 2.0)])
        self.refused("logprob", "absent", code=4, text=row, says=["NOT_FOUND", "absent"])
        self.refused("watch", "absent", code=4, says=["NOT_FOUND", "absent"])
        self.refused("cancel", "absent", code=4, says=["NOT_FOUND"])
        self.refused("datasets", "delete", "absent", code=4, says=["NOT_FOUND"])
        self.refused("train", "m", *QUICK, "--dataset", "absent", code=4, says=["NOT_FOUND", "absent"])

    def test_files_of_the_server_are_refused_without_a_data_root(self):
        self.refused("train", "m", *QUICK, "--server-file", "rows.csv", "--detach", code=6,
                     says=["FAILED_PRECONDITION", "data-root"])


class DataRootTest(harness.ServerTestCase):
    """Files below --data-root, and the ways out of it."""

    def prepare(self, folder):
        self.data = folder / "data"
        self.data.mkdir()
        self.flags = ("--data-root", self.data)

    def test_a_file_below_the_root_is_trained_on(self):
        (self.data / "tables").mkdir()
        (self.data / "tables" / "rows.csv").write_text(csv(correlated(500)))
        self.assertIn("m@1 published", self.server.ctl("train", "m", *QUICK, "--server-file", "tables/rows.csv"))

    def test_no_path_leads_out_of_the_root(self):
        secret = self.write("secret.csv", csv(correlated(500)))
        (self.data / "link.csv").symlink_to(secret)
        (self.data / "folder").symlink_to(self.folder)
        for path in ("../secret.csv", str(secret), "link.csv", "folder/secret.csv", "./../" + secret.name):
            with self.subTest(path=path):
                self.server.ctl("train", "m", *QUICK, "--server-file", path, "--detach", code=3)
                self.assertIn("file", self.server.err)
        self.assertEqual(self.server.ctl_json("models"), [])
        self.assertEqual(self.server.ctl_json("trainings"), [])


class QueryTest(harness.ServerTestCase):
    """With a model: everything that a question can get wrong."""

    def setUp(self):
        super().setUp()
        self.server.train("m")

    def refused(self, *arguments, code=3, says=(), text=None):
        self.assertEqual(self.server.ctl(*arguments, text=text, code=code), "")
        for part in says:
            self.assertIn(part, self.server.err)

    def test_wrong_columns_and_numbers_name_the_place(self):
        self.refused("logprob", "m", text="1,2,3\n", says=["standard input", "a, b", "3 columns"])
        self.refused("logprob", "m", text=npy([(1.0, 2.0), (float("inf"), 1.0)]), says=["rows", "row 1"])
        self.refused("forward", "m", text=npy([(1.0, 2.0), (float("nan"), 1.0)]), says=["rows", "row 1"])
        self.refused("logprob", "m", text="a,b\n", says=["no rows"])
        self.write("context.csv", "c\n1\n")
        self.refused("logprob", "m", "--context", self.folder / "context.csv", text=csv([(1.0, 2.0)]),
                     says=["context"])

    def test_unknown_versions_and_aliases_are_not_found(self):
        row = csv([(1.0, 2.0)])
        self.refused("logprob", "m@2", code=4, text=row, says=["NOT_FOUND", "2"])
        self.refused("logprob", "m@stable", code=4, text=row, says=["NOT_FOUND", "stable"])
        self.refused("alias", "set", "m", "stable", 2, code=4, says=["NOT_FOUND"])

    def test_a_sample_has_at_least_one_row_and_may_be_larger_than_one_message(self):
        self.refused("sample", "m", "--rows", 0, says=["rows"])
        answer = self.server.ctl("sample", "m", "--rows", 70000, "--seed", 1, "--format", "npy", binary=True)
        self.assertGreater(len(answer), 70000 * 2 * 8)

    def test_a_model_in_use_cannot_be_deleted(self):
        self.refused("delete", "m@1", code=6, says=["FAILED_PRECONDITION"])
        self.server.ctl("logprob", "m", text=csv([(1.0, 2.0)]))
        self.server.ctl("unload", "m@1")
        self.server.ctl("delete", "m@1")
        self.refused("logprob", "m", code=4, text=csv([(1.0, 2.0)]), says=["NOT_FOUND"])


class OversizeTest(harness.ServerTestCase):
    """A server whose messages are small."""

    flags = ("--max-message-bytes", "65536")

    def test_the_client_splits_what_the_server_could_not_take_at_once(self):
        small = ("--max-message-bytes", "65536")
        rows = correlated(20000)
        self.server.ctl("train", "m", *QUICK, *small, "--data", "-", text=csv(rows))
        answer = self.server.ctl(*small, "logprob", "m", "--format", "npy", text=npy(rows), binary=True)
        self.assertGreater(len(answer), 8 * 20000)

    def test_an_oversize_message_names_both_limits(self):
        self.server.ctl("train", "m", *QUICK, "--max-message-bytes", "65536", "--data", "-",
                        text=csv(correlated(500)))
        self.server.ctl("logprob", "m", text=npy(correlated(20000)), code=5)
        self.assertIn("max_message_bytes", self.server.err)
        self.assertIn("--max-message-bytes", self.server.err)


if __name__ == "__main__":
    unittest.main()
