"""New keys and serial numbers, from the machine's randomness; and keys for libraries that read only files."""

import contextlib
import os
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def new_key(curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A new EC key, P-256 unless told otherwise."""
    return ec.generate_private_key(curve or ec.SECP256R1())


def new_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """A new RSA key. It takes a while: some tenths of a second for 2048 bits, seconds for 4096."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def new_serial() -> int:
    """A new certificate serial number: 159 random bits, positive (RFC 5280, 4.1.2.2)."""
    return x509.random_serial_number()


@contextlib.contextmanager
def as_file(text: str) -> Iterator[str]:
    """A path that holds `text` in memory while the context lasts: the ssl module takes keys from files only."""
    descriptor = os.memfd_create("weft-key", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
