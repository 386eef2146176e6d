"""NetworkPolicies let through every connection that is needed, and not the others.

A small model of what a cluster would decide: a connection passes if the policies of both ends let it through.
"""

import pytest

from chart import EXTERNAL, case, merged, pods, render, rendered

# (from, to, port's name): every connection between pods of a release that is needed.
NEEDED = [
    ("collector", "nats", "nats"),
    ("writer", "nats", "nats"),
    ("query", "nats", "nats"),
    ("nats", "nats", "cluster"),
    ("writer", "postgres", "postgres"),
    ("query", "postgres", "postgres"),
    ("migrate", "postgres", "postgres"),
    ("round-trip", "collector", "protocol"),
    ("round-trip", "query", "protocol"),
]
PARTS = ["collector", "writer", "query", "nats", "postgres", "migrate", "round-trip"]


def matches(selector, labels):
    assert "matchExpressions" not in selector
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def lets(rules, peer_key, peer, port):
    """Whether one of the rules lets through to or from a peer: ("pod", labels), ("namespace", labels) or ("outside", None)."""
    kind, labels = peer
    for rule in rules:
        if "ports" in rule and (port not in [entry["port"] for entry in rule["ports"]]):
            continue
        if peer_key not in rule:
            return True
        for entry in rule[peer_key]:
            if kind == "pod" and set(entry) == {"podSelector"} and matches(entry["podSelector"], labels):
                return True
            if (
                kind == "namespace"
                and set(entry) == {"namespaceSelector"}
                and matches(entry["namespaceSelector"], labels)
            ):
                return True
            if kind == "outside" and "ipBlock" in entry:
                return True
    return False


class Network:
    def __init__(self, objects):
        self.policies = objects.of("NetworkPolicy")
        self.labels, self.ports = {}, {}
        for _, pod in pods(objects):
            part = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            self.labels[part] = pod["metadata"]["labels"]
            for container in pod["spec"]["containers"]:
                self.ports |= {(part, port["name"]): port["containerPort"] for port in container.get("ports", [])}

    def rules(self, part, direction):
        chosen = [policy for policy in self.policies if matches(policy["spec"]["podSelector"], self.labels[part])]
        assert all(set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"} for policy in chosen)
        return [rule for policy in chosen for rule in policy["spec"][direction]] if chosen else None

    def passes(self, source, target, port):
        number = self.ports[target, port]
        out, into = self.rules(source, "egress"), self.rules(target, "ingress")
        return (out is None or lets(out, "to", ("pod", self.labels[target]), number)) and (
            into is None or lets(into, "from", ("pod", self.labels[source]), number)
        )

    def comes_in(self, target, port, peer):
        return lets(self.rules(target, "ingress"), "from", peer, self.ports[target, port])

    def goes_out(self, source, port):
        return lets(self.rules(source, "egress"), "to", ("outside", None), port)


@pytest.fixture(scope="module")
def network():
    return Network(rendered("everything"))


def test_every_pod_has_a_policy(network):
    assert sorted(network.labels) == sorted(PARTS)
    for part in PARTS:
        assert network.rules(part, "ingress") is not None, part


def test_what_is_needed_passes_and_nothing_else(network):
    passing = {
        (source, target, name)
        for source in PARTS
        for target, name in network.ports
        if name not in ("admin", "monitor") and network.passes(source, target, name)
    }
    assert passing == set(NEEDED)


def test_with_open_doors_every_client_gets_in_but_not_to_the_servers():
    values = merged(case("minimal"), {"networkPolicy": {"enabled": True}})
    network = Network(render(values))
    anybody = ("outside", None)
    assert network.comes_in("collector", "protocol", anybody) and network.comes_in("query", "protocol", anybody)
    assert not network.comes_in("nats", "nats", anybody) and not network.comes_in("postgres", "postgres", anybody)
    assert all(network.passes(*needed) for needed in NEEDED if needed != ("nats", "nats", "cluster"))


def test_programs_viewers_and_monitoring_get_in_where_they_are_let(network):
    program, prometheus = ("pod", {"reflow": "program"}), ("namespace", {"kubernetes.io/metadata.name": "monitoring"})
    assert network.comes_in("collector", "protocol", program) and not network.comes_in("query", "protocol", program)
    assert network.comes_in("query", "protocol", ("outside", None))
    assert not network.comes_in("collector", "protocol", ("outside", None))
    for part, port in (("collector", "admin"), ("writer", "admin"), ("query", "admin"), ("nats", "monitor")):
        assert network.comes_in(part, port, prometheus) and not network.comes_in(part, port, program)


def test_everybody_who_looks_up_names_may(network):
    for part in PARTS:
        looks_up = part != "postgres"
        assert network.goes_out(part, 53) is looks_up, part


def test_external_servers_are_reached_at_their_ports():
    values = merged(
        EXTERNAL,
        {
            "networkPolicy": {"enabled": True, "ports": {"postgres": 6432}},
            "store": {"postgres": {"url": "postgres://db.example:6432/reflow"}},
            "directory": {"url": "redis://r:6379"},
            "telemetry": {"otlpEndpoint": "http://o:4317"},
        },
    )
    network = Network(render(values))
    reached = {
        part: {port for port in (4222, 5432, 6432, 6379, 4317, 443) if network.goes_out(part, port)}
        for part in network.labels
    }
    assert reached == {
        "collector": {4222, 6379, 4317},
        "writer": {4222, 6432, 4317},
        "query": {4222, 6432, 6379, 4317},
        "migrate": {6432},
        "round-trip": set(),
    }


def test_the_policy_of_the_migration_is_there_before_it():
    objects = rendered("production")
    policy, job = objects.one("NetworkPolicy", "migrate"), objects.one("Job")
    hook = "helm.sh/hook"
    assert policy["metadata"]["annotations"][hook] == job["metadata"]["annotations"][hook]
    weight = lambda thing: int(thing["metadata"]["annotations"]["helm.sh/hook-weight"])
    assert weight(policy) < weight(job)


def test_a_rule_lets_through_to_and_from_single_parts_not_whole_namespaces(network):
    for source in PARTS:
        for rule in network.rules(source, "egress"):
            for peer in rule.get("to", []):
                assert len([part for part in PARTS if matches(peer["podSelector"], network.labels[part])]) == 1, source
    # Of what is not needed, a pod may not even try to reach a database or a bus.
    ports = {"nats": 4222, "postgres": 5432}
    may = {
        (s, t)
        for s in PARTS
        for t, port in ports.items()
        if lets(network.rules(s, "egress"), "to", ("pod", network.labels[t]), port)
    }
    assert may == {(source, target) for source, target, name in NEEDED if name in ports}
