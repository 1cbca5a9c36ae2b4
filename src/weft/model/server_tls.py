"""How TLS is ended at a gateway: a Gateway's `tls`, translated."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from weft.api import gateway as api
from weft.api.gateway_tls_checks import CIPHER_SUITES, CURVES, VERIFYING


class ServerMode(StrEnum):
    """What becomes of a TLS connection."""

    SIMPLE = "SIMPLE"
    MUTUAL = "MUTUAL"
    OPTIONAL_MUTUAL = "OPTIONAL_MUTUAL"
    ISTIO_MUTUAL = "ISTIO_MUTUAL"
    PASSTHROUGH = "PASSTHROUGH"
    AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"

    @property
    def passes(self) -> bool:
        """Whether connections go on as they come, still encrypted."""
        return self in {ServerMode.PASSTHROUGH, ServerMode.AUTO_PASSTHROUGH}


@dataclass(frozen=True, slots=True)
class SecretName:
    """A Secret in the namespace of the gateway's pod."""

    name: str


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A certificate and its key, or roots (no key), in files of the gateway's pod."""

    path: str
    key: str = ""


Credential = SecretName | CertificateFile


@dataclass(frozen=True, slots=True)
class ServerTls:
    """How TLS is done for some hosts. `least` and `most` are versions such as TLSV1_2, empty for Envoy's own.

    `roots` verify clients' certificates; `crl` is a file. `names`, `keys` and `hashes` say which of the verified
    clients are let in: by subject alternative name, by SHA-256 of their public key (base64) or certificate (hex).
    """

    mode: ServerMode
    certificates: tuple[Credential, ...] = ()
    roots: Credential | None = None
    crl: str = ""
    names: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    least: str = ""
    most: str = ""
    cipher_suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()
    unverified: bool = False

    @property
    def secrets(self) -> Iterator[str]:
        """The names of the Secrets that it needs."""
        for each in (*self.certificates, self.roots):
            if isinstance(each, SecretName):
                yield each.name


def server_tls(source: api.ServerTls) -> ServerTls:
    """Translate TLS settings that have passed their checks."""
    mode = ServerMode(source.mode)
    if mode.passes:
        return ServerTls(mode)
    asks = source.mode in VERIFYING
    pinned = asks or mode is ServerMode.ISTIO_MUTUAL
    return ServerTls(
        mode=mode,
        certificates=() if mode is ServerMode.ISTIO_MUTUAL else tuple(_certificates(source)),
        roots=_roots(source) if asks else None,
        crl=source.ca_crl if asks else "",
        names=source.subject_alt_names if pinned else (),
        keys=source.verify_certificate_spki if pinned else (),
        hashes=source.verify_certificate_hash if pinned else (),
        least=_version(source.min_protocol_version),
        most=_version(source.max_protocol_version),
        cipher_suites=_known(source.cipher_suites, CIPHER_SUITES),
        curves=_known(source.ecdh_curves, CURVES),
        unverified=asks and bool(source.insecure_skip_verify),
    )


def _certificates(source: api.ServerTls) -> Iterator[Credential]:
    names = (source.credential_name,) if source.credential_name else source.credential_names
    yield from (SecretName(name) for name in names)
    for each in source.tls_certificates:
        yield CertificateFile(each.server_certificate, each.private_key)
    if source.server_certificate:
        yield CertificateFile(source.server_certificate, source.private_key)


def _roots(source: api.ServerTls) -> Credential | None:
    """The roots named, else those that accompany the certificate: Secret `NAME-cacert`, or NAME's own `ca.crt`."""
    files = (source.ca_certificates, *(each.ca_certificates for each in source.tls_certificates))
    path = next(filter(None, files), "")
    if source.ca_cert_credential_name:
        return SecretName(source.ca_cert_credential_name)
    if path:
        return CertificateFile(path)
    name = next(filter(None, (source.credential_name, *source.credential_names)), "")
    return SecretName(f"{name}-cacert") if name else None


def _version(written: str) -> str:
    return "" if written == "TLS_AUTO" else written


def _known(given: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in given if each in known))
