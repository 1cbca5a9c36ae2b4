"""What is said of load balancing, limits and failing endpoints."""

import pytest
import yaml

from weft.api.decode import check, decode
from weft.api.destination_rule import DestinationRule

HASH = "loadBalancer: {consistentHash: "
HASHED = "loadBalancer.consistentHash"
WARMUP = "loadBalancer.warmup"
PORTS = "portLevelSettings"
BY_LOAD = "loadBalancer: {backendUtilization: "
LOCAL = "loadBalancer: {localityLbSetting: {"
LOCALITY = "loadBalancer.localityLbSetting"
OUTLIERS = "}\noutlierDetection: {}"
SPLIT = "{from: us/*, to: {us/a: 80, us/b: 20}}"


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
        "tunnel: {protocol: POST, targetHost: a.b, targetPort: 1}",
        "tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /r, caCrl: /l, sni: a.b}",
        "tls: {mode: MUTUAL, credentialName: a, subjectAltNames: [a.b]}",
        "loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {us/a/1: 1, us/a/*: 99}}]}}",
        "loadBalancer: {localityLbSetting: {failoverPriority: [a=b, a]}}\noutlierDetection: {}",
        "loadBalancer: {zoneAwareLbSetting: {enabled: true, failoverPriority: [a], minClusterSize: 1}}",
        "loadBalancer: {backendUtilization: {errorUtilizationPenaltyPercent: 50}}",
        "retryBudget: {budgetInterval: 0s}",
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
        ("retryBudget: {budgetInterval: x}", "Error", "retryBudget.budgetInterval"),
        ("tunnel: {protocol: SOCKS, targetHost: a.b, targetPort: 1}", "Error", "tunnel.protocol"),
        ("tunnel: {targetHost: '*.b', targetPort: 1}", "Error", "tunnel.targetHost"),
        ("tunnel: {targetHost: a.b}", "Error", "tunnel.targetPort"),
        ("tls: {mode: SIMPLE, credentialName: a, caCertificates: /a}", "Error", "tls"),
        ("tls: {mode: MUTUAL, privateKey: /a}", "Error", "tls.clientCertificate"),
        ("tls: {mode: ISTIO_MUTUAL, caCertificates: /a}", "Error", "tls.caCertificates"),
        ("tls: {mode: DISABLE, credentialName: a}", "Error", "tls.credentialName"),
        ("tls: {mode: DISABLE, insecureSkipVerify: true}", "Error", "tls.insecureSkipVerify"),
        ("tls: {mode: SIMPLE, insecureSkipVerify: true, caCertificates: /a}", "Warning", "tls.insecureSkipVerify"),
        (f"{BY_LOAD}{{weightUpdatePeriod: 1}}}}", "Error", "loadBalancer.backendUtilization.weightUpdatePeriod"),
        (f"{BY_LOAD}{{}}, simple: RANDOM}}", "Warning", "loadBalancer.simple"),
        (f"{BY_LOAD}{{}}, zoneAwareLbSetting: {{enabled: true}}}}", "Warning", "loadBalancer.zoneAwareLbSetting"),
        (f"{LOCAL}failover: [{{from: us, to: eu}}]}}}}", "Warning", LOCALITY),
        (f"{LOCAL}failoverPriority: [a], distribute: [{SPLIT}]}}}}", "Error", LOCALITY),
        (f"{LOCAL}distribute: [{{from: us, to: {{us: 99}}}}]}}}}", "Error", f"{LOCALITY}.distribute[0].to"),
        (f"{LOCAL}distribute: [{{from: u*, to: {{us: 100}}}}]}}}}", "Error", f"{LOCALITY}.distribute[0].from"),
        (f"{LOCAL}distribute: [{SPLIT}, {SPLIT}]}}}}", "Error", f"{LOCALITY}.distribute[1].from"),
        (f"{LOCAL}failover: [{{from: us/a, to: eu}}]}}{OUTLIERS}", "Error", f"{LOCALITY}.failover[0].from"),
        (f"{LOCAL}failover: [{{from: us, to: us}}]}}{OUTLIERS}", "Error", f"{LOCALITY}.failover[0]"),
        (f"{LOCAL}failoverPriority: ['=a']}}{OUTLIERS}", "Error", f"{LOCALITY}.failoverPriority[0]"),
        (
            "loadBalancer: {zoneAwareLbSetting: {enabled: true, failoverPriority: [topology.kubernetes.io/zone]}}",
            "Error",
            "loadBalancer.zoneAwareLbSetting.failoverPriority[0]",
        ),
        (
            "loadBalancer: {localityLbSetting: {enabled: true}, zoneAwareLbSetting: {enabled: true}}",
            "Error",
            "loadBalancer",
        ),
    ],
)
def test_a_policy_is_checked_field_by_field(policy: str, severity: str, field: str) -> None:
    assert said(policy) == [(severity, field)]
