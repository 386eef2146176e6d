"""The pods of a release run as processes, exactly as rendered: NATS as a cluster of three, Postgres, the migration, the services,
and at last the pod of `helm test`, whose batch goes through all of them.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from chart import COMPONENTS, case, merged
from executables import program
from processes import eventually, server_program
from release import Release

VALUES = {
    "nats": {"enabled": True},
    "postgres": {"enabled": True},
    # The disks of this machine need not hold what a cluster's would.
    "config": {"bus": {"nats": {"stream_max_bytes": 64 << 20, "dead_max_bytes": 16 << 20}}},
}


@pytest.fixture
def release(request):
    with tempfile.TemporaryDirectory(prefix="helm-", ignore_cleanup_errors=True) as folder:
        # As root, Postgres runs as another user and must get through to its own folder.
        Path(folder).chmod(0o711)
        release = Release(Path(folder), getattr(request, "param", VALUES))
        yield release
        release.end()


def test_a_release_takes_a_batch_and_gives_it_back(release):
    servers, nats = release.nats()
    release.postgres()
    for server in servers:
        release.probe(server, server, nats, "startupProbe")
        release.probe(server, server, nats, "readinessProbe")

    job = release.objects.one("Job")["spec"]["template"]["spec"]["containers"][0]
    migrated = release.to_end("migrate", job, job["args"])
    assert migrated.returncode == 0 and "migrations applied" in migrated.stdout, migrated.stderr

    release.services()
    test = release.objects.one("Pod")["spec"]["containers"][0]
    done = release.to_end("collector", test, test["args"])
    assert done.returncode == 0 and "10 events acked" in done.stdout, done.stderr

    # One server goes as preStop lets it, and nothing is lost: two of three are left.
    stop = nats["lifecycle"]["preStop"]["exec"]["command"]
    assert stop[0] == "nats-server"
    own = release.folder / servers[2]
    told = subprocess.run(
        [server_program("nats-server"), *(word.replace("/run/nats", str(own)) for word in stop[1:])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    eventually(lambda: "lame duck" in release.running[servers[2]].text(), "the server enters lame duck mode")
    release.running[servers[2]].kill()
    done = release.to_end("collector", test, test["args"])
    assert done.returncode == 0, done.stderr

    for part in COMPONENTS:
        assert release.running[part].stop() == 0, release.running[part].text()[-2000:]


@pytest.mark.parametrize(
    "release", [merged(case("sqlite"), {"config": VALUES["config"]})], ids=["sqlite"], indirect=True
)
def test_a_release_over_a_file_takes_a_batch_and_gives_it_back(release):
    [server], nats = release.nats()
    release.probe(server, server, nats, "readinessProbe")
    release.services()
    test = release.objects.one("Pod")["spec"]["containers"][0]
    done = release.to_end("collector", test, test["args"])
    assert done.returncode == 0 and "10 events acked" in done.stdout, done.stderr
    assert (release.folder / "data" / "traces.db").stat().st_size > 0
    for part in COMPONENTS:
        assert release.running[part].stop() == 0, release.running[part].text()[-2000:]


def test_nobody_joins_or_uses_nats_without_its_password(release):
    [server, *_], nats = release.nats()
    release.probe(server, server, nats, "startupProbe")
    conf = release.folder / "intruder.conf"
    conf.write_text(
        f"host: 127.0.0.1\nport: -1\nserver_name: intruder\n"
        f"cluster {{ name: {release.objects.one('StatefulSet', 'nats')['metadata']['name']}, host: 127.0.0.1, port: -1, "
        f"routes: [nats-route://127.0.0.1:{release.ports.of(server, 6222)}] }}\n"
    )
    intruder = release.start("intruder", [server_program("nats-server"), "-c", conf], {})
    refused = lambda: (
        intruder.expect_running()
        and re.search(r"rid:\d+.* authentication", release.running[server].text(), re.IGNORECASE)
    )
    eventually(refused, "the intruder is refused", intruder, release.running[server])
    collector = [program("collector"), "--set", "metrics.enabled=false", "--port", "0"]
    url = f"nats://127.0.0.1:{release.ports.of(server, 4222)}"
    stranger = release.start("stranger", collector, {"REFLOW_TRACING_NATS_URL": url})
    eventually(lambda: "authorization violation" in stranger.text().lower(), "the stranger is refused", stranger)
