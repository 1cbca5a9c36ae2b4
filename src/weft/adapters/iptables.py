"""The kernel's tables, by the machine's own iptables programs, in the network namespace of the calling thread."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from weft.redirect.rules import Version

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_WAIT_SECONDS = 10
# not /proc/net: that is the namespace of the process's first thread
_LEGACY_TABLES = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}


class IptablesError(RuntimeError):
    """iptables is missing, or refused; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Iptables:
    """One variant of iptables for one IP version: the paths of its `-save` and `-restore`.

    `lock` stands in for /run/xtables.lock, which the legacy variant shares with every iptables of the file system.
    `before` is what `save` said when this variant was chosen.
    """

    save_program: str
    restore_program: str
    lock: str = ""
    before: str = ""

    def save(self) -> str:
        """The tables that there are, as text."""
        return self._run([self.save_program], "")

    def probe(self) -> None:
        """IptablesError where this variant has no nat table here."""
        self._run([self.save_program, "-t", "nat"], "")

    def restore(self, text: str) -> None:
        """Apply `text` as one transaction: all of it or, with IptablesError, nothing. Nothing else is flushed."""
        self._run([self.restore_program, "-w", str(_WAIT_SECONDS), "--noflush"], text)

    def _run(self, command: list[str], text: str) -> str:
        # the C locale keeps messages and numbers as we compare them
        environment = {"PATH": _PATH, "LC_ALL": "C", **({"XTABLES_LOCKFILE": self.lock} if self.lock else {})}
        try:
            done = subprocess.run(
                command, input=text, capture_output=True, text=True, timeout=30, check=False, env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise IptablesError(f"{command[0]}: {error}") from error
        if done.returncode:
            detail = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise IptablesError(f"{command[0]}: {detail}")
        return done.stdout


@contextlib.contextmanager
def lock_of_its_own() -> Iterator[str]:
    """A lock that nobody else takes: for a namespace that is ours to change, in a file system that many use."""
    with tempfile.NamedTemporaryFile(prefix="xtables-") as file:
        yield file.name


def find(binary: str = "", version: Version = 4, lock: str = "", *, probing: bool = True) -> Iptables:
    """The iptables to use: the variant asked for ("nft", "legacy"), else the first that works here.

    Without `probing` the first that can list tables: whether it has a nat table is seen when it is used.

    That is legacy where the namespace already has legacy rules, since two variants in one namespace would both
    translate; otherwise the machine's default, then nft, then legacy.
    """
    family = "iptables" if version == 4 else "ip6tables"
    if binary:
        variants = [binary]
    elif _has_legacy_rules(family, version, lock):
        variants = ["legacy", ""]
    else:
        variants = ["", "nft", "legacy"]
    complaints = []
    for variant in variants:
        try:
            found = _variant(family, variant, lock)
            before = found.save()
            if probing and "*nat" not in before:
                found.probe()
        except IptablesError as error:
            complaints.append(str(error))
            continue
        return replace(found, before=before)
    raise IptablesError(f"{'; '.join(complaints)}. Install iptables, and run as root with NET_ADMIN.")


def _variant(family: str, variant: str, lock: str) -> Iptables:
    name = f"{family}-{variant}" if variant else family
    save, restore = shutil.which(f"{name}-save", path=_PATH), shutil.which(f"{name}-restore", path=_PATH)
    if not save or not restore:
        raise IptablesError(f"{name}-restore is not installed")
    return Iptables(save, restore, lock)


def _has_legacy_rules(family: str, version: Version, lock: str) -> bool:
    try:
        if not _LEGACY_TABLES[version].read_text(encoding="ascii").strip():
            return False
        saved = _variant(family, "legacy", lock).save()
    except (OSError, IptablesError):
        # not readable, not installed, or the kernel has no legacy iptables at all
        return False
    # tables stay once somebody has looked at them: rules are what counts
    return any(line.startswith("-A ") for line in saved.splitlines())
