"""A release whose pods run as processes: what of the objects becomes which process, with which files and addresses."""

import base64
import os
import shutil
import subprocess
import urllib.error
import urllib.request

from chart import COMPONENTS, NAMESPACE, render, selected
from executables import environment, program
from processes import Ports, Process, eventually, rewrite, server_program
from settings import FILE, file_of


class Release:
    def __init__(self, folder, values):
        self.objects, self.folder, self.ports, self.running = render(values), folder, Ports(), {}

    def secret(self, name, key):
        return base64.b64decode(self.objects.named("Secret", name)["data"][key]).decode()

    def resolve(self, host, port):
        """A Service's name and port, or a pod's of a StatefulSet, to a port of this machine."""
        host = host.removesuffix(f".{NAMESPACE}.svc")
        pod, _, rest = host.partition(".")
        for service in self.objects.of("Service"):
            name = service["metadata"]["name"]
            if name not in (host, rest):
                continue
            [entry] = [entry for entry in service["spec"]["ports"] if entry["port"] == port]
            [(thing, template)] = selected(self.objects, service["spec"]["selector"])
            numbers = {p["name"]: p["containerPort"] for c in template["spec"]["containers"] for p in c["ports"]}
            first = f"{thing['metadata']['name']}-0" if thing["kind"] == "StatefulSet" else thing["metadata"]["name"]
            return self.ports.of(pod if name == rest else first, numbers[entry["targetPort"]])
        return None

    def environment(self, container, pod):
        variables = environment(container, self.secret)
        return {key: pod if value == "pod-0" else rewrite(value, self.resolve) for key, value in variables.items()}

    def start(self, name, command, variables, user=None):
        self.running[name] = Process(command, variables, self.folder, name, user)
        return self.running[name]

    def nats(self):
        servers = self.objects.one("StatefulSet", "nats")
        [container] = servers["spec"]["template"]["spec"]["containers"]
        assert container["args"][0] == "nats-server"
        conf = self.objects.one("ConfigMap", "nats")["data"]["nats.conf"]
        for index in range(servers["spec"]["replicas"]):
            pod = f"{servers['metadata']['name']}-{index}"
            own = self.folder / pod
            own.mkdir()
            text = conf.replace("/run/nats/", f"{own}/").replace("store_dir: /data", f"store_dir: {own}/data")
            for port in container["ports"]:
                number, here = port["containerPort"], self.ports.of(pod, port["containerPort"])
                assert text.count(f"port: {number}") == 1
                text = text.replace(f"port: {number}", f"port: {here}")
            (own / "nats.conf").write_text(f"host: 127.0.0.1\n{text}")
            arguments = [argument.replace("/etc/nats", str(own)) for argument in container["args"][1:]]
            checked = subprocess.run(
                [server_program("nats-server"), *arguments, "-t"],
                env=self.environment(container, pod),
                capture_output=True,
                text=True,
                check=False,
            )
            assert checked.returncode == 0, checked.stderr
            self.start(pod, [server_program("nats-server"), *arguments], self.environment(container, pod))
        return [f"{servers['metadata']['name']}-{index}" for index in range(servers["spec"]["replicas"])], container

    def postgres(self):
        server = self.objects.one("StatefulSet", "postgres")
        [container] = server["spec"]["template"]["spec"]["containers"]
        pod = f"{server['metadata']['name']}-0"
        variables, port = self.environment(container, pod), self.ports.of(pod, 5432)
        own = self.folder / pod
        own.mkdir()
        user = "postgres" if os.getuid() == 0 else None
        if user:
            shutil.chown(own, user, user)
        # What the image's entrypoint does with its variables.
        (own / "password").write_text(variables["POSTGRES_PASSWORD"])
        initdb = [
            server_program("initdb"),
            "-D",
            own / "data",
            "-U",
            variables["POSTGRES_USER"],
            "--auth-host=scram-sha-256",
            f"--pwfile={own}/password",
            "--no-sync",
        ]
        done = subprocess.run(initdb, user=user, capture_output=True, text=True, check=False, cwd=own)
        assert done.returncode == 0, done.stderr
        command = [
            server_program("postgres"),
            "-D",
            own / "data",
            "-c",
            "unix_socket_directories=",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            *container["args"],
        ]
        self.start(pod, command, {"LC_ALL": "C"}, user)
        login = {"PGPASSWORD": variables["POSTGRES_PASSWORD"], "PATH": os.environ["PATH"]}
        sql = [
            server_program("psql"),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            variables["POSTGRES_USER"],
            "-d",
            "template1",
            "-tAc",
        ]
        create = lambda: subprocess.run(
            [*sql, f"CREATE DATABASE {variables['POSTGRES_DB']}"], env=login, capture_output=True, check=False
        )
        eventually(
            lambda: self.running[pod].expect_running() and create().returncode == 0, "Postgres takes connections"
        )
        shown = subprocess.run([*sql, "SHOW max_connections"], env=login, capture_output=True, text=True, check=True)
        assert shown.stdout.strip() == "200"

    def to_end(self, part, container, arguments):
        command = [program(part), *(rewrite(argument, self.resolve) for argument in arguments)]
        return subprocess.run(
            command, env=self.environment(container, part), capture_output=True, text=True, timeout=120, check=False
        )

    def service(self, part):
        deployment = self.objects.one("Deployment", part)
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        pod = deployment["metadata"]["name"]
        text = file_of(self.objects, part)
        for port in container["ports"]:
            assert text.count(f"\nport = {port['containerPort']}") == 1
            text = text.replace(
                f"\nport = {port['containerPort']}", f"\nport = {self.ports.of(pod, port['containerPort'])}"
            )
        if part == "writer":  # Its file has a port that it does not listen on.
            text = text.replace("\nport = 8080", "\nport = 1")
        for mount in container["volumeMounts"]:
            if "configMap" not in next(
                v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == mount["name"]
            ):
                volume = self.folder / mount["name"]
                volume.mkdir(exist_ok=True)
                text = text.replace(f'"{mount["mountPath"]}/', f'"{volume}/')
        file = self.folder / f"{part}.toml"
        file.write_text(text)
        variables = self.environment(container, pod) | {"REFLOW_TRACING_HOST": "127.0.0.1"}
        assert variables["REFLOW_TRACING_CONFIG_FILE"] == FILE
        self.start(part, [program(part)], variables | {"REFLOW_TRACING_CONFIG_FILE": str(file)})
        return container

    def ask(self, pod, number, path):
        """The status of an HTTP answer, or None."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports.of(pod, number)}{path}", timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def probe(self, name, pod, container, kind):
        """Waits until a probe of a container succeeds."""
        get = container[kind]["httpGet"]
        [number] = [port["containerPort"] for port in container["ports"] if port["name"] == get["port"]]
        check = lambda: self.running[name].expect_running() and self.ask(pod, number, get["path"]) == 200
        eventually(check, f"{kind} of {name}", *self.running.values())

    def services(self):
        """Starts them all; each is ready before the next."""
        for part in COMPONENTS:
            container = self.service(part)
            pod = self.objects.one("Deployment", part)["metadata"]["name"]
            self.probe(part, pod, container, "livenessProbe")
            self.probe(part, pod, container, "readinessProbe")

    def end(self):
        for process in self.running.values():
            process.kill()
