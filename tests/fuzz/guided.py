"""Fuzz the decoders by coverage: `python -m tests.fuzz.guided [DECODER…] --seconds 60`.

Each decoder has a process of its own, for that long. What it cannot bear (another exception than its refusals,
more than five seconds or a GiB for one input) is kept in `corpus/DECODER`: every run of the tests replays it.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

CORPUS = Path(__file__).with_name("corpus")
SLOW, LARGE, LONGEST = 5, 1024, 4096
"""Seconds and MiB that one input may take, and its bytes."""


def main() -> int:
    """Fuzz what is asked for, all by default; 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("decoders", nargs="*", metavar="DECODER")
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder (default: 60)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.decoders or sorted(folder.name for folder in CORPUS.iterdir())
    if given.inside:
        fuzz(names[0], given.seconds)
    found = [name for name in names if not survives(name, given.seconds)]
    print(f"found something in {', '.join(found)}: see git status" if found else "found nothing")
    return 1 if found else 0


def survives(name: str, seconds: int) -> bool:
    """Fuzz one decoder in a process of its own."""
    print(f"{name}: {seconds} s", flush=True)
    command = [sys.executable, "-m", "tests.fuzz.guided", name, "--seconds", str(seconds), "--inside"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    lines = done.stderr.splitlines()
    print("\n".join(lines[-40:] if done.returncode else lines[-1:]), flush=True)
    return done.returncode == 0


def fuzz(name: str, seconds: int) -> None:
    """Run libFuzzer, which ends the process."""
    with atheris.instrument_imports(include=["weft"]):
        from tests.fuzz.decoders import run
    with tempfile.TemporaryDirectory() as new:
        limits = [f"-max_total_time={seconds}", f"-timeout={SLOW}", f"-rss_limit_mb={LARGE}"]
        folders = [f"-artifact_prefix={CORPUS / name}/", new, str(CORPUS / name)]
        atheris.Setup([name, *limits, f"-max_len={LONGEST}", *folders], lambda data: run(name, data))
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
