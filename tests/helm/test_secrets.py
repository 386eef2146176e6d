"""Passwords are in Secrets and nowhere else."""

import base64

import pytest
import yaml

from chart import CASES, EXTERNAL, NAMESPACE, case, containers, merged, render, rendered, secret_of, texts

PASSWORD = "hunter2hunter2"
ALL = {
    "bus": {"url": f"nats://u:{PASSWORD}@n:4222"},
    "store": {"postgres": {"url": f"postgres://u:{PASSWORD}@d/x"}},
    "directory": {"url": f"redis://:{PASSWORD}@c/0"},
    "telemetry": {"otlpEndpoint": f"http://u:{PASSWORD}@o:4317"},
}
IN_CHART = {
    "nats": {"enabled": True, "auth": {"password": PASSWORD}},
    "postgres": {"enabled": True, "auth": {"password": PASSWORD}},
}


def holds(text):
    return PASSWORD in text or base64.b64encode(PASSWORD.encode()).decode().rstrip("=")[:-2] in text


@pytest.mark.parametrize("values", [ALL, IN_CHART], ids=["external", "in-chart"])
def test_a_password_is_in_secrets_alone(values):
    for path, text in texts(values).items():
        if not path.endswith(".yaml"):
            assert not holds(text), path
            continue
        for thing in yaml.safe_load_all(text):
            if thing and thing["kind"] == "Secret":
                decoded = [base64.b64decode(value).decode() for value in thing["data"].values()]
                assert all(PASSWORD in value for value in decoded), "nothing else is kept there"
            elif thing:
                assert not holds(yaml.safe_dump(thing)), f"{path} shows the password"


@pytest.mark.parametrize("name", CASES)
def test_no_address_is_a_plain_variable(name):
    for _, _, container in containers(rendered(name)):
        for variable in container.get("env", []):
            if variable["name"].endswith(("_URL", "_ENDPOINT", "PASSWORD")):
                assert secret_of(variable), variable["name"]
    for config in rendered(name).of("ConfigMap"):
        assert "://" not in config["data"].get("reflow-tracing.toml", "")


@pytest.mark.parametrize("name", CASES)
def test_secrets_that_are_named_are_made_or_asked_for(name):
    made = {(s["metadata"]["name"], key) for s in rendered(name).of("Secret") for key in s["data"]}
    needed = {secret_of(v) for _, _, c in containers(rendered(name)) for v in c.get("env", []) if secret_of(v)}
    theirs = {("reflow-connections", key) for key in ("nats-url", "postgres-url", "redis-url")}
    assert needed - made == (theirs if name == "production" else set())


def test_a_secret_that_exists_is_used_and_none_is_made():
    there = {"existingSecret": {"name": "mine", "key": "k"}}
    values = {"bus": there, "store": {"postgres": there}, "directory": there, "telemetry": there}
    objects = render(values)
    assert objects.of("Secret") == []
    used = {secret_of(v) for _, _, c in containers(objects) for v in c.get("env", []) if secret_of(v)}
    assert used == {("mine", "k")}
    auth = {"enabled": True, "auth": {"existingSecret": {"name": "theirs"}}}
    objects = render({"nats": auth, "postgres": auth})
    assert objects.of("Secret") == []
    used = {secret_of(v) for _, _, c in containers(objects) for v in c.get("env", []) if secret_of(v)}
    assert used == {("theirs", "url"), ("theirs", "password")}


def test_the_migration_before_an_install_brings_its_secret_along():
    objects = render(merged(EXTERNAL, {"store": {"postgres": {"url": "postgres://new.example/x"}}}))
    job = objects.one("Job")
    [container] = job["spec"]["template"]["spec"]["containers"]
    [(name, key)] = [secret_of(v) for v in container["env"] if secret_of(v)]
    secret = objects.named("Secret", name)
    assert base64.b64decode(secret["data"][key]).decode() == "postgres://new.example/x"
    hook, weight = "helm.sh/hook", "helm.sh/hook-weight"
    assert secret["metadata"]["annotations"][hook] == job["metadata"]["annotations"][hook] == "pre-install,pre-upgrade"
    assert int(secret["metadata"]["annotations"][weight]) < int(job["metadata"]["annotations"][weight])


def test_the_migration_of_a_database_in_the_release_runs_after_it_and_uses_its_secret():
    objects = rendered("minimal")
    job = objects.one("Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    [container] = job["spec"]["template"]["spec"]["containers"]
    [(name, _)] = [secret_of(v) for v in container["env"] if secret_of(v)]
    assert "helm.sh/hook" not in objects.named("Secret", name)["metadata"].get("annotations", {})


def test_a_password_that_is_made_up_is_strong_in_its_url_and_safe_for_nats():
    one, other = (render(case("minimal")) for _ in range(2))
    seen = set()
    for objects in (one, other):
        for part in ("nats-auth", "postgres-auth"):
            data = objects.one("Secret", part)["data"]
            password, url = (base64.b64decode(data[key]).decode() for key in ("password", "url"))
            assert len(password) == 32 and password.isalnum()
            # nats-server would read 1e5 as a number.
            assert password[0].isalpha()
            assert f"reflow:{password}@" in url
            seen.add(password)
    assert len(seen) == 4


def test_the_password_on_the_claim_of_postgres_outlives_the_release_and_no_other_does():
    objects = render(case("minimal"))
    kept = [
        secret["metadata"]["name"]
        for secret in objects.of("Secret")
        if secret["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
    ]
    assert kept == [objects.one("Secret", "postgres-auth")["metadata"]["name"]]


def test_in_chart_urls_name_services_that_are_made():
    objects = rendered("everything")
    for part, port in (("nats", 4222), ("postgres", 5432)):
        url = base64.b64decode(objects.one("Secret", f"{part}-auth")["data"]["url"]).decode()
        host = url.rsplit("@", 1)[1].split("/")[0]
        service = objects.named("Service", host.split(":")[0])
        assert host.endswith(f":{port}") and port in [p["port"] for p in service["spec"]["ports"]]
        assert service["metadata"]["namespace"] == NAMESPACE
