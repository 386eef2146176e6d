"""What an upgrade may change and what it must not."""

import shutil
import tomllib

import helm_python
import pytest

from chart import CASES, CHART, COMPONENTS, EXTERNAL, ROOT, case, loaded, merged, pods, render, rendered

# As released. A Deployment's selector, and much of a StatefulSet, cannot be changed: an upgrade would fail.
SELECTOR = {"app.kubernetes.io/name": "reflow-tracing", "app.kubernetes.io/instance": "reflow"}


def fixed(objects):
    """What Kubernetes lets nobody change, by object."""
    parts = {}
    for thing in objects.of("Deployment", "StatefulSet"):
        spec = thing["spec"]
        parts[thing["kind"], thing["metadata"]["name"]] = (
            spec["selector"],
            spec.get("serviceName"),
            spec.get("podManagementPolicy"),
            spec.get("volumeClaimTemplates"),
        )
    return parts


@pytest.mark.parametrize("name", CASES)
def test_selectors_are_as_released(name):
    for thing in rendered(name).of("Deployment", "StatefulSet"):
        part = thing["metadata"]["labels"]["app.kubernetes.io/component"]
        assert thing["spec"]["selector"]["matchLabels"] == SELECTOR | {"app.kubernetes.io/component": part}


def test_names_are_as_released():
    """A renamed object is another one: the old is deleted with what hangs on it."""
    found = {
        (thing["kind"], thing["metadata"]["name"])
        for thing in rendered("minimal").of("Deployment", "StatefulSet", "Service")
    }
    stem = "reflow-reflow-tracing"
    assert found == {
        *(("Deployment", f"{stem}-{part}") for part in COMPONENTS),
        *(("Service", f"{stem}-{part}") for part in [*COMPONENTS, "nats", "nats-headless", "postgres"]),
        ("StatefulSet", f"{stem}-nats"),
        ("StatefulSet", f"{stem}-postgres"),
    }


def test_a_newer_chart_and_other_values_change_nothing_that_is_fixed(tmp_path):
    newer = tmp_path / "reflow-tracing"
    shutil.copytree(CHART, newer)
    text = (newer / "Chart.yaml").read_text()
    text = text.replace("version: 0.1.0", "version: 9.9.9").replace('appVersion: "0.2.2"', 'appVersion: "9.9.9"')
    assert text.count("9.9.9") == 2
    (newer / "Chart.yaml").write_text(text)
    base = {"nats": {"enabled": True}, "postgres": {"enabled": True}}
    other = merged(
        base,
        {
            "commonLabels": {"team": "b"},
            "image": {"tag": "x"},
            "config": {"tenant": "other"},
            "collector": {"podLabels": {"x": "y"}, "autoscaling": {"enabled": True}},
            "nats": {"replicas": 5},
        },
    )
    before = render(base)
    after = render(other, chart=helm_python.Chart.load(newer), is_upgrade=True, revision=2)
    assert fixed(before) == fixed(after) and len(fixed(after)) == 5
    assert after.one("Deployment", "query")["metadata"]["labels"]["app.kubernetes.io/version"] == "9.9.9"


def annotations(values, part):
    [(_, pod)] = [(t, p) for t, p in pods(render(values).of("Deployment", "StatefulSet").component(part))]
    return {key: value for key, value in pod["metadata"]["annotations"].items() if key.startswith("checksum/")}


def test_a_changed_setting_restarts_the_pods_that_read_it():
    before = {part: annotations(EXTERNAL, part) for part in COMPONENTS}
    for change, restarted in (
        ({"config": {"limits": {"max_subscriptions": 3}}}, COMPONENTS),
        ({"query": {"config": {"limits": {"max_subscriptions": 3}}}}, ["query"]),
        ({"bus": {"url": "nats://elsewhere:4222"}}, COMPONENTS),
        ({"collector": {"replicas": 9}}, []),
    ):
        after = {part: annotations(merged(EXTERNAL, change), part) for part in COMPONENTS}
        assert [part for part in COMPONENTS if before[part] != after[part]] == restarted, change
    assert before == {part: annotations(EXTERNAL, part) for part in COMPONENTS}, "nothing restarts for nothing"


def test_a_changed_password_or_disk_restarts_nats_and_who_uses_it():
    base = merged(case("minimal"), {"nats": {"auth": {"password": "first-password"}}})
    for change, parts in (
        ({"nats": {"auth": {"password": "second-password"}}}, ["nats", *COMPONENTS]),
        ({"nats": {"storage": {"sizeGi": 50}}}, ["nats"]),
    ):
        changed = merged(base, change)
        assert [
            part for part in ["nats", *COMPONENTS] if annotations(base, part) != annotations(changed, part)
        ] == parts


def test_the_chart_is_for_the_version_that_this_tree_builds():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert loaded().metadata["appVersion"] == version
