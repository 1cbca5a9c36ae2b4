"""What must hold of a RequestAuthentication beyond its shape."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from weft.api import codes
from weft.api.checks import check_duration
from weft.api.jwks import holds_private_keys, jwks_fault
from weft.api.policy_target import check_whom
from weft.api.report import Report
from weft.api.request_authentication import JwtRule, RequestAuthentication
from weft.base.names import is_header_name
from weft.base.problem import Problem


def check(source: RequestAuthentication, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with it, or works otherwise than it looks."""
    spec = source.spec
    yield from check_whom(spec.selector, spec.target_ref, spec.target_refs, report)
    if not spec.jwt_rules:
        yield report.warning("spec.jwtRules", "there are none, so nothing is verified.", "Add an issuer.")
    for index, rule in enumerate(spec.jwt_rules):
        yield from _rule(rule, f"spec.jwtRules[{index}]", report)


def _rule(rule: JwtRule, field: str, report: Report) -> Iterator[Problem]:
    yield from _keys(rule, field, report)
    for index, header in enumerate(rule.from_headers):
        yield from _header(header.name, f"{field}.fromHeaders[{index}].name", report)
    for name, values in (
        ("audiences", rule.audiences),
        ("fromParams", rule.from_params),
        ("fromCookies", rule.from_cookies),
        ("spaceDelimitedClaims", rule.space_delimited_claims),
    ):
        for index, value in enumerate(values):
            if not value:
                yield report.error(f"{field}.{name}[{index}]", "is empty.", "Write a name, or take it out.")
    if rule.output_payload_to_header:
        yield from _header(rule.output_payload_to_header, f"{field}.outputPayloadToHeader", report)
    for index, each in enumerate(rule.output_claim_to_headers):
        place = f"{field}.outputClaimToHeaders[{index}]"
        yield from _header(each.header, f"{place}.header", report)
        if not each.claim:
            yield report.error(f"{place}.claim", "says not which claim.", "Write its name.")
    yield from check_duration(rule.timeout, f"{field}.timeout", report)


def _keys(rule: JwtRule, field: str, report: Report) -> Iterator[Problem]:
    uri = rule.jwks_uri or rule.jwks_uri_old
    if not rule.issuer and not uri:
        hint = "Write the `iss` of its tokens. Only with jwksUri may it be left out."
        yield report.error(f"{field}.issuer", "there is no issuer.", hint)
    if rule.jwks_uri_old:
        yield report.warning(f"{field}.jwks_uri", "is the old name.", "Write jwksUri.", codes.DEPRECATED)
    if rule.jwks_uri and rule.jwks_uri_old:
        yield report.error(f"{field}.jwks_uri", "jwksUri and jwks_uri are one field.", "Keep jwksUri.")
    if uri and rule.jwks:
        yield report.error(f"{field}.jwks", "jwks and jwksUri exclude each other.", "Keep one of them.")
    if uri:
        name = "jwksUri" if rule.jwks_uri else "jwks_uri"
        yield from _uri(uri, f"{field}.{name}", report)
    elif not rule.jwks and rule.issuer and not _is_url(rule.issuer):
        hint = "Add jwks or jwksUri: only an issuer that is a URL can be asked where its keys are."
        yield report.error(f"{field}.issuer", "nobody can tell where its keys are.", hint)
    if rule.jwks:
        fault = jwks_fault(rule.jwks)
        if fault:
            hint = 'Copy the whole answer of the issuer: {"keys": […]}.'
            yield report.error(f"{field}.jwks", f"{fault}.", hint)
        elif holds_private_keys(rule.jwks):
            hint = 'Take out "d" and what follows from it, and do not use these keys any more.'
            yield report.warning(f"{field}.jwks", "gives private keys away.", hint)


def _uri(uri: str, field: str, report: Report) -> Iterator[Problem]:
    if not _is_url(uri):
        yield report.error(field, f'"{uri}" is not a URL.', "Write https://HOST/PATH.")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _header(name: str, field: str, report: Report) -> Iterator[Problem]:
    if not is_header_name(name):
        yield report.error(field, f'"{name}" cannot be the name of a header.', "Use letters, digits and dashes.")
