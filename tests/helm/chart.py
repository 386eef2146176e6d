"""Renders the chart with the real Helm engine and finds things among what came out.

Nothing here knows the chart's templates: tests look only at objects, as a cluster would.
"""

import copy
import functools
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "reflow-tracing"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
COMPONENTS = ["collector", "writer", "query"]
NAMESPACE = "tracing"

# What a rule of the chart needs and a test does not care about.
EXTERNAL = {"bus": {"url": "nats://nats.example:4222"}, "store": {"postgres": {"url": "postgres://db.example/reflow"}}}


class UniqueKeys(yaml.SafeLoader):
    """YAML lets a key stand twice and keeps the last; for templates that is always a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice {node.start_mark}: {keys}"
        return super().construct_mapping(node, deep=deep)


@functools.cache
def loaded():
    return helm_python.Chart.load(CHART)


def case(name):
    """The values of ci/<name>-values.yaml."""
    return yaml.safe_load((CHART / "ci" / f"{name}-values.yaml").read_text())


def merged(base, over):
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else copy.deepcopy(value)
    return result


def texts(values, chart=None, **options):
    """What the templates give: path -> text."""
    options = {"name": "reflow", "namespace": NAMESPACE, **options}
    return (chart or loaded()).render(values, **options)


def render(values, chart=None, **options):
    """The objects that values make, in a list with a few ways to find them."""
    found = Objects()
    for path, text in sorted(texts(values, chart, **options).items()):
        if path.endswith(".yaml"):
            found += [document for document in yaml.load_all(text, UniqueKeys) if document is not None]
    return found


@functools.cache
def rendered(name):
    """The objects of a file in ci/. Shared by the tests, which only look."""
    return render(case(name))


class Objects(list):
    def of(self, *kinds):
        return Objects(thing for thing in self if thing["kind"] in kinds)

    def component(self, name):
        return Objects(thing for thing in self if thing["metadata"]["labels"]["app.kubernetes.io/component"] == name)

    def one(self, kind, component=None):
        found = self.of(kind) if component is None else self.of(kind).component(component)
        assert len(found) == 1, f"{len(found)} of {kind} {component or ''}"
        return found[0]

    def named(self, kind, name):
        found = [thing for thing in self.of(kind) if thing["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} of {kind} {name}"
        return found[0]


def pods(objects):
    """(object, pod) for everything that makes pods; a pod has metadata and spec."""
    for thing in objects:
        if thing["kind"] in ("Deployment", "StatefulSet", "Job"):
            yield thing, thing["spec"]["template"]
        elif thing["kind"] == "Pod":
            yield thing, thing


def containers(objects):
    for thing, pod in pods(objects):
        assert "ephemeralContainers" not in pod["spec"]
        for container in pod["spec"].get("initContainers", []) + pod["spec"]["containers"]:
            yield thing, pod, container


def selects(selector, labels):
    """Whether a label selector matches labels."""
    equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    assert not selector.get("matchExpressions"), "the chart needs none"
    return equal and bool(selector.get("matchLabels"))


def selected(objects, labels):
    """The (object, pod)s that plain labels, such as a Service's, select."""
    return [(thing, pod) for thing, pod in pods(objects) if selects({"matchLabels": labels}, pod["metadata"]["labels"])]


def secret_of(variable):
    """(Secret, key) of an environment variable that comes from a Secret, else None."""
    reference = variable.get("valueFrom", {}).get("secretKeyRef")
    return reference and (reference["name"], reference["key"])


def variable(container, name):
    found = [entry for entry in container.get("env", []) if entry["name"] == name]
    assert len(found) <= 1, f"{name} is set {len(found)} times"
    return found[0] if found else None
