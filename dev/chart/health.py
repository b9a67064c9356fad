"""Argo CD's health script says of each status what it should.

    health.py SCRIPT STATUS       STATUS is one that the operator writes when all is well
"""

import sys
from pathlib import Path

import lupa.lua51
import yaml

from wrong import end, wrong


def check_health(script, snapshot):
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
    written = yaml.safe_load(Path(snapshot).read_text().split("---\n", 2)[2])
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


check_health(*sys.argv[1:])
end()
