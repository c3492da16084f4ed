"""Fuzz the parsers: `python -m tests.fuzz.run [--seconds 300] [TARGET ...]`.

Each target runs in a process of its own under Atheris, guided by coverage, from the corpus in
`tests/corpus/fuzz/TARGET`. What it finds new is kept in `--corpus` (a directory of its own that is
not in git, unless it is named); an input that breaks something is written beside it and printed.
The exit code is the number of targets that broke.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

SEEDS = Path(__file__).parents[1] / "corpus" / "fuzz"
NAMES = (
    "address", "originators", "header", "lines", "reply", "structure", "xtext", "command", "verp",
    "token", "link", "options", "report", "html", "session",
)  # fmt: skip
LONGEST = 16_384  # octets of an input


def fuzz(name: str, *, seconds: int, corpus: Path) -> subprocess.CompletedProcess[str]:
    """Run one target; its exit code is 0 when nothing broke."""
    seeds = SEEDS / name
    kept = corpus / name
    kept.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [
            sys.executable, "-m", "tests.fuzz.run", "--inside", name,
            f"-max_total_time={seconds}", f"-max_len={LONGEST}",
            "-timeout=20", "-rss_limit_mb=1024",
            f"-artifact_prefix={kept}/broken-", "-print_final_stats=1", str(kept), str(seeds),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=seconds + 120,
    )  # fmt: skip


def _inside(name: str, arguments: list[str]) -> None:
    import atheris  # noqa: PLC0415 - only here: it changes what is imported after it

    with atheris.instrument_imports(include=["gatewayd"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - as above

    assert tuple(TARGETS) == NAMES
    atheris.Setup([name, *arguments], TARGETS[name])
    atheris.Fuzz()


def main() -> int:
    if sys.argv[1:2] == ["--inside"]:
        _inside(sys.argv[2], sys.argv[3:])
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=300, help="for each target")
    parser.add_argument(
        "--corpus", type=Path, default=Path(tempfile.gettempdir()) / "gatewayd-fuzz"
    )
    parser.add_argument("targets", nargs="*", default=NAMES)
    wanted = parser.parse_args()
    broken = 0
    for name in wanted.targets:
        done = fuzz(name, seconds=wanted.seconds, corpus=wanted.corpus)
        runs = next((line for line in done.stderr.splitlines() if "number_of_executed" in line), "")
        print(f"{name:12} {'ok' if done.returncode == 0 else 'BROKEN'} {runs.split()[-1:]}")  # noqa: T201 - it is what the command is for
        if done.returncode != 0:
            broken += 1
            print(done.stdout[-2000:], done.stderr[-4000:])  # noqa: T201 - as above
    return broken


if __name__ == "__main__":
    sys.exit(main())
