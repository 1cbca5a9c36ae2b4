"""What the agent is told about the pod's identity, by variables with Istio's names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from weft.base.durations import parse_duration
from weft.base.flags import is_true
from weft.pki.identity import SpiffeId
from weft.pki.rotation import Grace

CHAIN, KEY, ROOTS = "cert-chain.pem", "key.pem", "root-cert.pem"
"""How files with certificates are called in a folder of Istio's."""

_CERTS: Final = Path("/etc/certs")
_SOCKET: Final = "socket"
_DAY: Final = timedelta(days=1)
_SHORTEST_RSA: Final = 2048
_HALF: Final = Grace()


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain, its key, and the roots that others are verified with: all PEM."""

    chain: Path
    key: Path
    roots: Path

    @classmethod
    def of(cls, folder: Path) -> "Files":
        """Those of a folder, by Istio's names."""
        return cls(folder / CHAIN, folder / KEY, folder / ROOTS)

    @property
    def are_there(self) -> bool:
        """Whether all three exist now."""
        return all(path.exists() for path in (self.chain, self.key, self.roots))


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """How the pod's certificate comes about.

    `rsa_bits` 0 is a key on `curve`. `mounted` are files that somebody else keeps fresh.
    `shown` is what istiod is shown beside the token. `output` is a folder where applications find what Envoy has.
    `socket_name` is that of somebody else's SDS; one that is not the usual has to come about. `name` is what the
    pod takes itself for, None where it does not know; `signer` is one of several of the cluster.
    """

    lifetime: timedelta = _DAY
    grace: Grace = _HALF
    curve: str = "P256"
    rsa_bits: int = 0
    mounted: Files | None = None
    shown: Files | None = None
    output: Path | None = None
    socket_name: str = _SOCKET
    name: SpiffeId | None = None
    signer: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def expects_socket(self) -> bool:
        """Whether somebody else's SDS was asked for by name."""
        return self.socket_name != _SOCKET


def read(environment: Mapping[str, str]) -> IdentitySettings:
    """The settings in an environment. What cannot be read is as if it were not there, and warned of."""
    warnings: list[str] = []
    mounted = _client_files(environment) if is_true(environment.get("FILE_MOUNTED_CERTS", "")) else None
    provisioned, output = environment.get("PROV_CERT"), environment.get("OUTPUT_CERTS")
    algorithm = environment.get("ECC_SIGNATURE_ALGORITHM", "")
    return IdentitySettings(
        lifetime=_lifetime(environment, warnings),
        grace=Grace(
            _share(environment, "SECRET_GRACE_PERIOD_RATIO", _HALF.share, warnings),
            _share(environment, "SECRET_GRACE_PERIOD_RATIO_JITTER", _HALF.jitter, warnings),
        ),
        curve=_curve(environment, warnings),
        rsa_bits=0 if algorithm else _rsa_bits(environment, warnings),
        mounted=mounted,
        shown=Files.of(Path(provisioned)) if provisioned else mounted,
        output=Path(output) if output else None,
        socket_name=environment.get("WORKLOAD_IDENTITY_SOCKET_FILE") or _SOCKET,
        name=_name(environment),
        signer=environment.get("ISTIO_META_CERT_SIGNER", ""),
        warnings=tuple(warnings),
    )


def _name(environment: Mapping[str, str]) -> SpiffeId | None:
    match [environment.get(each, "") for each in ("TRUST_DOMAIN", "POD_NAMESPACE", "SERVICE_ACCOUNT")]:
        case [str(domain), str(namespace), str(account)] if domain and namespace and account:
            return SpiffeId(domain, namespace, account)
    return None


def _client_files(environment: Mapping[str, str]) -> Files:
    usual = Files.of(_CERTS)

    def named(part: str, otherwise: Path) -> Path:
        return Path(environment.get(f"ISTIO_META_TLS_CLIENT_{part}") or otherwise)

    return Files(named("CERT_CHAIN", usual.chain), named("KEY", usual.key), named("ROOT_CERT", usual.roots))


def _lifetime(environment: Mapping[str, str], warnings: list[str]) -> timedelta:
    text = environment.get("SECRET_TTL", "")
    try:
        found = parse_duration(text) if text else _DAY
    except ValueError:
        found = timedelta()
    if found <= timedelta():
        warnings.append(f'SECRET_TTL="{text}" is no time to live: 24h is asked for. Write 12h, or 90m')
        return _DAY
    return found


def _share(environment: Mapping[str, str], name: str, otherwise: float, warnings: list[str]) -> float:
    text = environment.get(name, "")
    try:
        found = float(text) if text else otherwise
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        warnings.append(
            f'{name}="{text}" is no share of a life: {otherwise:g} is used. Write a number from 0 to 1'
        )
        return otherwise
    return found


def _curve(environment: Mapping[str, str], warnings: list[str]) -> str:
    text = environment.get("ECC_CURVE") or "P256"
    if text not in {"P256", "P384"}:
        warnings.append(f'ECC_CURVE="{text}" is unknown: P256 is used. There are P256 and P384')
        return "P256"
    return text


def _rsa_bits(environment: Mapping[str, str], warnings: list[str]) -> int:
    text = environment.get("WORKLOAD_RSA_KEY_SIZE", "")
    if not text:
        return 0
    if not text.isdecimal() or not _SHORTEST_RSA <= int(text) <= 8192:
        warnings.append(
            f'WORKLOAD_RSA_KEY_SIZE="{text}" is no size of a key: an EC key on P256 is used. '
            "Write 2048, 3072 or 4096; Envoy takes no shorter ones"
        )
        return 0
    return int(text)
