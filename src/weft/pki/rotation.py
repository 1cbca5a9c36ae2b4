"""When a certificate is to be replaced."""

from datetime import datetime, timedelta

from cryptography import x509


def next(  # noqa: A001 -- read as rotation.next
    certificate: x509.Certificate, now: datetime, *, jitter: timedelta = timedelta()
) -> datetime:
    """The moment to replace a certificate: half of its life, `jitter` earlier, and never in the past.

    `now` is aware (UTC). Callers pass a random jitter so that proxies started together do not return together.
    """
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return max(now, begins + (ends - begins) / 2 - jitter)
