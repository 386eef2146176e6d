"""Every object of every file in ci/ is one that Kubernetes takes, and Helm's own linter has nothing to say."""

import functools
import json
import re
from pathlib import Path

import helm_python
import jsonschema
import kubernetes_validate
import pytest

from chart import CASES, CHART, case, render, rendered, texts

# The oldest that the chart allows, one in between, the newest whose schemas there are.
VERSIONS = ["1.30", "1.34", "1.37"]
CRDS = Path(__file__).parent / "crds"
CUSTOM = {"HTTPRoute", "PrometheusRule", "ScaledObject", "ServiceMonitor"}

# The library reads 1.2 MB of definitions again for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


def custom_schema(thing):
    schema = json.loads((CRDS / f"{thing['kind']}.json").read_text())
    assert schema["properties"]["apiVersion"]["const"] == thing["apiVersion"]
    return schema


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_strictly_valid(name, version):
    for thing in rendered(name):
        if thing["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(thing, version, strict=True) == version


@pytest.mark.parametrize("name", CASES)
def test_custom_resources_use_only_fields_of_their_definitions(name):
    for thing in rendered(name).of(*CUSTOM):
        jsonschema.Draft7Validator(custom_schema(thing)).validate(thing)


def test_every_kind_is_made_by_some_file():
    """So that the two tests above cover every template."""
    made = {thing["kind"] for name in CASES for thing in rendered(name)}
    assert made == CUSTOM | {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "Secret",
        "Service",
        "ServiceAccount",
        "StatefulSet",
    }
    sources = {str(path.relative_to(CHART)) for path in (CHART / "templates").rglob("*.yaml")} - {
        "templates/checks.yaml"
    }
    used = set()
    for name in CASES:
        used |= {path.split("/", 1)[1] for path, text in texts(case(name)).items() if text.strip()}
    assert sources <= used, f"no file in ci/ makes {sources - used}"


def test_the_validators_do_refuse():
    deployment = render(case("minimal")).one("Deployment", "collector")
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)
    scaled = render(case("production")).one("ScaledObject")
    scaled["spec"]["triggers"][0]["metadata"]["lagThreshold"] = 2000
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(custom_schema(scaled)).validate(scaled)


@pytest.mark.parametrize("name", CASES)
def test_the_linter_is_content(name):
    report = helm_python.lint(CHART, case(name), strict=True, kube_version="v1.30.0")
    assert report["errors"] == [] and report["total_charts_linted"] == 1
    # An icon is for catalogues.
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("name", CASES)
def test_names_are_short_enough_and_unique(name):
    for release in ["r", "reflow", "with.dots.2", "a-release-whose-name-is-as-long-as-helm-will-allow-53"]:
        objects = render(case(name), name=release)
        identities = [(thing["kind"], thing["metadata"]["name"]) for thing in objects]
        assert len(identities) == len(set(identities))
        for thing in objects:
            # Of a StatefulSet's name and a hash of 10 Kubernetes makes a label, which ends at 63.
            most = 52 if thing["kind"] == "StatefulSet" else 63
            assert len(thing["metadata"]["name"]) <= most, thing["metadata"]["name"]
            # A Service's: other kinds take more.
            assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", thing["metadata"]["name"])
            assert thing["metadata"]["namespace"] == "tracing"
            for value in thing["metadata"]["labels"].values():
                assert len(value) <= 63


def test_long_release_names_that_begin_alike_stay_apart():
    stem = "a-release-whose-name-is-as-long-as-helm-will-allow-"
    one, other = (render(case("minimal"), name=stem + tail) for tail in ("01", "02"))
    assert not {t["metadata"]["name"] for t in one} & {t["metadata"]["name"] for t in other}


@pytest.mark.parametrize("name", CASES)
def test_a_packaged_chart_makes_the_same(name, tmp_path):
    """So that .helmignore leaves nothing out that a template reads."""
    package = helm_python.Chart.load(helm_python.package(CHART, destination=tmp_path))
    assert not any(file["name"].startswith("ci/") for file in package.files)
    # Passwords that are made up differ each time.
    same = lambda objects: [thing for thing in objects if thing["kind"] != "Secret"]
    assert same(render(case(name), chart=package)) == same(rendered(name))
