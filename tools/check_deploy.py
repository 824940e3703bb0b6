#!/usr/bin/env python3
"""Checks rendered Kubernetes resources: their schemas, what binds them together, and how the pods are confined.

  kubectl kustomize FOLDER | check_deploy.py [--flags FILE]

FILE holds the output of `densityd serve --help`: each flag that a Deployment passes must be in it.
Needs kubernetes-validate in PYTHONPATH (scripts/setup).
"""

import argparse
import re
import sys

import jsonschema
import yaml

import kubernetes_validate

_KUBERNETES_VERSION = "1.28"
# Kinds of operators: Kubernetes' own schemas do not know them.
_CUSTOM_API_GROUPS = ("monitoring.coreos.com/",)


def schema_errors(resources):
    for resource in resources:
        if resource["apiVersion"].startswith(_CUSTOM_API_GROUPS):
            continue
        try:
            kubernetes_validate.validate(resource, _KUBERNETES_VERSION, strict=True)
        except jsonschema.ValidationError as error:
            path = ".".join(str(part) for part in error.path)
            yield f"{_name(resource)}: {path}: {error.message}"


def _name(resource):
    return f"{resource['kind']}/{resource['metadata']['name']}"


def _of_kind(resources, kind):
    return [resource for resource in resources if resource["kind"] == kind]


def _selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def _containers(deployment):
    return deployment["spec"]["template"]["spec"]["containers"]


def confinement_errors(resources):
    """Non-root, no privileges, read-only root file system, seccomp, bounded memory, all probes."""
    for deployment in _of_kind(resources, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        security = pod.get("securityContext", {})
        if not security.get("runAsNonRoot") or not security.get("runAsUser"):
            yield f"{_name(deployment)}: the pod may run as root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{_name(deployment)}: no seccomp profile"
        if pod.get("automountServiceAccountToken", True):
            yield f"{_name(deployment)}: a service account token is mounted"
        for container in pod["containers"]:
            name = f"{_name(deployment)}: {container['name']}"
            confined = container.get("securityContext", {})
            if not confined.get("readOnlyRootFilesystem"):
                yield f"{name}: the root file system is writable"
            if confined.get("allowPrivilegeEscalation", True) or confined.get("capabilities", {}).get("drop") != ["ALL"]:
                yield f"{name}: privileges are not dropped"
            if "memory" not in container.get("resources", {}).get("limits", {}):
                yield f"{name}: no memory limit"
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                if probe not in container:
                    yield f"{name}: no {probe}"


def binding_errors(resources):
    """What refers to something else by name or label refers to something that is there."""
    deployments = _of_kind(resources, "Deployment")
    pods = [deployment["spec"]["template"] for deployment in deployments]
    for kind, path in (("Service", ["selector"]), ("PodDisruptionBudget", ["selector", "matchLabels"]),
                       ("NetworkPolicy", ["podSelector", "matchLabels"])):
        for resource in _of_kind(resources, kind):
            selector = resource["spec"]
            for part in path:
                selector = selector[part]
            if not any(_selects(selector, pod["metadata"]["labels"]) for pod in pods):
                yield f"{_name(resource)}: selects no pod"
    services = _of_kind(resources, "Service")
    for monitor in _of_kind(resources, "ServiceMonitor"):
        watched = [
            service for service in services
            if _selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])
        ]
        ports = {port["name"] for service in watched for port in service["spec"]["ports"]}
        for endpoint in monitor["spec"]["endpoints"]:
            if endpoint["port"] not in ports:
                yield f"{_name(monitor)}: no service has a port {endpoint['port']}"
    for deployment in deployments:
        yield from _pod_binding_errors(deployment, resources)


def _pod_binding_errors(deployment, resources):
    names = {(resource["kind"], resource["metadata"]["name"]): resource for resource in resources}
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for volume in volumes.values():
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim and ("PersistentVolumeClaim", claim) not in names:
            yield f"{_name(deployment)}: volume {volume['name']}: no claim {claim}"
    if ("ServiceAccount", pod.get("serviceAccountName")) not in names:
        yield f"{_name(deployment)}: no service account {pod.get('serviceAccountName')}"
    for container in pod["containers"]:
        ports = {port["name"] for port in container.get("ports", [])}
        for service in _of_kind(resources, "Service"):
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports:
                    yield f"{_name(service)}: no container port {port['targetPort']}"
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"{_name(deployment)}: no volume {mount['name']}"
        variables = set()
        for source in container.get("envFrom", []):
            config = names.get(("ConfigMap", source["configMapRef"]["name"]))
            if config is None:
                yield f"{_name(deployment)}: no ConfigMap {source['configMapRef']['name']}"
            else:
                variables |= set(config["data"])
        used = set(re.findall(r"\$\((\w+)\)", " ".join(container["args"])))
        for variable in sorted(used ^ variables):
            yield f"{_name(deployment)}: {variable} is {'not defined' if variable in used else 'defined but not used'}"


def flag_errors(resources, help_text):
    known = set(re.findall(r"--[a-z][a-z0-9-]*", help_text))
    for deployment in _of_kind(resources, "Deployment"):
        for container in _containers(deployment):
            for argument in container["args"]:
                if argument.split("=")[0] not in known:
                    yield f"{_name(deployment)}: densityd has no flag {argument}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flags", type=argparse.FileType())
    options = parser.parse_args()
    resources = [resource for resource in yaml.safe_load_all(sys.stdin) if resource]
    if not _of_kind(resources, "Deployment"):
        print("no Deployment on the standard input")
        return 1
    errors = [*schema_errors(resources), *confinement_errors(resources), *binding_errors(resources)]
    if options.flags:
        errors += flag_errors(resources, options.flags.read())
    for error in errors:
        print(error)
    print(f"{len(resources)} resources, {len(errors)} errors: {', '.join(_name(resource) for resource in resources)}")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
