"""The order of admission: what the server adds, webhooks, what the server adds to their work; then checks."""

import copy
from dataclasses import dataclass

from weft.cluster.apiserver import errors, forms
from weft.cluster.apiserver.admission import (
    certificates,
    classes,
    escalation,
    limitranges,
    noderestriction,
    policies,
    serviceaccounts,
)
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.podsecurity import policy
from weft.cluster.apiserver.admission.quota import QuotaGate
from weft.cluster.apiserver.admission.webhooks import Webhooks
from weft.cluster.apiserver.authorization import Authorization
from weft.cluster.apiserver.cluster import Call, Cluster

_TERMINATING = "NamespaceTerminating"
# What every cluster needs cannot be deleted (plugin/pkg/admission/namespace/lifecycle).
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True)
class Admission:
    """Everything a write passes before it is stored."""

    cluster: Cluster
    webhooks: Webhooks
    authorization: Authorization
    quota: QuotaGate

    def namespace(self, call: Call, name: str) -> None:
        """Refuse to create something in a namespace that is not there or is going."""
        if not call.kind.namespaced:
            return
        namespace = self.cluster.core("namespaces", "", call.namespace)
        if namespace is None:
            kind = self.cluster.scheme.find("", "v1", "namespaces")
            assert kind is not None  # noqa: S101 - the catalog has it
            raise errors.not_found(kind, call.namespace)
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"namespace {call.namespace} is being terminated"
            cause = {"reason": _TERMINATING, "message": why, "field": "metadata.namespace"}
            raise errors.forbidden(
                call.kind,
                name,
                f"unable to create new content in namespace {call.namespace} because it is being terminated",
                [cause],
            )

    async def mutate(self, attributes: Attributes) -> None:
        """Run mutating admission; `attributes.obj` is afterwards complete, but not yet checked."""
        if _makes(attributes, "", "pods") and attributes.obj is not None:
            await serviceaccounts.await_account(attributes.obj, attributes.call, self.cluster)
        self._built_in(attributes)
        first = await self.webhooks.mutate(attributes)
        if not first.changed:
            return
        if self._settled(attributes):
            first.again |= first.willing
        if first.again and (await self.webhooks.mutate(attributes, first.again)).changed:
            self._settled(attributes)

    def _settled(self, attributes: Attributes) -> bool:
        """Complete what webhooks made; says whether in-tree admission had something to add to their work."""
        call = attributes.call
        if attributes.obj is None or attributes.operation == "CONNECT":
            return False
        obj = forms.clean(call, forms.typed(attributes.obj, call.kind), self.cluster.scheme, quiet=True)
        if not call.subresource:
            forms.fill(call.kind, obj, self.cluster.scheme)
        attributes.obj = copy.deepcopy(obj)
        # containers that were added want the token, too
        self._built_in(attributes)
        return attributes.obj != obj

    def _built_in(self, attributes: Attributes) -> None:
        call, obj = attributes.call, attributes.obj
        if certificates.concerns(call):
            certificates.admit(attributes, self.cluster.world.stamp())
        if obj is None:
            return
        if _makes(attributes, "", "persistentvolumeclaims"):
            classes.storage(obj, self.cluster)
        if _makes(attributes, "networking.k8s.io", "ingresses"):
            classes.ingress(obj, self.cluster)
        if _makes(attributes, "", "pods"):
            obj.setdefault("spec", {})
            serviceaccounts.admit(obj, call, self.cluster)
            classes.runtime(obj, call, self.cluster)
            classes.priority(obj, call, self.cluster)
            serviceaccounts.tolerations(obj)
            limitranges.admit(obj, call.namespace, self.cluster)

    async def validate(self, attributes: Attributes) -> None:
        """Run validating admission."""
        call = attributes.call
        deletes = attributes.operation == "DELETE"
        if deletes and (call.kind.group, call.kind.plural) == ("", "namespaces") and call.name in _IMMORTAL:
            raise errors.forbidden(call.kind, call.name, "this namespace may not be deleted")
        if attributes.obj and (call.kind.group, call.kind.plural) == ("scheduling.k8s.io", "priorityclasses"):
            classes.one_default(attributes.obj, call, self.cluster)
        is_claim = (call.kind.group, call.kind.plural, call.subresource) == ("", "persistentvolumeclaims", "")
        if is_claim and attributes.obj and attributes.old:
            classes.grown(attributes.obj, attributes.old, call, self.cluster)
        noderestriction.check(attributes)
        await policies.check(attributes, self.cluster, self.webhooks.conversion)
        limitranges.check(attributes, self.cluster)
        policy.check(attributes, self.cluster)
        escalation.check(attributes, self.authorization)
        if certificates.concerns(call):
            certificates.check(attributes, self.authorization)
        await self.webhooks.validate(attributes)


def _makes(attributes: Attributes, group: str, plural: str) -> bool:
    """Whether the request creates an object of this kind."""
    call = attributes.call
    asked = (call.kind.group, call.kind.plural, call.subresource)
    return attributes.operation == "CREATE" and asked == (group, plural, "")
