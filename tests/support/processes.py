"""Processes that stand for those of pods: in a control group of the pod's, and in a network namespace."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def sleeping(uid: str, namespace: str | None) -> Iterator[int]:
    """A process of a pod, in a namespace or (None) where we are, by its number. It has ended afterwards."""
    group = Path(f"/sys/fs/cgroup/pids/weft-test-{os.getpid()}/pod{uid}")
    group.mkdir(parents=True, exist_ok=True)
    entering = ["nsenter", f"--net=/run/netns/{namespace}"] if namespace else []
    process = subprocess.Popen([*entering, "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline(), "it has ended"
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    finally:
        process.kill()
        process.communicate(timeout=10)
        for each in (group, group.parent):
            with contextlib.suppress(OSError):  # others are in it
                each.rmdir()
