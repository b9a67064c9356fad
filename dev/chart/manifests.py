"""Checks rendered manifests: Kubernetes schemas, restricted Pod Security, roles, CRD, and names of metrics.

    manifests.py CHART KUBERNETES PROMETHEUS FILE...

PROMETHEUS is the directory with the CustomResourceDefinitions of the Prometheus Operator. The name of a file selects its
expectations: `namespaced`, `no-rbac`, `no-keep`, `any-user`.
"""

import json
import re
import sys
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

from wrong import end, wrong


def strict(schema):
    """Returns a schema that rejects unknown fields. An API server would silently prune them."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: value for key, value in schema.items() if key not in ("description", "format")}
    if "properties" in schema:
        schema["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        schema["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    if schema.get("x-kubernetes-int-or-string"):
        schema = {"type": ["integer", "string"]}
    if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    return schema


def custom_schemas(directory):
    schemas = {}
    for file in sorted(Path(directory).glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())
        for version in crd["spec"]["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            schemas[f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]] = schema
    return schemas


def check_schema(where, manifest, kubernetes, custom):
    kind = manifest["apiVersion"], manifest["kind"]
    if kind in custom:
        for error in jsonschema.Draft7Validator(custom[kind]).iter_errors(manifest):
            wrong(f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message}")
        return
    try:
        kubernetes_validate.validate(manifest, kubernetes, strict=True)
    except kubernetes_validate.ValidationError as error:
        wrong(f"{where}: {'.'.join(map(str, error.path))}: {error.message}")
    except kubernetes_validate.SchemaNotFoundError as error:
        wrong(f"{where}: {error.message}")


def restricted(where, pod, allow_any_user):
    """Checks the restricted Pod Security Standard, and a read-only root file system."""
    spec, context = pod["spec"], pod["spec"].get("securityContext", {})
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            wrong(f"{where}: {name}")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
    for volume in spec.get("volumes", []):
        for kind in volume.keys() - {"name"} - allowed:
            wrong(f"{where}: a volume of kind {kind}")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        own = container.get("securityContext", {})
        effective = {**context, **own}
        demands = {
            "allowPrivilegeEscalation: false": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop: [ALL]": "ALL" in own.get("capabilities", {}).get("drop", []),
            "no added capabilities": not set(own.get("capabilities", {}).get("add", [])) - {"NET_BIND_SERVICE"},
            "runAsNonRoot: true": effective.get("runAsNonRoot") is True,
            "a user that is not 0": effective.get("runAsUser", 1 if allow_any_user else 0) != 0,
            "seccompProfile RuntimeDefault": effective.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "not privileged": not own.get("privileged"),
            "no host ports": not any(port.get("hostPort") for port in container.get("ports", [])),
            # Not part of the standard.
            "readOnlyRootFilesystem: true": own.get("readOnlyRootFilesystem") is True,
        }
        for demand, met in demands.items():
            if not met:
                wrong(f"{where}: container {container['name']} is not restricted: {demand}")


def check_environment(where, container):
    names = [variable["name"] for variable in container.get("env", [])]
    for name in {name for name in names if names.count(name) > 1}:
        wrong(f"{where}: {name} occurs twice in the environment, which server-side apply rejects")


def check_roles(where, manifests, rbac):
    """Checks that the operator has exactly the rules of files/rbac.yaml, in the watched and in its own namespace."""
    deployment = next(m for m in manifests if m["kind"] == "Deployment")
    pod, own = deployment["spec"]["template"]["spec"], deployment["metadata"]["namespace"]
    subject = {"kind": "ServiceAccount", "name": pod["serviceAccountName"], "namespace": own}
    watched = [e["value"] for c in pod["containers"] for e in c["env"] if e["name"] == "RETAIL_WATCH_NAMESPACES"]
    bound = []
    for binding in (m for m in manifests if m["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        if binding["subjects"] != [subject]:
            wrong(f"{where}: {binding['kind']} {binding['metadata']['name']} must have the single subject {subject['name']}")
        role = [
            m
            for m in manifests
            if m["kind"] == binding["roleRef"]["kind"]
            and m["metadata"]["name"] == binding["roleRef"]["name"]
            and m["metadata"].get("namespace") == binding["metadata"].get("namespace")
        ]
        if len(role) != 1:
            wrong(f"{where}: {binding['kind']} {binding['metadata']['name']} must refer to exactly one role of the chart")
            continue
        bound.append((binding["metadata"].get("namespace"), role[0]["rules"]))
    everywhere, leader = (role["rules"] for role in rbac)
    if bound != [*((n, everywhere) for n in (watched[0].split(",") if watched else [None])), (own, leader)]:
        wrong(f"{where}: the roles differ from the output of `retail-operator rbac`")


# The names of this project's metrics in an expression.
METRIC = re.compile(r"\bretail_[a-z_]+\b")


def metric_names(root):
    """Returns the names of series on the page of metrics. A test keeps the page equal to the code."""
    document = (root / "docs/reference/metrics.md").read_text()
    names = set()
    for name, kind in re.findall(r"^\| `(retail_[a-z_]+)(?:\{[a-z,]+\})?` \| ([a-z]+) \|", document, re.MULTILINE):
        names |= {name + ending for ending in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    if not names:
        wrong("docs/reference/metrics.md contains no metric")
    return names


def check_expression(where, expression, names):
    for name in METRIC.findall(expression):
        if name not in names:
            wrong(f"{where}: the metric {name} does not exist")
    for opening, closing in ("()", "[]", "{}"):
        if expression.count(opening) != expression.count(closing):
            wrong(f"{where}: unbalanced {opening}{closing} in {expression}")


def check_rules(where, manifest, names, document):
    for group in manifest["spec"]["groups"]:
        for rule in group["rules"]:
            here = f"{where}: alert {rule['alert']}"
            check_expression(here, rule["expr"], names)
            if f"## {rule['alert']}\n" not in document:
                wrong(f"{here} is not in docs/reference/alerts.md")
            for annotation in {"summary", "description", "action", "runbook"} - rule["annotations"].keys():
                wrong(f"{here} lacks the annotation {annotation}")
            if rule["labels"].get("severity") not in ("warning", "critical"):
                wrong(f"{here} has no severity")


def check_dashboard(where, manifest, names):
    for file, text in manifest["data"].items():
        dashboard = json.loads(text)
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                check_expression(f"{where}: {file}: {panel['title']}", target["expr"], names)


def load(file):
    text = file.read_text()
    if file.suffix == ".snap":
        # An insta snapshot: a header, then the content.
        text = text.split("---\n", 2)[2]
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def check_workload(where, manifest, allow_any_user):
    pod = manifest["spec"]["template"]
    restricted(where, pod, allow_any_user)
    for container in pod["spec"]["containers"]:
        check_environment(where, container)
    # The Job of a CronJob gets its selector from the API server.
    selector = manifest["spec"].get("selector", {"matchLabels": {}})
    if not selector["matchLabels"].items() <= pod["metadata"]["labels"].items():
        wrong(f"{where}: the selector does not match the labels of the pods")


def check_crd(where, manifest, crd, keep):
    kept = manifest["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    if kept != keep:
        wrong(f"{where}: resource-policy keep is {kept}, expected {keep}")
    if manifest["spec"] != crd["spec"] or manifest["metadata"]["name"] != crd["metadata"]["name"]:
        wrong(f"{where}: the definition differs from crds/")


def check_whole(where, manifests):
    """Checks all manifests of a file together."""
    if not manifests:
        wrong(f"{where}: the file contains no manifest")
    keys = [(m["apiVersion"], m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
    for key in {key for key in keys if keys.count(key) > 1}:
        wrong(f"{where}: duplicate object {key}")
    kinds = {manifest["kind"] for manifest in manifests}
    if "no-rbac" in where and kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}:
        wrong(f"{where}: contains roles despite rbac.create=false")
    if "namespaced" in where and kinds & {"ClusterRole", "ClusterRoleBinding"}:
        wrong(f"{where}: a namespaced installation contains a ClusterRole")


def check_manifests(chart, kubernetes, prometheus, files):
    root = chart.parent.parent
    custom, names = custom_schemas(prometheus), metric_names(root)
    rbac = list(yaml.safe_load_all((chart / "files/rbac.yaml").read_text()))
    crd = yaml.safe_load((chart / "files/crd.yaml").read_text())
    document = (root / "docs/reference/alerts.md").read_text()
    for file in map(Path, files):
        manifests = load(file)
        check_whole(file.name, manifests)
        if file.suffix != ".snap" and "no-rbac" not in file.name:
            check_roles(file.name, manifests, rbac)
        for manifest in manifests:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            where = f"{file.name}: {kind} {name}"
            check_schema(where, manifest, kubernetes, custom)
            if len(name) > 63:
                wrong(f"{where}: the name is longer than 63 characters")
            if kind == "Deployment":
                check_workload(where, manifest, allow_any_user="any-user" in file.name)
            if kind == "CronJob":
                check_workload(where, manifest["spec"]["jobTemplate"], allow_any_user=False)
            if kind == "PrometheusRule":
                check_rules(where, manifest, names, document)
            if kind == "ConfigMap" and "dashboard" in name:
                check_dashboard(where, manifest, names)
            if kind == "CustomResourceDefinition":
                check_crd(where, manifest, crd, keep="no-keep" not in file.name)


check_manifests(Path(sys.argv[1]).resolve(), *sys.argv[2:4], sys.argv[4:])
end()
