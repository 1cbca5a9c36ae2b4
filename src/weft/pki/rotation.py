"""When a certificate is to be replaced."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509

from weft.pki.authority import SKEW


@dataclass(frozen=True, slots=True)
class Grace:
    """How much of its life a certificate has left when it is replaced: `share`, give or take `jitter`."""

    share: float = 0.5
    jitter: float = 0.01


def next(  # noqa: A001 -- read as rotation.next
    certificate: x509.Certificate, now: datetime, *, jitter: timedelta = timedelta()
) -> datetime:
    """The moment to replace a certificate: half of its life, `jitter` earlier, and never in the past.

    `now` is aware (UTC). Callers pass a random jitter so that proxies started together do not return together.
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return max(now, begins + (ends - begins) / 2 - jitter)


def life(certificate: x509.Certificate, now: datetime) -> timedelta:
    """What is left of a certificate that has just been issued, by a clock that may be wrong.

    Where the clock says that it is over or has not begun, it is the clock that errs, and the certificate's own
    span is believed: else a machine whose clock is a day ahead would ask for another one for ever.
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return ends - now if begins <= now < ends else max(ends - begins - SKEW, timedelta())


def wait(certificate: x509.Certificate, now: datetime, grace: Grace, chance: float) -> timedelta:
    """How long to use a certificate that has just been issued. `chance` in [0, 1) chooses within the jitter."""
    share = grace.share + grace.jitter * (2 * chance - 1)
    return life(certificate, now) * (1 - min(max(share, 0.0), 1.0))


def clock_error(certificate: x509.Certificate, now: datetime) -> timedelta:
    """How far the clock that says `now` is from that of the authority that has just issued; zero if near enough.

    Authorities date certificates back by some minutes, ours by two; so little cannot be told from an error.
    """
    error = now - (certificate.not_valid_before_utc + SKEW)
    return error if error < -SKEW or error > 5 * SKEW else timedelta()
