"""A cluster on a machine of its own: a network namespace without a way out."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).parents[2]
KUBECTLS = {name: ROOT / ".tools" / f"kubectl-{name}" / "kubectl" for name in ("newest", "1.32", "1.20")}
T = TypeVar("T")


def run(*command: str | Path, text: str | None = None, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command], input=text, capture_output=True, text=True, timeout=seconds, check=False
    )


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and how to talk to it as a user would."""

    home: Path
    namespace: str

    def inside(self, *command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the cluster's machine."""
        return run("nsenter", f"--net=/run/netns/{self.namespace}", *command, **more)

    def weft(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        environment = f"KUBECONFIG={self.home / 'kubeconfig'}"
        return self.inside(
            "env", environment, f"WEFT_HOME={self.home}", sys.executable, "-m", "weft", *words, **more
        )

    def try_kubectl(self, *words: str, version: str = "newest", **more: Any) -> subprocess.CompletedProcess[str]:
        # what kubectl has learned of another cluster at the same address is not true of this one
        cache = self.home.with_name(f"{self.home.name}-kubectl")
        own = ("--kubeconfig", self.home / "kubeconfig", "--cache-dir", cache)
        return self.inside(KUBECTLS[version], *own, *words, **more)

    def kubectl(self, *words: str, version: str = "newest", **more: Any) -> str:
        done = self.try_kubectl(*words, version=version, **more)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def apply(self, namespace: str, *manifests: str) -> str:
        return self.kubectl("apply", "-n", namespace, "-f", "-", text="\n---\n".join(manifests))

    def objects(self, kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        words = ["get", kind, "-n", namespace, "-o", "json", *(["-l", selector] if selector else [])]
        items: list[dict[str, Any]] = json.loads(self.kubectl(*words))["items"]
        return items

    def pod(self, namespace: str, app: str) -> str:
        """The name of the one live pod with that app label."""
        pods = [
            pod["metadata"]["name"]
            for pod in self.objects("pods", namespace, f"app={app}")
            if not pod["metadata"].get("deletionTimestamp")
        ]
        assert len(pods) == 1, pods
        return str(pods[0])

    def roll_out(self, namespace: str, *deployments: str) -> None:
        for name in deployments:
            self.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=90s", seconds=100)

    def shell(self, namespace: str, deployment: str, script: str, **more: Any) -> str:
        """What a script prints in the first container of a deployment's pod."""
        return self.kubectl("exec", "-n", namespace, f"deploy/{deployment}", "--", "sh", "-c", script, **more)

    def injected(self, name: str) -> str:
        """A new namespace whose pods get sidecars."""
        self.kubectl("create", "ns", name)
        self.kubectl("label", "ns", name, "istio-injection=enabled")
        return name


def eventually(check: Callable[[], T], *, seconds: float = 30) -> T:
    """The first truthy answer of `check`, or its last failure after that many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            if answer := check():
                return answer
            trouble: AssertionError = AssertionError("it never came true")
        except AssertionError as error:
            trouble = error
        if time.monotonic() > end:
            raise trouble
        time.sleep(0.1)


def leftovers(home: Path) -> list[str]:
    """Whatever on the machine still bears the cluster's name: the home's path or the ID made of it."""
    name = hashlib.sha256(str(home).encode()).hexdigest()[:6]
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line or f"{home}/" in line]
    for listing in (("ip", "netns", "list"), ("ip", "-o", "link"), ("nft", "list", "tables")):
        found += [line for line in run(*listing).stdout.splitlines() if name in line]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/*{name}*")]
    found += [str(path) for path in Path("/run/weft").glob(f"*{name}*")]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended between the look and the read
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{home} " in f"{command} " or f"/{name}/" in command:
                found.append(command)
    return found


@contextmanager
def machine(name: str) -> Iterator[str]:
    """A network namespace with loopback and nothing else, for a cluster to live on."""
    assert os.geteuid() == 0, "network namespaces need root"
    namespace = f"{name}-{os.getpid()}"
    assert run("ip", "netns", "add", namespace).returncode == 0
    try:
        assert run("nsenter", f"--net=/run/netns/{namespace}", "ip", "link", "set", "lo", "up").returncode == 0
        yield namespace
    finally:
        run("ip", "netns", "delete", namespace)


def logs(home: Path) -> str:
    """The ends of a cluster's logs, for the report of a failure."""
    return "\n".join(f"== {path.name}\n{path.read_text()[-2000:]}" for path in (home / "log").glob("*.log"))
