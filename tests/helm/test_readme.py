"""The commands of the chart's README and of deploy/README.md can be pasted: what they name is there, what they set is accepted."""

import re
import shlex

import helm_python
import pytest
import yaml

from chart import CHART, COMPONENTS, ROOT, case, merged, render
from test_images import stages

README = (CHART / "README.md").read_text()
OPERATORS = (ROOT / "deploy" / "README.md").read_text()


def commands(text=README):
    """Every command of a page's shell blocks, in words."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        block = re.sub(r"<<'EOF'\n.*?\nEOF\n", "\n", block, flags=re.DOTALL).replace("\\\n", " ")
        for line in block.splitlines():
            if line.strip():
                yield shlex.split(line, comments=True)


def installs(text=README):
    return [
        words
        for words in commands(text)
        if words[:1] == ["helm"] and "helm/reflow-tracing" in words and words[1] in ("install", "upgrade")
    ]


def values_of(words):
    values = {}
    for flag, argument in zip(words, words[1:], strict=False):
        if flag in ("-f", "--values") and argument == "my-values.yaml":
            values = merged(values, case("production"))
        elif flag in ("-f", "--values"):
            values = merged(values, yaml.safe_load((ROOT / argument).read_text()))
        elif flag == "--set":
            values = merged(values, helm_python.parse_set_string(argument))
    return values


@pytest.mark.parametrize("words", installs() + installs(OPERATORS), ids=lambda words: " ".join(words)[:60])
def test_installations_render(words):
    objects = render(values_of(words), name="reflow", namespace=words[words.index("--namespace") + 1])
    assert len(objects) > 15


def test_there_are_three_ways_to_install():
    assert len(installs()) == 3 and len(installs(OPERATORS)) >= 1


def test_the_way_to_autoscaling_scales_everything():
    [words] = [words for words in installs() if any("keda" in word for word in words)]
    objects = render(values_of(words))
    assert len(objects.of("HorizontalPodAutoscaler")) == 2 and objects.one("ScaledObject")
    assert len(objects.one("HorizontalPodAutoscaler", "collector")["spec"]["metrics"]) == 2
    # The adapter's rule in the README offers the metric that is asked for.
    assert "seriesQuery: 'reflow_session_connections{" in README


def test_services_that_are_named_are_made():
    pages = [*commands(), *commands(OPERATORS)]
    named = {word.removeprefix("service/") for words in pages for word in words if word.startswith("service/")}
    made = {thing["metadata"]["name"] for thing in render(case("minimal")).of("Service")}
    assert named and named <= made


def test_ports_that_are_forwarded_are_the_services():
    services = render(case("minimal"))
    for words in [*commands(), *commands(OPERATORS)]:
        if "port-forward" in words:
            [name] = [word.removeprefix("service/") for word in words if word.startswith("service/")]
            [ports] = [word for word in words if re.fullmatch(r"\d+:\d+", word)]
            offered = [entry["port"] for entry in services.named("Service", name)["spec"]["ports"]]
            assert int(ports.split(":")[1]) in offered, name


def built(text):
    """Tag by build target of the images that a page's loops build, and whether each is put where the cluster finds it."""
    images = {}
    for names, body in re.findall(r"^for service in ([a-z ]+); do\n(.*?)^done$", text, re.DOTALL | re.MULTILINE):
        assert "docker build --target $service " in body and ("kind load" in body or "docker push" in body)
        [tag] = set(re.findall(r"(\S*reflow-tracing-\$service:\S+)", body))
        images |= {name: tag.replace("$service", name) for name in names.split()}
    return images


@pytest.mark.parametrize(
    ("text", "registry"), [(README, "$REGISTRY"), (OPERATORS, "")], ids=["the chart's", "the operator's"]
)
def test_pages_build_the_images_that_the_chart_starts(text, registry):
    images = built(text)
    assert set(images) <= set(stages())
    objects = render(merged(case("minimal"), {"image": {"registry": registry}}))
    for part in COMPONENTS:
        [container] = objects.one("Deployment", part)["spec"]["template"]["spec"]["containers"]
        assert container["image"] == images[part]


def test_the_load_runs_in_an_image_that_is_built_and_goes_to_a_service_that_is_there():
    [run] = [words for words in commands(OPERATORS) if words[0] == "kubectl" and "run" in words]
    [image] = [word.removeprefix("--image=") for word in run if word.startswith("--image=")]
    assert image == built(OPERATORS)["demo"]
    program = run[run.index("--") + 1]
    [copied] = [line for line in stages()["demo"] if line.startswith("COPY --from=demo-build")]
    assert f"/out/{program.rsplit('/', 1)[1]}" in copied.split() and program.startswith(copied.split()[-1])
    host, port = run[run.index("--server-url") + 1].removeprefix("ws://").split(":")
    [words] = installs(OPERATORS)
    objects = render(values_of(words))
    assert int(port) in [entry["port"] for entry in objects.named("Service", host)["spec"]["ports"]]
    # In its namespace, where that name alone is enough.
    assert run[run.index("--namespace") + 1] == words[words.index("--namespace") + 1] == "tracing"


def test_the_autoscaler_that_is_watched_is_there_and_moves_at_what_one_machine_sends():
    [words] = installs(OPERATORS)
    objects = render(values_of(words))
    [watched] = [words[words.index("hpa") + 1] for words in commands(OPERATORS) if "hpa" in words and "--watch" in words]
    spec = objects.named("HorizontalPodAutoscaler", watched)["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
    [container] = objects.one("Deployment", "collector")["spec"]["template"]["spec"]["containers"]
    # Two pods at 70 % of it: 0.07 of a core, which is some hundred thousand events a second.
    assert container["resources"]["requests"]["cpu"] == "50m"
    assert spec["metrics"][0]["resource"]["target"]["averageUtilization"] == 70


def test_metrics_server_is_pinned_wherever_it_is_installed():
    applied = [word for words in commands(OPERATORS) for word in words if "metrics-server/releases" in word]
    assert applied and all(re.search(r"/download/v\d+\.\d+\.\d+/components\.yaml$", word) for word in applied)
    installed = [words for words in commands() if words[:2] == ["helm", "install"] and "metrics-server" in words]
    assert installed
    for words in installed:
        assert re.fullmatch(r"\d+\.\d+\.\d+", words[words.index("--version") + 1])


def test_secrets_that_are_to_be_made_are_those_that_are_used():
    [literals] = [words for words in commands() if "reflow-connections" in words]
    keys = {word.split("=")[1] for word in literals if word.startswith("--from-literal=")}
    store = case("production")["store"]["postgres"]["existingSecret"]
    assert store["name"] == "reflow-connections" and keys == {"nats-url", "postgres-url", "redis-url"}
    certificates = {words[words.index("tls") + 1] for words in commands() if "tls" in words}
    assert certificates == {case("production")[part]["ingress"]["tlsSecret"] for part in ("collector", "query")}


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (CHART / target).exists(), target


def test_what_is_installed_beside_it_is_pinned():
    charts = [words for words in commands() if words[:2] == ["helm", "install"] and "helm/reflow-tracing" not in words]
    assert {words[3].split("/")[1] for words in charts} == {
        "keda",
        "kube-prometheus-stack",
        "metrics-server",
        "prometheus-adapter",
    }
    for words in charts:
        assert re.fullmatch(r"\d+\.\d+\.\d+", words[words.index("--version") + 1]), words
    for words in commands(OPERATORS):
        if words[:2] == ["kubectl", "apply"] and "https:" in words[-1]:
            assert re.search(r"/v\d+\.\d+\.\d+/", words[-1]), words
