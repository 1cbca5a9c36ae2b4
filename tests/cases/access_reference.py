"""Who may call a workload, by the plainest reading of AuthorizationPolicies: what all else is held against.

It reads the policies as written and knows nothing of the code under test.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import yaml
from tests.cases.access import POD, PROVIDERS, Ask

_ONLY_REQUESTS = {"requestPrincipals", "hosts", "methods", "paths"}
Policy = dict[str, Any]


@dataclass(frozen=True)
class Provider:
    """Whom policies have asked, `by` http or grpc. Where it does not answer, that counts as `unasked`."""

    by: str
    unasked: int | None


@dataclass(frozen=True)
class Workload:
    """The one that is asked. `domains` are the names of the mesh; `paths` is MeshConfig's pathNormalization.
    `anybody`: certificates of other trust domains are taken too. `providers` are those that are known."""

    namespace: str
    labels: dict[str, str]
    root: str = "istio-system"
    domains: tuple[str, ...] = ("cluster.local",)
    paths: str = "BASE"
    anybody: bool = False
    providers: dict[str, Provider] = field(default_factory=dict)


def decide(asked: Ask, policies: tuple[Policy, ...], to: Workload) -> tuple[str, str]:
    """What becomes of a request or connection, and what denies it: a policy's name, `-` for none that allows."""
    denied, passed = ("403", "200") if asked.is_request else ("closed", "in")
    if asked.who and not to.anybody and asked.who.split("/")[2] not in to.domains:
        return "closed", ""
    if asked.is_request and _is_no_path(asked.path, to.paths):
        return "400", ""
    inside = [each for each in policies if _concerns(each, to) and not _is_tried(each)]
    inside.sort(key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]))
    for each in sorted(inside, key=lambda each: each["spec"].get("provider", {}).get("name", "")):
        if each["spec"].get("action") == "CUSTOM" and _fits(each, asked, to, whole=False):
            said = _said(to.providers.get(each["spec"]["provider"]["name"]), asked)
            if said != 200:
                return str(said) if asked.is_request else denied, each["metadata"]["name"]
    for each in inside:
        if each["spec"].get("action") == "DENY" and _fits(each, asked, to, whole=False):
            return denied, each["metadata"]["name"]
    allowing = [each for each in inside if each["spec"].get("action", "ALLOW") == "ALLOW"]
    if allowing and not any(_fits(each, asked, to, whole=True) for each in allowing):
        return denied, "-"
    return passed, ""


def providers(given: tuple[dict[str, Any], ...]) -> dict[str, Provider]:
    """The providers of a mesh's ConfigMap that lead to a ServiceEntry, by their names."""
    entries = [
        each["spec"]
        for each in given
        if each["kind"] == "ServiceEntry" and each["spec"]["resolution"] in {"STATIC", "DNS"}
    ]
    known = {(host, port["number"]) for spec in entries for host in spec["hosts"] for port in spec["ports"]}
    texts = [each["data"]["mesh"] for each in given if each["kind"] == "ConfigMap"]
    found = {}
    for each in (one for text in texts for one in yaml.safe_load(text).get("extensionProviders", ())):
        for kind in ("Http", "Grpc"):
            written = each.get(f"envoyExtAuthz{kind}")
            if written and (written["service"].rpartition("/")[2], written["port"]) in known:
                unasked = 200 if written.get("failOpen") else int(written.get("statusOnError", 403))
                answers = written["port"] in PROVIDERS
                found[each["name"]] = Provider(kind.lower(), None if answers else unasked)
    return found


def _said(provider: Provider | None, asked: Ask) -> int:
    """What a provider says, 200 or another status; nobody allows nothing."""
    if provider is None or (provider.by == "http" and not asked.is_request):
        return 403
    if provider.unasked is not None:
        return provider.unasked
    if not asked.is_request:
        return 200 if asked.source.startswith("10.1.") else 403
    wanted = asked.headers.get("x-ext-authz", "")
    return 200 if wanted == "allow" else int(wanted) if wanted.isdigit() else 403


def _is_tried(policy: Policy) -> bool:
    return bool(policy["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true")


def _concerns(policy: Policy, to: Workload) -> bool:
    spec, own = policy["spec"], policy["metadata"]["namespace"]
    wanted = spec.get("selector", {}).get("matchLabels", {})
    named = spec.get("targetRefs") or spec.get("targetRef")
    return not named and own in {to.namespace, to.root} and set(wanted.items()) <= set(to.labels.items())


def _fits(policy: Policy, asked: Ask, to: Workload, *, whole: bool) -> bool:
    """Whether a rule of the policy fits. `whole`: without a part that cannot be looked at, it does not."""
    reader = _Reader(asked, to, policy["metadata"]["namespace"])
    for rule in policy["spec"].get("rules", ()):
        senders = [each["source"] for each in rule.get("from", ())]
        operations = [each["operation"] for each in rule.get("to", ())]
        when = [
            {each["key"]: each.get("values", []), f"not {each['key']}": each.get("notValues", [])}
            for each in rule.get("when", ())
        ]
        names = [name for group in (*senders, *operations, *when) for name in group]
        if whole and not asked.is_request and any(map(_of_requests, names)):
            continue
        one_of_each = all(not group or any(map(reader.all, group)) for group in (senders, operations))
        if one_of_each and all(map(reader.all, when)):
            return True
    return False


def _plain(name: str) -> str:
    """The field or key without its `not`."""
    if name.startswith("not "):
        return name[4:]
    return name[3].lower() + name[4:] if name.startswith("not") else name


def _of_requests(name: str) -> bool:
    return _plain(name) in _ONLY_REQUESTS or _plain(name).startswith("request.")


@dataclass(frozen=True)
class _Reader:
    asked: Ask
    to: Workload
    own: str
    """The namespace of the policy."""

    def all(self, group: dict[str, list[str]]) -> bool:
        for name, values in group.items():
            if not values or (_of_requests(name) and not self.asked.is_request):
                continue
            if any(self.one(_plain(name), each) for each in values) == name.startswith("not"):
                return False
        return True

    def one(self, name: str, value: str) -> bool:
        if header := re.fullmatch(r"request\.headers\[(.*)\]", name):
            told = (("host", self.asked.host), *self.asked.headers.items(), *self.asked.more)
            return any(name == header[1].lower() and shown and _like(value, shown) for name, shown in told)
        if claim := re.fullmatch(r"request\.auth\.claims(\[.*\])", name):
            return self._claim(value, *claim[1][1:-1].split("]["))
        for names, holds in self._known:
            if name in names.split():
                return holds(value)
        # metadata of other filters: nobody here brings any
        return False

    @property
    def _known(self) -> Iterator[tuple[str, Callable[[str], bool]]]:
        yield "principals source.principal", lambda value: any(_like(value, each) for each in self._principals())
        yield "namespaces source.namespace", lambda value: self._peer(lambda _, ns, __: _glob(value, ns))
        yield "trustDomains source.trustDomain", lambda value: self._peer(lambda td, _, __: _glob(value, td))
        yield "serviceAccounts source.serviceAccount", self._account
        yield "ipBlocks source.ip", lambda value: _within(self.asked.source, value)
        yield "remoteIpBlocks remote.ip", lambda value: _within(self._remote(), value)
        yield "hosts", lambda value: any(_like(value.lower(), each) for each in self._hosts())
        yield "requestPrincipals request.auth.principal", self._subject
        yield "request.auth.audiences", lambda value: self._claim(value, "aud")
        yield "request.auth.presenter", lambda value: self._claim(value, "azp")
        yield "methods", lambda value: _like(value, self.asked.method)
        yield "paths", self._path
        yield "ports destination.port", lambda value: int(value) == self.asked.port
        yield "destination.ip", lambda value: _within(POD, value)
        yield "connection.sni", lambda value: bool(self.asked.who) and _like(value, self.asked.server_name)

    def _peer(self, holds: Callable[[str, str, str], bool]) -> bool:
        if not self.asked.who:
            return False
        _, _, domain, _, namespace, _, account = self.asked.who.split("/")
        return holds(domain, namespace, account)

    def _account(self, value: str) -> bool:
        full = value if "/" in value else f"{self.own}/{value}"
        return self._peer(lambda _, namespace, account: full == f"{namespace}/{account}")

    def _claim(self, value: str, *path: str) -> bool:
        found: Any = json.loads(self.asked.token or "{}")
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        texts = found if isinstance(found, list) else [found]
        return any(isinstance(each, str) and _like(value, each) for each in texts)

    def _subject(self, value: str) -> bool:
        token = json.loads(self.asked.token or "{}")
        return bool(token.get("iss") and token.get("sub")) and _like(value, f"{token['iss']}/{token['sub']}")

    def _principals(self) -> list[str]:
        """All names of the peer: the mesh's trust domain has aliases, and is always cluster.local too."""
        if not self.asked.who:
            return []
        _, _, domain, rest = self.asked.who.split("/", 3)
        names = {*self.to.domains, "cluster.local"} if domain in self.to.domains else {domain}
        return [f"{each}/{rest}" for each in names]

    def _remote(self) -> str:
        told = self.asked.headers.get("x-forwarded-for", "") if self.asked.is_request else ""
        last = told.rpartition(",")[2].strip()
        return last if re.fullmatch(r"[\d.]+", last) else self.asked.source

    def _hosts(self) -> set[str]:
        host = self.asked.host.lower()
        name, _, port = host.partition(":")
        bare = name.rstrip(".")
        return {host, name, bare, f"{bare}:{port.lstrip('0')}"}

    def _path(self, value: str) -> bool:
        path = normal(self.asked.path, self.to.paths)
        if "{" not in value:
            return _like(value, path)
        return _template(value.split("/"), path.split("/"))


def _is_no_path(path: str, how: str) -> bool:
    return "#" in path or (how != "NONE" and "%00" in path.partition("?")[0])


def normal(path: str, how: str) -> str:
    """A path as rules see it: dots resolved, letters and digits decoded, no query; slashes made alike or not."""
    path = path.partition("?")[0]
    if how == "NONE":
        return path
    if how == "DECODE_AND_MERGE_SLASHES":
        path = re.sub("%(2f|5c)", "/", path, flags=re.IGNORECASE)
    path = re.sub(r"%([0-9A-Fa-f]{2})", _decoded, path.replace("\\", "/"))
    kept: list[str] = []
    parts = [re.sub(r"^(\.\.?);.*", r"\1", each) for each in path.split("/")[1:]]
    for part in parts:
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    if parts[-1] in {".", ".."}:
        kept.append("")
    found = "/" + "/".join(kept)
    return found if how == "BASE" else re.sub("/+", "/", found)


def _decoded(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    return character if re.fullmatch(r"[A-Za-z0-9._~-]", character) else found[0]


def _within(address: str, block: str) -> bool:
    return ip_address(address) in ip_network(block, strict=False)


def _like(value: str, shown: str) -> bool:
    if value == "*":
        return bool(shown)
    if value.startswith("*"):
        return shown.endswith(value[1:])
    return shown.startswith(value[:-1]) if value.endswith("*") else shown == value


def _glob(value: str, shown: str) -> bool:
    first, star, last = value.partition("*")
    return shown.startswith(first) and shown.endswith(last) if star else shown == value


def _template(wanted: list[str], path: list[str]) -> bool:
    """Whether the segments of a path fit those of a template."""
    if not wanted:
        return not path
    if wanted[0] == "{**}":
        return any(_template(wanted[1:], path[taken:]) for taken in range(1, len(path) + 1))
    fits = bool(path) and (bool(path[0]) if wanted[0] == "{*}" else wanted[0] == path[0])
    return fits and _template(wanted[1:], path[1:])
