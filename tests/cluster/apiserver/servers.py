"""What tests of the API server need: keys of their own, a kubeconfig, and the real kubectl."""

import asyncio
import os
import socket
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, ip_address
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from weft.adapters import keys
from weft.adapters.kube.access import Access
from weft.cluster.apiserver.serving import Settings
from weft.cluster.controllers import Signing
from weft.pki import authority, pem

KUBECTL = Path(__file__).parents[3] / ".tools"
NEWEST = KUBECTL / "kubectl-newest" / "kubectl"
OLD = KUBECTL / "kubectl-1.20" / "kubectl"


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return key


class Authority:
    """A certificate authority of one test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.key = _key(folder / "ca.key")
        self.certificate = self._sign("weft-test", (), self.key.public_key(), (), authority=True)
        (folder / "ca.crt").write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(
        self,
        name: str,
        groups: tuple[str, ...],
        key: ec.EllipticCurvePublicKey,
        sans: tuple[str, ...],
        *,
        authority: bool,
    ) -> x509.Certificate:
        oid = x509.NameOID
        parts = [x509.NameAttribute(oid.COMMON_NAME, name)]
        parts += [x509.NameAttribute(oid.ORGANIZATION_NAME, group) for group in groups]
        issuer = x509.Name([x509.NameAttribute(oid.COMMON_NAME, "weft-test")])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(parts))
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if sans:
            names = [_general_name(san) for san in sans]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, file: str, name: str, groups: tuple[str, ...] = (), sans: tuple[str, ...] = ()) -> None:
        key = _key(self.folder / f"{file}.key")
        certificate = self._sign(name, groups, key.public_key(), sans, authority=False)
        (self.folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _general_name(san: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(san))
    except ValueError:
        return x509.DNSName(san)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Home:
    """A cluster's folder with keys and a kubeconfig for one port."""

    path: Path
    port: int
    authority: Authority

    @property
    def access(self) -> Access:
        return Access.from_kubeconfig(self.path / "kubeconfig")

    @property
    def signing(self) -> Signing:
        """What controllers sign certificates with."""
        text = (self.path / "pki" / "ca.crt").read_text()
        ca = authority.load(text, (self.path / "pki" / "ca.key").read_text())
        return Signing(ca, keys.new_serial, pem.load_key((self.path / "pki" / "sa.key").read_text()))

    @property
    def settings(self) -> Settings:
        return Settings(self.path, (("127.0.0.1", self.port),), IPv4Network("10.96.0.0/12"))


def make_home(path: Path) -> Home:
    authority = Authority(path / "pki")
    authority.issue("apiserver", "kube-apiserver", sans=("127.0.0.1", "localhost"))
    authority.issue("admin", "kubernetes-admin", ("system:masters",))
    authority.issue("apiserver-client", "kube-apiserver-kubelet-client", ("system:masters",))
    _key(path / "pki" / "sa.key")
    home = Home(path, free_port(), authority)
    (path / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "t",
                "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
                "clusters": [
                    {
                        "name": "t",
                        "cluster": {
                            "server": f"https://127.0.0.1:{home.port}",
                            "certificate-authority": str(path / "pki" / "ca.crt"),
                        },
                    }
                ],
                "users": [
                    {
                        "name": "t",
                        "user": {
                            "client-certificate": str(path / "pki" / "admin.crt"),
                            "client-key": str(path / "pki" / "admin.key"),
                        },
                    }
                ],
            }
        )
    )
    return home


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Kubectl:
    """The real kubectl against the test's server."""

    def __init__(self, home: Home, binary: Path = NEWEST) -> None:
        self.home = home
        self.binary = binary

    async def __call__(self, *args: str, stdin: str = "", ok: bool = True) -> Result:
        env = {**os.environ, "KUBECONFIG": str(self.home.path / "kubeconfig"), "HOME": str(self.home.path)}
        process = await asyncio.create_subprocess_exec(
            self.binary, *args, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(30):
                out, err = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        result = Result(process.returncode or 0, out.decode(), err.decode())
        if ok:
            assert result.code == 0, (args, result)
        return result
