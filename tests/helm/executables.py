"""Our real executables: in REFLOW_TEST_BIN_DIR, which tests/run.sh sets, else where cargo puts them."""

import os
import subprocess
from pathlib import Path

from chart import ROOT, secret_of

PROGRAMS = {
    "collector": "reflow-collector",
    "writer": "reflow-writer",
    "query": "reflow-query",
    "migrate": "reflow-writer",
}


def program(part):
    folder = (
        os.environ.get("REFLOW_TEST_BIN_DIR") or Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
    )
    file = Path(folder) / PROGRAMS[part]
    assert file.is_file(), f"{file} is missing: cargo build --workspace --bins"
    return file


def environment(container, secrets):
    """A container's variables. `secrets` gives a value for (Secret, key)."""
    result = {}
    for variable in container.get("env", []):
        value = secrets(*secret_of(variable)) if secret_of(variable) else variable.get("value")
        if value is None:
            assert variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
            value = "pod-0"
        # $(NAME) stands for a variable before it.
        for name, before in result.items():
            value = value.replace(f"$({name})", before)
        result[variable["name"]] = value
    return result


def run(part, arguments, variables):
    """Runs a program to its end, with these variables and no others."""
    command = [program(part), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
