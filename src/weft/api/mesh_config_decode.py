"""From the ConfigMap `istio` to a MeshConfig, or to the problems in the way. Bad input raises nothing."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import yaml
from msgspec import inspect

from weft.api import mesh_config_checks
from weft.api.effect import without_effect
from weft.api.faults import faults, key_path
from weft.api.mesh_config import MeshConfig
from weft.api.report import Report
from weft.base.names import nearest
from weft.base.problem import At, Problem, Severity

KEY: Final = "mesh"
"""The key of the ConfigMap."""
PLACE: Final = "data.mesh"
_KIND: Final = inspect.type_info(MeshConfig)
_COMPARE: Final = "Compare it with Istio's reference of MeshConfig."


@dataclass(frozen=True, slots=True)
class Decoded:
    """The settings, None where they cannot be used, and all that is to be said about them.

    `salvaged` are the settings without the top-level fields that are wrong: what there is to start with.
    """

    mesh: MeshConfig | None
    salvaged: MeshConfig
    problems: tuple[Problem, ...]


def decode(config_map: Mapping[str, Any], namespace: str, name: str) -> Decoded:
    """Read the settings of a ConfigMap. Unknown fields are told of and skipped."""
    report = Report(At(kind="ConfigMap", namespace=namespace, name=name))
    data = config_map.get("data")
    text = data.get(KEY) if isinstance(data, Mapping) else None
    try:
        written = yaml.safe_load(text or "")
    except (yaml.YAMLError, RecursionError) as error:
        problem = report.error(PLACE, f"is not YAML: {_first_line(error)}.", "Mend the text.")
        return Decoded(None, MeshConfig(), (problem,))
    if not isinstance(written, Mapping | None):
        problem = report.error(PLACE, "expected fields with values.", _COMPARE)
        return Decoded(None, MeshConfig(), (problem,))
    unknown: list[str] = []
    body: dict[str, Any] = _known(_KIND, written or {}, "", unknown)
    mesh, problems = _converted(body, report)
    problems = (*(_unknown(each, report) for each in unknown), *problems)
    if mesh is not None:
        return Decoded(mesh, mesh, problems)
    broken = {_top(each.at.field) for each in problems if each.severity is Severity.ERROR}
    rest, _ = _converted({key: each for key, each in body.items() if key not in broken}, report)
    return Decoded(None, rest or MeshConfig(), problems)


def _converted(body: Mapping[str, Any], report: Report) -> tuple[MeshConfig | None, tuple[Problem, ...]]:
    try:
        mesh = msgspec.convert(body, MeshConfig)
    except msgspec.ValidationError as error:
        found = [report.error(_at(each.path), each.message, each.hint) for each in faults(_KIND, body)]
        return None, tuple(found) or (report.error(PLACE, f"{error}.", _COMPARE),)
    told = (*mesh_config_checks.check(mesh, report, PLACE), *without_effect(mesh, PLACE, report))
    return (None if any(each.severity is Severity.ERROR for each in told) else mesh), told


def _top(field: str) -> str:
    """The field of MeshConfig that a problem is in."""
    return re.split(r"[.\[]", field.removeprefix(f"{PLACE}."), maxsplit=1)[0]


def _known(kind: inspect.Type, value: Any, path: str, unknown: list[str]) -> Any:
    """The value without the fields that its type does not know; names in snake_case are those of the protobuf."""
    match kind:
        case inspect.Metadata(type=inner):
            return _known(inner, value, path, unknown)
        case inspect.UnionType(types=types):
            inner = next((each for each in types if not isinstance(each, inspect.NoneType)), kind)
            return value if value is None else _known(inner, value, path, unknown)
        case inspect.StructType() if isinstance(value, Mapping):
            return dict(_fields(kind, value, path, unknown))
        case inspect.VarTupleType(item_type=inner) if isinstance(value, list):
            return [_known(inner, each, f"{path}[{index}]", unknown) for index, each in enumerate(value)]
        case inspect.DictType(value_type=inner) if isinstance(value, Mapping):
            return {
                str(key): _known(inner, each, key_path(path, str(key)), unknown) for key, each in value.items()
            }
        case _:
            return value


def _fields(
    kind: inspect.StructType, value: Mapping[Any, Any], path: str, unknown: list[str]
) -> Iterator[tuple[str, Any]]:
    types = {each.encode_name: each.type for each in kind.fields}
    aliases = {each.name: each.encode_name for each in kind.fields}
    for key, each in value.items():
        name = aliases.get(str(key).lower() if "_" in str(key) else "", str(key))
        here = key_path(path, name)
        if name not in types:
            unknown.append(here)
        elif each is not None:
            yield name, _known(types[name], each, here, unknown)


def _unknown(path: str, report: Report) -> Problem:
    known = [each.encode_name for each in msgspec.structs.fields(MeshConfig)]
    near = nearest(path.rpartition(".")[2], known)
    hint = (
        f'Did you mean "{near}"?' if near else "Take it out, or compare it with Istio's reference of MeshConfig."
    )
    return report.warning(_at(path), "unknown field; it has no effect.", hint)


def _at(path: str) -> str:
    return f"{PLACE}.{path}" if path else PLACE


def _first_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f" (line {mark.line + 1})" if mark is not None else ""
    return f"{getattr(error, 'problem', None) or 'it cannot be read'}{where}"
