"""What istiod is told of the certificates that it issues, under Istio's names."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from weft.base.durations import parse_duration
from weft.pki.authority import LIFETIMES, Lifetimes
from weft.processes.controlplane.impersonation import NODE_ACCOUNTS, Account
from weft.processes.controlplane.registration_authority import Signers

_DEFAULT_TTL: Final = "DEFAULT_WORKLOAD_CERT_TTL"
_EXTERNAL, _KUBERNETES = "EXTERNAL_CA", "ISTIOD_RA_KUBERNETES_API"
_SIGNER, _DOMAIN = "K8S_SIGNER", "CERT_SIGNER_DOMAIN"
_LONGEST_TTL: Final = "MAX_WORKLOAD_CERT_TTL"


@dataclass(frozen=True, slots=True)
class Issuing:
    """How long certificates live, and which accounts are node proxies.

    `signers` are those of the cluster that sign, None where the mesh's own authority does.
    """

    lifetimes: Lifetimes = LIFETIMES
    node_accounts: frozenset[Account] = frozenset()
    signers: Signers | None = None


def issuing(environment: Mapping[str, str]) -> Issuing:
    """What the environment says; ValueError, which names the variable and the way out, where it makes no sense."""
    usual = LIFETIMES
    longest = _time(environment, _LONGEST_TTL, usual.longest)
    default = _time(environment, _DEFAULT_TTL, min(usual.default, longest))
    if default > longest:
        raise ValueError(
            f"{_DEFAULT_TTL} is longer than {_LONGEST_TTL}. Raise {_LONGEST_TTL}, or shorten the other."
        )
    accounts = frozenset(_accounts(environment.get(NODE_ACCOUNTS, "")))
    return Issuing(Lifetimes(default, longest), accounts, _signers(environment))


def _time(environment: Mapping[str, str], name: str, otherwise: timedelta) -> timedelta:
    written = environment.get(name, "")
    if not written:
        return otherwise
    try:
        found = parse_duration(written)
    except ValueError as error:
        raise ValueError(f"{name}: {error}. Write a duration such as 24h.") from None
    if found < timedelta(minutes=1):
        raise ValueError(f"{name}: {written} is too short to be renewed in time. Write a minute at least.")
    return found


def _signers(environment: Mapping[str, str]) -> Signers | None:
    authority = environment.get(_EXTERNAL, "")
    signers = Signers(environment.get(_SIGNER, ""), environment.get(_DOMAIN, ""))
    if not authority:
        return None
    if authority != _KUBERNETES:
        raise ValueError(f"{_EXTERNAL}: {authority!r} is not known. Write {_KUBERNETES}, or leave it out.")
    if signers == Signers():
        raise ValueError(f"{_EXTERNAL} needs a signer. Name it in {_SIGNER}, such as example.com/mesh.")
    if signers.default and "/" not in signers.default:
        raise ValueError(f"{_SIGNER}: {signers.default!r} is no signer. Write DOMAIN/NAME.")
    return signers


def _accounts(written: str) -> list[Account]:
    found = []
    for each in filter(None, map(str.strip, written.split(","))):
        namespace, _, account = each.partition("/")
        if not namespace or not account or "/" in account:
            raise ValueError(f"{NODE_ACCOUNTS}: {each!r} is no account. Write NAMESPACE/SERVICE_ACCOUNT.")
        found.append((namespace, account))
    return found
