"""What changed between two objects, as Kubernetes shows it below a refusal (go-cmp's form)."""

from typing import Any

Obj = dict[str, Any]


def difference(struct: str, old: Obj, new: Obj) -> str:
    """The fields that differ, old ones marked `-` and new ones `+`; what is alike is counted only."""
    return "\n".join([f"  core.{struct}{{", *_fields(old, new, 1), "  }", ""])


def _fields(old: Obj, new: Obj, depth: int) -> list[str]:
    lines: list[str] = []
    same = 0
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if before == after:
            same += 1
            continue
        lines += _identical(same, depth)
        same = 0
        lines += _changed(f"{_go_name(name)}: ", before, after, depth)
    return lines + _identical(same, depth)


def _changed(label: str, before: Any, after: Any, depth: int) -> list[str]:
    tabs = "\t" * depth
    if isinstance(before, dict) and isinstance(after, dict):
        return [f"  {tabs}{label}{{", *_fields(before, after, depth + 1), f"  {tabs}}},"]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        below = [line for pair in zip(before, after, strict=True) for line in _item(*pair, depth + 1)]
        return [f"  {tabs}{label}{{", *below, f"  {tabs}}},"]
    return [f"- {tabs}{label}{_shown(before)},", f"+ {tabs}{label}{_shown(after)},"]


def _item(before: Any, after: Any, depth: int) -> list[str]:
    return _identical(1, depth, "element") if before == after else _changed("", before, after, depth)


def _identical(count: int, depth: int, what: str = "field") -> list[str]:
    if not count:
        return []
    return ["  " + "\t" * depth + f"... // {count} identical {what}{'s' if count > 1 else ''}"]


def _go_name(name: str) -> str:
    return name[:1].upper() + name[1:]


def _shown(value: Any) -> str:
    match value:
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case dict():
            return "{" + ", ".join(f"{_go_name(key)}: {_shown(item)}" for key, item in sorted(value.items())) + "}"
        case list():
            return "{" + ", ".join(map(_shown, value)) + "}"
        case _:
            return str(value)
