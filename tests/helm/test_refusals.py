"""Values that cannot work are refused, with what is wrong and what to do; several mistakes at once."""

import helm_python
import pytest

from chart import EXTERNAL, case, merged, render

SQLITE = {"store": {"backend": "sqlite"}, "bus": EXTERNAL["bus"], "writer": {"replicas": 1}, "query": {"replicas": 1}}
PUBLIC = {"namespace": "gateways", "name": "public"}
IN_CHART = {"nats": {"enabled": True}, "postgres": {"enabled": True}}


def refusal(values, **options):
    with pytest.raises(helm_python.HelmRenderError) as caught:
        render(values, **options)
    text = str(caught.value)
    assert "checks.yaml" in text, text
    return [line.strip()[2:] for line in text.splitlines() if line.strip().startswith("- ")]


REFUSED = {
    "no bus": ({"store": EXTERNAL["store"]}, "there is no bus"),
    "two buses": (merged(EXTERNAL, {"nats": {"enabled": True}}), "more than one bus"),
    "a url and a secret": (merged(EXTERNAL, {"bus": {"existingSecret": {"name": "x"}}}), "more than one bus"),
    "no store": ({"bus": EXTERNAL["bus"]}, "there is no store"),
    "two stores": (merged(EXTERNAL, {"postgres": {"enabled": True}}), "more than one Postgres"),
    "sqlite and postgres": (merged(SQLITE, EXTERNAL), "store.backend is sqlite, but a Postgres is set"),
    "sqlite, two writers": (merged(SQLITE, {"writer": {"replicas": 2}}), "set writer.replicas to 1"),
    "sqlite, two query services": (merged(SQLITE, {"query": {"replicas": 2}}), "set query.replicas to 1"),
    "sqlite, writers that scale": (
        merged(SQLITE, {"writer": {"autoscaling": {"enabled": True}}}),
        "writer.autoscaling.enabled to false",
    ),
    "sqlite, readers that scale": (
        merged(SQLITE, {"query": {"autoscaling": {"enabled": True}}}),
        "query.autoscaling.enabled to false",
    ),
    "sqlite, writers by lag": (
        merged(SQLITE, {"writer": {"keda": {"enabled": True, "natsMonitoring": "n:8222"}}}),
        "writer.keda.enabled to false",
    ),
    "sqlite elsewhere": (
        merged(SQLITE, {"query": {"affinity": {"podAffinity": {"x": 1}}}}),
        "query.affinity.podAffinity",
    ),
    "two redis": (
        merged(EXTERNAL, {"directory": {"url": "redis://r", "existingSecret": {"name": "x"}}}),
        "directory.url and",
    ),
    "two otlp": (
        merged(EXTERNAL, {"telemetry": {"otlpEndpoint": "http://o:1", "existingSecret": {"name": "x"}}}),
        "telemetry.otlpEndpoint and",
    ),
    "killed too early": (
        merged(EXTERNAL, {"collector": {"terminationGracePeriodSeconds": 34}}),
        "terminationGracePeriodSeconds is 34",
    ),
    "a long drain of one service": (
        merged(
            EXTERNAL,
            {"query": {"terminationGracePeriodSeconds": 60, "config": {"limits": {"drain_deadline_secs": 90}}}},
        ),
        "take 100",
    ),
    "least above most": (
        merged(EXTERNAL, {"query": {"autoscaling": {"enabled": True, "minReplicas": 9}}}),
        "query.autoscaling.minReplicas",
    ),
    "one port for two": (
        merged(EXTERNAL, {"config": {"server": {"port": 9090}}}),
        "server.port and metrics.port of collector are both 9090",
    ),
    "a service port for two": (merged(EXTERNAL, {"query": {"service": {"port": 9090}}}), "query.service.port is 9090"),
    "an ingress for every host": (
        merged(EXTERNAL, {"collector": {"ingress": {"enabled": True}}}),
        "collector.ingress.host",
    ),
    "an impatient ingress": (
        merged(EXTERNAL, {"query": {"ingress": {"enabled": True, "host": "h", "websocketTimeoutSecs": 30}}}),
        "pings come only every 30 s",
    ),
    "one host for programs and people": (
        merged(EXTERNAL, {part: {"ingress": {"enabled": True, "host": "h"}} for part in ("collector", "query")}),
        "collector.ingress.host and query.ingress.host are both h",
    ),
    "one gateway for programs and people": (
        merged(
            EXTERNAL,
            {part: {"httpRoute": {"enabled": True, "parentRefs": [PUBLIC]}} for part in ("collector", "query")},
        ),
        "both lead every host of gateway gateways/public to `/`",
    ),
    "one host of a gateway for programs and people": (
        merged(
            EXTERNAL,
            {
                "collector": {"httpRoute": {"enabled": True, "parentRefs": [PUBLIC], "hostnames": ["a", "h"]}},
                "query": {"httpRoute": {"enabled": True, "parentRefs": [PUBLIC], "hostnames": ["h", "b"]}},
            },
        ),
        "both lead h of gateway gateways/public to `/`",
    ),
    "a route to nowhere": (merged(EXTERNAL, {"query": {"httpRoute": {"enabled": True}}}), "query.httpRoute.parentRefs"),
    "a policy before another port": (
        merged(
            EXTERNAL,
            {
                "networkPolicy": {"enabled": True},
                "store": {"postgres": {"url": "postgres://u:5432@db.example:6432/reflow?sslmode=require"}},
            },
        ),
        "networkPolicy.ports.postgres is 5432, but its url leads to port 6432",
    ),
    "a policy before the usual port": (
        merged(EXTERNAL, {"networkPolicy": {"enabled": True, "ports": {"redis": 1}}, "directory": {"url": "redis://r/0"}}),
        "networkPolicy.ports.redis is 1, but its url leads to port 6379",
    ),
    "a policy before one of several servers": (
        merged(
            EXTERNAL,
            {"networkPolicy": {"enabled": True}, "bus": {"url": "nats://a:4222@x:4222,y,[::1]:4222,nats://z:4223"}},
        ),
        "networkPolicy.ports.nats is 4222, but its url leads to port 4223",
    ),
    "more connections than a pod takes": (
        merged(
            EXTERNAL,
            {"collector": {"autoscaling": {"enabled": True, "connections": {"enabled": True, "perPod": 10000}}}},
        ),
        "perPod is 10000",
    ),
    "two that scale writers": (
        merged(
            EXTERNAL,
            {"writer": {"autoscaling": {"enabled": True}, "keda": {"enabled": True, "natsMonitoring": "n:8222"}}},
        ),
        "choose one",
    ),
    "least writers above most": (
        merged(EXTERNAL, {"writer": {"keda": {"enabled": True, "natsMonitoring": "n:8222", "minReplicas": 9}}}),
        "writer.keda.minReplicas",
    ),
    "lag asked of nobody": (merged(EXTERNAL, {"writer": {"keda": {"enabled": True}}}), "writer.keda.natsMonitoring"),
    "lag asked of no prometheus": (
        merged(EXTERNAL, {"writer": {"keda": {"enabled": True, "trigger": "prometheus"}}}),
        "writer.keda.prometheusAddress",
    ),
    "streams larger than the disk": (
        merged(
            IN_CHART, {"nats": {"storage": {"sizeGi": 2}}, "config": {"bus": {"nats": {"stream_max_bytes": 2**31}}}}
        ),
        "raise it",
    ),
    "more copies than servers": (
        merged(IN_CHART, {"config": {"bus": {"nats": {"replicas": 5}}}}),
        "config.bus.nats.replicas is 5, but nats.replicas is 3",
    ),
    "more connections than postgres takes": (
        merged(IN_CHART, {"writer": {"keda": {"enabled": True, "maxReplicas": 30}}}),
        "postgres.maxConnections is 200",
    ),
}


@pytest.mark.parametrize("values, said", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused(values, said):
    mistakes = refusal(values)
    assert len([mistake for mistake in mistakes if said in mistake]) == 1, mistakes


def test_a_release_whose_name_no_service_can_have_is_refused():
    [mistake] = refusal(EXTERNAL, name="2nd-try")
    assert "2nd-try" in mistake and "fullnameOverride" in mistake
    assert render(merged(EXTERNAL, {"fullnameOverride": "second-try"}), name="2nd-try")


def test_two_controllers_may_serve_one_host_and_two_hosts_one_gateway():
    """Inside and outside, say: each controller has its own address."""
    ingress = {part: {"ingress": {"enabled": True, "host": "h", "className": part}} for part in ("collector", "query")}
    assert len(render(merged(EXTERNAL, ingress)).of("Ingress")) == 2
    routes = {
        part: {"httpRoute": {"enabled": True, "parentRefs": [PUBLIC], "hostnames": [part]}}
        for part in ("collector", "query")
    }
    assert len(render(merged(EXTERNAL, routes)).of("HTTPRoute")) == 2


def test_one_mistake_is_told_alone():
    assert len(refusal(merged(SQLITE, {"writer": {"replicas": 2}}))) == 1


def test_all_mistakes_are_told_at_once():
    assert (
        len(
            refusal(
                {"store": {"backend": "sqlite"}, "query": {"preStopSeconds": 60, "terminationGracePeriodSeconds": 1}}
            )
        )
        == 4
    )


@pytest.mark.parametrize(
    "values", [EXTERNAL, IN_CHART, SQLITE, case("minimal")], ids=["external", "in-chart", "sqlite", "minimal"]
)
def test_what_they_begin_from_is_good(values):
    assert render(values)


def test_collectors_over_a_file_may_be_many():
    objects = render(merged(SQLITE, {"collector": {"replicas": 5}}))
    assert objects.one("Deployment", "collector")["spec"]["replicas"] == 5


def test_the_reader_of_a_file_is_on_its_writers_node():
    spec = render(SQLITE).one("Deployment", "query")["spec"]["template"]["spec"]
    [rule] = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    writer = render(SQLITE).one("Deployment", "writer")["spec"]["selector"]
    assert rule == {"topologyKey": "kubernetes.io/hostname", "labelSelector": writer}
    claim = render(SQLITE).one("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert render(merged(SQLITE, {"store": {"sqlite": {"existingClaim": "mine"}}})).of("PersistentVolumeClaim") == []
