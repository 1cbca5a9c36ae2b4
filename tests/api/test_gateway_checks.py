"""What is said of Gateways by themselves."""

from typing import Any

import pytest
import yaml

from weft.api.decode import check, decode
from weft.api.gateway import Gateway
from weft.api.gateway_tls_checks import CIPHER_SUITES, CURVES

HTTPS = "port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example.com]"
SIMPLE = f"{HTTPS}, tls: {{mode: SIMPLE, credentialName: a"
MUTUAL = f"{HTTPS}, tls: {{mode: MUTUAL, credentialName: a"


def said(*servers: str, selector: str = "{istio: ingressgateway}") -> list[tuple[str, str]]:
    """Severities and fields below spec."""
    spec: dict[str, Any] = {
        "selector": yaml.safe_load(selector),
        "servers": [yaml.safe_load(f"{{{each}}}") for each in servers],
    }
    decoded = decode(Gateway, {"kind": "Gateway", "metadata": {"name": "edge"}, "spec": spec})
    found = decoded if isinstance(decoded, tuple) else check(decoded)
    return [(each.severity.value, each.at.field.removeprefix("spec.")) for each in found]


@pytest.mark.parametrize(
    "server",
    [
        'port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]',
        "port: {number: 80, name: http, protocol: grpc-web}, hosts: [shop/a.example.com, ./b, '*/*.c.io']",
        "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com], tls: {httpsRedirect: true}",
        "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com], bind: 10.0.0.1",
        "port: {number: 27017, name: mongo, protocol: MONGO}, hosts: [a.example.com]",
        f"{HTTPS}, tls: {{mode: PASSTHROUGH}}",
        f"{HTTPS}, tls: {{mode: AUTO_PASSTHROUGH}}",
        f"{HTTPS}, tls: {{mode: ISTIO_MUTUAL, subjectAltNames: [a]}}",
        f"{SIMPLE}, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3}}",
        f"{SIMPLE}, cipherSuites: [{', '.join(CIPHER_SUITES)}], ecdhCurves: [{', '.join(CURVES)}]}}",
        f"{MUTUAL}, subjectAltNames: [a], verifyCertificateHash: ['{'ab:' * 31}ab', '{'AB' * 32}']}}",
        f"{MUTUAL}, caCertCredentialName: roots}}",
        f"{HTTPS}, tls: {{mode: SIMPLE, credentialNames: [a, b]}}",
        f"{HTTPS}, tls: {{mode: MUTUAL, serverCertificate: /a, privateKey: /b, caCertificates: /c, caCrl: /d}}",
        f"{HTTPS}, tls: {{mode: MUTUAL, serverCertificate: /a, privateKey: /b, insecureSkipVerify: true}}",
        f"{HTTPS}, tls: {{mode: SIMPLE, tlsCertificates: [{{serverCertificate: /a, privateKey: /b}}]}}",
    ],
)
def test_a_good_server_gets_not_a_word(server: str) -> None:
    assert said(server) == []


@pytest.mark.parametrize(
    ("server", "field"),
    [
        ("port: {number: 80, name: http, protocol: HTTP}", "servers[0].hosts"),
        ("port: {number: 80, name: http, protocol: HTP}, hosts: [a]", "servers[0].port.protocol"),
        ("port: {number: 80, name: '', protocol: HTTP}, hosts: [a]", "servers[0].port.name"),
        ("port: {number: 80, name: a b, protocol: HTTP}, hosts: [a]", "servers[0].port.name"),
        ("port: {number: 0, name: http, protocol: HTTP}, hosts: [a]", "servers[0].port.number"),
        ("port: {number: 80, name: http, protocol: HTTP}, hosts: [a], bind: here", "servers[0].bind"),
        ("port: {number: 80, name: http, protocol: HTTP}, hosts: ['a b']", "servers[0].hosts[0]"),
        ("port: {number: 80, name: http, protocol: HTTP}, hosts: ['A B/c']", "servers[0].hosts[0]"),
        ("port: {number: 80, name: http, protocol: HTTP}, hosts: [a], tls: {mode: SIMPLE}", "servers[0].tls"),
        (HTTPS, "servers[0].tls"),
        (f"{HTTPS}, tls: {{mode: NONE}}", "servers[0].tls.mode"),
        (f"{HTTPS}, tls: {{mode: SIMPLE}}", "servers[0].tls"),
        (f"{SIMPLE}, credentialNames: [b]}}", "servers[0].tls"),
        (f"{HTTPS}, tls: {{mode: SIMPLE, serverCertificate: /a}}", "servers[0].tls.privateKey"),
        (f"{HTTPS}, tls: {{mode: SIMPLE, credentialNames: [a, b, c]}}", "servers[0].tls.credentialNames"),
        (
            f"{HTTPS}, tls: {{mode: SIMPLE, tlsCertificates: [{{serverCertificate: /a}}]}}",
            "servers[0].tls.tlsCertificates[0].privateKey",
        ),
        (
            f"{HTTPS}, tls: {{mode: MUTUAL, serverCertificate: /a, privateKey: /b}}",
            "servers[0].tls.caCertificates",
        ),
        (f"{MUTUAL}, caCertificates: /a, caCertCredentialName: b}}", "servers[0].tls"),
        (
            f"{SIMPLE}, minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2}}",
            "servers[0].tls.minProtocolVersion",
        ),
        (f"{MUTUAL}, verifyCertificateSpki: [abc]}}", "servers[0].tls.verifyCertificateSpki[0]"),
        (f"{MUTUAL}, verifyCertificateHash: [abc]}}", "servers[0].tls.verifyCertificateHash[0]"),
        (f"{MUTUAL}, subjectAltNames: ['']}}", "servers[0].tls.subjectAltNames[0]"),
    ],
)
def test_what_cannot_be_is_an_error_at_its_field(server: str, field: str) -> None:
    assert ("Error", field) in said(server)


@pytest.mark.parametrize(
    ("server", "field"),
    [
        ("port: {number: 80, name: http, protocol: HTTP, targetPort: 8080}, hosts: [a]", "port.targetPort"),
        (
            "port: {number: 80, name: http, protocol: HTTP}, hosts: [a], defaultEndpoint: '1.2.3.4:80'",
            "defaultEndpoint",
        ),
        ("port: {number: 80, name: http, protocol: HTTP}, hosts: [a, A]", "hosts[1]"),
        (
            "port: {number: 80, name: tcp, protocol: TCP}, hosts: [a], tls: {httpsRedirect: true}",
            "tls.httpsRedirect",
        ),
        (f"{SIMPLE}, httpsRedirect: true}}", "tls.httpsRedirect"),
        (f"{HTTPS}, tls: {{mode: PASSTHROUGH, credentialName: a}}", "tls.credentialName"),
        (f"{HTTPS}, tls: {{mode: ISTIO_MUTUAL, caCertificates: /a}}", "tls.caCertificates"),
        (f"{SIMPLE}, caCrl: /a}}", "tls.caCrl"),
        (f"{HTTPS}, tls: {{mode: SIMPLE, credentialName: 'sds://a'}}", "tls.credentialName"),
        (f"{SIMPLE}, insecureSkipVerify: true}}", "tls.insecureSkipVerify"),
        (f"{SIMPLE}, subjectAltNames: [a]}}", "tls.subjectAltNames"),
        (f"{SIMPLE}, minProtocolVersion: TLSV1_0}}", "tls.minProtocolVersion"),
        (f"{SIMPLE}, cipherSuites: [ECDHE-RSA-AES128-GCM-SHA512]}}", "tls.cipherSuites[0]"),
        (f"{SIMPLE}, ecdhCurves: [P-256, P-256]}}", "tls.ecdhCurves[1]"),
    ],
)
def test_what_has_no_effect_is_warned_of(server: str, field: str) -> None:
    assert said(server) == [("Warning", f"servers[0].{field}")]


def test_a_gateway_needs_servers_and_labels_that_pods_can_have() -> None:
    assert said(selector="{'a b': c}") == [("Error", "servers"), ("Error", "selector")]


def test_servers_and_their_ports_have_names_of_their_own() -> None:
    server = "port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example.com], name: one"
    assert said(server, server) == [("Error", "servers[1].port.name"), ("Error", "servers[1].name")]


def test_an_old_version_without_suites_for_it_is_told_so() -> None:
    server = yaml.safe_load(f"{{{SIMPLE}, minProtocolVersion: TLSV1_1}}}}")
    [problem] = check(decode(Gateway, {"kind": "Gateway", "spec": {"servers": [server]}}))
    assert "cipherSuites" in problem.hint
