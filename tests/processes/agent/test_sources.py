"""Certificates that the agent did not make: from somebody else's SDS, and from files."""

import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.processes.agent.conftest import Pod
from tests.processes.agent.istiod import WORKLOAD, Istiod, eventually, new_authority
from tests.processes.agent.test_certificates import seconds_left
from tests.processes.agent.test_sidecar import call, presented

from weft.adapters import grpc_server, keys, sds_server
from weft.pki import authority, pem, request
from weft.pki.authority import Authority
from weft.xds import secrets

HOUR = timedelta(hours=1)


def issue(signer: Authority, life: timedelta = HOUR, *, ago: timedelta = timedelta()) -> tuple[str, str]:
    """A certificate of the workload's, and its key."""
    key = keys.new_key()
    chain = authority.issue_workload(
        signer,
        request.sign(key),
        spiffe_id=WORKLOAD,
        lifetime=life,
        now=datetime.now(UTC) - ago,
        serial=keys.new_serial(),
    )
    return pem.certificate(chain[0]), pem.key(key)


class Spire:
    """What serves a workload's identity on a socket: some lines in place of SPIRE's agent."""

    def __init__(self, path: Path, signer: Authority) -> None:
        self.path = path
        self.signer = signer
        self._secrets = sds_server.Secrets()
        self._server = grpc_server.Server()

    async def start(self) -> None:
        self.path.parent.mkdir(exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._server = grpc_server.Server()
        sds_server.register(self._server, self._secrets)
        self._server.listen(f"unix:{self.path}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    def issue(self, name: str = "default") -> str:
        """Give a new certificate, and the roots; what was given."""
        chain, key = issue(self.signer)
        roots = secrets.roots("ROOTCA", pem.certificates(self.signer.roots))
        self._secrets.publish(secrets.certificate(name, chain, key), roots)
        return chain

    def give(self, chain: str, key: str) -> None:
        self._secrets.publish(secrets.certificate("default", chain, key))


@pytest.fixture(scope="module")
def other() -> Authority:
    """One that istiod knows nothing of."""
    return new_authority()


@pytest.fixture
async def spire(pod: Pod, other: Authority) -> AsyncIterator[Spire]:
    made = Spire(pod.home / "uds" / "socket", other)
    yield made
    await made.stop()


async def shows(pod: Pod, signer: Authority, certificate: str) -> bool:
    """Whether the proxy shows this one."""
    with contextlib.suppress(OSError):
        return pem.certificate(await presented(pod, signer)) == certificate
    return False


async def test_a_socket_of_somebody_elses_gives_the_certificate_and_the_agent_makes_none(
    pod: Pod, istiod: Istiod, spire: Spire, other: Authority
) -> None:
    await spire.start()
    first = spire.issue()
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await call(pod, other) == "hello"
    assert await shows(pod, other, first)
    assert 3500 < await seconds_left(pod) <= 3600
    second = spire.issue()
    await eventually(lambda: shows(pod, other, second))
    assert istiod.issued == istiod.nacks == []
    assert not (pod.home / "proxy" / "identity.json").exists()


async def test_a_certificate_that_does_not_fit_its_key_is_refused_and_the_old_one_kept(
    pod: Pod, istiod: Istiod, spire: Spire, other: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    await spire.start()
    good = spire.issue()
    pod.start(istiod.address)
    await eventually(pod.ready)
    spire.give(issue(other)[0], issue(other)[1])
    await eventually(lambda: "refuses a secret: the private key is not the certificate's" in caplog.text)
    assert await shows(pod, other, good)
    better = spire.issue()
    await eventually(lambda: shows(pod, other, better))


async def test_a_socket_that_nobody_serves_is_told_of_and_tried_until_somebody_does(
    pod: Pod, istiod: Istiod, spire: Spire, other: Authority
) -> None:
    spire.path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(spire.path))
    pod.start(istiod.address)
    await eventually(lambda: f"{spire.path} does not serve certificates, trying again: UNAVAILABLE" in pod.log)
    assert "SPIRE's agent" in pod.log
    await spire.start()
    spire.issue()
    await eventually(pod.ready)
    assert await call(pod, other) == "hello"
    # it may go for a while: what Envoy has is kept
    await spire.stop()
    await eventually(lambda: pod.log.count("does not serve certificates") >= 2)
    assert await call(pod, other) == "hello"
    await spire.start()
    later = spire.issue()
    await eventually(lambda: shows(pod, other, later))
    assert istiod.issued == []


async def test_a_socket_asked_for_by_name_is_waited_for(
    pod: Pod, istiod: Istiod, spire: Spire, other: Authority
) -> None:
    pod.environment["WORKLOAD_IDENTITY_SOCKET_FILE"] = "agent.sock"
    pod.start(istiod.address)
    await eventually(lambda: "agent.sock does not serve certificates, trying again: there is no such" in pod.log)
    spire.path = spire.path.with_name("agent.sock")
    await spire.start()
    spire.issue()
    await eventually(pod.ready)
    assert await call(pod, other) == "hello"


async def test_files_are_served_beside_a_socket(pod: Pod, istiod: Istiod, spire: Spire, other: Authority) -> None:
    await spire.start()
    spire.issue()
    mount(pod.home / "own", other, *issue(other))
    istiod.own = f"file-cert:{pod.home}/own/cert-chain.pem~{pod.home}/own/key.pem"
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await shows(pod, other, (pod.home / "own" / "cert-chain.pem").read_text())


def mount(folder: Path, signer: Authority, chain: str, key: str) -> None:
    """Files as Kubernetes has them in a volume: links through `..data`, which is replaced at once."""
    folder.mkdir(exist_ok=True)
    version = folder / f"..{len(list(folder.iterdir()))}"
    version.mkdir()
    roots = pem.certificates(signer.roots)
    for name, content in (("cert-chain.pem", chain), ("key.pem", key), ("root-cert.pem", roots)):
        (version / name).write_text(content)
        with contextlib.suppress(FileExistsError):
            (folder / name).symlink_to(f"..data/{name}")
    fresh = folder / "..data_tmp"
    fresh.symlink_to(version.name)
    fresh.replace(folder / "..data")


async def test_files_in_istios_place_are_the_certificate_and_followed_when_they_are_replaced(
    pod: Pod, istiod: Istiod, other: Authority
) -> None:
    folder = "credentials"
    first = issue(other)
    mount(pod.home / folder, other, *first)
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await call(pod, other) == "hello"
    assert await shows(pod, other, first[0])
    # a bad pair, and one that has expired, are kept out
    mount(pod.home / folder, other, issue(other)[0], issue(other)[1])
    await eventually(lambda: "the private key is not the certificate's; what Envoy has is kept" in pod.log)
    mount(pod.home / folder, other, *issue(other, timedelta(minutes=1), ago=HOUR))
    await eventually(lambda: "the new certificate has expired" in pod.log)
    assert await shows(pod, other, first[0])
    second = issue(other)
    mount(pod.home / folder, other, *second)
    await eventually(lambda: shows(pod, other, second[0]))
    assert istiod.issued == []


async def test_files_in_istios_old_place_are_the_certificate_too(
    pod: Pod, istiod: Istiod, other: Authority
) -> None:
    mount(pod.home / "certs", other, *issue(other))
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await call(pod, other) == "hello"
    assert istiod.issued == []


async def test_mounted_files_of_any_name_are_the_certificate_where_the_pod_says_so(
    pod: Pod, istiod: Istiod, other: Authority
) -> None:
    mount(pod.home / "mine", other, *issue(other))
    pod.environment |= {
        "FILE_MOUNTED_CERTS": "true",
        "ISTIO_META_TLS_CLIENT_CERT_CHAIN": f"{pod.home}/mine/cert-chain.pem",
        "ISTIO_META_TLS_CLIENT_KEY": f"{pod.home}/mine/key.pem",
        "ISTIO_META_TLS_CLIENT_ROOT_CERT": f"{pod.home}/mine/root-cert.pem",
    }
    pod.start(istiod.address)
    await eventually(pod.ready)
    assert await shows(pod, other, (pod.home / "mine" / "cert-chain.pem").read_text())
    assert istiod.issued == []
