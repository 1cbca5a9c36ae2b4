"""What Envoy's jwt_authn filter makes of a request: its tokens verified with the keys in the configuration."""

import base64
import json
import re
from dataclasses import dataclass, replace
from http.cookies import SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl

import jwt

from weft.xds.proto import early_header_mutation_pb2
from weft.xds.simulate_changes import Changes
from weft.xds.simulate_match import Request

_SKEW: Final = 60.0
"""Seconds that clocks may differ by (Envoy, JwtProvider.clock_skew_seconds)."""

_ALGORITHMS: Final = frozenset(
    {f"{kind}{bits}" for kind in ("RS", "PS", "ES", "HS") for bits in (256, 384, 512)} | {"EdDSA"}
)
_EARLY: Final = "envoy.http.early_header_mutation.header_mutation"


@dataclass(frozen=True, slots=True, order=True)
class _Verdict:
    """How verifying ended; of several failures the greatest is told, in Envoy's words."""

    rank: int
    says: str = ""


_OK: Final = _Verdict(0)
_MISSED: Final = _Verdict(1, "Jwt is missing")
_UNKNOWN_ISSUER: Final = _Verdict(2, "Jwt issuer is not configured")
_NO_TOKEN: Final = _Verdict(3, "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections")
_NOT_SIGNED: Final = _Verdict(3, "Jwt verification fails")
_NOT_SUPPORTED: Final = _Verdict(3, "Jwt header [alg] is not supported")
_EXPIRED: Final = _Verdict(3, "Jwt is expired")
_EARLY_STILL: Final = _Verdict(3, "Jwt not yet valid")
_OTHER_AUDIENCE: Final = _Verdict(4, "Audiences in Jwt are not allowed")


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The request as it goes on; `status` and `body` are set where Envoy answers it itself."""

    request: Request
    status: int = 0
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class _Token:
    """A token as found: the header or parameter that it came in, and its text."""

    place: tuple[str, str]
    text: str


def early(manager: Any, request: Request) -> Request:
    """The request without the headers that are taken out first of all."""
    patterns: list[str] = []
    for each in manager.early_header_mutation_extensions:
        if each.name == _EARLY:
            mutations = early_header_mutation_pb2.HeaderMutation.FromString(each.typed_config.value).mutations
            patterns += [re.escape(one.remove) for one in mutations if one.remove]
            patterns += [
                each.remove_on_match.key_matcher.safe_regex.regex for each in mutations if _by_match(each)
            ]
    kept = tuple(pair for pair in request.headers if not any(re.fullmatch(each, pair[0]) for each in patterns))
    return replace(request, headers=kept) if len(kept) < len(request.headers) else request


def _by_match(mutation: Any) -> bool:
    return bool(mutation.WhichOneof("action") == "remove_on_match")


def verified(config: Any, request: Request) -> Authenticated:
    """What a JwtAuthentication makes of a request."""
    headers = dict(request.headers)
    preflight = request.method == "OPTIONS" and {"origin", "access-control-request-method"} <= headers.keys()
    if config.bypass_cors_preflight and preflight:
        return Authenticated(request)
    for rule in config.rules:
        if request.path.startswith(rule.match.prefix):
            status, request = _required(rule.requires, config, request)
            if status != _OK:
                return Authenticated(request, 403 if status == _OTHER_AUDIENCE else 401, status.says.encode())
            return Authenticated(request)
    return Authenticated(request)


def _required(requirement: Any, config: Any, request: Request) -> tuple[_Verdict, Request]:
    match requirement.WhichOneof("requires_type"):
        case "provider_name":
            return _by_provider(config.providers[requirement.provider_name], request)
        case "requires_all":
            for each in requirement.requires_all.requirements:
                status, request = _required(each, config, request)
                if status != _OK:
                    return status, request
            return _OK, request
        case "requires_any":
            return _any(requirement.requires_any.requirements, config, request)
        case _:
            return _OK, request


def _any(alternatives: Any, config: Any, request: Request) -> tuple[_Verdict, Request]:
    worst = _MISSED
    for each in alternatives:
        if each.HasField("allow_missing"):
            continue
        status, changed = _required(each, config, request)
        if status == _OK:
            return status, changed
        worst = max(worst, status)
    may_miss = any(each.HasField("allow_missing") for each in alternatives)
    return (_OK if may_miss and worst == _MISSED else worst), request


def _by_provider(provider: Any, request: Request) -> tuple[_Verdict, Request]:
    worst = _MISSED
    for token in _tokens(provider, request):
        status, payload = _checked(token.text, provider, request)
        if status == _OK:
            return status, _told(provider, token, payload, request)
        worst = max(worst, status)
    return worst, request


def _tokens(provider: Any, request: Request) -> list[_Token]:
    headers, query = dict(request.headers), dict(parse_qsl(request.path.partition("?")[2]))
    in_headers = [(each.name, each.value_prefix) for each in provider.from_headers]
    parameters = list(provider.from_params)
    if not (in_headers or parameters or provider.from_cookies):
        in_headers, parameters = [("authorization", "Bearer ")], ["access_token"]
    found = []
    for name, prefix in in_headers:
        value = headers.get(name)
        if value is not None and prefix in value:
            found.append(_Token(("header", name), value.partition(prefix)[2] if prefix else value))
    found += [_Token(("parameter", name), query[name]) for name in parameters if name in query]
    jar = SimpleCookie(headers.get("cookie", ""))
    found += [_Token(("cookie", name), jar[name].value) for name in provider.from_cookies if name in jar]
    return found


def _checked(text: str, provider: Any, request: Request) -> tuple[_Verdict, dict[str, Any]]:
    try:
        head, payload = jwt.get_unverified_header(text), _part(text, 1)
    except (jwt.PyJWTError, ValueError):
        return _NO_TOKEN, {}
    if head.get("alg") not in _ALGORITHMS:
        return _NOT_SUPPORTED, {}
    if provider.issuer and payload.get("iss") != provider.issuer:
        return _UNKNOWN_ISSUER, {}
    if request.time is not None:
        now = request.time.timestamp()
        if now < payload.get("nbf", now) - _SKEW:
            return _EARLY_STILL, {}
        if now > payload.get("exp", now) + _SKEW:
            return _EXPIRED, {}
    audiences = payload.get("aud", ())
    listed = {audiences} if isinstance(audiences, str) else set(audiences)
    if provider.audiences and not listed & set(provider.audiences):
        return _OTHER_AUDIENCE, {}
    keys = json.loads(provider.local_jwks.inline_string)["keys"]
    return (_OK if any(_is_signed(text, head, key) for key in keys) else _NOT_SIGNED), payload


def _part(text: str, index: int) -> dict[str, Any]:
    part = text.split(".")[index]
    found = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(found, dict):
        raise jwt.DecodeError("not an object")
    return found


def _is_signed(text: str, head: dict[str, Any], key: dict[str, Any]) -> bool:
    if key.get("alg", head["alg"]) != head["alg"]:
        return False
    if "kid" in head and "kid" in key and head["kid"] != key["kid"]:
        return False
    signed, _, signature = text.rpartition(".")
    algorithm = jwt.get_algorithm_by_name(head["alg"])
    try:
        made = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
        return bool(algorithm.verify(signed.encode(), algorithm.from_jwk(key), made))
    except (jwt.PyJWTError, ValueError, TypeError):
        return False


def _told(provider: Any, token: _Token, payload: dict[str, Any], request: Request) -> Request:
    """The request with what the application is told of a good token, and perhaps without that."""
    headers = dict(request.headers)
    kind, name = token.place
    path = request.path
    if not provider.forward and kind == "header":
        headers.pop(name, None)
    if not provider.forward and kind == "parameter":
        before, _, query = path.partition("?")
        rest = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != name)
        path = f"{before}?{rest}" if rest else before
    if provider.forward_payload_header:
        headers[provider.forward_payload_header] = token.text.split(".")[1]
    for each in provider.claim_to_headers:
        value = claim_of(payload, each.claim_name.split("."))
        if value is not None:
            headers[each.header_name] = _as_header(value)
    metadata = dict(payload)
    for name in provider.normalize_payload_in_metadata.space_delimited_claims:
        if isinstance(metadata.get(name), str):
            metadata[name] = metadata[name].split()
    return replace(request, headers=tuple(headers.items()), path=path, claims=json.dumps(metadata))


def _as_header(value: Any) -> str:
    if isinstance(value, str):
        return value
    text = json.dumps(value, separators=(",", ":"))
    return text if isinstance(value, bool | int | float) else base64.b64encode(text.encode()).decode()


def claim_of(payload: Any, path: list[str]) -> Any:
    """A claim by its path, None if there is none."""
    for part in path:
        payload = payload.get(part) if isinstance(payload, dict) else None
    return payload


def changed_by_filters(asked: Request, known: Request, others: Changes) -> Changes:
    """The changes of a route with those before it: what filters made of a request for tokens and providers."""
    before, after = dict(asked.headers), dict(known.headers)
    told = tuple(pair for pair in after.items() if before.get(pair[0]) != pair[1])
    gone = tuple(name for name in before if name not in after)
    if not (told or gone):
        return others
    return replace(
        others, request_set=(*told, *others.request_set), request_remove=(*gone, *others.request_remove)
    )
