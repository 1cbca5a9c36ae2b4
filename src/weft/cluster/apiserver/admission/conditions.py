"""The variables of admission's expressions, and match conditions (`admission/plugin/webhook/matchconditions`)."""

from dataclasses import dataclass, field
from typing import Any

from weft.cluster.apiserver.admission.attributes import Attributes
from weft.cluster.apiserver.admission.reviewing import review
from weft.cluster.apiserver.cel import authorizer
from weft.cluster.apiserver.cel.engine import EvaluationError
from weft.cluster.apiserver.cluster import Cluster, Obj
from weft.cluster.apiserver.kinds import Kind


class ConditionsError(Exception):
    """Conditions of which some have no value, and none is false."""


@dataclass(slots=True)
class Conditions:
    """The expressions of one webhook or policy about one request, in the version `seen`."""

    cluster: Cluster
    attributes: Attributes
    seen: Kind
    data: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        call = self.attributes.call
        request = review(self.attributes, self.cluster.world.uid(), self.seen)["request"]
        self.data["object"], self.data["oldObject"] = request.pop("object"), request.pop("oldObject")
        self.data["request"] = request
        about = {
            "group": call.kind.group,
            "resource": call.kind.plural,
            "subresource": call.subresource,
            "namespace": call.namespace,
            "name": self.attributes.name,
        }
        self.data["authorizer"] = authorizer.asking(call.user, about)

    def value(self, expression: str) -> Any:
        """What an expression says. Raises EvaluationError."""
        return self.cluster.scheme.cel.run(expression, self.data)

    def hold(self, given: list[Obj]) -> bool:
        """Whether all conditions hold; one that does not decides, whatever others fail."""
        failed = []
        for condition in given:
            text = str(condition.get("expression", ""))
            try:
                if self.value(text) is not True:
                    return False
            except EvaluationError as error:
                failed.append(f"expression '{text}' resulted in error: {error}")
        if failed:
            raise ConditionsError(failed[0] if len(failed) == 1 else f"[{', '.join(failed)}]")
        return True
