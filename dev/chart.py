"""What dev/check-chart looks at with more than a shell: values and their documentation, rendered manifests, alerts.

    chart.py values CHART [--write]      values.yaml, values.schema.json and README.md agree; --write makes them
    chart.py manifests CHART KUBERNETES PROMETHEUS FILE...
                                         what was rendered is valid, restricted, and has the roles of the table
    chart.py health SCRIPT SNAPSHOT      Argo CD's health script says of each status what it should

PROMETHEUS is the directory with the CustomResourceDefinitions of the Prometheus Operator.
"""

import json
import re
import sys
from pathlib import Path

import yaml

WRONG = []


def wrong(what):
    WRONG.append(what)


# --- values ----------------------------------------------------------------------------------------------------------


def described(text):
    """Each value of values.yaml with the comment right above it: {"image.tag": "Its tag. …"}."""
    found, path, comment = {}, [], []
    for line in text.splitlines():
        if match := re.match(r"^ *# ?(.*)$", line):
            comment.append(match[1])
        elif match := re.match(r"^( *)([A-Za-z0-9_]+):", line):
            depth = len(match[1]) // 2
            path = [*path[:depth], match[2]]
            if comment:
                found[".".join(path)] = " ".join(comment)
            comment = []
        else:
            comment = []
    return found


def leaves(values, documented, path=""):
    """What a user sets: the values with a description of their own, without what is inside of them."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if here in documented:
            yield here, value
        elif isinstance(value, dict) and value:
            yield from leaves(value, documented, here)
        else:
            wrong(f"values.yaml: {here} has no comment")


def schema_of(schema, path):
    for name in path.split("."):
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return None
    return schema


def undescribed(schema, values, path=""):
    """The schema has a description for each value, allows nothing else, and knows nothing that is not there."""
    if schema.get("additionalProperties") is not False:
        return
    for name, inner in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        if not inner.get("description"):
            wrong(f"values.schema.json: {here} has no description")
        if here == "global":
            continue
        if not isinstance(values, dict) or name not in values:
            wrong(f"values.schema.json has {here}, and values.yaml has not")
        elif inner.get("type") == "object":
            undescribed(inner, values[name], here)


def table(chart, documented, values):
    rows = ["| Value | Default | What it is |", "|---|---|---|"]
    for path, value in leaves(values, documented):
        default = json.dumps(value, ensure_ascii=False)
        rows.append(f"| `{path}` | `{default}` | {documented[path]} |")
    return "\n".join(rows)


def check_values(chart, write):
    text = (chart / "values.yaml").read_text()
    values, documented = yaml.safe_load(text), described(text)
    schema_file, readme_file = chart / "values.schema.json", chart / "README.md"
    schema, readme = json.loads(schema_file.read_text()), readme_file.read_text()
    for path, _ in leaves(values, documented):
        if (known := schema_of(schema, path)) is None:
            wrong(f"values.schema.json does not know {path}")
        elif write:
            known["description"] = documented[path]
        elif known.get("description") != documented[path]:
            wrong(f"values.schema.json describes {path} otherwise than values.yaml: run dev/check-chart --write")
    undescribed(schema, values)
    made = f"<!-- values -->\n{table(chart, documented, values)}\n<!-- /values -->"
    fresh, found = re.subn(r"<!-- values -->.*<!-- /values -->", lambda _: made, readme, flags=re.DOTALL)
    if found != 1:
        wrong("README.md of the chart has no place for its values")
    if write:
        schema_file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        readme_file.write_text(fresh)
    elif fresh != readme:
        wrong("README.md of the chart has another table than values.yaml: run dev/check-chart --write")


# --- manifests -------------------------------------------------------------------------------------------------------


def strict(schema):
    """An API server prunes the fields that a CustomResourceDefinition does not know; here they are mistakes."""
    if not isinstance(schema, dict):
        return schema
    schema = {key: value for key, value in schema.items() if key not in ("description", "format")}
    for key in ("properties",):
        if key in schema:
            schema[key] = {name: strict(inner) for name, inner in schema[key].items()}
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
    import jsonschema
    import kubernetes_validate

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
    """The restricted Pod Security Standard, as far as a pod without volumes of special kinds can break it."""
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
            # Ours, beyond the standard.
            "readOnlyRootFilesystem: true": own.get("readOnlyRootFilesystem") is True,
        }
        for demand, met in demands.items():
            if not met:
                wrong(f"{where}: container {container['name']} is not restricted: {demand}")


def check_environment(where, container):
    names = [variable["name"] for variable in container.get("env", [])]
    for name in {name for name in names if names.count(name) > 1}:
        wrong(f"{where}: {name} is twice in the environment, which server-side apply refuses")


def check_roles(where, manifests, rbac):
    """Each role of the operator has the rules of the table, and is bound to the operator in its own namespace."""
    account = next(m for m in manifests if m["kind"] == "Deployment")
    subject = {
        "kind": "ServiceAccount",
        "name": account["spec"]["template"]["spec"]["serviceAccountName"],
        "namespace": account["metadata"]["namespace"],
    }
    bound = []
    for binding in (m for m in manifests if m["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        if binding["subjects"] != [subject]:
            wrong(f"{where}: {binding['kind']} {binding['metadata']['name']} is not about {subject['name']}")
        role = [
            m
            for m in manifests
            if m["kind"] == binding["roleRef"]["kind"]
            and m["metadata"]["name"] == binding["roleRef"]["name"]
            and m["metadata"].get("namespace") == binding["metadata"].get("namespace")
        ]
        if len(role) != 1:
            wrong(f"{where}: {binding['kind']} {binding['metadata']['name']} binds no role")
            continue
        bound.append(role[0]["rules"])
    if bound != [role["rules"] for role in rbac]:
        wrong(f"{where}: the roles are not those that `retail-operator rbac` prints")
    return bound


# A word that is a metric of ours wherever it stands in an expression.
METRIC = re.compile(r"\bretail_[a-z_]+\b")


def metric_names(root):
    """The names as they are exposed, from the sources that register them."""
    names = set()
    for file in ("processor/src/metrics.rs", "operator/src/metrics.rs"):
        source = (root / file).read_text().split("#[cfg(test)]")[0]
        for name in re.findall(r'"(retail_[a-z_]+)"', source):
            endings = [""] if name.endswith(("_records", "_seconds", "_windows", "_leader")) else []
            if name in ("retail_records", "retail_rejected", "retail_commits", "retail_operator_reconcile_errors"):
                endings = ["_total"]
            if name == "retail_build":
                endings = ["_info"]
            if name.endswith(("_lateness_seconds", "_duration_seconds")):
                endings = ["_bucket", "_sum", "_count"]
            names |= {name + ending for ending in endings}
    return names


def check_expression(where, expression, names):
    for name in METRIC.findall(expression):
        if name not in names:
            wrong(f"{where}: there is no metric {name}")
    for opening, closing in ("()", "[]", "{}"):
        if expression.count(opening) != expression.count(closing):
            wrong(f"{where}: {opening} and {closing} do not match in {expression}")


def check_rules(where, manifest, names, document):
    for group in manifest["spec"]["groups"]:
        for rule in group["rules"]:
            here = f"{where}: alert {rule['alert']}"
            check_expression(here, rule["expr"], names)
            if f"`{rule['alert']}`" not in document:
                wrong(f"{here} is not in docs/operations.md")
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
        # An insta snapshot: its header, then what was said.
        text = text.split("---\n", 2)[2]
    return [manifest for manifest in yaml.safe_load_all(text) if manifest]


def check_manifests(chart, kubernetes, prometheus, files):
    root = chart.parent.parent
    custom, names = custom_schemas(prometheus), metric_names(root)
    rbac = list(yaml.safe_load_all((chart / "files/rbac.yaml").read_text()))
    crd = yaml.safe_load((chart / "files/crd.yaml").read_text())
    document = (root / "docs/operations.md").read_text()
    for file in map(Path, files):
        manifests = load(file)
        if not manifests:
            wrong(f"{file.name}: nothing was rendered")
        keys = [(m["apiVersion"], m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in manifests]
        for key in {key for key in keys if keys.count(key) > 1}:
            wrong(f"{file.name}: {key} is there twice")
        for manifest in manifests:
            where = f"{file.name}: {manifest['kind']} {manifest['metadata']['name']}"
            check_schema(where, manifest, kubernetes, custom)
            if len(manifest["metadata"]["name"]) > 63:
                wrong(f"{where}: the name is longer than 63 characters")
            if manifest["kind"] == "Deployment":
                pod = manifest["spec"]["template"]
                restricted(where, pod, allow_any_user="any-user" in file.name)
                for container in pod["spec"]["containers"]:
                    check_environment(where, container)
                selector = manifest["spec"]["selector"]["matchLabels"]
                if not selector.items() <= pod["metadata"]["labels"].items():
                    wrong(f"{where}: its selector does not select its pods")
            if manifest["kind"] == "PrometheusRule":
                check_rules(where, manifest, names, document)
            if manifest["kind"] == "ConfigMap" and "dashboard" in manifest["metadata"]["name"]:
                check_dashboard(where, manifest, names)
            if manifest["kind"] == "CustomResourceDefinition":
                kept = manifest["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
                if kept == ("no-keep" in file.name):
                    wrong(f"{where}: kept is {kept}")
                if manifest["spec"] != crd["spec"] or manifest["metadata"]["name"] != crd["metadata"]["name"]:
                    wrong(f"{where}: it is not the one in crds/")
        if file.suffix == ".snap":
            continue
        kinds = {manifest["kind"] for manifest in manifests}
        if "no-rbac" in file.name:
            if kinds & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"}:
                wrong(f"{file.name}: there are roles")
        else:
            check_roles(file.name, manifests, rbac)
        if "namespaced" in file.name and any("Cluster" in kind for kind in kinds):
            wrong(f"{file.name}: a namespaced install needs {kinds}")


# --- health ----------------------------------------------------------------------------------------------------------


def check_health(script, snapshot):
    import lupa.lua51

    def health(resource):
        lua = lupa.lua51.LuaRuntime()
        lua.globals().obj = lua.table_from(resource, recursive=True)
        answer = lua.execute(Path(script).read_text())
        return answer["status"], answer["message"]

    def resource(conditions=None, observed=1):
        conditions = [
            {"type": name, "status": status, "reason": reason, "message": f"about {name}"}
            for name, (status, reason) in (conditions or {}).items()
        ]
        status = {"observedGeneration": observed, **({"conditions": conditions} if conditions else {})}
        return {"metadata": {"generation": 1}, "status": status}

    good = {"Ready": ("True", "AsDeclared"), "Reconciling": ("False", "AsDeclared"), "Stalled": ("False", "AsDeclared")}
    starting = {**good, "Ready": ("False", "PodsStarting"), "Reconciling": ("True", "PodsStarting")}
    stuck = {**good, "Ready": ("False", "SecretMissing"), "Stalled": ("True", "SecretMissing")}
    # The status as a test holds it to what the operator writes.
    written = load(Path(snapshot))[0]
    cases = {
        "a new one": ({"metadata": {"generation": 1}}, "Progressing"),
        "no conditions": (resource(), "Progressing"),
        "ready": (resource(good), "Healthy"),
        "as the operator writes it": ({"metadata": {"generation": 1}, "status": written}, "Healthy"),
        "ready, and edited since": (resource(good, observed=0), "Progressing"),
        "starting": (resource(starting), "Progressing"),
        "stuck": (resource(stuck), "Degraded"),
        "suspended": (resource({**good, "Ready": ("True", "Suspended")}), "Suspended"),
    }
    for name, (seen, wanted) in cases.items():
        status, message = health(seen)
        if status != wanted or not message:
            wrong(f"{script}: {name} is {status}, and not {wanted} ({message})")


def main(arguments):
    match arguments:
        case ["values", chart, *rest]:
            check_values(Path(chart), rest == ["--write"])
        case ["manifests", chart, kubernetes, prometheus, *files]:
            check_manifests(Path(chart).resolve(), kubernetes, prometheus, files)
        case ["health", script, snapshot]:
            check_health(script, snapshot)
        case _:
            sys.exit(__doc__)
    for what in WRONG:
        print(what, file=sys.stderr)
    sys.exit(bool(WRONG))


main(sys.argv[1:])
