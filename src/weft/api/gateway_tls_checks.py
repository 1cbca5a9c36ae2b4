"""What must hold of a gateway's TLS settings."""

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Final

from weft.api import codes
from weft.api.gateway import CertificateFiles, Server, ServerTls
from weft.api.report import Report
from weft.base.names import nearest
from weft.base.problem import Problem

VERIFYING: Final = frozenset({"MUTUAL", "OPTIONAL_MUTUAL"})
"""The modes in which a client's certificate is verified against roots of one's own."""
ENDING: Final = VERIFYING | {"SIMPLE"}
"""The modes in which the gateway shows a certificate of one's own."""
VERSIONS: Final = ("TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")

# What stock Envoy takes (BoringSSL); asked of it in tests/xds/test_gateway_tls.py
CIPHER_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
)
CURVES: Final = ("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521")

_HASH: Final = re.compile(r"([0-9a-fA-F]{64}|[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){31})", re.ASCII)
_SHA256_BYTES: Final = 32
_MOST_CERTIFICATES: Final = 2


def check(server: Server, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with a server's `tls`, or with there being none."""
    tls, protocol = server.tls, server.port.protocol.upper()
    if protocol not in {"HTTPS", "TLS"}:
        if tls is not None and tls not in {ServerTls(https_redirect=each) for each in (None, False, True)}:
            message = f"a server of protocol {server.port.protocol} has no TLS."
            hint = "Write protocol: HTTPS or TLS; on plaintext HTTP only httpsRedirect has a place."
            yield report.error(f"{field}.tls", message, hint)
        elif tls is not None and tls.https_redirect and protocol == "TCP":
            yield report.warning(f"{field}.tls.httpsRedirect", "only requests can be redirected.", "Take it out.")
        return
    if tls is None:
        hint = "Add tls: {mode: SIMPLE, credentialName: …}, or mode: PASSTHROUGH."
        yield report.error(f"{field}.tls", f"a server of protocol {server.port.protocol} needs it.", hint)
        return
    if tls.https_redirect:
        message = "requests come by https already."
        yield report.warning(f"{field}.tls.httpsRedirect", message, "Put it on the server of port 80.")
    yield from _credentials(tls, f"{field}.tls", report)
    yield from check_parameters(tls, f"{field}.tls", report)
    yield from check_pins(tls, f"{field}.tls", report)


def _credentials(tls: ServerTls, field: str, report: Report) -> Iterator[Problem]:
    """Check that the certificates are given once, and those that the mode needs."""
    files = any((tls.server_certificate, tls.private_key))
    ways = {
        "credentialName": bool(tls.credential_name),
        "credentialNames": bool(tls.credential_names),
        "tlsCertificates": bool(tls.tls_certificates),
        "serverCertificate": files,
    }
    given = [name for name, value in ways.items() if value]
    if tls.mode not in ENDING:
        roots = {"caCertificates": tls.ca_certificates, "caCertCredentialName": tls.ca_cert_credential_name}
        for name in (*given, *(name for name, value in roots.items() if value)):
            message = f"is not used: mode {tls.mode} has no certificate of its own."
            yield report.warning(f"{field}.{name}", message, "Take it out, or use SIMPLE or MUTUAL.")
        return
    if len(given) > 1:
        yield report.error(field, f"{' and '.join(given)} exclude each other.", "Keep one of them.")
    elif not given:
        hint = "Add credentialName with the name of a Secret, or serverCertificate and privateKey."
        yield report.error(field, f"mode {tls.mode} needs a certificate.", hint)
    if files:
        yield from _files(CertificateFiles(
            server_certificate=tls.server_certificate, private_key=tls.private_key
        ), field, report)  # fmt: skip
    for index, each in enumerate(tls.tls_certificates):
        yield from _files(each, f"{field}.tlsCertificates[{index}]", report)
    for name, count in (
        ("credentialNames", len(tls.credential_names)),
        ("tlsCertificates", len(tls.tls_certificates)),
    ):
        if count > _MOST_CERTIFICATES:
            message = f"there are {count}, and a server has two at most."
            yield report.error(f"{field}.{name}", message, "Keep one with an RSA key and one with an ECDSA key.")
    yield from _secrets(tls, field, report)
    yield from _roots(tls, field, report)


def _secrets(tls: ServerTls, field: str, report: Report) -> Iterator[Problem]:
    """Check the names of Secrets."""
    named = {"credentialName": tls.credential_name, "caCertCredentialName": tls.ca_cert_credential_name}
    named |= {f"credentialNames[{index}]": each for index, each in enumerate(tls.credential_names)}
    for name, value in named.items():
        scheme, mark, _ = value.partition("://")
        if mark and scheme != "kubernetes":
            hint = "Name a Secret in the namespace of the gateway's pod."
            yield report.warning(
                f"{field}.{name}", f'"{scheme}://" is not acted on yet.', hint, codes.NOT_ACTED_ON
            )


def _roots(tls: ServerTls, field: str, report: Report) -> Iterator[Problem]:
    by_secret = bool(tls.credential_name or tls.credential_names or tls.ca_cert_credential_name)
    by_file = bool(tls.ca_certificates or any(each.ca_certificates for each in tls.tls_certificates))
    if tls.mode in VERIFYING and not (by_secret or by_file or tls.insecure_skip_verify):
        hint = "Add caCertificates, or a credentialName whose Secret has ca.crt."
        yield report.error(f"{field}.caCertificates", f"mode {tls.mode} needs the roots of its clients.", hint)
    if tls.ca_certificates and tls.ca_cert_credential_name:
        message = "caCertificates and caCertCredentialName exclude each other."
        yield report.error(field, message, "Keep one of them.")
    if tls.mode in VERIFYING:
        return
    unused = {
        "caCertificates": tls.ca_certificates,
        "caCrl": tls.ca_crl,
        "caCertCredentialName": tls.ca_cert_credential_name,
        "insecureSkipVerify": tls.insecure_skip_verify,
    }
    for name, value in unused.items():
        if value:
            message = f"has no effect: mode {tls.mode} asks for no client certificate."
            yield report.warning(f"{field}.{name}", message, "Use MUTUAL or OPTIONAL_MUTUAL.")


def _files(files: CertificateFiles, field: str, report: Report) -> Iterator[Problem]:
    for name, value in (("serverCertificate", files.server_certificate), ("privateKey", files.private_key)):
        if not value:
            yield report.error(f"{field}.{name}", "is missing.", "Give the certificate and its key together.")


def check_parameters(tls: ServerTls, field: str, report: Report) -> Iterator[Problem]:
    """Versions, ciphers and curves must be ones that there are."""
    least, most = tls.min_protocol_version, tls.max_protocol_version
    if least in VERSIONS and most in VERSIONS and VERSIONS.index(least) > VERSIONS.index(most):
        message = f"{least} is newer than maxProtocolVersion, {most}."
        yield report.error(f"{field}.minProtocolVersion", message, "Exchange the two.")
    if least in {"TLSV1_0", "TLSV1_1"}:
        hint = "Write TLSV1_2 unless some client knows nothing newer."
        if not tls.cipher_suites:
            hint = f"{hint} Then add cipherSuites for it, such as ECDHE-RSA-AES128-SHA: Envoy's own are newer."
        yield report.warning(f"{field}.minProtocolVersion", f"{least} is no longer safe.", hint)
    for name, given, known in (
        ("cipherSuites", tls.cipher_suites, CIPHER_SUITES),
        ("ecdhCurves", tls.ecdh_curves, CURVES),
    ):
        seen: set[str] = set()
        for index, each in enumerate(given):
            here = f"{field}.{name}[{index}]"
            if each not in known:
                near = nearest(each, known)
                hint = f'Did you mean "{near}"?' if near else f"Known: {', '.join(known)}."
                yield report.warning(here, f'"{each}" is not known to Envoy, and left out.', hint)
            elif each in seen:
                yield report.warning(here, f'"{each}" is there twice.', "Take one of them out.")
            seen.add(each)


def check_pins(tls: ServerTls, field: str, report: Report) -> Iterator[Problem]:
    """What clients are known by must be digests and names."""
    pinned = {
        "verifyCertificateSpki": tls.verify_certificate_spki,
        "verifyCertificateHash": tls.verify_certificate_hash,
        "subjectAltNames": tls.subject_alt_names,
    }
    if tls.mode not in VERIFYING | {"ISTIO_MUTUAL"}:
        for name, value in pinned.items():
            if value:
                message = f"has no effect: mode {tls.mode} asks for no client certificate."
                yield report.warning(f"{field}.{name}", message, "Use MUTUAL or OPTIONAL_MUTUAL.")
    for index, each in enumerate(tls.verify_certificate_spki):
        if not _is_sha256(each):
            hint = "Write the 32 bytes of a SHA-256 in base64, 44 characters."
            yield report.error(f"{field}.verifyCertificateSpki[{index}]", f'"{each}" is no digest.', hint)
    for index, each in enumerate(tls.verify_certificate_hash):
        if not _HASH.fullmatch(each):
            hint = "Write the SHA-256 as 64 hexadecimal digits, with or without colons."
            yield report.error(f"{field}.verifyCertificateHash[{index}]", f'"{each}" is no digest.', hint)
    for index, each in enumerate(tls.subject_alt_names):
        if not each:
            yield report.error(f"{field}.subjectAltNames[{index}]", "is empty.", "Write a name, or take it out.")


def _is_sha256(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) == _SHA256_BYTES
    except ValueError:
        return False
