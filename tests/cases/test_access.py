"""Truth tables of who may call a workload, by the reference, the simulator and the real Envoy."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cases import access, access_reference
from tests.cases.access_in_envoy import Callers, callers, served
from tests.cases.tokens import jwks
from tests.support import envoy

from weft.api import codes
from weft.model.store import Store
from weft.xds.config_dump_policies import policy_rows

FILES = [pytest.param(path, id=path.stem) for path in access.files()]


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callers]:
    with callers(tmp_path_factory.mktemp("callers")) as made:
        yield made


@pytest.mark.parametrize("path", FILES)
def test_envoy_lets_in_whom_the_table_says(path: Path, asking: Callers) -> None:
    case = access.load(path)
    if not case.asks:
        return
    with served(case, asking):
        assert [line for each in case.asks if (line := _told(each, asking))] == []


def test_a_token_that_is_required_is_required_of_whatever_the_first_bytes_look_like(asking: Callers) -> None:
    rule = {"issuer": "https://one.example", "jwks": jwks(), "presence": "REQUIRED"}
    meta = {"name": "staff", "namespace": "shop"}
    given = [{"kind": "RequestAuthentication", "metadata": meta, "spec": {"jwtRules": [rule]}}]
    case = access.read({"given": given, "to": {"ports": {8080: "http", 8081: "auto", 9000: "tcp"}}})
    lines = {
        "- GET :8080/": "401",
        "- GET :8081/": "401",
        "- bytes :8081": "closed",
        "shop/web bytes :8081": "closed",  # its requests inside of what it calls bytes
        "- bytes :9999": "closed",
        "- bytes :9000": "in",  # a port that its Service says to carry none
    }
    with served(case, asking):
        for line, then in lines.items():
            asked = access.ask(f"{line} {then}")
            assert (line, asking.ask(asked)) == (line, then)
            assert (line, access.outcome(access.simulated(asked, case))[0]) == (line, then)


def test_a_dry_run_is_counted_and_decides_nothing(asking: Callers) -> None:
    case = access.load(access.HERE / "precedence.yaml")
    lines = ["- GET /a/1 200", "- GET /a/2 200", "- GET /c 403"]
    tried = [access.simulated(access.ask(line), case).tried for line in lines]
    assert [dict(each) for each in tried] == [
        {"istio_dry_run_deny_": False, "istio_dry_run_allow_": False},
        {"istio_dry_run_deny_": True, "istio_dry_run_allow_": False},
        {"istio_dry_run_deny_": True, "istio_dry_run_allow_": True},
    ]
    with served(case, asking) as running:
        assert [asking.ask(access.ask(line)) for line in lines] == ["200", "200", "403"]
        found = dict(
            re.findall(
                r"rbac\.istio_dry_run_(\S+): ([1-9]\d*)", running.get("/stats?usedonly&filter=istio_dry_run")
            )
        )
    assert found == {
        "deny_.shadow_denied": "1",
        "deny_.shadow_allowed": "2",
        "allow_.shadow_denied": "2",
        "allow_.shadow_allowed": "1",
    }


def test_a_proxy_tells_which_policies_it_enforces(asking: Callers) -> None:
    with served(access.load(access.HERE / "precedence.yaml"), asking) as running:
        rows = policy_rows(running.json("/config_dump"))
    assert [(row.action, row.name, row.rules) for row in rows] == [
        ("CUSTOM (denies)", "ask.shop", 1),
        ("AUDIT", "audit.shop", 1),
        ("DENY", "deny.shop", 1),
        ("DENY (dry run)", "try-deny.shop", 1),
        ("ALLOW", "allow-a.shop", 1),
        ("ALLOW", "allow-b.shop", 2),
        ("ALLOW (dry run)", "try-allow.shop", 1),
    ]


def test_the_access_log_says_what_denied_a_request(asking: Callers) -> None:
    body = yaml.safe_load((access.HERE / "precedence.yaml").read_text())
    logged = {"kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}}
    body["given"].append({**logged, "data": {"mesh": "accessLogFile: /dev/stdout"}})
    with served(access.read(body), asking) as running:
        asking.ask(access.ask("- GET /deny 403"))
        asking.ask(access.ask("- GET /none 403"))
        envoy.wait_until(lambda: "/none" in running.log())
        assert "rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]" in running.log()
        assert "rbac_access_denied_matched_policy[none]" in running.log()


@pytest.mark.parametrize("encoding", ["TEXT", "JSON"])
def test_the_access_log_says_which_policy_had_a_provider_asked_that_denied(encoding: str, asking: Callers) -> None:
    provider = "ext_authz_denied_matched_policy[istio-ext-authz-by-"
    unasked = "http-ns[shop]-policy[http]-rule[0]-deny-due-to-bad-CUSTOM-action]"
    lines = {
        "- GET /http/x 403": f"{provider}http-ns[shop]-policy[http]-rule[0]]",
        "- GET /grpc/x 403": f"{provider}grpc-ns[shop]-policy[grpc]-rule[0]]",
        "- GET /deny 403": "rbac_access_denied_matched_policy[ns[shop]-policy[deny]-rule[0]]",
        "- GET /free 200": "via_upstream",
        "- bytes :9000 closed": f"{provider}grpc-ns[shop]-policy[grpc]-rule[0]]",
        "- bytes :9000 from=10.1.2.3 closed": f"rbac_access_denied_matched_policy[istio-ext-authz-by-{unasked}",
    }
    body = yaml.safe_load((access.HERE / "custom.yaml").read_text())
    body["given"][0]["data"]["mesh"] += f"accessLogFile: /dev/stdout\naccessLogEncoding: {encoding}\n"
    with served(access.read(body), asking) as running:
        for line in lines:
            asking.ask(access.ask(line))

        def logged() -> list[str]:
            return [line for line in running.log().splitlines() if "10.244.0.99:" in line]

        envoy.wait_until(lambda: len(logged()) == len(lines))
        before, behind = ('_details":"', '"') if encoding == "JSON" else (" ", " ")
        for details in lines.values():
            assert any(f"{before}{details}{behind}" in line for line in logged()), (details, logged())


def test_the_access_log_says_which_policy_had_somebody_asked_who_does_not_answer(asking: Callers) -> None:
    body = yaml.safe_load((access.HERE / "unanswered.yaml").read_text())
    body["given"][0]["data"]["mesh"] += "accessLogFile: /dev/stdout\n"
    lines = {
        "- GET /status-http 503": "ext_authz_error_matched_policy[istio-ext-authz-status-http-ns[shop]-"
        "policy[e-status-http]-rule[0]]",
        "- GET /unknown 403": "rbac_access_denied_matched_policy[istio-ext-authz-unknown-ns[shop]-"
        "policy[k-unknown]-rule[0]-deny-due-to-bad-CUSTOM-action]",
    }
    with served(access.read(body), asking) as running:
        for line in lines:
            asking.ask(access.ask(line))
        for details in lines.values():
            envoy.wait_until(lambda wanted=details: f" {wanted} " in running.log())


def test_an_audit_marks_the_requests_that_it_is_for_and_decides_nothing(asking: Callers) -> None:
    body = yaml.safe_load((access.HERE / "precedence.yaml").read_text())
    hint = "%DYNAMIC_METADATA(envoy.common:access_log_hint)%"
    mesh = yaml.safe_dump(
        {"accessLogFile": "/dev/stdout", "accessLogFormat": f"audited: {hint} %REQ(:PATH)% %RESPONSE_CODE%\n"}
    )
    logged = {"kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"}}
    body["given"].append({**logged, "data": {"mesh": mesh}})
    with served(access.read(body), asking) as running:
        for line in ("- GET /a 200", "- GET /b 200", "- GET /logged 403", "- GET /deny/a 403"):
            asking.ask(access.ask(line))
        wanted = ["true /a 200", "false /b 200", "true /logged 403", "false /deny/a 403"]
        envoy.wait_until(lambda: running.log().count("audited") == len(wanted))
        assert re.findall("audited: (.*)", running.log()) == wanted


def test_a_dry_run_of_custom_is_counted_and_asks_nobody(asking: Callers) -> None:
    case = access.load(access.HERE / "custom.yaml")
    found = access.simulated(access.ask("- GET /free 200"), case)
    assert (found.tried, found.asked) == ((("istio_dry_run_custom_", False),), ())
    with served(case, asking) as running:
        assert asking.ask(access.ask("- GET /free 200")) == "200"
        counted = running.get("/stats?usedonly&filter=dry_run_custom|ext_authz_by|ext_authz%5C.")
    assert re.findall(r"rbac\.istio_dry_run_custom_\.?(\S+): (\d+)", counted) == [("shadow_denied", "1")]
    assert not re.search(r"ext_authz\.(ok|denied|error): [1-9]", counted)


def test_a_peer_goes_by_all_the_names_of_its_certificate(asking: Callers) -> None:
    one, two = "spiffe://cluster.local/ns/shop/sa/one", "spiffe://cluster.local/ns/till/sa/two"
    rules = [
        {"from": [{"source": {field: [f"cluster.local/ns/{account}"]}}], "to": [{"operation": {"paths": [path]}}]}
        for path, field, account in (
            ("/one", "principals", "shop/sa/one"),
            ("/two", "principals", "till/sa/two"),
            ("/three", "principals", "shop/sa/three"),
            ("/not-one", "notPrincipals", "shop/sa/one"),
            ("/not-three", "notPrincipals", "shop/sa/three"),
        )
    ]
    meta = {"name": "names", "namespace": "shop"}
    case = access.read({"given": [{"kind": "AuthorizationPolicy", "metadata": meta, "spec": {"rules": rules}}]})
    allowed = {f"{one} {two}": {"/one", "/two", "/not-three"}, two: {"/two", "/not-one", "/not-three"}}
    with served(case, asking):
        for who, paths in allowed.items():
            for path in ("/one", "/two", "/three", "/not-one", "/not-three"):
                asked = replace(access.ask(f"- GET {path} 200"), who=who)
                wanted = "200" if path in paths else "403"
                assert access.outcome(access.simulated(asked, case))[0] == wanted, asked
                assert asking.ask(asked) == wanted, asked


@pytest.mark.parametrize(
    ("spec", "requests", "connections"),
    [
        pytest.param({"rules": [{"to": [{"operation": {"ports": ["http"]}}]}]}, "403:bad", "closed:-", id="allow"),
        pytest.param({"action": "DENY"}, "403:bad", "closed:bad", id="deny"),
        pytest.param({"action": "CUSTOM", "rules": [{}]}, "403:bad", "closed:bad", id="custom"),
        pytest.param({"action": "ALLOWED", "rules": [{}]}, "403:bad", "closed:bad", id="unknown"),
        pytest.param({"action": "AUDIT", "rules": [{"to": []}]}, "200", "in", id="audit"),
        pytest.param({"action": 7, "selector": {"matchLabels": {"app": "web"}}}, "403", "closed", id="number"),
        pytest.param({"selector": {"matchLabels": {"app": "other"}}, "action": "DENY"}, "200", "in", id="others"),
        pytest.param({"selector": {"matchLabels": {"app": "no label"}}}, "403", "closed", id="selector"),
        pytest.param({"selector": ["app"], "rules": [{}]}, "403", "closed", id="selector-unread"),
        pytest.param({"targetRef": {"kind": "Pod", "name": "x"}, "rules": [{}]}, "403", "closed", id="target"),
    ],
)
def test_a_policy_that_cannot_be_read_closes_what_it_selects(
    spec: dict[str, Any], requests: str, connections: str
) -> None:
    case = _with_policy(spec)
    for method, target, wanted in (("GET", "/", requests), ("bytes", ":9000", connections)):
        asked = access.ask(f"- {method} {target} {wanted}")
        found = access.outcome(access.simulated(asked, case))
        allowed_by_none = spec.get("action", "ALLOW") == "ALLOW"
        by = "-" if allowed_by_none and asked.by else asked.by
        assert (found[0], found[1] if by else by) == (asked.then, by), found


@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_envoy_lets_nobody_by_a_policy_that_cannot_be_read(action: str, asking: Callers) -> None:
    case = _with_policy({"action": action, "rules": [{"to": [{"operation": {"ports": ["http"]}}]}]})
    with served(case, asking):
        assert asking.ask(access.ask("shop/web GET / 403")) == "403"
        assert asking.ask(access.ask("- bytes :9000 closed")) == "closed"


def test_a_policy_that_becomes_unreadable_stays_as_it_was() -> None:
    store, meta = Store(), {"name": "bad", "namespace": "shop"}
    store.apply("AuthorizationPolicy", {"metadata": meta, "spec": {"action": "DENY"}})
    assert codes.CLOSED in {each.code for each in store.snapshot().problems}
    store.apply("AuthorizationPolicy", {"metadata": meta, "spec": {"rules": [{}]}})
    good = store.snapshot().directory.authorizations.rules
    store.apply("AuthorizationPolicy", {"metadata": meta, "spec": {"action": "DENY"}})
    assert store.snapshot().directory.authorizations.rules == good
    assert codes.KEPT_LAST_GOOD in {each.code for each in store.snapshot().problems}
    store.delete("AuthorizationPolicy", "shop", "bad")
    store.apply("AuthorizationPolicy", {"metadata": meta, "spec": {"action": "DENY"}})
    store.apply("AuthorizationPolicy", {"metadata": meta, "spec": {"action": "AUDIT"}})
    assert store.snapshot().directory.authorizations.rules[0].action == "AUDIT"


def _with_policy(spec: dict[str, Any]) -> access.Access:
    meta = {"name": "bad", "namespace": "shop"}
    return access.read({"given": [{"kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}]})


def _told(asked: access.Ask, asking: Callers) -> str:
    """The line and what came instead; empty if it holds."""
    found = asking.ask(asked)
    return "" if found == asked.then else f"{asked.line}, but {found}"


@pytest.mark.parametrize("path", FILES)
def test_the_reference_and_the_simulator_let_in_whom_the_table_says(path: Path) -> None:
    case = access.load(path)
    assert case.asks or case.problems is not None
    for asked in case.asks:
        wanted = asked.then, asked.by
        for found in (_by_reference(asked, case), access.outcome(access.simulated(asked, case))):
            assert (found[0], found[1] if asked.by else asked.by) == wanted, (asked.line, found)


def _by_reference(asked: access.Ask, case: access.Access) -> tuple[str, str]:
    proxy, mesh = case.view.proxy, case.view.mesh
    workload = access_reference.Workload(
        namespace=proxy.namespace,
        labels=dict(proxy.labels),
        root=mesh.root_namespace,
        domains=(mesh.trust_domain, *mesh.trust_domain_aliases),
        paths=mesh.paths.name,
        providers=access_reference.providers(case.given),
    )
    return access_reference.decide(asked, case.policies, workload)


@pytest.mark.parametrize("path", FILES)
def test_the_snapshot_has_the_problems_that_the_table_names(path: Path) -> None:
    case = access.load(path)
    found = [[each.code, each.at.field] for each in case.snapshot.problems]
    assert found == (case.problems or []), case.snapshot.problems
