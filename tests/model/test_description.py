"""What all rules come to for a pod or a service, in words."""

from pathlib import Path
from typing import Any

import yaml

from weft.model.description import Note, of_pod, of_service
from weft.model.snapshot import Snapshot
from weft.model.store import Store

OBJECTS = Path(__file__).parent / "description.yaml"
ADDRESSES = {("istio-system", "edge"): ("192.0.2.7",)}


def snapshot() -> Snapshot:
    store = Store()
    objects: list[dict[str, Any]] = yaml.safe_load(OBJECTS.read_text())
    for each in objects:
        store.apply(each["kind"], each)
    return store.snapshot()


def lines(notes: list[Note], depth: int = 0) -> list[str]:
    return [line for each in notes for line in (" " * depth + each.text, *lines(list(each.under), depth + 1))]


def of(pod: str) -> list[str]:
    now = snapshot()
    return lines(of_pod(now, now.workloads["shop", pod], ADDRESSES)[0])


def test_a_pod_is_described_with_all_rules_that_are_for_it() -> None:
    assert of("web-1") == [
        "Service: web",
        " Port: http 80/HTTP targets pod port 8080 (web)",
        " Port: unnamed 9000/auto-detect targets pod port 9000",
        ' DestinationRule: web for "web"',
        "  Matching subsets: v1 (not v2)",
        "  Traffic Policy: connection pool",
        "  Traffic Policy of port 9000: TLS Mode: ISTIO_MUTUAL",
        " VirtualService: web",
        "  Route elsewhere: /old, method ~GET|HEAD to an answer of the proxy's own",
        "  Route elsewhere: /v2*, header x: y to web subset v2",
        "  Route here: 75% of every request (subset v1)",
        " VirtualService: younger",
        "  WARNING: not in force, since web.shop is older and for the same host",
        "  Route elsewhere: every request to nobody",
        "  WARNING: no route leads here (checked 1 HTTP routes)",
        "  1 TCP route(s)",
        "Effective PeerAuthentication:",
        " Workload mTLS mode: STRICT",
        " Port 9000 mTLS mode: DISABLE",
        "Applied PeerAuthentication:",
        " mesh.istio-system",
        " web.shop",
        "RequestAuthentication: staff.shop",
        " Issuers: https://login.example",
        "AuthorizationPolicies:",
        " CUSTOM by door: asked.shop (1 rule(s))",
        " DENY, dry run: none.istio-system (1 rule(s))",
        " ALLOW: some.shop (1 rule(s))",
        " what no ALLOW policy is for is denied",
        "Exposed on Gateway istio-system/edge: https://shop.example.com at 192.0.2.7",
        " VirtualService: web",
        "  Route elsewhere: /old, method ~GET|HEAD to an answer of the proxy's own",
        "  Route elsewhere: /v2*, header x: y to web subset v2",
        "  Route here: every request (subset v1)",
        "  Route here: 75% of every request (subset v1)",
    ]


def test_a_pod_without_a_sidecar_is_told_to_be_open() -> None:
    found = of("bare")
    assert "  Matching subsets: v2 (not v1)" in found
    assert "  Route here: 25% of every request (subset v2)" in found
    assert "WARNING: the pod has no sidecar: it takes plaintext, and no policy is enforced" in found
    assert not any(line.startswith(("Effective", "Authorization")) for line in found)


def test_a_gateways_pod_tells_which_gateways_it_is() -> None:
    now = snapshot()
    found = lines(of_pod(now, now.workloads["istio-system", "edge-1"], ADDRESSES)[0])
    assert found[-4:] == [
        "Gateways of this pod:",
        " istio-system/edge",
        "AuthorizationPolicies:",
        " DENY, dry run: none.istio-system (1 rule(s))",
    ]


def test_a_service_is_described_with_its_pods_and_with_what_is_wrong() -> None:
    now = snapshot()
    notes, problems = of_service(now, now.directory.services["web.shop.svc.cluster.local"], ADDRESSES)
    found = lines(notes)
    assert "  Subset: v2 (version=v2)" in found
    assert found[found.index("1 pod(s), mTLS mode STRICT") :][:4] == [
        "1 pod(s), mTLS mode STRICT",
        " web-1",
        "1 pod(s), no sidecar",
        " bare",
    ]
    told = [(each.code, each.at.kind, each.at.name) for each in problems]
    assert ("IST0101", "VirtualService", "younger") in told
    assert ("IST0109", "VirtualService", "younger") in told
    assert not any(each.at.name == "elsewhere" for each in problems)
