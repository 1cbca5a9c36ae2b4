"""A user by certificate, as every guide makes one: request, approval, the real kubectl with what was signed."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.cluster.apiserver.conftest import home, kube, kubectl, server
from tests.cluster.apiserver.servers import Home, Kubectl

from weft.adapters import clock
from weft.adapters.kube.client import Kube
from weft.cluster import controllers
from weft.pki import pem, signers
from weft.pki.request import RefusedError

__all__ = ["home", "kube", "kubectl", "server"]  # fixtures


@pytest.fixture
async def controlled(kube: Kube, home: Home, tmp_path: Path, kubectl: Kubectl) -> AsyncIterator[Kubectl]:
    run = controllers.run(kube, clock=clock.now, volumes=tmp_path / "volumes", signing=home.signing)
    running = asyncio.create_task(run)
    yield kubectl
    running.cancel()
    await asyncio.wait([running])


def request(
    name: str, *groups: str, key: ec.EllipticCurvePrivateKey | None = None, names: tuple[str, ...] = ()
) -> bytes:
    parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]
    parts += [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in groups]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(parts))
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternatives, critical=False)
    made = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


def manifest(name: str, asked: bytes, signer: str = signers.CLIENT, usage: str = "client auth") -> str:
    spec = {"request": base64.b64encode(asked).decode(), "signerName": signer, "usages": [usage]}
    metadata = {"name": name}
    return yaml.safe_dump(
        {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": metadata,
            "spec": {**spec, "expirationSeconds": 86400, "username": "somebody-else"},
        }
    )


async def test_an_approved_user_works_with_the_certificate(controlled: Kubectl, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    await controlled("apply", "-f", "-", stdin=manifest("ada", request("ada", "devs", key=key)))
    shown = (await controlled("get", "csr", "ada")).out
    assert signers.CLIENT in shown
    assert "kubernetes-admin" in shown  # who asked is the server's to say
    assert "Pending" in shown
    await controlled("certificate", "approve", "ada")
    await controlled("wait", "--for=jsonpath={.status.certificate}", "csr/ada", "--timeout=20s")
    assert "Approved,Issued" in (await controlled("get", "csr", "ada")).out
    encoded = (await controlled("get", "csr", "ada", "-o", "jsonpath={.status.certificate}")).out
    (tmp_path / "ada.crt").write_bytes(base64.b64decode(encoded))
    (tmp_path / "ada.key").write_text(pem.key(key))
    files = [f"--client-certificate={tmp_path}/ada.crt", f"--client-key={tmp_path}/ada.key"]
    await controlled("config", "set-credentials", "ada", *files)
    await controlled("config", "set-context", "ada", "--cluster=t", "--user=ada")
    refused = await controlled("--context=ada", "get", "pods", ok=False)
    assert 'User "ada" cannot list resource "pods" in API group "" in the namespace "default"' in refused.err
    await controlled("create", "rolebinding", "devs", "--clusterrole=view", "--group=devs")
    assert "No resources found" in (await controlled("--context=ada", "get", "pods")).err
    who = (await controlled("--context=ada", "auth", "whoami")).out
    assert "[devs system:authenticated]" in who


async def test_what_a_signer_does_not_certify_fails_with_the_reason(controlled: Kubectl) -> None:
    asked = manifest("bad", request("bad"), usage="server auth")
    await controlled("apply", "-f", "-", stdin=asked)
    await controlled("certificate", "approve", "bad")
    await controlled("wait", "--for=condition=Failed", "csr/bad", "--timeout=20s")
    said = (await controlled("get", "csr", "bad", "-o", "jsonpath={.status.conditions[-1:].message}")).out
    assert said == "invalid usage for client certificate: server auth"


async def test_approval_and_denial_exclude_each_other(controlled: Kubectl) -> None:
    await controlled("apply", "-f", "-", stdin=manifest("no", request("no"), "example.com/mine"))
    await controlled("certificate", "deny", "no")
    assert "Denied" in (await controlled("get", "csr", "no")).out
    refused = await controlled("certificate", "approve", "no", ok=False)
    assert refused.code == 1
    patch = '{"status":{"conditions":[{"type":"Approved","status":"True","reason":"x"}]}}'
    args = ("patch", "csr", "no", "--type=merge", "-p", patch)
    removed = await controlled(*args, "--subresource=approval", ok=False)
    assert 'updates may not remove a condition of type "Denied"' in removed.err
    await controlled("apply", "-f", "-", stdin=manifest("own", request("own"), "example.com/mine"))
    added = await controlled("patch", "csr", "own", "--type=merge", "-p", patch, "--subresource=status", ok=False)
    assert 'status.conditions: Forbidden: updates may not add a condition of type "Approved"' in added.err


async def test_only_approvers_of_the_signer_approve_and_nobody_gets_masters(kubectl: Kubectl) -> None:
    refused = await kubectl("apply", "-f", "-", stdin=manifest("m", request("m", "system:masters")), ok=False)
    assert f"use of {signers.CLIENT} signer with system:masters group is not allowed" in refused.err
    await kubectl("apply", "-f", "-", stdin=manifest("x", request("x")))
    resources = "--resource=certificatesigningrequests,certificatesigningrequests/approval"
    await kubectl("create", "clusterrole", "half", "--verb=get,list,update", resources)
    await kubectl("create", "clusterrolebinding", "half", "--clusterrole=half", "--user=bob")
    refused = await kubectl("--as=bob", "certificate", "approve", "x", ok=False)
    assert f'user not permitted to approve requests with signerName "{signers.CLIENT}"' in refused.err
    role = "system:certificates.k8s.io:kube-apiserver-client-approver"
    await kubectl("create", "clusterrolebinding", "whole", f"--clusterrole={role}", "--user=bob")
    await kubectl("--as=bob", "certificate", "approve", "x")


async def test_a_malformed_request_is_refused_field_by_field(kubectl: Kubectl) -> None:
    refused = await kubectl("apply", "-f", "-", stdin=manifest("x", b"nothing", "plain"), ok=False)
    assert "PEM block type must be CERTIFICATE REQUEST" in refused.err
    assert 'spec.signerName: Invalid value: "plain": must be a fully qualified domain and path' in refused.err


@pytest.mark.parametrize(
    ("signer", "asked", "usages", "why"),
    [
        (
            signers.KUBELET_CLIENT,
            request("system:node:a", "system:nodes"),
            ["client auth", "digital signature"],
            "",
        ),
        (
            signers.KUBELET_CLIENT,
            request("a", "system:nodes"),
            ["client auth", "digital signature"],
            "common name",
        ),
        (signers.KUBELET_CLIENT, request("system:node:a"), ["client auth", "digital signature"], "organization"),
        (
            signers.KUBELET_CLIENT,
            request("system:node:a", "system:nodes", names=("a",)),
            ["client auth", "digital signature"],
            "DNS subjectAltNames are not allowed",
        ),
        (
            signers.KUBELET_SERVING,
            request("system:node:a", "system:nodes", names=("a",)),
            ["server auth", "digital signature", "key encipherment"],
            "",
        ),
        (
            signers.KUBELET_SERVING,
            request("system:node:a", "system:nodes"),
            ["server auth", "digital signature"],
            "DNS or IP subjectAltName is required",
        ),
        (signers.CLIENT, request("a"), ["digital signature"], "missing required usage"),
    ],
)
def test_each_signer_has_its_rules(signer: str, asked: bytes, usages: list[str], why: str) -> None:
    read = signers.read(asked)
    if why:
        with pytest.raises(RefusedError, match=why):
            signers.check(signer, read, usages)
    else:
        signers.check(signer, read, usages)
