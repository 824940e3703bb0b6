"""The checker of the Kubernetes files accepts the base, and finds each mistake that is planted in a copy of it."""

import copy
import subprocess
import sys
import unittest

import yaml

import check_deploy

_FOLDER = sys.argv.pop()


class CheckDeployTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        rendered = subprocess.run(["kubectl", "kustomize", _FOLDER], capture_output=True, text=True, check=True).stdout
        cls.base = list(yaml.safe_load_all(rendered))

    def setUp(self):
        self.resources = copy.deepcopy(self.base)

    def get(self, kind):
        return next(resource for resource in self.resources if resource["kind"] == kind)

    def pod(self):
        return self.get("Deployment")["spec"]["template"]["spec"]

    def assert_finds(self, check, text):
        errors = list(check(self.resources))
        self.assertTrue(any(text in error for error in errors), errors)

    def test_accepts_the_base(self):
        for check in (check_deploy.schema_errors, check_deploy.confinement_errors, check_deploy.binding_errors):
            self.assertEqual(list(check(self.resources)), [])

    def test_finds_a_field_that_kubernetes_does_not_know(self):
        self.pod()["containers"][0]["readynessProbe"] = {}
        self.assert_finds(check_deploy.schema_errors, "readynessProbe")

    def test_finds_a_value_of_the_wrong_type(self):
        self.get("Deployment")["spec"]["replicas"] = "one"
        self.assert_finds(check_deploy.schema_errors, "replicas")

    def test_finds_a_pod_that_may_run_as_root(self):
        self.pod()["securityContext"]["runAsNonRoot"] = False
        self.assert_finds(check_deploy.confinement_errors, "may run as root")

    def test_finds_a_writable_root_file_system(self):
        del self.pod()["containers"][0]["securityContext"]["readOnlyRootFilesystem"]
        self.assert_finds(check_deploy.confinement_errors, "root file system is writable")

    def test_finds_a_missing_probe(self):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            with self.subTest(probe=probe):
                self.resources = copy.deepcopy(self.base)
                del self.pod()["containers"][0][probe]
                self.assert_finds(check_deploy.confinement_errors, f"no {probe}")

    def test_finds_a_selector_that_selects_nothing(self):
        self.get("Deployment")["spec"]["template"]["metadata"]["labels"] = {"app.kubernetes.io/name": "density"}
        for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            self.assert_finds(check_deploy.binding_errors, f"{kind}/densityd: selects no pod")

    def test_finds_a_service_port_that_no_container_has(self):
        self.get("Service")["spec"]["ports"][0]["targetPort"] = "http"
        self.assert_finds(check_deploy.binding_errors, "no container port http")

    def test_finds_a_claim_that_is_not_there(self):
        self.resources.remove(self.get("PersistentVolumeClaim"))
        self.assert_finds(check_deploy.binding_errors, "no claim densityd")

    def test_finds_a_variable_that_is_not_defined(self):
        self.pod()["containers"][0]["args"].append("--slow-seconds=$(SLOW)")
        self.assert_finds(check_deploy.binding_errors, "SLOW is not defined")

    def test_finds_a_variable_that_is_not_used(self):
        self.get("ConfigMap")["data"]["SLOW"] = "1"
        self.assert_finds(check_deploy.binding_errors, "SLOW is defined but not used")

    def test_finds_a_flag_that_densityd_does_not_have(self):
        errors = list(check_deploy.flag_errors(self.resources, help_text="--root --address"))
        self.assertTrue(any("--metrics-address" in error for error in errors), errors)
        self.assertFalse(any("--root" in error for error in errors), errors)


if __name__ == "__main__":
    unittest.main()
