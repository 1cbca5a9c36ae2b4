"""The cluster's own authority, and a certificate for each that speaks: made once, kept in HOME/pki."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization

from weft.adapters import clock, files, keys
from weft.cluster.machine.layout import CLUSTER_DOMAIN, Layout, Node
from weft.pki import authority, pem
from weft.pki.authority import Authority
from weft.pki.pem import PrivateKey

NETWORK_GROUP = "weft:network"
"""Who may read what network policies are about, by the role of that name."""

LIFETIME = timedelta(days=3650)
"""A cluster on one machine has nobody who renews its certificates."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What certificates need from outside: the time, new keys and serial numbers."""

    now: Callable[[], datetime] = clock.now
    key: Callable[[], PrivateKey] = keys.new_key
    serial: Callable[[], int] = keys.new_serial


def ensure(layout: Layout, chance: Chance | None = None) -> None:
    """Make what is missing: the authority, certificates and kubeconfigs. What is there stays as it is."""
    chance = chance or Chance()
    layout.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout.pki.mkdir(exist_ok=True, mode=0o700)
    ca = _authority(layout, chance)
    _signing_pair(layout, chance)
    _pair(layout.pki / "apiserver", lambda key: _api_server(layout, ca, key, chance), chance)
    client_groups = ("system:masters",)
    _client(layout.pki / "admin", ca, "kubernetes-admin", client_groups, chance)
    _client(layout.pki / "apiserver-client", ca, "kube-apiserver-kubelet-client", client_groups, chance)
    _kubeconfig(layout.kubeconfig, layout.server, layout, layout.pki / "admin", "weft-admin")
    for node in layout.nodes:
        node.home.mkdir(parents=True, exist_ok=True)
        _pair(node.home / "kubelet", partial(_node, ca, node, chance=chance), chance)
        _kubeconfig(
            node.home / "kubeconfig", layout.lan_server, layout, node.home / "kubelet", f"system:node:{node.name}"
        )
        # network policies need all pods' addresses, which a kubelet does not see
        watcher = f"weft-network:{node.name}"
        _client(node.network, ca, watcher, (NETWORK_GROUP,), chance)
        _kubeconfig(node.network_kubeconfig, layout.lan_server, layout, node.network, watcher)


def _authority(layout: Layout, chance: Chance) -> Authority:
    cert, key = layout.pki / "ca.crt", layout.pki / "ca.key"
    if cert.exists() and key.exists():
        return authority.load(cert.read_text(), key.read_text())
    made = authority.self_signed(
        chance.key(),
        organization="weft",
        common_name="kubernetes",
        now=chance.now(),
        serial=chance.serial(),
        lifetime=LIFETIME,
    )
    files.write(key, pem.key(made.key), mode=0o600)
    files.write(cert, pem.certificate(made.certificate))
    return made


def _signing_pair(layout: Layout, chance: Chance) -> None:
    """The key that signs service accounts' tokens, and its public half."""
    private, public = layout.pki / "sa.key", layout.pki / "sa.pub"
    if private.exists() and public.exists():
        return
    key = chance.key()
    encoded = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    files.write(private, pem.key(key), mode=0o600)
    files.write(public, encoded.decode())


def _pair(stem: Path, issue: Callable[[PrivateKey], str], chance: Chance) -> None:
    cert, key = stem.with_suffix(".crt"), stem.with_suffix(".key")
    if cert.exists() and key.exists():
        return
    private = chance.key()
    files.write(key, pem.key(private), mode=0o600)
    files.write(cert, issue(private))


def _client(stem: Path, ca: Authority, name: str, groups: tuple[str, ...], chance: Chance) -> None:
    def issue(key: PrivateKey) -> str:
        return pem.certificate(
            authority.issue_client(
                ca,
                key.public_key(),
                common_name=name,
                organizations=groups,
                now=chance.now(),
                serial=chance.serial(),
                lifetime=LIFETIME,
            )
        )

    _pair(stem, issue, chance)


def _api_server(layout: Layout, ca: Authority, key: PrivateKey, chance: Chance) -> str:
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    return pem.certificate(
        authority.issue_server(
            ca,
            key.public_key(),
            names=("localhost", *service, f"kubernetes.default.svc.{CLUSTER_DOMAIN}"),
            addresses=("127.0.0.1", str(layout.machine_ip), str(layout.api_service_ip)),
            now=chance.now(),
            serial=chance.serial(),
            lifetime=LIFETIME,
            common_name="kube-apiserver",
        )
    )


def _node(ca: Authority, node: Node, key: PrivateKey, *, chance: Chance) -> str:
    return pem.certificate(
        authority.issue_server(
            ca,
            key.public_key(),
            names=(node.name,),
            addresses=(str(node.ip),),
            now=chance.now(),
            serial=chance.serial(),
            lifetime=LIFETIME,
            common_name=f"system:node:{node.name}",
            organizations=("system:nodes",),
            also_client=True,
        )
    )


def _kubeconfig(path: Path, server: str, layout: Layout, stem: Path, user: str) -> None:
    content = yaml.safe_dump(
        kubeconfig(
            server,
            ca=(layout.pki / "ca.crt").read_text(),
            cert=stem.with_suffix(".crt").read_text(),
            key=stem.with_suffix(".key").read_text(),
            user=user,
        ),
        sort_keys=False,
    )
    if files.read(path) != content:
        files.write(path, content, mode=0o600)


def kubeconfig(server: str, *, ca: str, cert: str, key: str, user: str) -> dict[str, Any]:
    """A kubeconfig with everything in it (PEM texts in), whose only context is `weft`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "weft", "cluster": {"server": server, "certificate-authority-data": _base64(ca)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _base64(cert), "client-key-data": _base64(key)},
            }
        ],
        "contexts": [{"name": "weft", "context": {"cluster": "weft", "user": user}}],
        "current-context": "weft",
    }


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
