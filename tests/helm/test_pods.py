"""What holds for every pod: how it is locked in, selected, probed and ended."""

import pytest

from chart import CASES, COMPONENTS, EXTERNAL, case, containers, merged, pods, render, rendered, selected, selects


@pytest.mark.parametrize("name", CASES)
def test_no_pod_gets_service_links_or_a_token(name):
    for thing, pod in pods(rendered(name)):
        assert pod["spec"]["enableServiceLinks"] is False, thing["metadata"]["name"]
        assert pod["spec"]["automountServiceAccountToken"] is False, thing["metadata"]["name"]
    for account in rendered(name).of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", CASES)
def test_every_container_is_locked_in(name):
    for _, pod, container in containers(rendered(name)):
        user, own = pod["spec"]["securityContext"], container["securityContext"]
        assert user["runAsNonRoot"] is True and user["runAsUser"] > 0 and user["runAsGroup"] > 0
        assert user["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        for field in ("hostNetwork", "hostPID", "hostIPC"):
            assert field not in pod["spec"]
        assert not any("hostPath" in volume for volume in pod["spec"].get("volumes", []))


def test_a_platform_may_choose_the_user():
    free = render(merged(case("minimal"), {"security": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}}))
    for _, pod in pods(free):
        assert pod["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


@pytest.mark.parametrize("name", CASES)
def test_every_container_asks_for_what_it_needs_and_has_a_memory_limit(name):
    for _, _, container in containers(rendered(name)):
        resources = container["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"} and "memory" in resources["limits"]
        # A throttled collector holds back acks.
        assert "cpu" not in resources["limits"]


@pytest.mark.parametrize("name", CASES)
def test_selectors_match_the_pods_they_are_meant_for_and_no_others(name):
    objects = rendered(name)
    for thing in objects.of("Deployment", "StatefulSet"):
        template = thing["spec"]["template"]["metadata"]["labels"]
        assert selects(thing["spec"]["selector"], template)
        found = selected(objects, thing["spec"]["selector"]["matchLabels"])
        assert [other["metadata"]["name"] for other, _ in found] == [thing["metadata"]["name"]]
    for service in objects.of("Service"):
        [(thing, _)] = selected(objects, service["spec"]["selector"])
        assert component(thing) == component(service)
    for budget in objects.of("PodDisruptionBudget"):
        [(thing, _)] = selected(objects, budget["spec"]["selector"]["matchLabels"])
        assert component(thing) == component(budget)
    for monitor in objects.of("ServiceMonitor"):
        chosen = [s for s in objects.of("Service") if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        assert [component(service) for service in chosen] == [component(monitor)]


def test_a_label_for_everything_and_one_for_a_part_are_one_label():
    """The nearer one counts; a key that stood twice would be refused by what reads the objects."""
    values = merged(case("everything"), {"commonLabels": {"team": "all", "tier": "traces"}})
    for part in COMPONENTS:
        values = merged(values, {part: {"podLabels": {"team": part}}})
    for kind in ("serviceMonitor", "prometheusRule", "dashboards"):
        values = merged(values, {"monitoring": {kind: {"labels": {"team": kind}}}})
    objects = render(values)
    for part in COMPONENTS:
        labels = objects.one("Deployment", part)["spec"]["template"]["metadata"]["labels"]
        assert (labels["team"], labels["tier"]) == (part, "traces")
        assert objects.one("Deployment", part)["metadata"]["labels"]["team"] == "all"
        assert objects.one("ServiceMonitor", part)["metadata"]["labels"]["team"] == "serviceMonitor"
    assert objects.one("PrometheusRule")["metadata"]["labels"]["team"] == "prometheusRule"
    assert objects.one("ConfigMap", "dashboards")["metadata"]["labels"]["team"] == "dashboards"


@pytest.mark.parametrize("name", CASES)
def test_pods_are_spread_over_zones_and_nodes(name):
    for thing, pod in pods(rendered(name).of("Deployment", "StatefulSet")):
        part, constraints = component(thing), pod["spec"].get("topologySpreadConstraints", [])
        keys = [constraint["topologyKey"] for constraint in constraints]
        if part in COMPONENTS:
            assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"], part
        elif part == "nats":  # Over nodes by anti-affinity.
            assert keys == ["topology.kubernetes.io/zone"]
        else:  # Postgres is one.
            assert keys == []
        for constraint in constraints:
            assert constraint["maxSkew"] == 1 and constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert constraint["labelSelector"] == thing["spec"]["selector"]
            assert selects(constraint["labelSelector"], pod["metadata"]["labels"])


def test_spreading_can_be_left_to_the_cluster():
    objects = render(merged(EXTERNAL, {part: {"topologySpread": False} for part in COMPONENTS}))
    for _, pod in pods(objects.of("Deployment")):
        assert "topologySpreadConstraints" not in pod["spec"]


def component(thing):
    return thing["metadata"]["labels"]["app.kubernetes.io/component"]


@pytest.mark.parametrize("name", CASES)
def test_ports_that_are_named_are_there(name):
    objects = rendered(name)
    for service in objects.of("Service"):
        [(_, pod)] = selected(objects, service["spec"]["selector"])
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        numbers = [port["port"] for port in service["spec"]["ports"]]
        assert len(numbers) == len(set(numbers))
    for _, _, container in containers(objects):
        ports = {port["name"] for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if "httpGet" in container.get(probe, {}):
                assert container[probe]["httpGet"]["port"] in ports
    for monitor in objects.of("ServiceMonitor"):
        [service] = [s for s in objects.of("Service") if selects(monitor["spec"]["selector"], s["metadata"]["labels"])]
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    for ingress in objects.of("Ingress"):
        backend = ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
        service = objects.named("Service", backend["name"])
        assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    for route in objects.of("HTTPRoute"):
        backend = route["spec"]["rules"][0]["backendRefs"][0]
        service = objects.named("Service", backend["name"])
        assert {"protocol": backend["port"]}.items() <= {p["name"]: p["port"] for p in service["spec"]["ports"]}.items()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", COMPONENTS)
def test_probes_ask_the_admin_port_and_alive_is_not_ready(name, part):
    [container] = rendered(name).one("Deployment", part)["spec"]["template"]["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    # A pod that waits for its servers is not killed for it.
    assert "startupProbe" not in container


@pytest.mark.parametrize("name", CASES)
def test_every_volume_that_is_mounted_is_there_and_the_other_way_round(name):
    objects = rendered(name)
    for thing, pod, container in containers(objects):
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
        for volume in pod["spec"].get("volumes", []):
            if "configMap" in volume:
                objects.named("ConfigMap", volume["configMap"]["name"])
            if "persistentVolumeClaim" in volume:
                objects.named("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])


@pytest.mark.parametrize("name", CASES)
def test_accounts_that_are_named_are_made(name):
    made = {account["metadata"]["name"] for account in rendered(name).of("ServiceAccount")}
    used = {pod["spec"].get("serviceAccountName", "default") for _, pod in pods(rendered(name))}
    assert used - {"default"} == made


def test_images_are_named_by_registry_tag_and_digest():
    image = lambda objects, part: objects.one("Deployment", part)["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image(rendered("minimal"), "query") == "reflow-tracing-query:0.2.2"
    everything = rendered("everything")
    assert image(everything, "writer") == "registry.example/reflow/reflow-tracing-writer:0.2.2-test"
    assert image(everything, "collector") == "registry.example/reflow/reflow-tracing-collector@sha256:" + 64 * "1"
    one = render(merged(EXTERNAL, {"image": {"tag": "a"}, "query": {"image": {"tag": "b"}}}))
    assert [image(one, part)[-2:] for part in COMPONENTS] == [":a", ":a", ":b"]
    [migrate] = one.one("Job")["spec"]["template"]["spec"]["containers"]
    assert migrate["image"] == image(one, "writer") and migrate["args"] == ["migrate"]
    assert one.one("Pod")["spec"]["containers"][0]["image"] == image(one, "collector")
