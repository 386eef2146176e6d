"""Runs the chart's pods as processes: their programs, arguments, environment and files, with addresses changed to loopback.

What a cluster would do for them is done here from the same objects: a name is a Service's, which selects pods, whose containers
have ports; each such port is a free one of this machine. `eventually` waits, nothing sleeps for a fixed time.
"""

import ctypes
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PATIENCE = 60


def eventually(check, what, *running):
    """Calls `check` until it gives something true, and gives that. What is `running` shows its log if it never does."""
    end = time.monotonic() + PATIENCE
    while True:
        if found := check():
            return found
        logs = "".join(f"\n--- {process.name}\n{process.text()[-2000:]}" for process in running)
        assert time.monotonic() < end, f"{what}: not within {PATIENCE} s{logs}"
        time.sleep(0.05)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def server_program(name):
    """A server of Debian's packages."""
    places = [*os.environ["PATH"].split(":"), "/usr/sbin", *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which(name, path=":".join(places))
    assert found, f"{name} is missing: tests/run.sh installs it"
    return found


def end_with_us():
    """In the child: the kernel kills it when this process ends, however that happens."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class Process:
    """A program that runs, with its log in a file."""

    def __init__(self, command, environment, folder, name, user=None):
        self.name, self.log = name, folder / f"{name}.log"
        marks = {key: os.environ[key] for key in ("REFLOW_TEST_RUN",) if key in os.environ}
        with self.log.open("ab") as log:
            self.child = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], **marks, **environment},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=end_with_us,
                user=user,
                group=user and pwd.getpwnam(user).pw_gid,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def expect_running(self):
        assert self.child.poll() is None, f"{self.name} ended with {self.child.returncode}:\n{self.text()[-3000:]}"
        return True

    def stop(self):
        """SIGTERM, and the exit code."""
        if self.child.poll() is None:
            self.child.terminate()
        try:
            return self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            raise

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


class Ports:
    """Which port of this machine stands for (pod, container's port)."""

    def __init__(self):
        self.known = {}

    def of(self, pod, number):
        return self.known.setdefault((pod, number), free_port())


def rewrite(text, resolve):
    """Replaces every `host:port` that `resolve` knows."""

    def change(found):
        port = resolve(found.group(1), int(found.group(2)))
        return f"127.0.0.1:{port}" if port else found.group(0)

    return re.sub(r"(?<![\w.-])([a-z][a-z0-9.-]*):(\d+)", change, text)
