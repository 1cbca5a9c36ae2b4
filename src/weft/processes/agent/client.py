"""The verbs that talk to the sidecar of this pod and end: `request` and `wait`."""

import http.client
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

_ADMIN_PORT = 15000
_STATUS_PORT = 15020


def request(method: str, path: str, environment: Mapping[str, str] = os.environ) -> int:
    """Send one request to Envoy's admin interface and print the body. 1 when there is no good answer."""
    own = _config(environment).get("proxyAdminPort") or _ADMIN_PORT
    return send(int(environment.get("ENVOY_ADMIN_PORT", own)), method, path)


def send(port: int, method: str, path: str) -> int:
    """Send one request to a port of this pod and print the body. 1 when there is no good answer."""
    try:
        status, body = _exchange(port, method, path)
    except OSError as error:
        sys.stderr.write(f"weft: nothing answers on 127.0.0.1:{port}: {error}\n")
        return 1
    sys.stdout.buffer.write(body)
    sys.stdout.flush()
    if status >= 400:
        sys.stderr.write(f"weft: 127.0.0.1:{port} answered {status} to {method} {path}\n")
        return 1
    return 0


def wait(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Return 0 once the sidecar is ready; 1 after `--timeoutSeconds` (60)."""
    seconds = 60.0
    for index, argument in enumerate(argv):
        name, _, value = argument.partition("=")
        if name == "--timeoutSeconds":
            seconds = float(value or argv[index + 1])
    port = int(_config(environment).get("statusPort") or _STATUS_PORT)
    deadline, last = time.monotonic() + seconds, "it was not asked"
    while time.monotonic() < deadline:
        try:
            status, body = _exchange(port, "GET", "/healthz/ready")
            if status == 200:
                return 0
            last = body.decode(errors="replace").strip()
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    sys.stderr.write(f"agent: the sidecar is not ready after {seconds:g} s: {last}\n")
    return 1


def _config(environment: Mapping[str, str]) -> Mapping[str, Any]:
    config: Mapping[str, Any] = json.loads(environment.get("PROXY_CONFIG") or "{}")
    return config


def _exchange(port: int, method: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise OSError(f"not HTTP: {error}") from error
    finally:
        connection.close()
