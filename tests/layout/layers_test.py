"""The checker of the layers finds every kind of violation, planted in a small tree, and accepts what is allowed."""

import pathlib
import tempfile
import unittest

import layers


class LayersTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)

    def plant(self, path, *includes):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"#include {include}\n" for include in includes))

    def assert_one_violation(self, *parts):
        found = layers.violations(self.root)
        self.assertEqual(len(found), 1, found)
        for part in parts:
            self.assertIn(part, found[0])

    def test_accepts_includes_of_the_layers_above(self):
        self.plant("server/base/clock.h", "<string>")
        self.plant("server/rpc/service.cc", '"server/base/clock.h"', '"density/v1/matrix.pb.h"')
        self.plant("server/main.cc", '"server/rpc/service.h"')
        self.plant("client/client.h", '"density/v1/matrix.pb.h"')
        self.assertEqual(layers.violations(self.root), [])

    def test_accepts_torch_in_the_folders_that_may_see_it(self):
        self.plant("server/flow/flow.h", '"torch/nn/module.h"')
        self.plant("server/engine/cpu/reference.cc", '"server/flow/flow.h"')
        self.plant("server/training/trainer.cc", "<torch/optim/adam.h>")
        self.assertEqual(layers.violations(self.root), [])

    def test_finds_an_include_of_the_layer_below(self):
        self.plant("server/base/clock.h", '"server/rpc/service.h"')
        self.assert_one_violation("server/base/clock.h", "server/base may not depend on server/rpc")

    def test_finds_an_include_of_the_layer_below_in_a_subfolder(self):
        self.plant("server/engine/cpu/kernel.cc", '"server/serving/scheduler.h"')
        self.assert_one_violation("server/engine/cpu/kernel.cc", "server/engine may not depend on server/serving")

    def test_finds_a_client_that_needs_the_server(self):
        self.plant("client/client.h", '"server/registry/names.h"')
        self.assert_one_violation("client/client.h", "client may not depend on server/registry")

    def test_finds_a_server_that_needs_the_client(self):
        self.plant("server/main.cc", '"client/client.h"')
        self.assert_one_violation("server/main.cc", "server may not depend on client")

    def test_finds_torch_included_directly(self):
        for header in ("torch/types.h", "ATen/Functions.h", "c10/util/Exception.h"):
            for folder in ("server/base", "server/registry", "server/serving", "server/telemetry", "server/rpc", "client"):
                with self.subTest(header=header, folder=folder):
                    self.plant(f"{folder}/planted.cc", f"<{header}>")
                    self.assert_one_violation(f"{folder}/planted.cc", header)
                    (self.root / folder / "planted.cc").unlink()

    def test_finds_torch_included_through_headers_of_the_project(self):
        self.plant("server/flow/flow.h", '"torch/nn/module.h"')
        self.plant("server/engine/compile.h", '"server/flow/flow.h"')
        self.plant("server/rpc/service.cc", '"server/engine/compile.h"')
        self.assert_one_violation(
            "server/rpc/service.cc",
            "server/rpc/service.cc -> server/engine/compile.h -> server/flow/flow.h -> torch/nn/module.h")

    def test_finds_torch_included_through_a_header_beside_the_file(self):
        self.plant("server/flow/flow.h", '"torch/nn/module.h"')
        self.plant("server/main_parts.h", '"server/flow/flow.h"')
        self.plant("server/main.cc", '"main_parts.h"')
        self.assertEqual(len(layers.violations(self.root)), 2)

    def test_survives_headers_that_include_each_other(self):
        self.plant("server/base/a.h", '"server/base/b.h"')
        self.plant("server/base/b.h", '"server/base/a.h"')
        self.assertEqual(layers.violations(self.root), [])


if __name__ == "__main__":
    unittest.main()
