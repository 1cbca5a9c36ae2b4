"""Roles, bindings, and certificate requests."""

import base64
import binascii
from typing import Any

from cryptography import x509

from weft.cluster.apiserver import names
from weft.cluster.apiserver.errors import FieldError, invalid_value, required, unsupported
from weft.cluster.apiserver.validation.goform import go
from weft.cluster.apiserver.validation.rules import Found, immutable, reason

Obj = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")
_KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"


def role(obj: Obj) -> list[FieldError]:
    """What is wrong with a Role."""
    return [*_rules(obj.get("rules") or (), namespaced=True)]


def cluster_role(obj: Obj) -> list[FieldError]:
    """What is wrong with a ClusterRole."""
    return [*_rules(obj.get("rules") or (), namespaced=False)]


def _rules(rules: Any, *, namespaced: bool) -> Found:
    for index, rule in enumerate(rules):
        yield from _rule(rule, f"rules[{index}]", namespaced=namespaced)


def _rule(rule: Obj, path: str, *, namespaced: bool) -> Found:
    if not rule.get("verbs"):
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    if urls := rule.get("nonResourceURLs"):
        where = f"{path}.nonResourceURLs"
        if namespaced:
            yield invalid_value(where, urls, "namespaced rules cannot apply to non-resource URLs")
        if any(rule.get(field) for field in ("apiGroups", "resources", "resourceNames")):
            yield invalid_value(where, urls, "rules cannot apply to both regular resources and non-resource URLs")
        return
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


def role_binding(obj: Obj) -> list[FieldError]:
    """What is wrong with a RoleBinding."""
    return [*_binding(obj, ("Role", "ClusterRole"), namespaced=True)]


def cluster_role_binding(obj: Obj) -> list[FieldError]:
    """What is wrong with a ClusterRoleBinding."""
    return [*_binding(obj, ("ClusterRole",), namespaced=False)]


def _binding(obj: Obj, kinds: tuple[str, ...], *, namespaced: bool) -> Found:
    ref = obj.get("roleRef") or {}
    if ref.get("apiGroup", "") != _GROUP:
        yield unsupported("roleRef.apiGroup", ref.get("apiGroup", ""), (_GROUP,))
    if ref.get("kind", "") not in kinds:
        yield unsupported("roleRef.kind", ref.get("kind", ""), kinds)
    if not ref.get("name"):
        yield required("roleRef.name")
    else:
        yield from reason(names.path_segment(ref["name"]), "roleRef.name", ref["name"])
    for index, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(subject, f"subjects[{index}]", namespaced=namespaced)


def _subject(subject: Obj, path: str, *, namespaced: bool) -> Found:
    name, group = subject.get("name", ""), subject.get("apiGroup", "")
    if not name:
        yield required(f"{path}.name")
    match subject.get("kind", ""):
        case "ServiceAccount":
            if name:
                yield from reason(names.subdomain(name), f"{path}.name", name)
            if group:
                yield unsupported(f"{path}.apiGroup", group, ("",))
            if not namespaced and not subject.get("namespace"):
                yield required(f"{path}.namespace")
        case "User" | "Group" as kind:
            if not name:
                yield invalid_value(f"{path}.name", name, f"{kind.lower()} name cannot be empty")
            if group != _GROUP:
                yield unsupported(f"{path}.apiGroup", group, (_GROUP,))
        case other:
            yield unsupported(f"{path}.kind", other, _SUBJECTS)


def binding_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """A binding keeps its role."""
    if obj.get("roleRef") == before.get("roleRef"):
        return []
    return [invalid_value("roleRef", go("RoleRef", obj.get("roleRef")), "cannot change roleRef")]


def certificate_request(obj: Obj) -> list[FieldError]:
    """What is wrong with a CertificateSigningRequest."""
    return [*_request(obj.get("spec") or {})]


def _request(spec: Obj) -> Found:
    given = spec.get("request", "")
    try:
        pem = base64.b64decode(given, validate=True)
        if not pem.lstrip().startswith(b"-----BEGIN CERTIFICATE REQUEST-----"):
            yield invalid_value("spec.request", given, "PEM block type must be CERTIFICATE REQUEST")
        elif not x509.load_pem_x509_csr(pem).is_signature_valid:
            yield invalid_value("spec.request", given, "x509: invalid signature")
    except (ValueError, binascii.Error) as error:
        yield invalid_value("spec.request", given, str(error))
    if not spec.get("usages"):
        yield required("spec.usages")
    seconds = spec.get("expirationSeconds")
    if seconds is not None and seconds < 600:
        yield invalid_value(
            "spec.expirationSeconds", seconds, "may not specify a duration less than 600 seconds (10 minutes)"
        )
    signer = spec.get("signerName", "")
    if not signer:
        yield required("spec.signerName")
    elif signer.count("/") != 1:
        yield invalid_value(
            "spec.signerName",
            signer,
            "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        )
    elif signer == "kubernetes.io/legacy-unknown":
        yield invalid_value("spec.signerName", signer, "the legacy signerName is not allowed via this API version")


def request_changed(obj: Obj, before: Obj) -> list[FieldError]:
    """What is asked for stays."""
    return list(immutable(obj["spec"], before["spec"], "spec.", "request", "signerName", "usages"))
