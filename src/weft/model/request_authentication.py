"""RequestAuthentications, translated once, and what they come to for one proxy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from weft.api import codes
from weft.api import request_authentication as api
from weft.api.report import Report
from weft.base.durations import parse_duration
from weft.base.problem import At, Problem
from weft.model.fake_key import NO_KEYS
from weft.model.policy_scope import PolicyScope, policy_scope
from weft.model.rule import Rule
from weft.model.services import Labels

_TIMEOUT: Final = timedelta(seconds=5)
_WORDS: Final = frozenset({"scope", "permission"})
_MAX_CLASSES: Final = 4096


@dataclass(frozen=True, slots=True, order=True)
class KeySource:
    """Where an issuer's keys are to be had; with `discovery`, where it says so (OpenID Connect Discovery)."""

    url: str
    discovery: bool = False


@dataclass(frozen=True, slots=True)
class TokenRule:
    """An issuer of tokens that a workload accepts.

    `keys` is a JWKS; while `source` is still to be asked, one that no token fits. `issuer` empty: any. Without
    `headers`, `params` and `cookies` tokens come as Envoy's defaults have it. `claim_headers` pair a header with a
    claim's path. `words` are the claims that spaces divide.
    """

    issuer: str
    keys: str
    source: KeySource | None = None
    timeout: timedelta = _TIMEOUT
    audiences: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    required: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestAuthenticationRule(Rule):
    """A RequestAuthentication."""

    scope: PolicyScope
    tokens: tuple[TokenRule, ...]


def authentication_rule(source: api.RequestAuthentication, _domain: str) -> RequestAuthenticationRule:
    """Translate one that has passed its checks."""
    meta, spec = source.metadata, source.spec
    return RequestAuthenticationRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        scope=policy_scope(meta.namespace, spec.selector, spec.target_ref, spec.target_refs),
        tokens=tuple(map(_token_rule, spec.jwt_rules)),
    )


class RequestAuthentications:
    """All of them. Not changed once made; what a class of proxies gets is worked out once."""

    def __init__(self, rules: Iterable[RequestAuthenticationRule], root_namespace: str) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: rule.precedence))
        self._root = root_namespace
        self._label_keys: frozenset[str] = frozenset().union(*(rule.scope.label_keys for rule in self.rules))
        self._known: dict[tuple[str, Labels], tuple[TokenRule, ...]] = {}

    def tokens(self, namespace: str, labels: Labels, keys: Mapping[KeySource, str]) -> tuple[TokenRule, ...]:
        """What the proxies of a namespace with these labels accept, sorted by issuer, with the keys now known.

        The tokens of all policies add up; what two of them say alike is said once.
        """
        if not self.rules:
            return ()
        near = tuple(pair for pair in labels if pair[0] in self._label_keys)
        found = self._known.get((namespace, near))
        if found is None:
            if len(self._known) >= _MAX_CLASSES:
                self._known.clear()
            found = self._known[namespace, near] = self._find(namespace, dict(near))
        return tuple(_with_keys(each, keys) for each in found)

    def takes(self, namespace: str, labels: Labels) -> bool:
        """Whether any of them is for such a proxy."""
        return bool(self.tokens(namespace, labels, {}))

    def _find(self, namespace: str, labels: dict[str, str]) -> tuple[TokenRule, ...]:
        taken = [rule for rule in self.rules if rule.scope.takes(namespace, labels, self._root)]
        listed = dict.fromkeys(token for rule in taken for token in rule.tokens)
        return tuple(sorted(listed, key=lambda each: each.issuer))


def key_sources(rules: Iterable[Rule]) -> dict[KeySource, timedelta]:
    """Whom to ask for keys by these RequestAuthentications, and for how long at most."""
    found: dict[KeySource, timedelta] = {}
    for rule in rules:
        for each in rule.tokens if isinstance(rule, RequestAuthenticationRule) else ():
            if each.source is not None:
                found[each.source] = max(each.timeout, found.get(each.source, each.timeout))
    return found


@dataclass(frozen=True, slots=True, order=True)
class KeyTrouble:
    """Why the keys of an issuer could not be had. `kept`: the last ones that could stay in force."""

    source: KeySource
    reason: str
    kept: bool


def problems(found: RequestAuthentications, troubles: Iterable[KeyTrouble]) -> Iterator[Problem]:
    """What is wrong with issuers' keys, each told at the rules that ask for them."""
    by_source = {each.source: each for each in troubles}
    for rule in found.rules:
        report = Report(At(kind="RequestAuthentication", namespace=rule.namespace, name=rule.name))
        for index, token in enumerate(rule.tokens):
            trouble = by_source.get(token.source) if token.source is not None else None
            if trouble is None:
                continue
            name = "issuer" if trouble.source.discovery else "jwksUri"
            message = f"no keys from {trouble.source.url}: {trouble.reason}."
            hint = (
                "The last keys that were fetched stay in force."
                if trouble.kept
                else "Tokens of this issuer are refused until its keys are there."
            )
            yield report.error(f"spec.jwtRules[{index}].{name}", message, hint, codes.KEYS_NOT_FETCHED)


def fetched_from_anywhere(found: RequestAuthentications) -> Iterator[Problem]:
    """The rules by which istiod dials an address of their author's choice, for where no range is refused to it."""
    for rule in found.rules:
        report = Report(At(kind="RequestAuthentication", namespace=rule.namespace, name=rule.name))
        fetched = next((index for index, token in enumerate(rule.tokens) if token.source is not None), None)
        if fetched is not None:
            message = "istiod fetches these keys from any address but link-local ones, private ones included."
            hint = "Set BLOCKED_CIDRS_IN_JWKS_URIS of istiod to the ranges that it is not to dial."
            yield report.info(f"spec.jwtRules[{fetched}]", message, hint, codes.KEYS_FROM_ANYWHERE)


def _with_keys(token: TokenRule, keys: Mapping[KeySource, str]) -> TokenRule:
    fetched = "" if token.source is None else keys.get(token.source, "")
    return replace(token, keys=fetched) if fetched else token


def _token_rule(source: api.JwtRule) -> TokenRule:
    uri = source.jwks_uri or source.jwks_uri_old
    asked = KeySource(uri) if uri else KeySource(f"{source.issuer.rstrip('/')}{_WELL_KNOWN}", discovery=True)
    return TokenRule(
        issuer=source.issuer,
        keys=source.jwks or NO_KEYS,
        source=None if source.jwks else asked,
        timeout=parse_duration(source.timeout) if source.timeout else _TIMEOUT,
        audiences=source.audiences,
        headers=tuple((each.name.lower(), each.prefix) for each in source.from_headers),
        params=source.from_params,
        cookies=source.from_cookies,
        payload_header=source.output_payload_to_header.lower(),
        claim_headers=tuple((each.header.lower(), each.claim) for each in source.output_claim_to_headers),
        forward=source.forward_original_token,
        required=source.presence == "REQUIRED",
        words=tuple(sorted(_WORDS.union(source.space_delimited_claims))),
    )


_WELL_KNOWN: Final = "/.well-known/openid-configuration"
