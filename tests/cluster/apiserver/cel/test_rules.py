"""The budget of the rules of one object."""

from itertools import count

from weft.cluster.apiserver.cel.engine import Engine
from weft.cluster.apiserver.cel.rules import Validator


def test_rules_end_when_their_time_is_spent() -> None:
    seconds = count()
    schema = {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 100"}]},
            }
        },
    }
    validator = Validator(Engine(), lambda: float(next(seconds)))
    validator.validate({"items": list(range(50))}, None, schema)
    assert len(validator.found) == 3
    assert "failed rule: self > 100" in str(validator.found[0])
    assert "validation failed due to running out of cost budget" in str(validator.found[-1])
