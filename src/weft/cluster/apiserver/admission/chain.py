"""The order of admission: what the server adds, webhooks, what the server adds to their work; then checks."""

import copy
from dataclasses import dataclass

from weft.cluster.apiserver import errors, forms
from weft.cluster.apiserver.admission import noderestriction, policies, serviceaccounts
from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.webhooks import Webhooks
from weft.cluster.apiserver.cluster import Call, Cluster

_TERMINATING = "NamespaceTerminating"
# What every cluster needs cannot be deleted (plugin/pkg/admission/namespace/lifecycle).
_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True)
class Admission:
    """Everything a write passes before it is stored."""

    cluster: Cluster
    webhooks: Webhooks

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
        is_pod = (call.kind.group, call.kind.plural, call.subresource) == ("", "pods", "")
        if is_pod and attributes.operation == "CREATE" and obj is not None:
            obj.setdefault("spec", {})
            serviceaccounts.admit(obj, call, self.cluster)
            serviceaccounts.schedule_defaults(obj, self.cluster)

    async def validate(self, attributes: Attributes) -> None:
        """Run validating admission."""
        call = attributes.call
        deletes = attributes.operation == "DELETE"
        if deletes and (call.kind.group, call.kind.plural) == ("", "namespaces") and call.name in _IMMORTAL:
            raise errors.forbidden(call.kind, call.name, "this namespace may not be deleted")
        noderestriction.check(attributes)
        await policies.check(attributes, self.cluster, self.webhooks.conversion)
        await self.webhooks.validate(attributes)
