"""A pod's cgroup, above those of its containers: its weight against other pods, and what it may use as a whole."""

import contextlib
from pathlib import Path

from weft.adapters.cri.types import Resources

ROOT = Path("/sys/fs/cgroup")
_SHARES_LEAST, _SHARES_MOST, _WEIGHT_MOST = 2, 262144, 10000


def give(cgroup: str, resources: Resources, root: Path = ROOT) -> None:
    """Make the cgroup (a path below each hierarchy) and give it a weight and limits; 0 is no limit."""
    inside = cgroup.lstrip("/")
    quota = resources.cpu_quota or -1
    period = resources.cpu_period or 100_000
    if (root / "cgroup.controllers").exists():
        folder = root / inside
        files = {
            "cpu.weight": str(_weight(resources.cpu_shares)),
            "cpu.max": f"{quota if quota > 0 else 'max'} {period}",
            "memory.max": str(resources.memory or "max"),
        }
        _write(folder, files)
        return
    cpu = {
        "cpu.shares": str(resources.cpu_shares),
        "cpu.cfs_period_us": str(period),
        "cpu.cfs_quota_us": str(quota),
    }
    _write(root / "cpu" / inside, cpu)
    _write(root / "memory" / inside, {"memory.limit_in_bytes": str(resources.memory or -1)})


def remove(cgroup: str, root: Path = ROOT) -> None:
    """Remove the cgroup from every hierarchy; what is not there is no error."""
    for hierarchy in (root, *root.iterdir()):
        with contextlib.suppress(OSError):
            (hierarchy / cgroup.lstrip("/")).rmdir()


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        # a controller that a parent does not hand down has no file here
        if (folder / name).exists():
            (folder / name).write_text(value)


def _weight(shares: int) -> int:
    """The weight of cgroup v2 for shares of v1 (KEP-2254)."""
    inside = min(max(shares, _SHARES_LEAST), _SHARES_MOST)
    return 1 + (inside - _SHARES_LEAST) * (_WEIGHT_MOST - 1) // (_SHARES_MOST - _SHARES_LEAST)
