"""AuthorizationPolicies, translated once, and those in force for one proxy."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_network
from typing import Final

from weft.api import authorization_policy as api
from weft.api.authorization_policy_checks import CLAIM, HEADER, METADATA, TEMPLATE
from weft.model.external_authorization import Provider, Unanswerable, service_of
from weft.model.mesh_config import MeshConfig
from weft.model.policy_scope import PolicyScope, policy_scope
from weft.model.registered import Registered
from weft.model.rule import Rule
from weft.model.services import Labels, Proxy

SPIFFE: Final = "spiffe://"
_LOCAL: Final = "cluster.local"
"""In principals, whatever the trust domain is called (Istio, trust domain migration)."""
_MAX_CLASSES: Final = 4096
Services = tuple[tuple[str, Registered | None], ...]
"""Services by their hosts, None for what is not there."""


class Action(StrEnum):
    """What becomes of requests that a policy is for."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


class Attribute(StrEnum):
    """What a condition looks at. `name` of the condition says which header, claim or entry of metadata."""

    IDENTITY = "the peer's SPIFFE ID"
    SUBJECT = "ISSUER/SUBJECT of the request's token"
    CLAIM = "a claim of the token"
    SOURCE_IP = "the address of the connection"
    REMOTE_IP = "the address of the client"
    HOST = "the Host header"
    METHOD = "the method"
    PATH = "the path"
    HEADER = "a header"
    PORT = "the pod's port"
    DESTINATION_IP = "the pod's address"
    SERVER_NAME = "the server name that TLS asks for"
    METADATA = "metadata that a filter left"

    @property
    def of_request(self) -> bool:
        """Whether only requests have it, not connections of bytes."""
        return self in _OF_REQUEST


_OF_REQUEST: Final = frozenset(
    {
        Attribute.SUBJECT,
        Attribute.CLAIM,
        Attribute.HOST,
        Attribute.METHOD,
        Attribute.PATH,
        Attribute.HEADER,
    }
)


class Way(StrEnum):
    """How a text is compared."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class Text:
    """A comparison. REGEX is RE2's syntax for the whole text; for IP attributes, EXACT is a block `10.0.0.0/8`."""

    way: Way
    value: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """The attribute is one of the values; `negated`: none of them."""

    attribute: Attribute
    values: tuple[Text, ...]
    negated: bool = False
    name: tuple[str, ...] = ()


All = tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Clause:
    """One rule: one of the senders, one of the operations and all of the rest fit; none of them fits all."""

    senders: tuple[All, ...] = ()
    operations: tuple[All, ...] = ()
    rest: All = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """What one policy asks of requests. Without clauses it is for none. `dry_run`: only counted."""

    name: str
    namespace: str
    clauses: tuple[Clause, ...]
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What one provider is asked about: all that one of the policies is for. None of them is a dry run."""

    provider: str
    asked: Provider | Unanswerable
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Authorization:
    """All policies of one proxy, by what they do, each group sorted by namespace and name.

    `custom` has an entry for each provider, sorted by its name; `tried` are the CUSTOM policies in a dry run.
    """

    custom: tuple[Inquiry, ...] = ()
    tried: tuple[Policy, ...] = ()
    audit: tuple[Policy, ...] = ()
    deny: tuple[Policy, ...] = ()
    allow: tuple[Policy, ...] = ()

    def __hash__(self) -> int:
        # the names are few, the values may be thousands; who differs in these alone is told apart by ==
        asked = (each.policies for each in self.custom)
        groups = (*asked, self.tried, self.audit, self.deny, self.allow)
        return hash(tuple((each.namespace, each.name) for group in groups for each in group))


@dataclass(frozen=True, slots=True)
class PolicyRule(Rule):
    """An AuthorizationPolicy. `provider` is whom a CUSTOM one has asked.

    `namespaces` are those that it names of senders, each with its field.
    """

    scope: PolicyScope
    action: Action
    policy: Policy
    provider: str = ""
    namespaces: tuple[tuple[str, str], ...] = ()


def policy_rule(source: api.AuthorizationPolicy, _domain: str) -> PolicyRule:
    """Translate an AuthorizationPolicy that has passed its checks."""
    meta, spec = source.metadata, source.spec
    clauses = tuple(_clause(each, meta.namespace) for each in spec.rules)
    return PolicyRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        scope=policy_scope(meta.namespace, spec.selector, spec.target_ref, spec.target_refs),
        action=Action(spec.action),
        policy=Policy(meta.name, meta.namespace, clauses, source.dry_run),
        provider=spec.provider.name if spec.provider else "",
        namespaces=tuple(_named(spec.rules)),
    )


def _named(rules: Iterable[api.Rule]) -> Iterator[tuple[str, str]]:
    for index, rule in enumerate(rules):
        for number, sender in enumerate(rule.from_ or ()):
            source = sender.source or api.Source()
            for name, values in (("namespaces", source.namespaces), ("notNamespaces", source.not_namespaces)):
                here = f"spec.rules[{index}].from[{number}].source.{name}"
                yield from ((f"{here}[{place}]", value) for place, value in enumerate(values))


class Authorizations:
    """All policies. Not changed once made; what a class of proxies gets is worked out once."""

    def __init__(self, rules: Iterable[PolicyRule], mesh: MeshConfig) -> None:
        domains = (mesh.trust_domain, *mesh.trust_domain_aliases)
        self.rules = tuple(
            replace(each, policy=_in_domains(each.policy, domains))
            for each in sorted(rules, key=lambda each: (each.namespace, each.name))
        )
        self._root = mesh.root_namespace
        self._providers = {each.name: each for each in mesh.providers}
        self._keys = frozenset[str]().union(*(rule.scope.label_keys for rule in self.rules))
        self._known: dict[tuple[str, Labels], tuple[Services, Authorization | None]] = {}

    def of(self, proxy: Proxy, services: Mapping[str, Registered]) -> Authorization | None:
        """The policies for a proxy, the same value for all of its class; None where there are none.

        `services` are those among which providers are.
        """
        if not self.rules:
            return None
        labels = tuple(pair for pair in proxy.labels if pair[0] in self._keys)
        key = (proxy.namespace, labels)
        known = self._known.get(key)
        if known is None or any(services.get(host) is not each for host, each in known[0]):
            if len(self._known) >= _MAX_CLASSES:
                self._known.clear()
            known = self._known[key] = self._find(proxy.namespace, dict(labels), services)
        return known[1]

    def provider(self, name: str) -> Provider | Unanswerable:
        """The provider of that name."""
        if name in self._providers:
            return self._providers[name]
        listed = ", ".join(sorted(self._providers)) or "none"
        return Unanswerable(
            f'provider "{name}" is none of those that decide',
            f"Name one of extensionProviders in the mesh's ConfigMap ({listed}), or add it there.",
        )

    def answering(self, name: str, namespace: str, services: Mapping[str, Registered]) -> Provider | Unanswerable:
        """The provider of that name, if proxies of a namespace can ask it."""
        provider = self.provider(name)
        if isinstance(provider, Unanswerable):
            return provider
        found = service_of(provider, namespace, services)
        return found if isinstance(found, Unanswerable) else provider

    def _find(
        self, namespace: str, labels: dict[str, str], services: Mapping[str, Registered]
    ) -> tuple[Services, Authorization | None]:
        """What holds for a class of proxies, and the services that it depends on, None for those that are not."""
        found = [each for each in self.rules if each.scope.takes(namespace, labels, self._root)]
        if not found:
            return (), None
        groups = {action: tuple(each.policy for each in found if each.action is action) for action in Action}
        asking = [each for each in found if each.action is Action.CUSTOM and not each.policy.dry_run]
        names = sorted({each.provider for each in asking})
        hosts = sorted({self._providers[name].host for name in names if name in self._providers})
        return tuple((host, services.get(host)) for host in hosts), Authorization(
            custom=tuple(
                Inquiry(
                    name,
                    self.answering(name, namespace, services),
                    tuple(each.policy for each in asking if each.provider == name),
                )
                for name in names
            ),
            tried=tuple(each for each in groups[Action.CUSTOM] if each.dry_run),
            audit=groups[Action.AUDIT],
            deny=groups[Action.DENY],
            allow=groups[Action.ALLOW],
        )


def _clause(rule: api.Rule, namespace: str) -> Clause:
    return Clause(
        senders=tuple(
            tuple(_sender(each.source, namespace)) for each in rule.from_ or () if each.source is not None
        ),
        operations=tuple(
            tuple(_operation(each.operation)) for each in rule.to or () if each.operation is not None
        ),
        rest=tuple(made for each in rule.when for made in _when(each, namespace)),
    )


_Read = Callable[[str], Text]


def _either(
    attribute: Attribute, read: _Read, wanted: Iterable[str], unwanted: Iterable[str], name: tuple[str, ...] = ()
) -> Iterator[Condition]:
    for values, negated in ((wanted, False), (unwanted, True)):
        texts = tuple(map(read, values))
        if texts:
            yield Condition(attribute, texts, negated, name)


def _sender(source: api.Source, namespace: str) -> Iterator[Condition]:
    identity = Attribute.IDENTITY
    yield from _either(identity, _principal, source.principals, source.not_principals)
    yield from _either(Attribute.SUBJECT, text, source.request_principals, source.not_request_principals)
    yield from _either(identity, _of_namespace, source.namespaces, source.not_namespaces)
    account = _account(namespace)
    yield from _either(identity, account, source.service_accounts, source.not_service_accounts)
    yield from _either(identity, _of_domain, source.trust_domains, source.not_trust_domains)
    yield from _either(Attribute.SOURCE_IP, _block, source.ip_blocks, source.not_ip_blocks)
    yield from _either(Attribute.REMOTE_IP, _block, source.remote_ip_blocks, source.not_remote_ip_blocks)


def _operation(operation: api.Operation) -> Iterator[Condition]:
    yield from _either(Attribute.HOST, _host, operation.hosts, operation.not_hosts)
    yield from _either(Attribute.METHOD, text, operation.methods, operation.not_methods)
    yield from _either(Attribute.PATH, _path, operation.paths, operation.not_paths)
    yield from _either(Attribute.PORT, _exact, operation.ports, operation.not_ports)


def _when(condition: api.Condition, namespace: str) -> Iterator[Condition]:
    plain: dict[str, tuple[Attribute, _Read, tuple[str, ...]]] = {
        "source.ip": (Attribute.SOURCE_IP, _block, ()),
        "remote.ip": (Attribute.REMOTE_IP, _block, ()),
        "source.namespace": (Attribute.IDENTITY, _of_namespace, ()),
        "source.serviceAccount": (Attribute.IDENTITY, _account(namespace), ()),
        "source.principal": (Attribute.IDENTITY, _principal, ()),
        "source.trustDomain": (Attribute.IDENTITY, _of_domain, ()),
        "request.auth.principal": (Attribute.SUBJECT, text, ()),
        "request.auth.audiences": (Attribute.CLAIM, text, ("aud",)),
        "request.auth.presenter": (Attribute.CLAIM, text, ("azp",)),
        "destination.ip": (Attribute.DESTINATION_IP, _block, ()),
        "destination.port": (Attribute.PORT, _exact, ()),
        "connection.sni": (Attribute.SERVER_NAME, text, ()),
    }
    key = condition.key
    if key in plain:
        attribute, read, name = plain[key]
    elif header := HEADER.fullmatch(key):
        attribute, read, name = Attribute.HEADER, text, (header[1].lower(),)
    elif claim := CLAIM.fullmatch(key):
        attribute, read, name = Attribute.CLAIM, text, _brackets(claim[1])
    else:
        entry = METADATA.fullmatch(key)
        if entry is None:
            raise ValueError(key)  # the checks let no other through
        attribute, read, name = Attribute.METADATA, text, (entry[1], *_brackets(entry[2]))
    yield from _either(attribute, read, condition.values, condition.not_values, name)


def _brackets(written: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\[([^\[\]]+)\]", written))


def text(value: str) -> Text:
    """A value in which `*` at one end stands for anything; alone, for anything but nothing at all."""
    if value == "*":
        return Text(Way.PRESENT)
    if value.startswith("*"):
        return Text(Way.SUFFIX, value[1:])
    if value.endswith("*"):
        return Text(Way.PREFIX, value[:-1])
    return Text(Way.EXACT, value)


def _exact(value: str) -> Text:
    return Text(Way.EXACT, value)


def _block(value: str) -> Text:
    return Text(Way.EXACT, str(ip_network(value, strict=False)))


def _principal(value: str) -> Text:
    made = text(value)
    anchored = made.way in {Way.EXACT, Way.PREFIX}
    return Text(made.way, SPIFFE + made.value) if anchored else made


def _with_wildcards(value: str, anything: str) -> str:
    return anything.join(re.escape(part) for part in value.split("*"))


def _of_namespace(value: str) -> Text:
    return Text(Way.REGEX, f"{SPIFFE}[^/]+/ns/{_with_wildcards(value, '[^/]*')}/.*")


def _of_domain(value: str) -> Text:
    return Text(Way.REGEX, f"{SPIFFE}{_with_wildcards(value, '[^/]*')}/.*")


def _account(own: str) -> _Read:
    def read(value: str) -> Text:
        namespace, _, name = value.rpartition("/")
        return Text(Way.REGEX, f"{SPIFFE}[^/]+/ns/{re.escape(namespace or own)}/sa/{re.escape(name)}")

    return read


def _host(value: str) -> Text:
    """Names in any case. One without a port fits any, and the root's dot, so that no spelling passes by a rule.

    What stands behind the colon need not be a number: `Host: a.example:` is a.example's (RFC 3986, 3.2.3), and who
    takes a host up to its colon cares for nothing behind it.
    """
    if value == "*":
        return Text(Way.PRESENT)
    written = text(value)
    name, number = written.value, ""
    if with_port := re.fullmatch(r"(.*):(\d+)", name):
        name, number = with_port[1], with_port[2]
    pattern = re.escape(name)
    if written.way is Way.PREFIX:
        return Text(Way.REGEX, f"(?i){re.escape(written.value)}.*")
    port = rf"\.*:0*{number}" if number else r"\.*(:.*)?"
    return Text(Way.REGEX, f"(?i){'.*' if written.way is Way.SUFFIX else ''}{pattern}{port}")


def _path(value: str) -> Text:
    """A template becomes an expression: a segment is whatever stands between two slashes."""
    if not TEMPLATE.search(value):
        return text(value)
    known = {"{*}": "[^/]+", "{**}": ".*"}
    return Text(Way.REGEX, "/".join(known.get(each, re.escape(each)) for each in value.split("/")))


def _in_domains(policy: Policy, domains: tuple[str, ...]) -> Policy:
    """Principals of the mesh's trust domain are known by all of its names."""

    def known(condition: Condition) -> Condition:
        if condition.attribute is not Attribute.IDENTITY:
            return condition
        values = (one for each in condition.values for one in _aliases(each, domains))
        return replace(condition, values=tuple(dict.fromkeys(values)))

    def every(conditions: All) -> All:
        return tuple(known(each) for each in conditions)

    clauses = tuple(
        Clause(tuple(map(every, each.senders)), tuple(map(every, each.operations)), every(each.rest))
        for each in policy.clauses
    )
    return replace(policy, clauses=clauses)


def _aliases(value: Text, domains: tuple[str, ...]) -> Iterator[Text]:
    domain, slash, rest = value.value.removeprefix(SPIFFE).partition("/")
    anchored = value.way in {Way.EXACT, Way.PREFIX} and slash
    if anchored and (domain == _LOCAL or domain in domains):
        yield from (Text(value.way, f"{SPIFFE}{each}/{rest}") for each in domains)
    else:
        yield value
