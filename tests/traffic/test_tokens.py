"""Tokens of requests, verified by the sidecar of the workload that they are for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.cases.tokens import jwks, token
from tests.support import envoy
from tests.traffic.street import INBOUND, WEB, Street, running_street

from weft.model.request_authentication import TokenRule
from weft.xds.resource import LISTENER

RULE = TokenRule("https://one.example", jwks(), claim_headers=(("x-sub", "sub"),))


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    with running_street() as made:
        management = made.server_management
        before = management.heard[LISTENER]
        view = replace(made.view(inbound=INBOUND), tokens=(RULE,))
        management.update(made.generator.resources(view))
        envoy.wait_until(lambda: management.heard[LISTENER] > before)
        assert management.rejected == []
        yield made


@pytest.mark.parametrize("inside", [True, False], ids=["by a sidecar", "from outside"])
def test_a_good_token_goes_no_further_and_its_claims_do(street: Street, *, inside: bool) -> None:
    url = f"http://{WEB}/" if inside else f"http://{street.server.address}:8080/"
    good = token({"iss": "https://one.example", "sub": "me"})
    pod = street.client if inside else street.outside
    forged = ("-H", "x-sub: forged", "-H", "x_sub: forged", "-H", "X_Sub: forged")
    seen = street.seen(url, "-H", f"Authorization: Bearer {good}", *forged, pod=pod)
    assert seen["headers"]["x-sub"] == "me"
    assert "forged" not in str(seen["headers"])
    assert "authorization" not in seen["headers"]


@pytest.mark.parametrize("inside", [True, False], ids=["by a sidecar", "from outside"])
def test_a_bad_token_is_answered_with_what_is_wrong_and_none_goes_on(street: Street, *, inside: bool) -> None:
    url = f"http://{WEB}/" if inside else f"http://{street.server.address}:8080/"
    pod = street.client if inside else street.outside
    bad = token({"iss": "https://one.example", "sub": "me"}, "other")
    answer = street.curl(url, "-i", "-H", f"Authorization: Bearer {bad}", pod=pod)
    assert answer.startswith("HTTP/1.1 401")
    assert 'error="invalid_token"' in answer
    assert answer.endswith("Jwt verification fails")
    seen = street.seen(url, "-H", "x-sub: forged", pod=pod)
    assert "x-sub" not in seen["headers"]
