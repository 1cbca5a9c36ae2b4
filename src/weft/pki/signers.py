"""What Kubernetes' own signers certify, and for how long (`pkg/apis/certificates`, `controller/certificates`)."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from weft.pki import pem
from weft.pki.authority import Authority
from weft.pki.request import RefusedError

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
KUBELET_SERVING = "kubernetes.io/kubelet-serving"
SIGNERS = frozenset({CLIENT, KUBELET_CLIENT, KUBELET_SERVING})

_BACKDATED = timedelta(minutes=5)
_SHORT = timedelta(hours=8)
"""What lives no longer than this is not shortened by the backdating."""
_LONGEST, _SHORTEST = timedelta(days=365), timedelta(minutes=10)
_OPTIONAL = ("digital signature", "key encipherment")
_NODES, _NODE = "system:nodes", "system:node:"
_KEY_USAGES = {
    "signing": "digital_signature",
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "key agreement": "key_agreement",
    "data encipherment": "data_encipherment",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_EXTENDED = {
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
}


def read(request: bytes) -> x509.CertificateSigningRequest:
    """A request from its PEM; RefusedError where it is none, or is not signed by its own key."""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in request:
        raise RefusedError("PEM block type must be CERTIFICATE REQUEST")
    try:
        found = x509.load_pem_x509_csr(request)
        proven = found.is_signature_valid
    except (ValueError, TypeError) as error:
        raise RefusedError(str(error)) from error
    if not proven:
        raise RefusedError("the request is not signed by its own key")
    return found


def organizations(request: x509.CertificateSigningRequest) -> list[str]:
    """The groups that the request's subject names."""
    return [str(one.value) for one in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]


def check(signer: str, request: x509.CertificateSigningRequest, usages: Sequence[str]) -> None:
    """Refuse, by RefusedError, what this signer does not certify."""
    match signer:
        case "kubernetes.io/kube-apiserver-client":
            for usage in usages:
                if usage not in {*_OPTIONAL, "client auth"}:
                    raise RefusedError(f"invalid usage for client certificate: {usage}")
            if "client auth" not in usages:
                raise RefusedError("missing required usage for client certificate: client auth")
        case "kubernetes.io/kube-apiserver-client-kubelet":
            _of_node(request)
            _alternatives(request, ())
            _exactly(usages, "client auth")
        case "kubernetes.io/kubelet-serving":
            _of_node(request)
            if not _alternatives(request, ("DNS", "IP")):
                raise RefusedError("DNS or IP subjectAltName is required")
            _exactly(usages, "server auth")
        case _:
            raise RefusedError(f"unrecognized signerName: {signer!r}")


def _of_node(request: x509.CertificateSigningRequest) -> None:
    if organizations(request) != [_NODES]:
        raise RefusedError("subject organization is not system:nodes")
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not str(names[0].value).startswith(_NODE):
        raise RefusedError("subject common name does not begin with system:node:")


def _exactly(usages: Sequence[str], purpose: str) -> None:
    wanted = {purpose, *_OPTIONAL}
    if set(usages) not in (wanted, wanted - {"key encipherment"}):
        raise RefusedError(f"usages did not match [{' '.join(sorted(wanted))}]")


def _alternatives(request: x509.CertificateSigningRequest, allowed: Sequence[str]) -> bool:
    """Whether the request has alternative names; RefusedError for those of another sort than `allowed`."""
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    sorts: dict[type[x509.GeneralName], str] = {
        x509.DNSName: "DNS",
        x509.RFC822Name: "Email",
        x509.IPAddress: "IP",
        x509.UniformResourceIdentifier: "URI",
    }
    for name in names:
        sort = sorts.get(type(name), "other")
        if sort not in allowed:
            raise RefusedError(f"{sort} subjectAltNames are not allowed")
    return True


def sign(
    authority: Authority,
    request: x509.CertificateSigningRequest,
    usages: Sequence[str],
    *,
    seconds: int | None,
    now: datetime,
    serial: int,
) -> x509.Certificate:
    """The certificate: the request's subject and names, for the usages asked for, a year at the longest."""
    life = _LONGEST if seconds is None else min(max(timedelta(seconds=seconds), _SHORTEST), _LONGEST)
    begin = now - _BACKDATED
    end = now + life if life < _SHORT else begin + life
    signer = authority.certificate
    flags = dict.fromkeys(_KEY_USAGES.values(), False)
    flags |= {_KEY_USAGES[usage]: True for usage in usages if usage in _KEY_USAGES}
    if not flags["key_agreement"]:
        flags["encipher_only"] = flags["decipher_only"] = False
    builder = (
        x509.CertificateBuilder()
        .subject_name(request.subject)
        .issuer_name(signer.subject)
        .public_key(pem.public_key(request.public_key()))
        .serial_number(serial)
        .not_valid_before(max(begin, signer.not_valid_before_utc))
        .not_valid_after(min(end, signer.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if any(flags.values()):  # an empty one would forbid every use
        builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
    if extended := [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(names.value, critical=not list(request.subject))
    except x509.ExtensionNotFound:
        pass
    return builder.sign(authority.key, hashes.SHA256())
