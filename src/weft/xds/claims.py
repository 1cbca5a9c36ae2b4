"""Where the claims of a request's verified token are, for all that matches on them: its dynamic metadata.

`xds.request_authentication` puts a token's whole payload there, and only once its signature, issuer, audience and
times are right: under the namespace METADATA, in the field PAYLOAD, as the JSON object that the token carries.
`{"iss": "https://issuer", "sub": "me", "groups": ["a", "b"], "scope": ["read", "write"]}`: claims of words that
spaces divide (`scope`, `permission` and what `spaceDelimitedClaims` names) are lists there. A request without a
token has no such metadata. The request principal `iss/sub` is no field of its own: both claims are compared.
"""

from collections.abc import Iterable
from typing import Any, Final

from weft.xds.proto import metadata_pb2, value_matcher_pb2

METADATA: Final = "envoy.filters.http.jwt_authn"
PAYLOAD: Final = "payload"

_MATCHER: Any = metadata_pb2.MetadataMatcher
_VALUE: Any = value_matcher_pb2.ValueMatcher


def claim(path: Iterable[str], value: Any, *, invert: bool = False) -> Any:
    """The MetadataMatcher of a claim, `("realm", "roles")` for a nested one, by a ValueMatcher.

    A claim that is not there fits no value; with `invert`, it does.
    """
    segments = [_MATCHER.PathSegment(key=key) for key in (PAYLOAD, *path)]
    return _MATCHER(filter=METADATA, path=segments, value=value, invert=invert)


def text_or_entry(string: Any) -> Any:
    """The ValueMatcher of a text that a StringMatcher fits, or of a list with such an entry."""
    text = _VALUE(string_match=string)
    entry = value_matcher_pb2.ListMatcher(one_of=text)
    return _VALUE(or_match=value_matcher_pb2.OrMatcher(value_matchers=[text, _VALUE(list_match=entry)]))


def present() -> Any:
    """The ValueMatcher of anything at all."""
    return _VALUE(present_match=True)
