"""What of the chart is made from other files: run `python tests/helm/generate.py` after changing them.

- `definitions.config` of values.schema.json, from shared/service/CONFIGURATION.md, which is made from the code: so the chart
  accepts the settings that the services accept, with their ranges, and no others.
- The table of values in the chart's README.md, from values.yaml and the comments in it that begin with two dashes.
- Copies of the alert rules and dashboards of deploy/: Helm reads only files inside of a chart, and what packages charts follows no
  links out of them.

The tests compare what is there with what would be made.
"""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "reflow-tracing"
SETTINGS = ROOT / "shared" / "service" / "CONFIGURATION.md"
BEGIN, END = "<!-- values: made by tests/helm/generate.py -->", "<!-- end of values -->"

# Settings that the chart decides itself, each with the value that does it or the reason.
OWNED = {
    "bus.kind": "always nats: the services are processes of their own",
    "bus.nats.url": "bus.url, bus.existingSecret or nats.enabled: it may hold a password",
    "metrics.enabled": "always: the probes need it",
    "metrics.host": "always that of the protocol: the kubelet and Prometheus come from outside of the pod",
    "redis.url": "directory.url or directory.existingSecret: it may hold a password",
    "storage.backend": "store.backend",
    "storage.memory.eviction_policy": "the memory backend is not for services",
    "storage.memory.max_traces": "the memory backend is not for services",
    "storage.postgres.connection_url": "store.postgres or postgres.enabled: it may hold a password",
    "storage.sqlite.database_path": "always on the volume",
    "telemetry.otlp_endpoint": "telemetry.otlpEndpoint or telemetry.existingSecret: it may hold a password",
}


def settings():
    """Every documented setting: path -> (default as JSON or None, what it does)."""
    rows = re.findall(
        r"^\| `([a-z_.0-9]+)`<br>`[A-Z_0-9]+` \| (.+?) \| (.+?) \| .+ \|$", SETTINGS.read_text(), re.MULTILINE
    )
    assert len(rows) > 50, "the table of settings has another form than this script reads"
    return {
        path: (None if default == "unset" else json.loads(default.strip("`")), what) for path, default, what in rows
    }


def setting_schema(path, default, what):
    """A setting's type and bounds, out of the sentence that the code writes behind what it does."""
    if bounds := re.search(r"From (-?\d+) to (\d+)\.$", what):
        least, greatest = map(int, bounds.groups())
        # A free port is of no use in a pod: Services and probes could not name it.
        return {"type": "integer", "minimum": max(least, 1) if path.endswith(".port") else least, "maximum": greatest}
    if choices := re.search(r"Takes ((?:`\w+`(?:, | or )?)+)\.$", what):
        values = re.findall(r"`(\w+)`", choices.group(1))
        return {"type": "boolean"} if values == ["true", "false"] else {"enum": values}
    assert default is None or isinstance(default, str), f"{path}: neither bounds nor choices nor text"
    return {"type": "string", "minLength": 1}


def config_schema():
    """The `config` of the values: closed on every level."""
    root = {"type": "object", "additionalProperties": False, "properties": {}}
    for path, (default, what) in settings().items():
        if path in OWNED:
            continue
        *sections, key = path.split(".")
        place = root
        for section in sections:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            place = place["properties"].setdefault(section, empty)
        place["properties"][key] = setting_schema(path, default, what)
    return root


def schema_text():
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["definitions"]["config"] = config_schema()
    return json.dumps(schema, indent=2) + "\n"


def documented_values():
    """(path, default, description) for every value that has a comment, in the file's order."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    values = yaml.safe_load("\n".join(lines))
    path, comment, rows = [], None, []
    for line in lines:
        text = line.strip()
        if text.startswith("# -- "):
            comment = text[5:]
        elif text.startswith("#") and comment is not None:
            comment += " " + text[1:].strip()
        elif entry := re.match(r"( *)([A-Za-z_][\w-]*):", line):
            del path[len(entry.group(1)) // 2 :]
            path.append(entry.group(2))
            if comment is not None:
                default = values
                for key in path:
                    default = default[key]
                rows.append((".".join(path), default, comment))
            comment = None
        else:
            comment = None
    return rows


def values_table():
    cell = lambda text: text.replace("|", "\\|")
    documented = documented_values()
    rows = []
    for path, default, what in documented:
        inner = any(other.startswith(f"{path}.") for other, _, _ in documented)
        shown = "the rows below" if inner else f"`{cell(json.dumps(default))}`"
        rows.append(f"| `{path}` | {shown} | {cell(what)} |")
    return "\n".join([BEGIN, "| value | default | what it does |", "|---|---|---|", *rows, END])


def readme_text():
    readme = (CHART / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    return before + values_table() + rest.split(END)[1]


def copies():
    """Every file that the chart holds a copy of: the copy -> the original."""
    files = CHART / "files"
    dashboards = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    return {files / "alerts.yml": ROOT / "deploy" / "prometheus" / "alerts.yml"} | {
        files / "dashboards" / original.name: original for original in dashboards
    }


if __name__ == "__main__":
    wanted = {copy: original.read_bytes() for copy, original in copies().items()}
    for old in (CHART / "files").rglob("*.*"):
        old.unlink()
    for copy, content in wanted.items():
        copy.write_bytes(content)
    (CHART / "values.schema.json").write_text(schema_text())
    (CHART / "README.md").write_text(readme_text())
