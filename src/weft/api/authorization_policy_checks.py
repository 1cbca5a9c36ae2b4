"""What must hold of an AuthorizationPolicy beyond its shape, as Istio's validation has it."""

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from typing import Final

from weft.api.authorization_policy import AuthorizationPolicy, AuthorizationPolicySpec, Condition, Rule, Source
from weft.api.policy_target import check_whom
from weft.api.report import Report
from weft.base.names import is_dns_label
from weft.base.problem import Problem

CLAIM: Final = re.compile(r"request\.auth\.claims((\[[^\[\]]+\])+)")
HEADER: Final = re.compile(r"request\.headers\[([!#$%&'*+.^_`|~0-9A-Za-z:-]+)\]")
METADATA: Final = re.compile(r"experimental\.(envoy\.filters\.[A-Za-z0-9_.-]+)((\[[^\[\]]+\])+)")
PLAIN: Final = frozenset(
    {
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.serviceAccount",
        "source.principal",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    }
)
TEMPLATE: Final = re.compile(r"\{\*\*?\}")
_MOST_PORT: Final = 65535
_MOST_ACCOUNTS: Final = 16
_Check = Callable[[str, str, Report], Iterator[Problem]]


def check(policy: AuthorizationPolicy, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with an AuthorizationPolicy, or works otherwise than it looks."""
    spec = policy.spec
    yield from check_whom(spec.selector, spec.target_ref, spec.target_refs, report)
    yield from _action(spec, report)
    for index, rule in enumerate(spec.rules):
        yield from _rule(rule, f"spec.rules[{index}]", report)


def _action(spec: AuthorizationPolicySpec, report: Report) -> Iterator[Problem]:
    provider = spec.provider.name if spec.provider else ""
    if not spec.rules and spec.action in {"DENY", "CUSTOM"}:
        message = f"{spec.action} without rules is for no request at all."
        yield report.error("spec.rules", message, "Write rules: [{}] for every request.")
    if spec.action == "CUSTOM":
        if not provider:
            yield report.error("spec.provider.name", "there is no provider.", "Name one of extensionProviders.")
        yield from _of_tokens(spec, report)
    elif spec.provider is not None:
        hint = "Take it out, or write action: CUSTOM."
        yield report.error("spec.provider", f"{spec.action} asks no provider.", hint)
    if spec.action == "ALLOW" and not spec.rules:
        message = "without rules it allows nothing: all requests are denied that no other policy allows."
        yield report.info("spec.rules", message, "Write rules: [{}] to allow all.")


def _of_tokens(spec: AuthorizationPolicySpec, report: Report) -> Iterator[Problem]:
    """Providers are asked before tokens are verified: they may well be who brings them."""
    for index, rule in enumerate(spec.rules):
        fields = [
            f"from[{number}].source.{name}"
            for number, sender in enumerate(rule.from_ or ())
            if sender.source is not None
            for name, values in (
                ("requestPrincipals", sender.source.request_principals),
                ("notRequestPrincipals", sender.source.not_request_principals),
            )
            if values
        ]
        fields += [
            f"when[{number}].key" for number, each in enumerate(rule.when) if each.key.startswith("request.auth.")
        ]
        for each in fields:
            message = "is not known yet when providers are asked: tokens are verified after that."
            hint = "Demand it in an ALLOW or DENY policy beside this one."
            yield report.error(f"spec.rules[{index}].{each}", message, hint)


def _rule(rule: Rule, field: str, report: Report) -> Iterator[Problem]:
    for name, entries in (("from", rule.from_), ("to", rule.to)):
        if entries == ():
            yield report.error(f"{field}.{name}", "is empty.", "Add an entry, or leave it out.")
    for index, sender in enumerate(rule.from_ or ()):
        here = f"{field}.from[{index}].source"
        if sender.source is None or sender.source == Source():
            yield report.error(here, "says nothing.", "Add a field, or leave from out for every sender.")
            continue
        yield from _source(sender.source, here, report)
    for index, each in enumerate(rule.to or ()):
        here = f"{field}.to[{index}].operation"
        operation = each.operation
        if operation is None or operation == type(operation)():
            yield report.error(here, "says nothing.", "Add a field, or leave to out for every operation.")
            continue
        for name, values, how in (
            ("hosts", operation.hosts, _text),
            ("notHosts", operation.not_hosts, _text),
            ("ports", operation.ports, _port),
            ("notPorts", operation.not_ports, _port),
            ("methods", operation.methods, _text),
            ("notMethods", operation.not_methods, _text),
            ("paths", operation.paths, _path),
            ("notPaths", operation.not_paths, _path),
        ):
            yield from _each(values, f"{here}.{name}", how, report)
    for index, condition in enumerate(rule.when):
        yield from _condition(condition, f"{field}.when[{index}]", report)


def _source(source: Source, field: str, report: Report) -> Iterator[Problem]:
    for name, values, how in (
        ("principals", source.principals, _text),
        ("notPrincipals", source.not_principals, _text),
        ("requestPrincipals", source.request_principals, _text),
        ("notRequestPrincipals", source.not_request_principals, _text),
        ("namespaces", source.namespaces, _text),
        ("notNamespaces", source.not_namespaces, _text),
        ("serviceAccounts", source.service_accounts, _account),
        ("notServiceAccounts", source.not_service_accounts, _account),
        ("trustDomains", source.trust_domains, _text),
        ("notTrustDomains", source.not_trust_domains, _text),
        ("ipBlocks", source.ip_blocks, _block),
        ("notIpBlocks", source.not_ip_blocks, _block),
        ("remoteIpBlocks", source.remote_ip_blocks, _block),
        ("notRemoteIpBlocks", source.not_remote_ip_blocks, _block),
    ):
        yield from _each(values, f"{field}.{name}", how, report)
    accounts = (*source.service_accounts, *source.not_service_accounts)
    others = (source.principals, source.not_principals, source.namespaces, source.not_namespaces)
    if accounts and any(others):
        message = "excludes principals and namespaces."
        yield report.error(f"{field}.serviceAccounts", message, "Write NAMESPACE/ACCOUNT, or principals alone.")
    if len(accounts) > _MOST_ACCOUNTS:
        yield report.error(f"{field}.serviceAccounts", "are more than 16.", "Divide them among several sources.")


def _condition(condition: Condition, field: str, report: Report) -> Iterator[Problem]:
    key = condition.key
    if not (key in PLAIN or CLAIM.fullmatch(key) or HEADER.fullmatch(key) or METADATA.fullmatch(key)):
        hint = f"Use request.headers[NAME], request.auth.claims[NAME], {', '.join(sorted(PLAIN))}."
        yield report.error(f"{field}.key", f'"{key}" is no attribute.' if key else "there is no key.", hint)
        return
    if not (condition.values or condition.not_values):
        yield report.error(field, "there are no values.", "Add values or notValues; * stands for any.")
    how: _Check = _text
    if key.endswith(".ip"):
        how = _block
    elif key == "destination.port":
        how = _port
    elif key == "source.serviceAccount":
        how = _account
    yield from _each(condition.values, f"{field}.values", how, report)
    yield from _each(condition.not_values, f"{field}.notValues", how, report)


def _each(values: Iterable[str], field: str, how: _Check, report: Report) -> Iterator[Problem]:
    for index, value in enumerate(values):
        here = f"{field}[{index}]"
        if value:
            yield from how(value, here, report)
        else:
            yield report.error(here, "is empty.", "Write a value, or take it out.")


def _text(value: str, field: str, report: Report) -> Iterator[Problem]:
    if "*" in value.removeprefix("*").removesuffix("*") or (len(value) > 1 and value[0] == value[-1] == "*"):
        message = f'"{value}": * means itself there, not anything.'
        yield report.warning(field, message, "Let it begin or end the value, one of both.")


def _path(value: str, field: str, report: Report) -> Iterator[Problem]:
    if not TEMPLATE.search(value):
        if "{" in value or "}" in value:
            yield report.error(field, f'"{value}" is no template.', "Write {*} for one segment, {**} for any.")
        else:
            yield from _text(value, field, report)
        return
    segments = value.split("/")
    if segments[0] or any(each not in {"{*}", "{**}"} and re.search(r"[{}*]", each) for each in segments):
        message = f'"{value}" is no template.'
        yield report.error(field, message, "Begin with /, and let {*} or {**} be whole segments; no other *.")
    elif segments.count("{**}") > 1 or ("{**}" in segments and "{*}" in segments[segments.index("{**}") :]):
        yield report.error(field, f'"{value}" has more behind {{**}}.', "Let {**} be the last of them.")


def _port(value: str, field: str, report: Report) -> Iterator[Problem]:
    if not (value.isascii() and value.isdecimal() and int(value) <= _MOST_PORT):
        yield report.error(field, f'"{value}" is not a port.', "Write a number, 1 to 65535.")


def _block(value: str, field: str, report: Report) -> Iterator[Problem]:
    try:
        ip_network(value, strict=False)
    except ValueError:
        yield report.error(field, f'"{value}" is not an address.', "Write 10.0.0.1, or a block: 10.1.0.0/16.")


def _account(value: str, field: str, report: Report) -> Iterator[Problem]:
    namespace, mark, name = value.rpartition("/")
    if (mark and not is_dns_label(namespace)) or not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        yield report.error(field, f'"{value}" is not an account.', "Write ACCOUNT, or NAMESPACE/ACCOUNT.")
