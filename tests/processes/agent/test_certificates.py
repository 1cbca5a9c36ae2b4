"""The pod's certificate over time: turned over, kept while nobody issues, and never asked for without pause."""

import asyncio
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import Istiod, eventually
from tests.processes.agent.test_sidecar import call, presented

from weft.adapters import http
from weft.pki import authority, pem

SHORT = {"SECRET_GRACE_PERIOD_RATIO": "0.95", "SECRET_GRACE_PERIOD_RATIO_JITTER": "0"}
"""Certificates are replaced when nearly all of their life is left: soon, and with much time to spare."""


@pytest.fixture
def memory(pod: Pod) -> Iterator[Path]:
    """The pod's folder for what Envoy needs lies in memory, as that of an injected pod does."""
    folder = Path(tempfile.mkdtemp(prefix="weft-agent-", dir="/dev/shm"))
    (pod.home / "proxy").rmdir()
    (pod.home / "proxy").symlink_to(folder)
    yield folder
    pod.end()  # it may be writing
    shutil.rmtree(folder)


async def metric(pod: Pod, name: str) -> float:
    """A metric of the agent's, by its name and labels."""
    try:
        merged = (await pod.get("status", "/stats/prometheus")).body.decode()
    except http.HttpError:
        return -1
    found = re.search(rf"^{re.escape(name)} (\d+)$", merged, re.MULTILINE)
    return float(found[1]) if found else -1


async def seconds_left(pod: Pod) -> float:
    return await metric(pod, 'istio_agent_cert_expiry_seconds{resource_name="default"}')


@pytest.mark.parametrize("sds", ["GRPC", "DELTA_GRPC"])
async def test_a_certificate_is_turned_over_and_no_request_is_lost(
    pod: Pod, signer: authority.Authority, sds: str
) -> None:
    istiod = Istiod(signer, pod.listener, "hello", sds=sds)
    istiod.life = timedelta(seconds=12)
    await istiod.start()
    pod.environment |= SHORT
    pod.start(istiod.address)
    await eventually(pod.ready)
    answers = []
    while len(istiod.issued) < 3:
        # each on a connection of its own, and so by a handshake
        answers.append(await call(pod, signer))
    assert set(answers) == {"hello"}
    assert istiod.nacks == []

    async def renewed() -> bool:
        return pem.certificate(await presented(pod, signer)) in istiod.issued[1:]

    await eventually(renewed)
    await istiod.stop()


async def test_while_no_authority_answers_the_old_certificate_is_used_and_its_end_is_told(
    pod: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    istiod.life = timedelta(seconds=30)
    pod.environment |= SHORT
    pod.start(istiod.address)
    await eventually(pod.ready)
    istiod.refusal = grpc.StatusCode.UNAVAILABLE
    asked = len(istiod.asked)
    await eventually(lambda: len(istiod.asked) >= asked + 3)
    (line,) = [each for each in pod.log.splitlines() if "no new certificate yet" in each]
    assert re.search(r"the present one is good for another \d+ s: istiod .* is out of reach: not now", line)
    assert await call(pod, signer) == "hello"
    assert 0 < await seconds_left(pod) < 30
    csr = '{request_type="csr"}'
    assert await metric(pod, f"istio_agent_num_failed_outgoing_requests_total{csr}") >= 2
    istiod.refusal, issued = None, len(istiod.issued)
    await eventually(lambda: len(istiod.issued) > issued)
    await eventually(lambda: re.search(r"a certificate was issued after \d+ attempts in vain", pod.log))


async def test_a_restarted_agent_has_the_old_certificate_while_no_authority_answers(
    pod: Pod, istiod: Istiod, signer: authority.Authority, memory: Path
) -> None:
    pod.start(istiod.address)
    await eventually(pod.ready)
    kept = memory / "identity.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    pod.end()
    istiod.refusal = grpc.StatusCode.RESOURCE_EXHAUSTED
    issued = len(istiod.issued)
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert pem.certificate(await presented(pod, signer)) == istiod.issued[-1]
    assert await call(pod, signer) == "hello"
    assert len(istiod.issued) == issued
    # as soon as there is an authority, it is a new key's
    istiod.refusal = None
    await eventually(lambda: len(istiod.issued) > issued)


async def test_what_is_kept_is_not_believed_when_it_is_another_workloads(
    pod: Pod, istiod: Istiod, memory: Path
) -> None:
    pod.start(istiod.address)
    await eventually(pod.ready)
    pod.end()
    istiod.refusal = grpc.StatusCode.UNAVAILABLE
    pod.environment["SERVICE_ACCOUNT"] = "another"
    pod.start(istiod.address)
    await eventually(lambda: "no certificate yet" in pod.log)
    assert await seconds_left(pod) == 0


async def test_an_authority_whose_clock_is_days_behind_is_not_asked_without_pause(
    pod: Pod, istiod: Istiod
) -> None:
    istiod.clock = timedelta(days=-2)
    pod.start(istiod.address)
    await eventually(lambda: "this machine's clock is some 48 h 0 min ahead of that of the authority" in pod.log)
    await asyncio.sleep(1.5)
    assert len(istiod.issued) == 1


@pytest.mark.parametrize(
    ("variables", "kind", "size"),
    [
        ({}, ec.EllipticCurvePublicKey, 256),
        ({"ECC_SIGNATURE_ALGORITHM": "ECDSA", "ECC_CURVE": "P384"}, ec.EllipticCurvePublicKey, 384),
        ({"WORKLOAD_RSA_KEY_SIZE": "2048"}, rsa.RSAPublicKey, 2048),
    ],
)
async def test_keys_are_of_the_kind_that_is_asked_for(
    pod: Pod, istiod: Istiod, signer: authority.Authority, variables: dict[str, str], kind: type, size: int
) -> None:
    pod.environment |= {**variables, "SECRET_TTL": "6h"}
    pod.start(istiod.address)
    await eventually(pod.ready)
    key = (await presented(pod, signer)).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    assert isinstance(key, kind)
    assert key.key_size == size
    assert istiod.wishes == [timedelta(hours=6)]


async def test_certificates_are_written_for_applications_and_nobody_else(pod: Pod, istiod: Istiod) -> None:
    output = pod.home / "output"
    output.mkdir()
    pod.environment |= {**SHORT, "OUTPUT_CERTS": str(output)}
    istiod.life = timedelta(seconds=20)
    pod.start(istiod.address)
    chain = output / "cert-chain.pem"
    await eventually(lambda: chain.exists() and chain.read_text() == istiod.issued[-1])
    for file in output.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert pem.load_key((output / "key.pem").read_text()).public_key() == _key(istiod.issued[-1])
    assert (output / "root-cert.pem").read_text() == pem.certificates(istiod.signer.roots)
    # a group that the folder hands on, the pod's fsGroup, may read what is written there
    output.chmod(0o2777)
    before = len(istiod.issued)
    await eventually(lambda: len(istiod.issued) > before and chain.read_text() == istiod.issued[-1])
    assert stat.S_IMODE((output / "key.pem").stat().st_mode) == 0o640


def _key(certificate: str) -> object:
    return pem.load_certificate(certificate).public_key()


async def test_a_folder_that_is_missing_is_told_of_and_the_proxy_serves(
    pod: Pod, istiod: Istiod, signer: authority.Authority
) -> None:
    pod.environment["OUTPUT_CERTS"] = str(pod.home / "nowhere")
    pod.start(istiod.address)
    await eventually(pod.ready)
    await eventually(lambda: "OUTPUT_CERTS: certificates cannot be written: No such file" in pod.log)
    assert await call(pod, signer) == "hello"


async def test_settings_that_cannot_be_read_are_told_of_and_stop_no_pod(pod: Pod, istiod: Istiod) -> None:
    pod.environment |= {"SECRET_TTL": "soon", "SECRET_GRACE_PERIOD_RATIO": "2", "WORKLOAD_RSA_KEY_SIZE": "512"}
    pod.start(istiod.address)
    await eventually(pod.ready)
    for name in ("SECRET_TTL", "SECRET_GRACE_PERIOD_RATIO", "WORKLOAD_RSA_KEY_SIZE"):
        assert f'{name}="' in pod.log
    assert istiod.wishes == [timedelta(days=1)]


def test_no_crash_of_agent_or_envoy_leaves_a_dump(running: Pod) -> None:
    for pid in (running.pid, running.envoy):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +[01] +[01] +bytes", limits, re.MULTILINE)
