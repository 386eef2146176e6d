"""The commands of the chart's README and of deploy/README.md can be pasted: what they name is there, what they set is accepted."""

import re
import shlex

import helm_python
import pytest
import yaml

from chart import CHART, ROOT, case, merged, render

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
