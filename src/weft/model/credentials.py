"""Certificates that proxies ask for by the name of a Secret, and what is wrong where they do not get them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.api import codes
from weft.api.report import Report
from weft.base.problem import At, Problem
from weft.model.clients import sorted_labels
from weft.model.destination_rules import DestinationRules, TrafficRule
from weft.model.gateways import Gateway, Gateways
from weft.model.services import Labels

_AT_SERVERS = "The rest of the gateway goes on; this server's clients are refused until the Secret is there."
_AT_CLIENTS = "Requests to the host fail until the Secret is there."


@dataclass(frozen=True, slots=True, order=True)
class CredentialTrouble:
    """Why a proxy with these labels has no answer for what it asks for by `name` (`kubernetes://NAME`)."""

    name: str
    reason: str
    labels: Labels

    @classmethod
    def of(cls, name: str, reason: str, labels: Mapping[str, object]) -> "CredentialTrouble":
        """The same, with labels as a proxy tells them."""
        return cls(name, reason, sorted_labels({str(key): str(value) for key, value in labels.items()}))

    def __str__(self) -> str:
        """For a log."""
        return f"{self.name}: {self.reason}"


def problems(
    gateways: Gateways, rules: DestinationRules, troubles: Iterable[CredentialTrouble]
) -> Iterator[Problem]:
    """What to mend, each told at the Gateways and DestinationRules that ask for it."""
    for trouble in troubles:
        for gateway in gateways.selecting(trouble.labels):
            yield from _at_servers(gateway, trouble)
        for rule in rules.rules:
            if set(rule.selector) <= set(trouble.labels):
                yield from _at_clients(rule, trouble)


def _at_servers(gateway: Gateway, trouble: CredentialTrouble) -> Iterator[Problem]:
    report = Report(At(kind="Gateway", namespace=gateway.namespace, name=gateway.name))
    for server in gateway.servers:
        names = server.tls.secrets if server.tls is not None else ()
        if any(_asks(name, trouble) for name in names):
            field = f"{server.field}.tls.credentialName"
            yield report.error(field, f"{trouble.reason}.", _AT_SERVERS, codes.NOT_FOUND)


def _at_clients(rule: TrafficRule, trouble: CredentialTrouble) -> Iterator[Problem]:
    report = Report(At(kind="DestinationRule", namespace=rule.namespace, name=rule.name))
    asked = {policy.tls.credential for policy in rule.traffic.policies}
    if any(name and (_asks(name, trouble) or _asks(f"{name}-cacert", trouble)) for name in asked):
        field = "spec.trafficPolicy.tls.credentialName"
        yield report.error(field, f"{trouble.reason}.", _AT_CLIENTS, codes.NOT_FOUND)


def _asks(name: str, trouble: CredentialTrouble) -> bool:
    return trouble.name in {name, f"kubernetes://{name}"}
