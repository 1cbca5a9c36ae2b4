"""Names: of hosts, of Kubernetes objects, of headers; and what a short or wildcard host means."""

import difflib
import re
from collections.abc import Iterable

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_HOST_LABEL = re.compile(r"[A-Za-z0-9_]([-A-Za-z0-9_]{0,61}[A-Za-z0-9_])?", re.ASCII)
# RFC 9110, section 5.6.2: a field name is a token
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
# a service as Kubernetes' DNS search completes it in every namespace: no domain of the Internet is called svc
_IN_CLUSTER = re.compile(r"[^.]+\.[^.]+\.svc")
MAX_HOST = 253


def is_dns_label(name: str) -> bool:
    """Whether a name can be a Kubernetes namespace or a subset (RFC 1123 label)."""
    return _LABEL.fullmatch(name) is not None


def is_header_name(name: str) -> bool:
    """Whether a name can be an HTTP header's."""
    return _TOKEN.fullmatch(name) is not None


def host_fault(host: str, *, wildcard: bool) -> str:
    """Say what is wrong with a host name, empty if nothing. With `wildcard`, `*` and `*.x.org` are names too."""
    if not host:
        return "the host is empty"
    if wildcard and host == "*":
        return ""
    bare = host.removeprefix("*.") if wildcard else host
    if "*" in bare:
        return (
            f'"{host}" is not a host: "*" stands only for the first part'
            if wildcard
            else f'"{host}" is a wildcard'
        )
    if len(host) > MAX_HOST or not all(_HOST_LABEL.fullmatch(part) for part in bare.removesuffix(".").split(".")):
        return f'"{host}" is not a DNS name'
    return ""


def full_host(host: str, namespace: str, domain: str) -> str:
    """Give a host's full name, lower case: one without dots is a service of the rule's own namespace.

    `web.shop.svc` is completed as pods complete it; Istio takes it as it is, and leads nowhere (decision 0014).
    Like Istio, nothing is added to any other name with dots: `web.shop` is not `web.shop.svc.cluster.local`.
    """
    host = host.lower().removesuffix(".")
    if not host or "*" in host:
        return host
    if "." not in host:
        return service_host(host, namespace, domain)
    return f"{host}.{domain}" if _IN_CLUSTER.fullmatch(host) else host


def service_host(name: str, namespace: str, domain: str) -> str:
    """Give the full name of a Kubernetes service."""
    return f"{name}.{namespace}.svc.{domain}"


def host_matches(pattern: str, host: str) -> bool:
    """Whether `host` is meant by `pattern`: itself, `*`, or a wildcard for its first parts."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return pattern == host


def host_covers(pattern: str, host: str) -> bool:
    """Whether all that `host` means, a wildcard perhaps, is meant by `pattern` too."""
    if pattern.startswith("*") and host.startswith("*"):
        return host[1:].endswith(pattern[1:])
    return host_matches(pattern, host)


def hosts_overlap(one: str, other: str) -> bool:
    """Whether two hosts, wildcards perhaps, have a name in common."""
    return host_covers(one, other) or host_covers(other, one)


def spiffe_id(trust_domain: str, namespace: str, service_account: str) -> str:
    """Give the identity of a workload, as Istio's certificates carry it."""
    return f"spiffe://{trust_domain}/ns/{namespace}/sa/{service_account}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Give the known name that a user most likely meant, empty if none is near."""
    by_lower = {each.lower(): each for each in sorted(known)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""
