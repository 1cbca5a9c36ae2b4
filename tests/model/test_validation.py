from typing import Any

from tests.model.objects import destination_rule, route, service, snapshot_of, virtual_service

from weft.model.snapshot import Snapshot
from weft.model.validation import review


def ask(
    obj: dict[str, Any], snapshot: Snapshot, group: str = "networking.istio.io", **more: Any
) -> dict[str, Any]:
    request = {
        "uid": "7",
        "operation": "CREATE",
        "namespace": "shop",
        "kind": {"group": group, "version": "v1", "kind": obj["kind"]},
        "object": obj,
        **more,
    }
    answer = review({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}, snapshot)
    assert (answer["apiVersion"], answer["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    response: dict[str, Any] = answer["response"]
    assert response["uid"] == "7"
    return response


CLUSTER = snapshot_of(service("web"), destination_rule("web", "v1"))


def test_a_good_rule_passes_without_a_word() -> None:
    assert ask(virtual_service("web", route("web", "v1")), CLUSTER) == {"uid": "7", "allowed": True}


def test_an_invalid_rule_is_refused_with_a_line_for_each_problem() -> None:
    response = ask(virtual_service("web", {**route("web"), "retrys": {}, "timeout": 3}), CLUSTER)
    assert response["allowed"] is False
    assert response["status"]["code"] == 422
    assert response["status"]["message"].splitlines() == [
        "spec.http[0].timeout: expected a string, got 3. Write it with a unit: 3s. [IST0106]",
        'spec.http[0].retrys: unknown field "retrys". Did you mean "retries"? [IST0106]',
    ]


def test_a_missing_host_or_subset_is_a_warning_as_objects_come_in_any_order() -> None:
    response = ask(virtual_service("web", route("nobody"), route("web", "v2")), CLUSTER)
    assert response["allowed"] is True
    assert [each.partition(". ")[0] for each in response["warnings"]] == [
        'spec.http[0].route[0].destination.host: host not found "nobody"',
        "spec.http[1]: spec.http[0] already takes every request, so this route is never reached",
        'spec.http[1].route[0].destination.subset: subset not found "v2" in DestinationRule web.shop',
    ]
    assert response["warnings"][0].endswith('"nobody". Create the Service or a ServiceEntry. [IST0101]')


def test_a_rule_may_use_what_it_brings_and_replaces_its_older_self() -> None:
    snapshot = snapshot_of(service("web"), virtual_service("web", route("web"), created="2026-01-01T00:00:00Z"))
    assert ask(virtual_service("web", route("web")), snapshot)["allowed"] is True
    assert "warnings" not in ask(virtual_service("web", route("web")), snapshot)


def test_a_second_rule_for_a_host_is_warned_of() -> None:
    snapshot = snapshot_of(service("web"), virtual_service("web", route("web"), created="2026-01-01T00:00:00Z"))
    second = virtual_service("other", route("web"), hosts=["web"])
    [warning] = ask(second, snapshot)["warnings"]
    assert warning.startswith("spec.hosts[0]: VirtualService web.shop is older")


def test_an_object_without_a_namespace_takes_the_requests() -> None:
    rule = virtual_service("web", route("web", "v1"))
    del rule["metadata"]["namespace"]
    assert ask(rule, CLUSTER) == {"uid": "7", "allowed": True}


def test_a_rule_for_an_unknown_host_is_a_warning() -> None:
    [warning] = ask(destination_rule("wbe"), CLUSTER)["warnings"]
    assert warning == (
        'spec.host: host not found "wbe", so the rule has no effect. '
        'Did you mean "web"? Otherwise create the Service or a ServiceEntry. [IST0174]'
    )


def test_kinds_without_effect_are_stored_with_a_warning() -> None:
    response = ask({"kind": "WasmPlugin", "metadata": {"name": "edge"}}, CLUSTER)
    assert response == {"uid": "7", "allowed": True, "warnings": ["WasmPlugin is stored, but not acted on yet."]}


def test_deletions_and_strangers_pass() -> None:
    assert ask({"kind": "Pod", "metadata": {}}, CLUSTER, group="") == {"uid": "7", "allowed": True}
    deleted = virtual_service("web", {"route": 3})
    assert ask(deleted, CLUSTER, operation="DELETE") == {"uid": "7", "allowed": True}


def test_many_and_long_warnings_are_cut_to_what_kubernetes_passes_on() -> None:
    routes = [{**route(f"nobody-{index}"), "match": [{"uri": {"exact": f"/{index}"}}]} for index in range(40)]
    warnings = ask(virtual_service("web", *routes), CLUSTER)["warnings"]
    assert len(warnings) == 16
    assert sum(map(len, warnings)) <= 4096
    assert warnings[-1] == "and 25 more: see weft analyze."


def test_routes_by_claims_that_no_pod_of_the_gateway_verifies_are_warned_of() -> None:
    labels = {"istio": "edge"}
    pod = {"kind": "Pod", "metadata": {"name": "edge-1", "namespace": "shop", "labels": labels}}
    edge = {
        "kind": "Gateway",
        "metadata": {"name": "edge", "namespace": "shop"},
        "spec": {
            "selector": labels,
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    }
    asking = {**route("web", "v1"), "match": [{"headers": {"@request.auth.claims.sub": {"exact": "me"}}}]}
    rule = virtual_service("web", asking)
    rule["spec"] |= {"gateways": ["edge"], "hosts": ["web.example"]}
    snapshot = snapshot_of(service("web"), destination_rule("web", "v1"), pod, edge)
    [warning] = ask(rule, snapshot)["warnings"]
    assert "IST0149" in warning
    assert "pod edge-1 of Gateway shop/edge verifies no tokens" in warning
