"""The forms of kubectl's commands as data, and what it takes to run one: see kubectl_forms.yaml."""

import asyncio
import os
import pty
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from tests.support.cluster import KUBECTLS, Cluster

TABLE = Path(__file__).with_name("kubectl_forms.yaml")
VERSIONS = ("newest", "1.32", "1.20")
ALL = os.environ.get("WEFT_FORMS") == "all"
PATIENCE = 0.3
"""Seconds between two tries of a form that waits for what happens by itself."""
Key = tuple[str, int, int]
"""The kubectl's version, the lane's number, the form's number in it."""


def tried(version: str, lane: int) -> bool:
    """Whether a lane is gone through with a kubectl: every third with the oldest, the others with the newest.

    `make long` has all of them go through all, which takes its time.
    """
    return ALL or version == ("newest" if lane % 3 else "1.20")


class Check(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What an answer is judged by: patterns (of `re`, by line) for what kubectl prints, on either output."""

    says: list[str]
    never: list[str] = []
    fails: bool = False


class Form(Check):
    """One command as it is typed, and how it is judged.

    `until`: it runs until it has said all, and is then interrupted. `again`: seconds for which it is tried anew.
    `then`: a command of the machine that is run while it lasts; what it prints is judged too.
    `before`: how those older than the newest answer; `old`: how 1.20 does.
    `lacks`: the refusal with which kubectl 1.20 answers, which does not have this form.
    """

    run: str
    stdin: str = ""
    tty: bool = False
    until: bool = False
    again: float = 0
    then: str = ""
    env: dict[str, str] = {}
    lacks: str = ""
    old: Check | None = None
    before: Check | None = None

    def check(self, version: str) -> Check:
        if version == "newest":
            return self
        if version == "1.20" and self.lacks:
            return Check(says=[self.lacks], fails=True)
        if version == "1.20" and self.old:
            return self.old
        return self.before or self


class Lane(msgspec.Struct, forbid_unknown_fields=True):
    """Forms that run one after another, in a namespace of their own.

    `again` is that of forms without one: for lanes that only read what comes about by itself, as events do.
    """

    title: str
    forms: list[Form]
    setup: list[str] = []
    again: float = 0


class Table(msgspec.Struct, forbid_unknown_fields=True):
    """The file: lanes run at the same time; `files` lie in the folder where all forms run."""

    files: dict[str, str]
    lanes: list[Lane]


def table() -> Table:
    return msgspec.yaml.decode(TABLE.read_bytes(), type=Table)


@dataclass(frozen=True)
class Outcome:
    """What a form came to; `trouble` is empty where all was as it should be."""

    said: str
    trouble: str


@dataclass(frozen=True)
class Desk:
    """Where the forms of one lane are typed with one kubectl: a folder, a kubeconfig, a namespace."""

    cluster: Cluster
    version: str
    folder: Path
    namespace: str
    room: asyncio.Semaphore

    def words(self, line: str) -> list[str]:
        """A command line's words, with what differs from lane to lane filled in."""
        names = {
            "{v}": self.version.replace(".", ""),
            "{ns}": self.namespace,
            "{port}": str(8080 + VERSIONS.index(self.version)),
            "{kubectl}": str(KUBECTLS[self.version]),
        }
        for name, value in names.items():
            line = line.replace(name, value)
        return shlex.split(line)

    async def start(self, *command: str | Path, env: Mapping[str, str], **more: Any) -> asyncio.subprocess.Process:
        surroundings = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / f"config-{self.namespace}"),
        }
        return await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net=/run/netns/{self.cluster.namespace}",
            *(str(word) for word in command),
            cwd=self.folder,
            env={**surroundings, **env},
            **more,
        )

    async def kubectl(self, line: str) -> str:
        """Run a command that prepares; it must succeed."""
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
        async with self.room:
            process = await self.start(KUBECTLS["newest"], *self.words(line), env={}, **pipes)
            out, _ = await process.communicate()
        assert process.returncode == 0, f"kubectl {line}: {out.decode()}"
        return out.decode()

    async def outcome(self, form: Form, again: float) -> Outcome:
        """Run a form, anew for `again` seconds if need be, and judge it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + again
        while True:
            async with self.room:
                found = await self._once(form, form.check(self.version))
            if not found.trouble or loop.time() > end:
                return found
            await asyncio.sleep(PATIENCE)

    async def _once(self, form: Form, check: Check) -> Outcome:
        terminal, theirs = pty.openpty() if form.tty else (-1, -1)
        pipe = asyncio.subprocess.PIPE
        pipes: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": asyncio.subprocess.STDOUT}
        if form.tty:
            pipes = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
        process = await self.start(KUBECTLS[self.version], *self.words(form.run), env=form.env, **pipes)
        if form.tty:
            os.close(theirs)
        said = bytearray()
        try:
            async with asyncio.timeout(60):
                await self._talk(form, check, process, terminal, said)
        except TimeoutError:
            said += b"\n(not over after 60 s)"
            return Outcome(said.decode(errors="replace"), "it did not end")
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            if form.tty:
                os.close(terminal)
        code = process.returncode if not form.until else int(check.fails)
        return Outcome(said.decode(errors="replace"), judge(check, said.decode(errors="replace"), code))

    async def _talk(
        self, form: Form, check: Check, process: asyncio.subprocess.Process, terminal: int, said: bytearray
    ) -> None:
        if form.tty:
            await _type(terminal, form.stdin, said)
            await process.wait()
            return
        assert process.stdin
        assert process.stdout
        process.stdin.write(form.stdin.encode())
        if not form.until:
            process.stdin.close()
        beside = asyncio.ensure_future(self._beside(form.then, said))
        try:
            while data := await process.stdout.read(65536):
                said += data
                if form.then:
                    await beside
                if form.until and not judge(check, said.decode(errors="replace"), int(check.fails)):
                    return
            await process.wait()
        finally:
            await beside

    async def _beside(self, line: str, said: bytearray) -> None:
        """Run what belongs to a form once that has said something, or has had the time to begin."""
        if not line:
            return
        for _ in range(40):
            if not said:
                await asyncio.sleep(0.1)
        pipe = asyncio.subprocess.PIPE
        process = await self.start(*self.words(line), env={}, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
        out, _ = await process.communicate()
        said += out


async def _type(terminal: int, text: str, said: bytearray) -> None:
    """Type a text on a terminal once something has been said, and read until the terminal is let go."""
    loop = asyncio.get_running_loop()
    left = text
    while True:
        readable = loop.create_future()
        loop.add_reader(terminal, _tell, readable)
        try:
            await readable
            data = os.read(terminal, 65536)
        except OSError:  # the other end is closed: that is how a terminal ends
            return
        finally:
            loop.remove_reader(terminal)
        if not data:
            return
        said += data
        if left:
            os.write(terminal, left.encode())
            left = ""


def _tell(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def judge(check: Check, said: str, code: int | None) -> str:
    """What is wrong with an answer; nothing where it is as it should be."""
    missing = [one for one in check.says if not re.search(one, said, re.MULTILINE)]
    if missing:
        return f"it does not say {missing}"
    if unwanted := [one for one in check.never if re.search(one, said, re.MULTILINE)]:
        return f"it says {unwanted}"
    if (code != 0) is not check.fails:
        return f"it ended with {code}"
    return ""


async def run_all(cluster: Cluster, forms: Table, folder: Path) -> dict[Key, Outcome]:
    """What every form came to. Lanes of all versions run at the same time."""
    room = asyncio.Semaphore(8)
    desks = {
        (version, number): _desk(cluster, forms, folder, version, number, room)
        for version in VERSIONS
        for number in range(len(forms.lanes))
        if tried(version, number)
    }
    spaces = "\n---\n".join(
        f"apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {desk.namespace}" for desk in desks.values()
    )
    await asyncio.to_thread(cluster.kubectl, "apply", "-f", "-", text=spaces)
    runs = [_lane(desk, forms.lanes[number], number) for (_, number), desk in desks.items()]
    found = await asyncio.gather(*runs)
    await asyncio.to_thread(
        cluster.kubectl, "delete", "ns", "--wait=false", *(desk.namespace for desk in desks.values())
    )
    return {key: outcome for outcomes in found for key, outcome in outcomes.items()}


def _desk(
    cluster: Cluster, forms: Table, folder: Path, version: str, number: int, room: asyncio.Semaphore
) -> Desk:
    place = folder / version
    place.mkdir(exist_ok=True)
    desk = Desk(cluster, version, place, f"forms-{number}-{version.replace('.', '')}", room)
    config = (cluster.home / "kubeconfig").read_text()
    assert config.count("  context:") == 1
    config = config.replace("  context:", f"  context:\n    namespace: {desk.namespace}")
    (place / f"config-{desk.namespace}").write_text(config)
    for name, text in forms.files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("{v}", version.replace(".", "")))
        if text.startswith("#!"):
            path.chmod(0o755)
    return desk


async def _lane(desk: Desk, lane: Lane, number: int) -> dict[Key, Outcome]:
    try:
        for line in lane.setup:
            await desk.kubectl(line)
    except AssertionError as error:
        return {(desk.version, number, at): Outcome(str(error), "unprepared") for at in range(len(lane.forms))}
    return {
        (desk.version, number, at): await desk.outcome(form, form.again or lane.again)
        for at, form in enumerate(lane.forms)
    }


def page(forms: Table) -> str:
    """docs/reference/kubectl.md."""
    every = [form for lane in forms.lanes for form in lane.forms]
    lines = [
        "# kubectl",
        "",
        f"{len(every)} forms of kubectl's commands, each run with the newest kubectl, with 1.32 and with 1.20",
        "(by `make test` a third of them with 1.20 and the others with the newest; by `make long` all with each)",
        "against a cluster of `weft up`, and judged by what it prints.",
        "`tests/e2e/test_kubectl_forms.py` runs them and writes this page from `tests/e2e/kubectl_forms.yaml`.",
        "",
        "`yes`: it answers so. `kubectl lacks it`: that kubectl refuses the form by itself, in the words shown.",
        "",
    ]
    for lane in forms.lanes:
        lines += [
            f"## {lane.title}",
            "",
            f"| kubectl … | must print | {' | '.join(VERSIONS)} |",
            f"| --- | --- |{' --- |' * len(VERSIONS)}",
        ]
        lines += [_row(form) for form in lane.forms]
        lines.append("")
    return "\n".join(lines)


def _row(form: Form) -> str:
    refused = " (and is refused)" if form.fails else ""
    shown = form.run.replace("-{v}", "")
    answers = " | ".join(_answer(form, version) for version in VERSIONS)
    return f"| {_code([shown])} | {_code(form.says)}{refused} | {answers} |"


def _answer(form: Form, version: str) -> str:
    check = form.check(version)
    if check is form:
        return "yes"
    return f"{'kubectl lacks it:' if form.lacks and version == '1.20' else 'yes, with'} {_code(check.says)}"


def _code(words: Sequence[str]) -> str:
    return ", ".join("`" + word.replace("|", "\\|").replace("`", "'") + "`" for word in words)
