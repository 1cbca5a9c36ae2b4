"""How one authority follows another and nobody refuses anybody: trusted first, then used, in the end forgotten.

1. *Introduced.* The mesh is told of the next one's root beside those that it trusts; the present one still signs.
2. *In force.* Once everybody trusts the next one, it signs.
3. *Gone.* Roots that nobody signs by any more leave when the last certificate that they vouch for has expired.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from weft.pki import pem, revocation
from weft.pki.authority import Authority
from weft.pki.revocation import List

INTRODUCTION = timedelta(minutes=2)
"""Until then everybody has heard of a root, whether they said so or not: mounted ConfigMaps lag by a minute and
some seconds (the kubelet's sync period and its cache)."""

SETTLING = timedelta(seconds=1)
"""The least, even where all say at once that they trust a root: pods that start now may not have said so."""


@dataclass(frozen=True, slots=True)
class Root:
    """A root that the mesh was told of: since when, until when where it is to leave, and its authority's lists."""

    certificate: x509.Certificate
    since: datetime
    until: datetime | None = None
    revoked: tuple[List, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The roots (PEM) that vouch for identities of some trust domains."""

    domains: tuple[str, ...]
    roots: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """What everybody verifies others with, as PEM: certificates, and lists of revoked ones.

    The first root is that of the authority in force. With `bundles`, each root vouches for its trust domains only,
    the first of them being the mesh's own; without, for all.
    """

    roots: str = ""
    revoked: str = ""
    bundles: tuple[TrustBundle, ...] = ()


@dataclass(frozen=True, slots=True)
class Succession:
    """Who signs (None: nobody yet, the mesh has not heard of the next one), who is to, and the roots to trust."""

    signer: Authority | None
    wanted: Authority
    roots: tuple[Root, ...]

    @property
    def is_over(self) -> bool:
        """Whether the authority that is wanted is the one in force."""
        return self.signer is self.wanted

    @property
    def serving(self) -> Authority:
        """Whom our own certificate is of."""
        return self.signer or self.wanted

    @property
    def trusted(self) -> Trusted:
        """What to verify others with now."""
        ordered = dict.fromkeys(
            (*self.serving.roots, *self.wanted.roots, *(one.certificate for one in self.roots))
        )
        return Trusted(pem.certificates(ordered), self._revoked())

    def _revoked(self) -> str:
        """The lists of all, or none: whose authority has no list is refused by everybody who has the others'."""
        current = {*self.serving.roots, *self.wanted.roots}
        known = [self.serving.revoked, self.wanted.revoked]
        known += [one.revoked for one in self.roots if one.certificate not in current]
        texts = [revocation.text((each,)) for lists in known for each in lists]
        return "".join(dict.fromkeys(texts)) if all(known) else ""


def advance(
    roots: Sequence[Root],
    signer: Authority | None,
    wanted: Authority,
    *,
    now: datetime,
    confirmed: bool,
    lifetime: timedelta,
) -> Succession:
    """What follows from the record of roots, who signs and who is to.

    `confirmed`: everybody has said that they trust the roots of both. `lifetime` is the longest that a certificate
    gets.
    """
    known = {root.certificate: root for root in roots if root.certificate.not_valid_after_utc > now}
    # at a start: nobody signs by another root than these
    is_alone = signer is None and all(root.until or root.certificate in wanted.roots for root in roots)
    for authority in (wanted, *([signer] if signer else [])):
        for certificate in authority.roots:
            root = known.get(certificate) or Root(certificate, now)
            known[certificate] = replace(root, until=None, revoked=authority.revoked or root.revoked)
    age = now - known[wanted.roots[0]].since
    if is_alone or age >= INTRODUCTION or (confirmed and signer is not None and age >= SETTLING):
        signer = wanted
    if signer is wanted:
        # certificates made in the last moment before are held by whoever made them until then
        leaves = now + lifetime + INTRODUCTION
        for certificate, root in known.items():
            if certificate not in wanted.roots:
                known[certificate] = replace(root, until=root.until or leaves)
    kept = (root for root in known.values() if root.until is None or root.until > now)
    return Succession(signer, wanted, tuple(sorted(kept, key=lambda one: one.since)))


def is_led_to(chain: str, roots: str) -> bool:
    """Whether a certificate chain ends below the first of the roots (PEM): that of the authority in force."""
    try:
        last, first = pem.load_certificates(chain)[-1], pem.load_certificates(roots)[0]
        last.verify_directly_issued_by(first)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def dumped(roots: Iterable[Root]) -> str:
    """The roots as JSON."""
    return json.dumps(
        [
            {
                "certificate": pem.certificate(root.certificate),
                "since": root.since.isoformat(),
                "until": root.until.isoformat() if root.until else None,
                "revoked": revocation.text(root.revoked),
            }
            for root in roots
        ],
        indent=1,
    )


def loaded(text: str) -> tuple[Root, ...]:
    """Roots from such JSON; ValueError for anything else."""
    try:
        return tuple(
            Root(
                pem.load_certificate(each["certificate"]),
                datetime.fromisoformat(each["since"]),
                datetime.fromisoformat(each["until"]) if each["until"] else None,
                revocation.load(each["revoked"]) if each["revoked"] else (),
            )
            for each in json.loads(text)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a record of roots: {error}") from error
