"""Checks that values.yaml, values.schema.json and README.md of a chart describe each value identically.

    values.py CHART [--write]

The comment above a value in values.yaml is its description; --write copies it to the other two.
"""

import json
import re
import sys
from pathlib import Path

import yaml

from wrong import end, wrong

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
    """The values that a user sets: those with a description, without nested ones."""
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
    """Checks that the schema describes every value, and no value that does not exist."""
    if schema.get("additionalProperties") is not False:
        return
    for name, inner in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        if not inner.get("description"):
            wrong(f"values.schema.json: {here} has no description")
        if here == "global":
            continue
        if not isinstance(values, dict) or name not in values:
            wrong(f"values.schema.json has {here}, which values.yaml lacks")
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
            wrong(f"values.schema.json describes {path} differently from values.yaml: run dev/check-chart --write")
    undescribed(schema, values)
    made = f"<!-- values -->\n{table(chart, documented, values)}\n<!-- /values -->"
    fresh, found = re.subn(r"<!-- values -->.*<!-- /values -->", lambda _: made, readme, flags=re.DOTALL)
    if found != 1:
        wrong("README.md of the chart has no markers for the table of values")
    if write:
        schema_file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        readme_file.write_text(fresh)
    elif fresh != readme:
        wrong("README.md of the chart has a table that differs from values.yaml: run dev/check-chart --write")


check_values(Path(sys.argv[1]), sys.argv[2:] == ["--write"])
end()
