"""Runs the agent as an injected pod would, with its volumes under one folder and ports of the test's choice."""

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from weft.inject.bootstrap import ProxyPorts
from weft.processes.agent import proxy, settings


def main() -> int:
    home = Path(sys.argv[1])
    paths = settings.Paths(
        proxy=home / "proxy",
        sockets=home / "uds",
        credentials=home / "credentials",
        certs=home / "certs",
        token=home / "token",
        root=home / "root.pem",
        pod=home / "pod",
    )
    ports = ProxyPorts(**json.loads(os.environ["PORTS"]))
    proxy._log_to_stderr()
    role: Any = os.environ.get("ROLE", "sidecar")
    read = settings.read(sys.argv[2:], os.environ, version="0.1.0", paths=paths, role=role)
    return asyncio.run(proxy.run(dataclasses.replace(read, ports=ports)))


if __name__ == "__main__":
    sys.exit(main())
