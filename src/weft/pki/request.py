"""What a workload sends to the authority."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from weft.pki.pem import PrivateKey


def sign(key: PrivateKey) -> str:
    """A certificate request as PEM. It carries the public key and nothing else: the authority knows who asks."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
