"""SPIFFE identities of workloads: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`."""

from dataclasses import dataclass

from cryptography import x509


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """Who a workload is: its service account, in its namespace, in the mesh's trust domain."""

    trust_domain: str
    namespace: str
    service_account: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service_account}"


def parse(uri: str) -> SpiffeId | None:
    """The identity in a URI, or None where it is not of Istio's form."""
    match uri.split("/"):
        case ["spiffe:", "", trust_domain, "ns", namespace, "sa", account] if (
            trust_domain and namespace and account
        ):
            return SpiffeId(trust_domain, namespace, account)
    return None


def of_certificate(certificate: x509.Certificate) -> SpiffeId | None:
    """The identity a certificate carries: its only URI name (X509-SVID, 2: exactly one), else None."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    match names.get_values_for_type(x509.UniformResourceIdentifier):
        case [uri]:
            return parse(uri)
    return None
