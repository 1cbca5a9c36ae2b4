"""WorkloadGroups: probes of every kind, and what is wrong with one."""

from typing import Any

import pytest

from weft.api.decode import check, decode
from weft.api.workload_group import (
    ExecProbe,
    GrpcProbe,
    HttpHeader,
    HttpProbe,
    Probe,
    TcpProbe,
    WorkloadGroup,
)

HOW_OFTEN = {
    "initialDelaySeconds": 5,
    "timeoutSeconds": 3,
    "periodSeconds": 4,
    "successThreshold": 2,
    "failureThreshold": 6,
}
HTTP = {
    "path": "/ready",
    "host": "127.0.0.1",
    "port": 3100,
    "scheme": "HTTPS",
    "httpHeaders": [{"name": "x-a", "value": "b"}],
}

READY = HttpProbe(
    path="/ready", host="127.0.0.1", port=3100, scheme="HTTPS", http_headers=(HttpHeader(name="x-a", value="b"),)
)


def read(probe: dict[str, Any], **template: Any) -> WorkloadGroup | list[str]:
    body = {"metadata": {"name": "vms", "namespace": "shop"}, "spec": {"template": template, "probe": probe}}
    found = decode(WorkloadGroup, body)
    return found if isinstance(found, WorkloadGroup) else [each.at.field for each in found]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"httpGet": HTTP}, READY),
        ({"tcpSocket": {"host": "localhost", "port": 3306}}, TcpProbe(host="localhost", port=3306)),
        ({"exec": {"command": ["test", "-e", "/ready"]}}, ExecProbe(command=("test", "-e", "/ready"))),
        ({"grpc": {"port": 9000, "service": "health"}}, GrpcProbe(port=9000, service="health")),
    ],
)
def test_each_kind_of_probe_is_read_whole(written: dict[str, Any], expected: Any) -> None:
    found = read({**written, **HOW_OFTEN})
    assert isinstance(found, WorkloadGroup), found
    probe = found.spec.probe
    assert isinstance(probe, Probe)
    assert expected in (probe.http_get, probe.tcp_socket, probe.exec, probe.grpc)
    assert (probe.initial_delay_seconds, probe.timeout_seconds, probe.period_seconds) == (5, 3, 4)
    assert (probe.success_threshold, probe.failure_threshold) == (2, 6)


@pytest.mark.parametrize(
    ("probe", "field"),
    [
        ({}, "spec.probe"),
        ({"grpc": {"port": 1}, "tcpSocket": {"port": 2}}, "spec.probe"),
        ({"exec": {"command": []}}, "spec.probe.exec.command"),
        ({"httpGet": {"port": 80, "path": "ready"}}, "spec.probe.httpGet.path"),
        ({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b"}]}}, "spec.probe.httpGet.httpHeaders[0].name"),
        ({"httpGet": {"port": 0}}, "spec.probe.httpGet.port"),
        ({"httpGet": {"port": 80, "scheme": "FTP"}}, "spec.probe.httpGet.scheme"),
    ],
)
def test_a_mistake_in_a_probe_is_told_with_its_field(probe: dict[str, Any], field: str) -> None:
    assert read(probe) == [field]


def test_an_address_in_the_template_has_no_effect_and_is_told_so() -> None:
    found = read({"tcpSocket": {"port": 80}}, address="192.0.2.1")
    assert isinstance(found, WorkloadGroup)
    assert [each.at.field for each in check(found)] == ["spec.template.address"]
