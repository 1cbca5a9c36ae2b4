"""The kernel's tables, by the machine's own iptables programs, in the network namespace of this process."""

import shutil
import subprocess
from dataclasses import dataclass

_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin"
_WAIT_SECONDS = 10


class IptablesError(RuntimeError):
    """iptables is missing, or refused; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Iptables:
    """One variant of iptables: the paths of its `-save` and `-restore`."""

    save_program: str
    restore_program: str

    def save(self) -> str:
        """The tables that there are, as text."""
        return _run([self.save_program], "")

    def probe(self) -> None:
        """IptablesError where this variant has no nat table here."""
        _run([self.save_program, "-t", "nat"], "")

    def restore(self, text: str) -> None:
        """Apply `text` as one transaction: all of it or, with IptablesError, nothing. Nothing else is flushed."""
        # -w: the legacy variant shares one lock with every other iptables on the machine
        _run([self.restore_program, "-w", str(_WAIT_SECONDS), "--noflush"], text)


def find(binary: str = "") -> Iptables:
    """The iptables to use: the variant asked for ("nft", "legacy"), else the first that works here.

    That is legacy where the namespace already has legacy tables, since two variants in one namespace would both
    translate; otherwise the machine's default, then nft, then legacy.
    """
    if binary:
        variants = [binary]
    elif _has_legacy_tables():
        variants = ["legacy", ""]
    else:
        variants = ["", "nft", "legacy"]
    complaints = []
    for variant in variants:
        name = f"iptables-{variant}" if variant else "iptables"
        save, restore = shutil.which(f"{name}-save", path=_PATH), shutil.which(f"{name}-restore", path=_PATH)
        if not save or not restore:
            complaints.append(f"{name}-restore is not installed")
            continue
        found = Iptables(save, restore)
        try:
            found.probe()
        except IptablesError as error:
            complaints.append(str(error))
            continue
        return found
    raise IptablesError(f"{'; '.join(complaints)}. Install iptables, and run as root with NET_ADMIN.")


def _has_legacy_tables() -> bool:
    try:
        with open("/proc/net/ip_tables_names", encoding="ascii") as names:  # noqa: PTH123 -- one short read
            return bool(names.read().strip())
    except OSError:
        # not readable, or the kernel has no legacy iptables at all
        return False


def _run(command: list[str], text: str) -> str:
    # the C locale keeps messages and numbers as we compare them
    environment = {"PATH": _PATH, "LC_ALL": "C"}
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
