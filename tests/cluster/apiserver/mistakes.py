"""Reads `mistakes.yaml`, and says how kubectl prints a refusal."""

import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Obj = dict[str, Any]
LARGE = "x" * (1024 * 1024 + 1)


@dataclass(frozen=True)
class Mistake:
    """One line of the table. `sound` is created first where `bad` changes it."""

    group: str
    about: str
    bad: Obj
    sound: Obj | None
    says: tuple[str, ...]
    begins: str
    error: str
    warns: tuple[str, ...] | None
    validation: str

    def expected(self, uid: str = "") -> str:
        """What kubectl prints."""
        if self.error:
            return self.error.replace("<uid>", uid)
        if self.warns is not None:
            return "\n".join(f"Warning: {warning}" for warning in self.warns)
        name = (self.bad.get("metadata") or {}).get("name") or ""
        return invalid(self.bad["kind"], name, [self.begins] if self.begins else list(self.says))


def invalid(kind: str, name: str, causes: list[str]) -> str:
    """An object that is refused with these causes, as kubectl prints it."""
    start = f'The {kind} "{name}" is invalid: '
    if len(causes) == 1:
        return start + causes[0]
    return start + "".join(f"\n* {cause}" for cause in causes)


def printed(status: Obj) -> str:
    """The Status of a refusal, as kubectl prints it."""
    if status.get("reason") == "Invalid":
        details = status["details"]
        causes = [f"{cause['field']}: {cause['message']}" for cause in details["causes"]]
        return invalid(details["kind"], details.get("name", ""), list(dict.fromkeys(causes)))
    reason = status.get("reason")
    return f"Error from server{f' ({reason})' if reason else ''}: {status['message']}"


@dataclass
class _Table:
    words: dict[str, str]
    bases: dict[str, Obj]
    cases: dict[str, list[Obj]] = field(default_factory=dict)

    def text(self, given: str) -> str:
        for word, sentence in self.words.items():
            given = given.replace(f"<{word}>", sentence)
        return given

    def texts(self, given: Any) -> tuple[str, ...]:
        listed = [given] if isinstance(given, str) else given or []
        return tuple(self.text(item) for item in listed)

    def mistake(self, group: str, case: Obj) -> Mistake:
        start = _merged(_changed(self.bases[case["of"]], case.get("set") or {}), case.get("with") or {})
        bad, sound = start, None
        if "then" in case or "patch" in case:
            bad = _merged(_changed(start, case.get("then") or {}), case.get("patch") or {})
            sound = start
        told = {key: case[key] for key in ("set", "with", "then", "patch") if key in case}
        return Mistake(
            group,
            f"{case['of']} {told}",
            bad,
            sound,
            self.texts(case.get("says")),
            self.text(case.get("begins", "")),
            self.text(case.get("error", "")),
            self.texts(case["warns"]) if "warns" in case else None,
            case.get("validation", "Strict"),
        )


def _changed(obj: Obj, changes: Obj) -> Obj:
    result = copy.deepcopy(obj)
    for path, value in changes.items():
        holder: Any = result
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            holder = holder[step] if isinstance(step, int) else holder.setdefault(step, {})
        if value is None:
            holder.pop(last, None)
        elif isinstance(last, int) and last == len(holder):
            holder.append(_enlarged(value))
        else:
            holder[last] = _enlarged(value)
    return result


def _merged(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(obj, dict):
        return _enlarged(patch)
    merged = {key: _merged(obj.get(key), value) for key, value in patch.items()}
    return {**obj, **merged}


def _enlarged(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _enlarged(item) for key, item in value.items()}
    return LARGE if value == "<large>" else value


@cache
def mistakes() -> dict[str, list[Mistake]]:
    """The table's cases by group."""
    table = _Table(**yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text()))
    return {group: [table.mistake(group, case) for case in cases] for group, cases in table.cases.items()}
