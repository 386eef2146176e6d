"""What the chart takes for granted of the images holds for those that deploy/Dockerfile makes."""

import json
import re

import pytest

from chart import COMPONENTS, ROOT, loaded, rendered
from executables import PROGRAMS


def stages():
    """Build stages by name: the instructions of each, with those of the stages that it is built on."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found, current = {}, None
    for line in text.splitlines():
        if start := re.match(r"FROM (\S+) AS (\S+)", line):
            current = found.setdefault(start.group(2), list(found.get(start.group(1), [])))
        elif current is not None and line.strip():
            current.append(line.strip())
    return found


def last(instructions, name):
    return [line.split(None, 1)[1] for line in instructions if line.startswith(f"{name} ")][-1]


@pytest.mark.parametrize("part", COMPONENTS)
def test_arguments_reach_the_program_and_the_user_is_the_charts(part):
    image = stages()[part]
    # `args` of a container follow the entrypoint, in place of CMD.
    assert json.loads(last(image, "ENTRYPOINT"))[-1].endswith(f"/{PROGRAMS[part]}")
    assert not [line for line in image if line.startswith("CMD ")]
    user, group = last(image, "USER").split(":")
    security = loaded().values["security"]
    assert (int(user), int(group)) == (security["runAsUser"], security["runAsGroup"])


@pytest.mark.parametrize("part", COMPONENTS)
def test_no_variable_of_an_image_goes_before_the_chart(part):
    """An image's variables go before a file: what one sets, the pod sets as well, or it says the same as the file."""
    variables = dict(
        pair.split("=", 1)
        for line in stages()[part]
        if line.startswith("ENV ")
        for pair in line.split(None, 1)[1].split()
    )
    ours = {name: value for name, value in variables.items() if name.startswith("REFLOW_TRACING_")}
    [container] = rendered("sqlite").one("Deployment", part)["spec"]["template"]["spec"]["containers"]
    set_here = {entry["name"] for entry in container["env"]}
    file = {"REFLOW_TRACING_SQLITE_PATH": "/data/traces.db"}
    assert {name: value for name, value in ours.items() if name not in set_here}.items() <= file.items()
    assert "REFLOW_TRACING_HOST" in set_here
