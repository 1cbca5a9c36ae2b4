"""How to reach an API server: from a kubeconfig file, or from inside a pod."""

import base64
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class AccessError(Exception):
    """A kubeconfig that cannot be used; the message names the file and the way out."""


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and who we are to it. PEM texts; `token_file` is read again for each connection."""

    server: str
    ca: str = ""
    client_cert: str = ""
    client_key: str = ""
    token: str = ""
    token_file: Path | None = None
    namespace: str = "default"

    def bearer(self) -> str:
        """The token to send, empty where a client certificate speaks for us."""
        return self.token_file.read_text(encoding="utf-8").strip() if self.token_file else self.token

    def ssl_context(self) -> ssl.SSLContext:
        """Trust exactly this server's authority, and show our certificate if we have one."""
        context = ssl.create_default_context(cadata=self.ca or None)
        # Python 3.13 asks of certificates what the authorities of some clusters do not write
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.client_cert:
            _load_pair(context, self.client_cert, self.client_key)
        return context

    @classmethod
    def from_kubeconfig(cls, path: Path, context: str = "") -> "Access":
        """Read the current (or named) context of a kubeconfig file."""
        try:
            config = yaml.safe_load(path.read_text())
            chosen = context or config["current-context"]
            entry = _named(config["contexts"], chosen)["context"]
            cluster = _named(config["clusters"], entry["cluster"])["cluster"]
            user = _named(config["users"], entry["user"])["user"]
            return cls(
                server=cluster["server"].rstrip("/"),
                ca=_pem(cluster, "certificate-authority", path),
                client_cert=_pem(user, "client-certificate", path),
                client_key=_pem(user, "client-key", path),
                token=user.get("token", ""),
                token_file=Path(user["tokenFile"]) if user.get("tokenFile") else None,
                namespace=entry.get("namespace", "default"),
            )
        except FileNotFoundError as error:
            raise AccessError(f"{path}: no such file. Start one with `weft up`, or set KUBECONFIG.") from error
        except (KeyError, TypeError, AttributeError, ValueError, yaml.YAMLError) as error:
            raise AccessError(f"{path}: not a usable kubeconfig ({error}). See `kubectl config view`.") from error

    @classmethod
    def in_cluster(cls, host: str, port: str) -> "Access":
        """From inside a pod, given KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT."""
        return cls(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            ca=(_SERVICE_ACCOUNT / "ca.crt").read_text(),
            token_file=_SERVICE_ACCOUNT / "token",
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
        )


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    for entry in entries:
        if entry["name"] == name:
            return entry
    raise KeyError(name)


def _pem(entry: dict[str, Any], key: str, kubeconfig: Path) -> str:
    if data := entry.get(f"{key}-data"):
        return base64.b64decode(str(data)).decode()
    if name := entry.get(key):
        return (kubeconfig.parent / str(name)).read_text()
    return ""


def _load_pair(context: ssl.SSLContext, cert: str, key: str) -> None:
    # the ssl module reads keys from files only; memory-backed ones leave nothing behind
    import os

    descriptor = os.memfd_create("weft-client")
    try:
        os.write(descriptor, f"{cert}\n{key}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
