"""The real executables accept every configuration and environment that the chart makes, and see in it what the chart means."""

import base64
import tomllib

import pytest

from chart import CASES, COMPONENTS, EXTERNAL, case, loaded, merged, render, rendered, variable
from executables import environment, run
from generate import OWNED, settings
from settings import FILE, config_of, file_of

# What a Secret of somebody else may hold.
ELSEWHERE = {
    "nats-url": "nats://reflow:hunter2@nats.example:4222",
    "postgres-url": "postgres://reflow:hunter2@db.example/reflow",
    "redis-url": "redis://:hunter2@cache.example:6379/0",
    "otlp-endpoint": "http://otel.example:4317",
}


def secrets(objects):
    def value(name, key):
        for secret in objects.of("Secret"):
            if secret["metadata"]["name"] == name:
                return base64.b64decode(secret["data"][key]).decode()
        return ELSEWHERE[key]

    return value


def ask(objects, part, folder, *arguments):
    """Runs a service's program as its container would be, but for the place of the file."""
    [container] = objects.one("Deployment", part)["spec"]["template"]["spec"]["containers"]
    file = folder / f"{part}.toml"
    file.write_text(file_of(objects, part))
    variables = environment(container, secrets(objects))
    assert variables["REFLOW_TRACING_CONFIG_FILE"] == FILE
    variables["REFLOW_TRACING_CONFIG_FILE"] = str(file)
    return run(part, [*container.get("args", []), *arguments], variables)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", COMPONENTS)
def test_every_configuration_is_accepted(name, part, tmp_path):
    done = ask(rendered(name), part, tmp_path, "--check-config")
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == f"the configuration of reflow-{part} is good", "no warnings either"


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("part", COMPONENTS)
def test_ports_and_deadlines_are_those_of_the_configuration(name, part, tmp_path):
    objects = rendered(name)
    done = ask(objects, part, tmp_path, "--print-config")
    assert done.returncode == 0, done.stderr
    config = tomllib.loads(done.stdout)
    spec = objects.one("Deployment", part)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["admin"] == config["metrics"]["port"] and config["metrics"]["enabled"] is True
    assert (
        config["metrics"].get("host") in (None, "", config["server"]["host"]) and config["server"]["host"] == "0.0.0.0"
    )
    if part != "writer":
        assert ports["protocol"] == config["server"]["port"]
    assert spec["terminationGracePeriodSeconds"] > config["limits"]["drain_deadline_secs"]
    assert config["bus"]["kind"] == "nats"
    assert config["storage"]["backend"] == ("sqlite" if name == "sqlite" else "postgres")
    if name == "sqlite" and part != "collector":
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        assert config["storage"]["sqlite"]["database_path"] == "/data/traces.db" and "/data" in mounts
    for monitor in objects.of("ServiceMonitor").component(part):
        assert monitor["spec"]["endpoints"][0]["path"] == config["metrics"]["endpoint"]


def test_a_mistake_that_the_schema_cannot_see_is_one_of_the_executable_too(tmp_path):
    """So that the two tests above would notice one."""
    values = merged(EXTERNAL, {"config": {"limits": {"idle_timeout_secs": 10}}})
    done = ask(render(values), "collector", tmp_path, "--check-config")
    assert done.returncode == 2 and "limits.ping_interval_secs" in done.stderr


@pytest.mark.parametrize("name", [name for name in CASES if name != "sqlite"])
def test_the_migration_has_the_environment_that_it_needs(name):
    objects = rendered(name)
    [container] = objects.one("Job")["spec"]["template"]["spec"]["containers"]
    variables = environment(container, secrets(objects))
    done = run("migrate", [*container["args"], "--check-config"], variables)
    assert done.returncode == 0, done.stderr
    done = run("migrate", [*container["args"], "--print-config"], variables)
    assert tomllib.loads(done.stdout)["storage"]["backend"] == "postgres"


def test_values_of_every_kind_reach_the_file():
    values = merged(
        EXTERNAL,
        {
            "config": {
                "tenant": 'a-"b',
                "bus": {"nats": {"stream_max_bytes": 1125899906842624}},
                "storage": {"sqlite": {"cache_size": -4096}},
                "retention": {"compaction": False},
            },
            "query": {"config": {"tenant": "other", "limits": {"max_subscriptions": 5}}},
        },
    )
    objects = render(values)
    config, other = config_of(objects, "collector"), config_of(objects, "query")
    assert config["tenant"] == 'a-"b' and other["tenant"] == "other"
    assert config["bus"]["nats"]["stream_max_bytes"] == 1125899906842624
    assert config["storage"]["sqlite"]["cache_size"] == -4096
    assert config["retention"]["compaction"] is False
    assert "max_subscriptions" not in config["limits"] and other["limits"]["max_subscriptions"] == 5
    assert other["limits"]["drain_deadline_secs"] == config["limits"]["drain_deadline_secs"]


def test_defaults_are_those_of_the_services_but_for_what_a_cluster_needs():
    documented = settings()
    found = {}

    def walk(values, path):
        for key, value in values.items():
            here = f"{path}.{key}".strip(".")
            walk(value, here) if isinstance(value, dict) else found.update({here: value})

    walk(loaded().values["config"], "")
    differing = {path: value for path, value in found.items() if value != documented[path][0]}
    assert differing == {"server.host": "0.0.0.0", "telemetry.log_format": "json"}
    assert not set(found) & set(OWNED)


def test_each_service_gets_only_the_addresses_that_it_uses():
    objects = rendered("external-services")
    used = {
        part: {
            name.removeprefix("REFLOW_TRACING_")
            for name in ("REFLOW_TRACING_NATS_URL", "REFLOW_TRACING_POSTGRES_URL", "REFLOW_TRACING_REDIS_URL")
            if variable(objects.one("Deployment", part)["spec"]["template"]["spec"]["containers"][0], name)
        }
        for part in COMPONENTS
    }
    both = {"NATS_URL", "POSTGRES_URL"}
    assert used == {"collector": {"NATS_URL", "REDIS_URL"}, "writer": both, "query": both | {"REDIS_URL"}}


def test_the_files_of_the_examples_say_what_they_claim():
    assert config_of(rendered("production"), "writer")["bus"]["nats"]["replicas"] == 3
    assert "replicas" not in config_of(rendered("minimal"), "writer")["bus"]["nats"]
    assert case("minimal")["nats"]["replicas"] == 1
