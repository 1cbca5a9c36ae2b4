"""New keys and serial numbers, from the machine's randomness; and keys for libraries that read only files."""

import contextlib
import os
from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new EC P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


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
