"""How pods end: time for it, and nothing that keeps a node from being emptied."""

import pytest

from chart import CASES, COMPONENTS, EXTERNAL, case, merged, render, rendered
from settings import config_of


def grace(objects, part):
    spec = objects.one("Deployment", part)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = config_of(objects, part).get("limits", {}).get("drain_deadline_secs", 25)
    return spec["terminationGracePeriodSeconds"], sleep, drain


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", COMPONENTS)
def test_a_pod_has_time_to_drain(name, part):
    seconds, sleep, drain = grace(rendered(name), part)
    assert sleep > 0, "nothing happens between the decision and SIGTERM"
    assert seconds >= sleep + drain + 2, "after the deadline up to two seconds pass until the process has ended"


def test_the_grace_period_follows_the_drain_deadline_of_each_service():
    values = merged(
        EXTERNAL,
        {
            "config": {"limits": {"drain_deadline_secs": 100}},
            "query": {"config": {"limits": {"drain_deadline_secs": 300}}, "preStopSeconds": 7},
        },
    )
    objects = render(values)
    assert [grace(objects, part) for part in COMPONENTS] == [(110, 5, 100), (107, 2, 100), (312, 7, 300)]


def test_a_pod_can_be_ended_at_once():
    objects = render(merged(EXTERNAL, {part: {"preStopSeconds": 0} for part in COMPONENTS}))
    assert [grace(objects, part)[:2] for part in COMPONENTS] == [(30, 0)] * 3


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", ["collector", "query"])
def test_who_connects_while_a_pod_is_taken_out_is_not_refused(name, part):
    assert grace(rendered(name), part)[1] >= 5


@pytest.mark.parametrize("name", CASES)
def test_a_budget_lets_one_pod_of_every_set_go(name):
    budgets = rendered(name).of("PodDisruptionBudget")
    assert len(budgets) >= 3
    for budget in budgets:
        assert "minAvailable" not in budget["spec"], "with one replica it blocks the drain of a node for ever"
        most = budget["spec"]["maxUnavailable"]
        # A percentage is rounded up.
        assert (int(most[:-1]) if isinstance(most, str) else most) >= 1
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("part", ["collector", "query"])
def test_a_new_pod_is_ready_before_an_old_one_goes(part):
    for name in CASES:
        strategy = rendered(name).one("Deployment", part)["spec"]["strategy"]
        assert strategy["rollingUpdate"]["maxUnavailable"] == 0 and strategy["rollingUpdate"]["maxSurge"] != 0


def test_a_writer_of_a_file_goes_before_the_next_comes():
    assert rendered("sqlite").one("Deployment", "writer")["spec"]["strategy"] == {"type": "Recreate"}
    assert rendered("minimal").one("Deployment", "writer")["spec"]["strategy"]["type"] == "RollingUpdate"


def test_nats_has_time_for_its_lame_duck_mode():
    objects = rendered("everything")
    spec = objects.one("StatefulSet", "nats")["spec"]["template"]["spec"]
    conf = objects.one("ConfigMap", "nats")["data"]["nats.conf"]
    assert "lame_duck_grace_period: 5s" in conf and "lame_duck_duration: 30s" in conf
    assert spec["terminationGracePeriodSeconds"] >= 5 + 30 + 10


def test_nats_keeps_its_quorum():
    objects = render(case("minimal") | {"nats": {"enabled": True}})
    servers = objects.one("StatefulSet", "nats")["spec"]
    assert servers["replicas"] == 3 and servers["podManagementPolicy"] == "Parallel"
    [rule] = servers["template"]["spec"]["affinity"]["podAntiAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"] == servers["selector"]
    assert objects.one("PodDisruptionBudget", "nats")["spec"]["maxUnavailable"] == 1
    assert config_of(objects, "collector")["bus"]["nats"]["replicas"] == 3, "an ack is to outlive one server"
    headless = objects.named("Service", servers["serviceName"])
    assert headless["spec"]["clusterIP"] == "None" and headless["spec"]["publishNotReadyAddresses"] is True


def test_the_next_nats_server_goes_only_when_the_last_one_has_caught_up():
    """A pod is ready once its startup probe has passed, and a rolling update waits for that. `/healthz` without a restriction is the one
    that asks for every stream and consumer of the server."""
    servers = render(case("minimal") | {"nats": {"enabled": True}}).one("StatefulSet", "nats")["spec"]
    assert servers.get("updateStrategy", {}).get("type", "RollingUpdate") == "RollingUpdate"
    [container] = servers["template"]["spec"]["containers"]
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "monitor"}
    # Healthy may be said while leaders still move: a moment longer before the next one goes.
    assert servers["minReadySeconds"] >= 10
