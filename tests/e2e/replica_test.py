"""Several servers on one root: one owns it and trains, the others serve what it publishes."""

import unittest

import harness
from harness import correlated, csv, numbers, wait_until


class ReplicaTest(harness.ServerTestCase):

    def replica(self, *flags):
        folder = self.folder / "replica"
        folder.mkdir()
        server = harness.Server(folder, "--replica", "--poll-root", "0.1", *flags)
        server.root = self.server.root
        self.addCleanup(lambda: server.process.poll() is None and server.kill())
        return server.start()

    def answer(self, server, model="m"):
        return server.ctl("logprob", model, "--format", "npy", text=csv(correlated(20, seed=5)), binary=True)

    def test_a_replica_serves_what_its_owner_publishes_with_the_same_bits(self):
        self.server.train("m")
        replica = self.replica()
        self.assertEqual(self.answer(replica), self.answer(self.server))
        self.server.train("m", flags=harness.QUICK + ("--seed", "3"))
        wait_until(lambda: self.answer(replica) == self.answer(self.server), "the new version on the replica")
        self.server.ctl("alias", "set", "m", "latest", 1)
        wait_until(lambda: self.answer(replica) == self.answer(replica, "m@1"), "the alias on the replica")
        self.server.train("n")
        wait_until(lambda: "n" in {model["name"] for model in replica.ctl_json("models")}, "the new model")

    def test_a_replica_goes_on_without_its_owner_and_never_takes_the_root(self):
        self.server.train("m")
        replica = self.replica()
        before = self.answer(replica)
        self.server.kill()
        self.assertEqual(self.answer(replica), before)
        self.server.start()
        self.assertIn("m@2 published", self.server.train("m"))
        self.assertEqual(replica.stop(), 0, replica.log_tail())
        self.assertEqual(self.server.leftovers(), [])

    def test_what_only_the_owner_can_do_is_refused_and_says_so(self):
        self.server.train("m")
        replica = self.replica()
        rows = csv(correlated(200))
        self.write("rows.csv", rows)
        archive = self.folder / "m.tar"
        replica.ctl("export", "m@1", archive)
        for arguments in (("train", "x", *harness.QUICK, "--data", self.folder / "rows.csv"), ("trainings",), ("datasets",),
                          ("alias", "set", "m", "stable", 1), ("delete", "m@1"),
                          ("import", archive, "--as", "y")):
            replica.ctl(*arguments, code=6)
            self.assertIn("replica", replica.err, arguments)
        replica.ctl("unload", "m@1")
        replica.ctl("load", "m@1")
        self.assertEqual(len(numbers(self.server.ctl("sample", "m", "--rows", 3))), 3)

    def test_a_replica_writes_nothing_below_the_root(self):
        self.server.train("m")
        self.assertEqual(self.server.stop(), 0)
        root = self.server.root

        def files():
            return sorted((str(path), path.stat().st_mtime_ns) for path in root.rglob("*"))

        before = files()
        replica = self.replica()
        self.answer(replica)
        self.assertEqual(replica.stop(), 0)
        self.assertEqual(files(), before)


if __name__ == "__main__":
    unittest.main()
