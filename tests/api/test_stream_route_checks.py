"""What is said about routes of connections."""

from typing import Any

import pytest
import yaml

from weft.api.decode import check, decode
from weft.api.virtual_service import VirtualService


def said(spec: str) -> list[tuple[str, str, str]]:
    obj: dict[str, Any] = {"metadata": {"name": "web", "namespace": "shop"}, "spec": yaml.safe_load(spec)}
    decoded = decode(VirtualService, obj)
    found = decoded if isinstance(decoded, tuple) else check(decoded)
    return [(each.severity.value, each.code, each.at.field) for each in found]


TO = "route: [{destination: {host: web}}]"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (f"tls: [{{{TO}}}]", "spec.tls[0].match"),
        (f"tls: [{{match: [{{port: 443}}], {TO}}}]", "spec.tls[0].match[0].sniHosts"),
        (f"tls: [{{match: [{{sniHosts: [other]}}], {TO}}}]", "spec.tls[0].match[0].sniHosts[0]"),
        (f"tls: [{{match: [{{sniHosts: ['*.org']}}], {TO}}}]", "spec.tls[0].match[0].sniHosts[0]"),
        (f"tls: [{{match: [{{sniHosts: ['a.*.org']}}], {TO}}}]", "spec.tls[0].match[0].sniHosts[0]"),
        (
            f"tls: [{{match: [{{sniHosts: [web], destinationSubnets: [10.0.0]}}], {TO}}}]",
            "spec.tls[0].match[0].destinationSubnets[0]",
        ),
        (
            f"tls: [{{match: [{{sniHosts: [web], sourceLabels: {{'a b': c}}}}], {TO}}}]",
            "spec.tls[0].match[0].sourceLabels",
        ),
        ("tls: [{match: [{sniHosts: [web]}]}]", "spec.tls[0].route"),
        ("tcp: [{match: [{port: 1}]}]", "spec.tcp[0].route"),
        (f"tcp: [{{match: [{{sourceSubnet: 10.0.0.0/33}}], {TO}}}]", "spec.tcp[0].match[0].sourceSubnet"),
        (
            f"tcp: [{{match: [{{destinationSubnets: [10.0.0.1/8, x]}}], {TO}}}]",
            "spec.tcp[0].match[0].destinationSubnets[1]",
        ),
        ("tcp: [{route: [{destination: {host: '*.x'}}]}]", "spec.tcp[0].route[0].destination.host"),
        (
            "tcp: [{route: [{destination: {host: a}, weight: 0}, {destination: {host: b}, weight: 0}]}]",
            "spec.tcp[0].route",
        ),
    ],
)
def test_what_cannot_hold_is_an_error(spec: str, field: str) -> None:
    assert ("Error", "IST0106", field) in said(f"{{hosts: [web, x.example.org], {spec}}}")


def test_hosts_are_needed() -> None:
    assert ("Error", "IST0106", "spec.hosts") in said(f"{{tcp: [{{{TO}}}]}}")


def test_weights_that_are_missing_or_odd_are_told() -> None:
    shares = "[{destination: {host: a}, weight: 60}, {destination: {host: b}}]"
    assert said(f"{{hosts: [web], tcp: [{{route: {shares}}}]}}") == [
        ("Warning", "IST0133", "spec.tcp[0].route[1]"),
        ("Warning", "IST0133", "spec.tcp[0].route"),
    ]


def test_server_names_may_be_all_that_a_host_means() -> None:
    names = "[web, web.shop.svc.cluster.local, a.x.org, '*.a.x.org', B.X.org]"
    assert said(f"{{hosts: [web, '*.x.org'], tls: [{{match: [{{sniHosts: {names}}}], {TO}}}]}}") == []
