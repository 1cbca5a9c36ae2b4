"""Certificates by a signer of the cluster: what istiod asks it for, and what it takes from it."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from tests.processes.controlplane.issuing import Mesh, mesh, root

from weft.adapters import clock, keys
from weft.adapters.kube.client import Kube
from weft.adapters.kube.kinds import CERTIFICATESIGNINGREQUESTS, kind_of
from weft.adapters.kube.reflector import Applied, Replaced
from weft.install.rights import rights
from weft.model.mesh_config import FurtherRoots, MeshConfig
from weft.pki import authority, identity, pem, request, signers
from weft.pki.authority import Authority
from weft.pki.identity import SpiffeId
from weft.pki.messages import CertificateRequest
from weft.processes.controlplane import registration_authority
from weft.processes.controlplane.bundles import bundle
from weft.processes.controlplane.registration_authority import RegistrationAuthority, Signers

WEB = SpiffeId("cluster.local", "shop", "web")
BANK = SpiffeId("cluster.local", "bank", "root")
SIGNER, OTHER, FORBIDDEN = "signers.example/mesh", "signers.example/other", "signers.example/forbidden"

Json = dict[str, Any]


@dataclass
class Controller:
    """Signs what is approved, as controllers of signers do. `answer` makes the status of a request."""

    signer: Authority
    below: tuple[x509.Certificate, ...] = ()
    seen: list[Json] = field(default_factory=list)
    answer: Callable[[Json], Json] | None = None

    async def run(self, kube: Kube) -> None:
        changes: Any = kube.reflect(CERTIFICATESIGNINGREQUESTS)
        async for change in changes:
            match change:
                case Replaced(objects):
                    new = objects
                case Applied(one):
                    new = (one,)
                case _:
                    new = ()
            for one in new:
                await self._look_at(kube, one)

    async def _look_at(self, kube: Kube, one: Json) -> None:
        status = one.get("status") or {}
        approved = any(each["type"] == "Approved" for each in status.get("conditions") or ())
        if not approved or status.get("certificate") or one["metadata"]["name"] in self._names():
            return
        self.seen.append(one)
        made = (self.answer or self.sign)(one)
        conditions = [*status["conditions"], *made.pop("conditions", [])]
        if made or len(conditions) > 1:
            # whoever asked may have given up meanwhile
            with contextlib.suppress(Exception):
                await kube.replace(
                    CERTIFICATESIGNINGREQUESTS,
                    one | {"status": status | made | {"conditions": conditions}},
                    subresource="status",
                )

    def _names(self) -> set[str]:
        return {each["metadata"]["name"] for each in self.seen}

    def sign(self, one: Json) -> Json:
        spec = one["spec"]
        asked = signers.read(base64.b64decode(spec["request"]))
        seconds, serial = spec["expirationSeconds"], keys.new_serial()
        leaf = signers.sign(self.signer, asked, spec["usages"], seconds=seconds, now=clock.now(), serial=serial)
        return self.of(leaf)

    def of(self, leaf: x509.Certificate) -> Json:
        chain = pem.certificates((leaf, *self.below))
        return {"certificate": base64.b64encode(chain.encode()).decode()}

    def fails(self, _: Json) -> Json:
        return {"conditions": [{"type": "Failed", "status": "True", "reason": "Policy", "message": "not today"}]}

    def silent(self, _: Json) -> Json:
        return {}

    def of_another(self, _: Json) -> Json:
        return self.of(self._workload(WEB, self.signer, request.sign(keys.new_key(), WEB)))

    def of_a_stranger(self, one: Json) -> Json:
        return self.of(self._workload(WEB, root("stranger"), base64.b64decode(one["spec"]["request"])))

    def for_another(self, one: Json) -> Json:
        return self.of(self._workload(BANK, self.signer, base64.b64decode(one["spec"]["request"])))

    def _workload(self, name: SpiffeId, by: Authority, csr: str | bytes) -> x509.Certificate:
        leaf, *_ = authority.issue_workload(
            by, csr, spiffe_id=name, lifetime=timedelta(hours=1), now=clock.now(), serial=keys.new_serial()
        )
        return leaf


@dataclass
class Shop:
    """A mesh whose certificates a controller signs, and a token of one of its workloads."""

    mesh: Mesh
    controller: Controller
    token: str

    async def refused(self, csr: str, **more: Any) -> tuple[str, str]:
        return await self.mesh.refused(CertificateRequest(csr, **more), token=self.token)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    top = root("signers")
    settings = MeshConfig(
        trust_domain_aliases=("old.local",),
        authorities=(FurtherRoots(pem.certificates(top.roots), signers=(SIGNER, OTHER, FORBIDDEN)),),
    )

    token = tmp_path / "istiod-token"
    clients: list[Kube] = []

    def issuer(kube: Kube, keeper: Any) -> RegistrationAuthority:
        # by the rights that an istiod is installed with, and no others
        clients.append(Kube(replace(kube.access, client_cert="", client_key="", token_file=token)))
        asked = Signers(SIGNER, "signers.example")
        return RegistrationAuthority(clients[0], asked, lambda: bundle(keeper.trusted, settings))

    async with mesh(tmp_path, issuer) as one, clients[0]:
        for each in rights("istio-system", {}, (SIGNER, OTHER)):
            await one.kube.create(kind_of(each), each)
        token.write_text(await one.token("istio-system", "istiod", audience=""))
        await one.account("shop", "web")
        made = Shop(one, Controller(top), await one.token("shop", "web"))
        task = asyncio.create_task(made.controller.run(one.kube))
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_signer_of_the_cluster_signs_what_istiod_has_vouched_for(shop: Shop) -> None:
    key = keys.new_key()
    wanted = CertificateRequest(request.sign(key, WEB), timedelta(hours=2))
    answer = await shop.mesh.ask(wanted, token=shop.token)
    leaf = pem.load_certificate(answer.chain[0])
    assert identity.of_certificate(leaf) == WEB
    assert leaf.public_key() == key.public_key()
    leaf.verify_directly_issued_by(shop.controller.signer.certificate)
    # proxies trust the signer's roots, beside those of istiod's own authority
    trusted = pem.load_certificates(answer.trusted.roots)
    assert set(trusted) == {shop.controller.signer.certificate, shop.mesh.signer.certificate}
    [seen] = shop.controller.seen
    assert (seen["spec"]["signerName"], seen["spec"]["expirationSeconds"]) == (SIGNER, 7200)
    assert set(seen["spec"]["usages"]) == {"digital signature", "key encipherment", "server auth", "client auth"}
    assert str(WEB) in seen["status"]["conditions"][0]["message"]
    assert await shop.mesh.kube.list(CERTIFICATESIGNINGREQUESTS) == [], "istiod tidies up"


async def test_a_workload_may_ask_for_another_signer_of_the_domain(shop: Shop) -> None:
    csr = request.sign(keys.new_key(), WEB)
    await shop.mesh.ask(CertificateRequest(csr, signer="other"), token=shop.token)
    assert shop.controller.seen[0]["spec"]["signerName"] == OTHER
    code, reason = await shop.refused(csr, signer="forbidden")
    assert code == "FAILED_PRECONDITION"
    assert "istiod needs the right to create and approve requests to signers.example/forbidden" in reason
    code, reason = await shop.refused(csr, signer="unknown")
    assert code == "FAILED_PRECONDITION"
    assert "certSigners: [signers.example/unknown]" in reason
    for name in ("../kubernetes.io/kube-apiserver-client", "a b", "x" * 300):
        assert (await shop.refused(csr, signer=name))[0] == "INVALID_ARGUMENT"
    assert len(shop.controller.seen) == 1


async def test_intermediates_of_a_signer_are_handed_on(shop: Shop) -> None:
    top, key = shop.controller.signer, keys.new_key()
    between = authority.self_signed(
        key, organization="between", now=clock.now(), serial=keys.new_serial(), lifetime=timedelta(days=1)
    )
    subject = between.certificate.subject
    builder = x509.CertificateBuilder(
        issuer_name=top.certificate.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=keys.new_serial(),
        not_valid_before=clock.now() - timedelta(minutes=1),
        not_valid_after=clock.now() + timedelta(hours=1),
    )
    certificate = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).sign(
        top.key, hashes.SHA256()
    )
    shop.controller.signer, shop.controller.below = Authority(certificate, key), (certificate, top.certificate)
    asked = CertificateRequest(request.sign(keys.new_key(), WEB))
    answer = await shop.mesh.ask(asked, token=shop.token)
    assert [pem.load_certificate(each) for each in answer.chain[1:]] == [certificate]


async def test_no_signer_ever_sees_a_request_for_somebody_else(shop: Shop) -> None:
    key, names = keys.new_key(), x509.SubjectAlternativeName
    own, bank = (x509.UniformResourceIdentifier(str(each)) for each in (WEB, BANK))
    nobody, admin = (
        x509.Name([]),
        x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "system:masters")]),
    )

    def csr(subject: x509.Name, *extensions: x509.ExtensionType) -> str:
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
        for each in extensions:
            builder = builder.add_extension(each, critical=False)
        return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    for wrong in (
        csr(nobody),
        csr(nobody, names([bank])),
        csr(nobody, names([own, bank])),
        csr(nobody, names([own, x509.DNSName("istiod.istio-system.svc")])),
        csr(admin, names([own])),
        csr(nobody, names([own]), x509.BasicConstraints(ca=True, path_length=None)),
        request.sign(key, SpiffeId("far.example", "shop", "web")),
    ):
        code, _ = await shop.refused(wrong)
        assert code == "INVALID_ARGUMENT"
    assert shop.controller.seen == []
    # a pod that started before the trust domain changed asks by the name that it knows
    old = SpiffeId("old.local", "shop", "web")
    leaf = await shop.mesh.certified(CertificateRequest(request.sign(key, old)), token=shop.token)
    assert identity.of_certificate(leaf) == old


async def test_what_a_signer_answers_is_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, csr = shop.controller, request.sign(keys.new_key(), WEB)
    for answer, why in (
        (controller.fails, "refuses: Policy: not today"),
        (controller.silent, "has not answered in time"),
        (controller.of_another, "a certificate for another key"),
        (controller.for_another, f"a certificate that is not of {WEB}"),
        (controller.of_a_stranger, "certificates that lead to none of its roots"),
    ):
        controller.answer = answer
        with monkeypatch.context() as patched:
            if answer == controller.silent:
                patched.setattr(registration_authority, "PATIENCE", timedelta(seconds=0.5))
            code, reason = await shop.refused(csr)
        assert code == "FAILED_PRECONDITION"
        assert why in reason
    assert shop.mesh.count("csr_sign_err_count") == 5
    assert await shop.mesh.kube.list(CERTIFICATESIGNINGREQUESTS) == []
