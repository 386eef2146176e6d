"""The services' configuration as pods get it: the file of a ConfigMap and the environment."""

import tomllib

import chart

FILE = "/etc/reflow-tracing/reflow-tracing.toml"


def file_of(objects, part):
    """The configuration file that a service's pod mounts, as text."""
    spec = objects.one("Deployment", part)["spec"]["template"]["spec"]
    [container] = spec["containers"]
    assert chart.variable(container, "REFLOW_TRACING_CONFIG_FILE")["value"] == FILE
    [mount] = [mount for mount in container["volumeMounts"] if FILE.startswith(mount["mountPath"] + "/")]
    [volume] = [volume for volume in spec["volumes"] if volume["name"] == mount["name"]]
    data = objects.named("ConfigMap", volume["configMap"]["name"])["data"]
    return data[FILE.removeprefix(mount["mountPath"] + "/")]


def config_of(objects, part):
    return tomllib.loads(file_of(objects, part))
