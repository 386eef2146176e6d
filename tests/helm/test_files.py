"""Copies inside of the chart are the files that they are copies of, and operators get all of them."""

import json
import re

import yaml

from chart import CASES, CHART, ROOT, rendered
from generate import copies

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"


def test_copies_are_identical():
    theirs = {copy: original.read_bytes() for copy, original in copies().items()}
    ours = {path: path.read_bytes() for path in (CHART / "files").rglob("*.*")}
    assert len(theirs) >= 2
    assert ours == theirs, "run python tests/helm/generate.py"


def test_the_rule_holds_every_alert_untouched():
    groups = rendered("production").one("PrometheusRule")["spec"]["groups"]
    assert groups == yaml.safe_load(ALERTS.read_text())["groups"]
    assert any("{{ $labels" in json.dumps(group) for group in groups), "templates of Prometheus are not Helm's"


def test_the_dashboards_reach_grafana_untouched():
    config = rendered("production").one("ConfigMap", "dashboards")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text) for name, text in config["data"].items()} == {
        path.name: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")
    }
    # Kubernetes takes no larger ConfigMap.
    assert sum(len(text.encode()) for text in config["data"].values()) < 1_000_000


def test_labels_that_a_prometheus_selects_by_are_set():
    for kind in ("ServiceMonitor", "PrometheusRule"):
        for thing in rendered("production").of(kind):
            assert thing["metadata"]["labels"]["release"] == "prometheus"


def test_jobs_have_the_names_that_alerts_and_dashboards_know():
    jobs = {
        scrape["job_name"]
        for scrape in yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    }
    made = set()
    for monitor in rendered("production").of("ServiceMonitor"):
        [service] = (
            rendered("production").of("Service").component(monitor["metadata"]["labels"]["app.kubernetes.io/component"])
        )
        made.add(service["metadata"]["labels"][monitor["spec"]["jobLabel"]])
    assert made == {"collector", "writer", "query"} and made <= jobs


def test_the_alert_of_full_volumes_knows_the_claims_of_every_release():
    [rule] = [
        rule
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
        if rule["alert"] == "ReflowVolumeNearlyFull"
    ]
    [pattern] = re.findall(r'persistentvolumeclaim=~"([^"]+)"', rule["expr"])
    claims = []
    for name in CASES:
        for servers in rendered(name).of("StatefulSet"):
            for template in servers["spec"]["volumeClaimTemplates"]:
                claims.append(f"{template['metadata']['name']}-{servers['metadata']['name']}-0")
    assert {"nats", "postgres"} == {claim.split("-")[-2] for claim in claims}
    assert all(re.fullmatch(pattern, claim) for claim in claims), claims
