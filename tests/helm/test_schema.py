"""values.schema.json and values.yaml say the same, unknown keys are refused everywhere, and what is generated is current."""

import copy
import json

import helm_python
import jsonschema
import pytest
import yaml

from chart import CASES, CHART, EXTERNAL, case, loaded, merged, render
from generate import OWNED, documented_values, readme_text, schema_text, settings

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# Maps whose keys are the user's own, by definition; and what Kubernetes knows better.
OPEN = {"stringMap", "labels", "environment", "podAnnotations"}
OPEN_PATHS = {"global", "nodeAffinity", "podAffinity", "podAntiAffinity"}


def resolved(schema):
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def is_open(schema):
    return schema.get("$ref", "").rsplit("/", 1)[-1] in OPEN


def objects_of(schema, path=()):
    """(path, object schema) for the whole tree, arrays included."""
    if is_open(schema):
        return
    schema = resolved(schema)
    if schema.get("type") == "array":
        yield from objects_of(schema["items"], (*path, "[]"))
    if schema.get("type") == "object":
        yield path, schema
        for key, inner in schema.get("properties", {}).items():
            yield from objects_of(inner, (*path, key))


def set_at(path, value):
    """Values in which `path` holds `value`."""
    for key in reversed(path):
        value = [value] if key == "[]" else {key: value}
    return value


def test_every_object_is_closed():
    found = list(objects_of(SCHEMA))
    assert len(found) > 150
    for path, schema in found:
        if path[-1:] and path[-1] in OPEN_PATHS:
            continue
        assert schema.get("additionalProperties") is False, ".".join(path)


@pytest.mark.parametrize(
    "path", [".".join(path) for path, _ in objects_of(SCHEMA) if path[-1:] and path[-1] not in OPEN_PATHS] + [""]
)
def test_helm_refuses_an_unknown_key(path):
    keys = tuple(path.split(".")) if path else ()
    with pytest.raises(helm_python.HelmError) as caught:
        render(merged(EXTERNAL, set_at(keys, {"noSuchKey": 1})))
    assert "noSuchKey" in str(caught.value)


@pytest.mark.parametrize(
    "path, value",
    [
        (("nameOverride",), "Upper"),
        (("fullnameOverride",), "with.dots"),
        (("fullnameOverride",), "2nd"),
        (("commonLabels", "app.kubernetes.io/version"), "1"),
        (("query", "podLabels", "app.kubernetes.io/component"), "collector"),
        (("writer", "podAnnotations", "checksum/config"), "1"),
        (("collector", "extraEnv", "RUST_LOG"), "debug"),
        (("collector", "extraEnv", "REFLOW_TRACING_PORT"), "1"),
    ],
    ids=str,
)
def test_what_the_chart_sets_itself_or_kubernetes_would_refuse_is_refused(path, value):
    with pytest.raises(helm_python.HelmError) as caught:
        render(merged(EXTERNAL, set_at(path, value)))
    assert "schema" in str(caught.value)


def test_every_value_is_in_the_schema():
    def walk(values, schema, path):
        schema = resolved(schema)
        if not isinstance(values, dict) or "properties" not in schema:
            return
        for key, value in values.items():
            assert key in schema["properties"], f"{path}.{key}"
            walk(value, schema["properties"][key], f"{path}.{key}")

    walk(VALUES, SCHEMA, "")
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.Draft7Validator(SCHEMA).validate(VALUES)


def test_every_key_of_the_schema_is_in_the_values():
    """But for settings, which CONFIGURATION.md lists, parts of Kubernetes' own objects, and Helm's `global`."""
    missing = []

    def walk(schema, values, path):
        if path.endswith(("config", "global", "affinity", "resources.requests", "resources.limits")):
            return
        schema = resolved(schema)
        for key, inner in schema.get("properties", {}).items():
            here = f"{path}.{key}".strip(".")
            if key not in values:
                missing.append(here)
            elif isinstance(values[key], dict):
                walk(inner, values[key], here)

    walk(SCHEMA, VALUES, "")
    assert missing == ["global"]


def test_settings_are_those_that_the_services_have():
    known = set()

    def walk(schema, path):
        for key, inner in schema.get("properties", {}).items():
            here = f"{path}.{key}".strip(".")
            walk(inner, here) if inner.get("type") == "object" else known.add(here)

    walk(SCHEMA["definitions"]["config"], "")
    assert known == set(settings()) - set(OWNED)
    assert set(OWNED) < set(settings())


def test_what_is_generated_is_current():
    advice = "run python tests/helm/generate.py"
    assert (CHART / "values.schema.json").read_text() == schema_text(), advice
    assert (CHART / "README.md").read_text() == readme_text(), advice


def test_every_value_is_documented():
    def leaves(values, path=""):
        for key, value in values.items():
            here = f"{path}.{key}".strip(".")
            inner = any(other.startswith(f"{here}.") for other in documented)
            if not inner or here in documented:
                yield here
            if inner:
                yield from leaves(value, here)

    documented = {path for path, _, _ in documented_values()}
    assert set(leaves(VALUES)) == documented
    assert all(len(what) >= 8 for _, _, what in documented_values())


@pytest.mark.parametrize("name", CASES)
def test_examples_are_valid(name):
    jsonschema.Draft7Validator(SCHEMA).validate(loaded().merge_values(case(name)))


def test_a_value_that_is_taken_away_is_missed():
    """Helm removes a key that is null; a template would print nothing in its place."""
    for path in (
        ("collector", "replicas"),
        ("nats", "storage", "sizeGi"),
        ("image",),
        ("writer", "image", "repository"),
    ):
        with pytest.raises(helm_python.HelmError):
            render(merged(EXTERNAL, set_at(path, None)))


WRONG = {
    "a setting in the environment": ("collector", "extraEnv", "REFLOW_TRACING_PORT", "1"),
    "a setting out of range": ("config", "limits", "drain_deadline_secs", 0),
    "a setting of another type": ("config", "server", "port", "8080"),
    "a free port": ("config", "server", "port", 0),
    "a setting that the chart decides": ("config", "bus", "kind", "local"),
    "a choice that there is not": ("config", "compression", "algorithm", "zip"),
    "a budget that lets nobody go": ("writer", "podDisruptionBudget", "maxUnavailable", 0),
    "a budget of no percent": ("writer", "podDisruptionBudget", "maxUnavailable", "0%"),
    "an even number of servers": ("nats", "replicas", 2),
    "a password that breaks a url": ("nats", "auth", "password", "with@sign-in-it"),
    "a password that looks like a number": ("nats", "auth", "password", "12345678"),
    "a url of another scheme": ("bus", "url", "http://nats:4222"),
    "a digest that is none": ("query", "image", "digest", "sha256:abc"),
    "a label that the chart sets": ("collector", "podLabels", "app.kubernetes.io/name", "mine"),
    "root": ("security", "runAsUser", 0),
}


@pytest.mark.parametrize("path", WRONG.values(), ids=WRONG.keys())
def test_wrong_values_are_refused(path):
    values = merged(copy.deepcopy(EXTERNAL), set_at(path[:-1], path[-1]))
    with pytest.raises(helm_python.HelmError) as caught:
        render(values)
    assert path[-2] in str(caught.value) or path[-3] in str(caught.value)
