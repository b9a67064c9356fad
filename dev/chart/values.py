"""Checks that values.yaml, values.schema.json and README.md of a chart describe each value in the same words.

    values.py CHART [--write]

The comment above a value in values.yaml is its description. --write copies it to the other two files.
"""

import json
import re
import sys
from pathlib import Path

import yaml

from wrong import end, wrong


def described(text):
    """Returns the values with a comment directly above them: {"image.tag": "Tag of the image. …"}."""
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
    """Yields the values with their own description. Their nested values are not listed."""
    for name, value in values.items():
        here = f"{path}.{name}" if path else name
        if here in documented:
            yield here, value
        elif isinstance(value, dict) and value:
            yield from leaves(value, documented, here)
        else:
            wrong(f"values.yaml: {here} has no comment above it")


def schema_of(schema, path):
    for name in path.split("."):
        schema = schema.get("properties", {}).get(name)
        if schema is None:
            return None
    return schema


def undescribed(schema, values, path=""):
    """Checks that the schema describes each value, and contains no others."""
    if schema.get("additionalProperties") is not False:
        return
    for name, inner in schema["properties"].items():
        here = f"{path}.{name}" if path else name
        if not inner.get("description"):
            wrong(f"values.schema.json: {here} has no description")
        if here == "global":
            continue
        if not isinstance(values, dict) or name not in values:
            wrong(f"values.yaml lacks {here}, which is in values.schema.json")
        elif inner.get("type") == "object":
            undescribed(inner, values[name], here)


def table(chart, documented, values):
    rows = ["| Value | Default | Description |", "|---|---|---|"]
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
            wrong(f"values.schema.json lacks {path}: add it")
        elif write:
            known["description"] = documented[path]
        elif known.get("description") != documented[path]:
            wrong(f"values.schema.json has an outdated description of {path}: run dev/check-chart --write")
    undescribed(schema, values)
    section = f"<!-- values -->\n{table(chart, documented, values)}\n<!-- /values -->"
    fresh, found = re.subn(r"<!-- values -->.*<!-- /values -->", lambda _: section, readme, flags=re.DOTALL)
    if found != 1:
        wrong("README.md of the chart lacks the comments <!-- values --> and <!-- /values -->")
    if write:
        schema_file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n")
        readme_file.write_text(fresh)
    elif fresh != readme:
        wrong("README.md of the chart has an outdated table of values: run dev/check-chart --write")


check_values(Path(sys.argv[1]), sys.argv[2:] == ["--write"])
end()
