"""Checks the results of Argo CD's health script and of kstatus for statuses of a pipeline.

    health.py SCRIPT STATUS KSTATUS

STATUS is a snapshot of a ready pipeline, KSTATUS the program in kstatus/.
"""

import json
import subprocess
import sys
from pathlib import Path

import lupa.lua51
import yaml

from wrong import end, wrong


def resource(status):
    return {
        "apiVersion": "retailpipeline.dev/v1alpha1",
        "kind": "RetailPipeline",
        "metadata": {"name": "retail", "namespace": "shop", "generation": 1},
        **({"status": status} if status else {}),
    }


def status(ready, reconciling="False", stalled="False", reason="UpToDate", observed=1):
    states = {"Ready": ready, "Reconciling": reconciling, "Stalled": stalled}
    conditions = [
        {"type": name, "status": state, "reason": reason, "message": f"about {name}"} for name, state in states.items()
    ]
    return {"observedGeneration": observed, "conditions": conditions}


def cases(written):
    """Yields name, status, expected health of Argo CD, and expected kstatus."""
    yield "ready, from the snapshot", written, "Healthy", "Current"
    yield "ready, but edited afterwards", status("True", observed=0), "Progressing", "InProgress"
    yield "starting", status("False", reconciling="True", reason="PodsStarting"), "Progressing", "InProgress"
    yield "stuck", status("False", stalled="True", reason="SecretMissing"), "Degraded", "Failed"
    yield "suspended", status("True", reason="Suspended"), "Suspended", "Current"
    # kstatus treats a resource without status as current. The operator writes a status within a second.
    yield "new, without status", None, "Progressing", "Current"


def argo(script, seen):
    lua = lupa.lua51.LuaRuntime()
    lua.globals().obj = lua.table_from(seen, recursive=True)
    answer = lua.execute(script)
    if not answer["message"]:
        wrong(f"argocd-health.lua returns {answer['status']} without a message")
    return answer["status"]


def check(script, written, kstatus):
    all_cases = list(cases(written))
    seen = [resource(status) for _, status, _, _ in all_cases]
    lines = "".join(json.dumps(each) + "\n" for each in seen)
    output = subprocess.run([kstatus], input=lines, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for (name, _, health, state), each, is_state in zip(all_cases, seen, output, strict=True):
        if (is_health := argo(script, each)) != health:
            wrong(f"Argo CD: pipeline {name!r} is {is_health}, expected {health}")
        if is_state != state:
            wrong(f"kstatus: pipeline {name!r} is {is_state}, expected {state}")


script, snapshot, kstatus = sys.argv[1:]
# An insta snapshot: a header, then the content.
check(Path(script).read_text(), yaml.safe_load(Path(snapshot).read_text().split("---\n", 2)[2]), kstatus)
end()
