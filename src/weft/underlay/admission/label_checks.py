"""What is wrong with a selector of labels."""

from collections.abc import Iterator

from weft.api.checks import check_labels
from weft.api.report import Report
from weft.api.underlay_shape import LabelSelector
from weft.base.problem import Problem


def check_selector(selector: LabelSelector, field: str, pen: Report) -> Iterator[Problem]:
    """Keys and values must be ones that labels can have, and operators must have what they compare with."""
    yield from check_labels(selector.match_labels or {}, f"{field}.matchLabels", pen)
    for index, each in enumerate(selector.match_expressions or ()):
        place = f"{field}.matchExpressions[{index}]"
        if each.operator in {"In", "NotIn"} and not each.values:
            yield pen.error(
                f"{place}.values", f"is needed for {each.operator}.", "Write the values to compare with."
            )
        elif each.operator in {"Exists", "DoesNotExist"} and each.values:
            yield pen.error(f"{place}.values", f"has no use for {each.operator}.", "Leave it out.")
        for value in each.values or ("",):
            yield from check_labels({each.key: value}, place, pen)
