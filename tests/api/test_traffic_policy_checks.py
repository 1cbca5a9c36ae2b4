"""What is said of load balancing, limits and failing endpoints."""

import pytest
import yaml

from weft.api.decode import check, decode
from weft.api.destination_rule import DestinationRule

HASH = "loadBalancer: {consistentHash: "
HASHED = "loadBalancer.consistentHash"
WARMUP = "loadBalancer.warmup"
PORTS = "portLevelSettings"


def said(policy: str) -> list[tuple[str, str]]:
    """Severities and fields below spec.trafficPolicy."""
    spec = {"host": "web", "trafficPolicy": yaml.safe_load(policy)}
    decoded = decode(DestinationRule, {"kind": "DestinationRule", "metadata": {"name": "web"}, "spec": spec})
    found = decoded if isinstance(decoded, tuple) else check(decoded)
    return [(each.severity.value, each.at.field.removeprefix("spec.trafficPolicy.")) for each in found]


@pytest.mark.parametrize(
    "policy",
    [
        f"{HASH}{{httpHeaderName: x-user, ringHash: {{minimumRingSize: 8388608}}}}}}",
        f"{HASH}{{httpCookie: {{name: a, ttl: 0s}}, maglev: {{tableSize: 5000011}}}}}}",
        "loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s, minimumPercent: 0, aggression: 1}}",
        "connectionPool: {tcp: {maxConnections: 0, idleTimeout: 0s}, http: {http2KeepAlive: {interval: 5s}}}",
        "outlierDetection: {consecutiveLocalOriginFailures: 3, splitExternalLocalOriginErrors: true}",
        "portLevelSettings: [{port: {number: 80}}, {port: {number: 81}}]",
        "retryBudget: {percent: 12.5, minRetryConcurrency: 1}",
        "proxyProtocol: {version: V2}",
    ],
)
def test_a_good_policy_gets_not_a_word(policy: str) -> None:
    assert said(policy) == []


@pytest.mark.parametrize(
    ("policy", "severity", "field"),
    [
        (f"{HASH}{{}}}}", "Error", HASHED),
        (f"{HASH}{{useSourceIp: true, httpHeaderName: a}}}}", "Error", HASHED),
        (f"{HASH}{{httpHeaderName: a b}}}}", "Error", f"{HASHED}.httpHeaderName"),
        (f"{HASH}{{httpCookie: {{ttl: 1s}}}}}}", "Error", f"{HASHED}.httpCookie.name"),
        (f"{HASH}{{httpCookie: {{name: a, ttl: 1}}}}}}", "Error", f"{HASHED}.httpCookie.ttl"),
        (
            f"{HASH}{{useSourceIp: true, minimumRingSize: 8388609}}}}",
            "Error",
            f"{HASHED}.ringHash",
        ),
        (f"{HASH}{{useSourceIp: true, ringHash: {{}}, maglev: {{}}}}}}", "Error", HASHED),
        (
            f"{HASH}{{useSourceIp: true, maglev: {{tableSize: 65536}}}}}}",
            "Error",
            f"{HASHED}.maglev.tableSize",
        ),
        ("loadBalancer: {warmup: {}}", "Error", "loadBalancer.warmup"),
        ("loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}", "Error", f"{WARMUP}.aggression"),
        (
            "loadBalancer: {warmup: {duration: 1s, minimumPercent: 101}}",
            "Error",
            f"{WARMUP}.minimumPercent",
        ),
        ("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}", "Warning", "loadBalancer.warmup"),
        ("loadBalancer: {warmupDurationSecs: 1s}", "Warning", "loadBalancer.warmupDurationSecs"),
        ("connectionPool: {tcp: {maxConnections: -1}}", "Error", "connectionPool.tcp.maxConnections"),
        ("connectionPool: {tcp: {connectTimeout: 0s}}", "Error", "connectionPool.tcp.connectTimeout"),
        ("connectionPool: {http: {maxRetries: -1}}", "Error", "connectionPool.http.maxRetries"),
        (
            "connectionPool: {http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
            "Error",
            "connectionPool.http",
        ),
        ("connectionPool: {http: {http2KeepAlive: {}}}", "Warning", "connectionPool.http.http2KeepAlive"),
        ("outlierDetection: {consecutiveErrors: 5}", "Warning", "outlierDetection.consecutiveErrors"),
        ("outlierDetection: {maxEjectionPercent: 101}", "Error", "outlierDetection.maxEjectionPercent"),
        (
            "outlierDetection: {consecutiveLocalOriginFailures: 1}",
            "Error",
            "outlierDetection.consecutiveLocalOriginFailures",
        ),
        (
            "outlierDetection: {outlierDetectionHttpErrorCodes: [600]}",
            "Error",
            "outlierDetection.outlierDetectionHttpErrorCodes[0]",
        ),
        ("portLevelSettings: [{tls: {mode: DISABLE}}]", "Error", "portLevelSettings[0].port"),
        (
            "portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]",
            "Error",
            f"{PORTS}[1].port.number",
        ),
        (
            "portLevelSettings: [{port: {number: 1}, connectionPool: {tcp: {maxConnections: -1}}}]",
            "Error",
            "portLevelSettings[0].connectionPool.tcp.maxConnections",
        ),
        ("retryBudget: {percent: 101}", "Error", "retryBudget.percent"),
        ("retryBudget: {budgetInterval: 1s}", "Warning", "retryBudget.budgetInterval"),
    ],
)
def test_a_policy_is_checked_field_by_field(policy: str, severity: str, field: str) -> None:
    assert said(policy) == [(severity, field)]
