"""Which fields that someone set have no effect."""

from collections.abc import Iterator
from typing import Any

import msgspec

from weft.api import codes
from weft.api.report import Report
from weft.api.shape import ACTED_ON, INSTEAD, Shape
from weft.base.problem import Problem


def without_effect(value: Any, path: str, report: Report) -> Iterator[Problem]:
    """Find the fields that are set and marked as not acted on; what is inside such a field is not told again."""
    match value:
        case Shape():
            for each in msgspec.structs.fields(value):
                inner, here = getattr(value, each.name), f"{path}.{each.encode_name}".lstrip(".")
                if inner is None or inner in ((), {}):
                    continue
                mark = _mark(each.type)
                if mark is None:
                    yield from without_effect(inner, here, report)
                elif instead := mark.get(INSTEAD):
                    message = "has no effect: Istio does not implement it, and so neither does this mesh."
                    yield report.warning(here, message, instead, codes.NOT_ACTED_ON)
                else:
                    hint = "Until then, the rest works as if it were not there."
                    yield report.warning(here, "is not acted on yet.", hint, codes.NOT_ACTED_ON)
        case tuple():
            for index, inner in enumerate(value):
                yield from without_effect(inner, f"{path}[{index}]", report)
        case _:
            return


def _mark(annotation: Any) -> dict[str, Any] | None:
    extras = (
        each.extra or {} for each in getattr(annotation, "__metadata__", ()) if isinstance(each, msgspec.Meta)
    )
    return next((extra for extra in extras if extra.get(ACTED_ON) is False), None)
