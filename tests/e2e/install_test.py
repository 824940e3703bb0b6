"""The installed client library: a project outside the tree finds it, builds against it and talks to a server."""

import os
import subprocess
import unittest

import harness


class InstallTest(harness.ServerTestCase):

    def run_tool(self, *command):
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=5 * harness.PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace")[-4000:])
        return done.stdout.decode()

    def test_a_project_outside_the_tree_builds_against_the_installed_client(self):
        cmake = os.environ["CMAKE"]
        prefix = self.folder / "prefix"
        self.run_tool(cmake, "--install", harness.BUILD, "--prefix", prefix, "--component", "client")
        build = self.folder / "build"
        self.run_tool(cmake, "-S", harness.SOURCE / "examples" / "cpp-client", "-B", build,
                      f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_CXX_FLAGS=-O0 -Wall -Wextra -Werror "
                      + os.environ.get("DENSITYD_SANITIZE_FLAGS", ""))
        self.run_tool(cmake, "--build", build)
        out = self.run_tool(build / "two_moons", self.server.address)
        self.assertIn("held-out log-likelihood", out)
        self.assertIn("two-moons@1: log p on a moon", out)
        self.assertEqual(out.count("sample "), 3)

        # The installed tool works from where it was put.
        out = self.run_tool(prefix / "bin" / "densityctl", "--server", self.server.address, "models")
        self.assertIn("two-moons@1", out)


if __name__ == "__main__":
    unittest.main()
