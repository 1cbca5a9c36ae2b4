"""What must hold of the roots in a MeshConfig: one that Envoy does not take would keep back all others."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from cryptography import x509

from weft.api.mesh_config import CaCertificates
from weft.api.report import Report
from weft.base.problem import Problem

_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
"""A SPIFFE ID's first part (SPIFFE-ID, 2.1)."""
_SIGNER: Final = re.compile(r"[^/\s]+/[^/\s]+")


def check(written: Sequence[CaCertificates], place: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with the roots."""
    for index, each in enumerate(written):
        here = f"{place}[{index}]"
        if each.pem is None and each.spiffe_bundle_url is None:
            yield report.error(here, "there are no certificates.", "Write them as pem.")
        elif each.pem is not None and (reason := _unfit(each.pem)):
            yield report.error(f"{here}.pem", reason, "Write certificates of authorities in PEM.")
        for number, domain in enumerate(each.trust_domains):
            yield from check_domain(domain, f"{here}.trustDomains[{number}]", report)
        for number, signer in enumerate(each.cert_signers):
            if not _SIGNER.fullmatch(signer):
                hint = "Write its whole name, DOMAIN/NAME."
                yield report.error(f"{here}.certSigners[{number}]", f'"{signer}" is not a signer.', hint)


def check_domain(domain: str, field: str, report: Report) -> Iterator[Problem]:
    """Give what is wrong with a trust domain."""
    if not _TRUST_DOMAIN.fullmatch(domain):
        hint = "Use lower-case letters, digits, dots, dashes and underscores, such as prod.example.com."
        yield report.error(field, f'"{domain}" is not a trust domain.', hint)


def _unfit(text: str) -> str:
    """Why certificates are no roots; "" where they are."""
    try:
        found = x509.load_pem_x509_certificates(text.encode())
        authorities = [each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for each in found]
    except x509.ExtensionNotFound:
        return "holds a certificate that is not an authority's."
    except ValueError:
        return "holds no certificates that can be read."
    return "" if all(authorities) else "holds a certificate that is not an authority's."
