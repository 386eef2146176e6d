"""What lies between a program and a pod lets a quiet WebSocket live, and lets it through at all."""

import pytest

from chart import CASES, EXTERNAL, merged, render, rendered
from settings import config_of

NGINX = ["nginx.ingress.kubernetes.io/proxy-read-timeout", "nginx.ingress.kubernetes.io/proxy-send-timeout"]
HAPROXY = ["haproxy.org/timeout-tunnel", "haproxy-ingress.github.io/timeout-tunnel"]


def ingress(part, **values):
    given = {"enabled": True, "host": "traces.example", **values}
    return render(merged(EXTERNAL, {part: {"ingress": given}})).one("Ingress", part)


def annotations(thing):
    return thing["metadata"].get("annotations", {})


@pytest.mark.parametrize("part", ["collector", "query"])
def test_each_controller_is_told_its_way_to_keep_a_quiet_websocket(part):
    assert annotations(ingress(part)) == dict.fromkeys(NGINX, "3600")
    assert annotations(ingress(part, controller="haproxy")) == dict.fromkeys(HAPROXY, "3600s")
    assert annotations(ingress(part, controller="none")) == {}
    assert annotations(ingress(part, websocketTimeoutSecs=90)) == dict.fromkeys(NGINX, "90")


def test_what_somebody_sets_goes_before_it_and_stays_beside_it():
    mine = {NGINX[0]: "7200", "example.com/note": "mine"}
    assert annotations(ingress("collector", annotations=mine)) == {**dict.fromkeys(NGINX, "3600"), **mine}
    [tunnel, other] = HAPROXY
    given = annotations(rendered("everything").one("Ingress", "collector"))
    assert (given[tunnel], given[other]) == ("2h", "3600s")


@pytest.mark.parametrize("name", CASES)
def test_pings_come_before_any_timeout(name):
    objects = rendered(name)
    for part in ("collector", "query"):
        ping = config_of(objects, part)["limits"]["ping_interval_secs"]
        for thing in objects.of("Ingress").component(part):
            for key, value in annotations(thing).items():
                if key in NGINX:
                    assert int(value) >= 2 * ping, key
        for route in objects.of("HTTPRoute").component(part):
            # None at all.
            [rule] = route["spec"]["rules"]
            assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}


@pytest.mark.parametrize("name", CASES)
def test_gateways_are_told_that_it_is_a_websocket(name):
    for part in ("collector", "query"):
        ports = {port["name"]: port for port in rendered(name).one("Service", part)["spec"]["ports"]}
        assert ports["protocol"]["appProtocol"] == "kubernetes.io/ws"
