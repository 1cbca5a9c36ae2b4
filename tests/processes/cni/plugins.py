"""The plugin's programs, run as containerd runs them: environment and standard input, in a moment."""

import asyncio
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Json = dict[str, Any]

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
BEFORE: Json = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "eth0", "sandbox": "/run/netns/é"}],
    "ips": [{"address": "10.1.2.3/24", "interface": 0}],
    "dns": {},
}
"""The result of the plugin before."""


@dataclass(frozen=True)
class Answer:
    """What the runtime gets."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Json:
        found: Json = json.loads(self.out)
        return found

    @property
    def error(self) -> int:
        """The code of the CNI error, 0 where there is none."""
        if self.code == 0:
            return 0
        assert set(self.json) - {"details"} == {"cniVersion", "code", "msg"}, self
        assert self.json["cniVersion"] in VERSIONS
        return int(self.json["code"])


async def call(
    program: Path, verb: str, config: Json | bytes, path: str = "/opt/cni/bin", **variables: str
) -> Answer:
    """Run a program as a runtime does, with CNI variables by the rest of their names."""
    environment = {"PATH": "/usr/bin", "CNI_COMMAND": verb, "CNI_PATH": path}
    environment |= {f"CNI_{name}": value for name, value in variables.items()}
    text = config if isinstance(config, bytes) else json.dumps(config, ensure_ascii=False).encode()
    process = await asyncio.create_subprocess_exec(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in environment.items() if value},
        cwd="/",
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate(text)
    return Answer(process.returncode or 0, out, err.decode())


def attachment(namespace: str, name: str, *, netns: str = "/nowhere", uid: str = "") -> dict[str, str]:
    """The variables of one pod's attachment, as containerd writes them."""
    args = f"IgnoreUnknown=1;K8S_POD_INFRA_CONTAINER_ID=ab;K8S_POD_NAME={name};K8S_POD_NAMESPACE={namespace}"
    identified = f"K8S_POD_UID={uid};{args}" if uid else args
    return {"CONTAINERID": "ab12", "NETNS": netns, "IFNAME": "eth0", "ARGS": identified}
