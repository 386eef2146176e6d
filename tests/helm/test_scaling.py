"""Who sets the number of pods, and by what."""

import pytest

from chart import CASES, COMPONENTS, EXTERNAL, ROOT, merged, render, rendered
from settings import config_of

TARGETS = ("HorizontalPodAutoscaler", "ScaledObject")


@pytest.mark.parametrize("name", CASES)
def test_a_deployment_names_its_replicas_or_somebody_else_does_never_both(name):
    objects = rendered(name)
    for part in COMPONENTS:
        deployment = objects.one("Deployment", part)
        scalers = objects.of(*TARGETS).component(part)
        assert len(scalers) + ("replicas" in deployment["spec"]) == 1, part
        for scaler in scalers:
            target = scaler["spec"]["scaleTargetRef"]
            wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
            assert target == wanted


def test_collectors_scale_by_processor_and_connections():
    spec = rendered("everything").one("HorizontalPodAutoscaler", "collector")["spec"]
    cpu, connections = spec["metrics"]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}
    assert connections["type"] == "Pods"
    # The metric's name is checked against the table that is made from the code.
    metric = connections["pods"]["metric"]["name"]
    assert f"| `{metric}` | gauge |" in (ROOT / "ARCHITECTURE.md").read_text()
    per_pod = int(connections["pods"]["target"]["averageValue"])
    assert per_pod < config_of(rendered("everything"), "collector")["server"]["max_connections"]


def test_a_processor_can_be_measured_in_percent_only_of_a_request():
    for name in CASES:
        for scaler in rendered(name).of("HorizontalPodAutoscaler"):
            part = scaler["metadata"]["labels"]["app.kubernetes.io/component"]
            [container] = rendered(name).one("Deployment", part)["spec"]["template"]["spec"]["containers"]
            assert container["resources"]["requests"]["cpu"]


def test_writers_scale_by_lag_where_it_is_measured():
    scaled = rendered("production").one("ScaledObject")["spec"]
    [trigger] = scaled["triggers"]
    assert trigger["type"] == "nats-jetstream"
    assert trigger["metadata"]["natsServerMonitoringEndpoint"] == "nats-headless.messaging.svc:8222"
    # What the services declare on the server.
    subjects = (ROOT / "shared/bus/src/nats/subjects.rs").read_text()
    for key in ("stream", "consumer"):
        assert f'"{trigger["metadata"][key]}"' in subjects
    [asked] = rendered("everything").one("ScaledObject")["spec"]["triggers"]
    assert asked["type"] == "prometheus"
    assert "| `reflow_bus_lag_messages` | gauge |" in (ROOT / "ARCHITECTURE.md").read_text()
    service = rendered("everything").one("Service", "writer")["metadata"]["name"]
    assert asked["metadata"]["query"] == f'max(reflow_bus_lag_messages{{namespace="tracing",service="{service}"}})'


def test_in_chart_nats_is_asked_for_the_lag_at_its_monitoring_port():
    objects = render({"nats": {"enabled": True}, "store": EXTERNAL["store"], "writer": {"keda": {"enabled": True}}})
    [trigger] = objects.one("ScaledObject")["spec"]["triggers"]
    host, port = trigger["metadata"]["natsServerMonitoringEndpoint"].split(":")
    name, namespace, kind = host.split(".")
    service = objects.named("Service", name)
    assert (namespace, kind) == ("tracing", "svc")
    assert int(port) in [entry["port"] for entry in service["spec"]["ports"] if entry["name"] == "monitor"]


def test_servers_of_in_chart_nats_are_found_from_keda_s_namespace():
    """KEDA takes their names from the routes, and looks for the consumer's leader among them."""
    objects = render({"nats": {"enabled": True}, "store": EXTERNAL["store"]})
    [container] = objects.one("StatefulSet", "nats")["spec"]["template"]["spec"]["containers"]
    headless = objects.one("StatefulSet", "nats")["spec"]["serviceName"]
    routes = [entry["value"] for entry in container["env"] if entry["name"].startswith("ROUTE_")]
    assert len(routes) == 3 and all(f".{headless}.tracing.svc:6222" in route for route in routes)


def test_going_down_is_slow_because_every_pod_sends_its_clients_away():
    for name in CASES:
        for scaler in rendered(name).of("HorizontalPodAutoscaler"):
            down = scaler["spec"]["behavior"]["scaleDown"]
            assert down["stabilizationWindowSeconds"] >= 300
            assert down["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]


def test_replicas_are_as_asked():
    objects = render(merged(EXTERNAL, {part: {"replicas": count} for count, part in enumerate(COMPONENTS, 3)}))
    assert [objects.one("Deployment", part)["spec"]["replicas"] for part in COMPONENTS] == [3, 4, 5]
