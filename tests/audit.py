"""Are there known holes in what is pinned? `python -m tests.audit`, or `make audit`.

pip-audit looks each pin up in a database of advisories. One pin is looked up first: where nobody
answers for it, nobody is asked for the others.

| it says                                     | that is                        | exit code |
|---------------------------------------------|--------------------------------|-----------|
| a hole in one package or more               | known holes, each is printed   | 1         |
| nothing, of all that it looked up           | clean                          | 0         |
| that the database does not know the package | not audited: it is a mirror    | 0         |
| that it cannot connect, or nothing in time  | not audited: no network        | 0         |
| anything else                               | the audit is broken            | 2         |

pip-audit ends with 0 where it could look nothing up, and with 1 where it cannot connect: so its
exit code is not looked at.
"""

from __future__ import annotations

import enum
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REQUIREMENTS: Final = Path(__file__).parents[1] / "requirements"
FILES: Final = ("run.txt", "build.txt", "dev.txt")
LOOK_UP_S: Final = 15  # one answer of the database
AUDIT_S: Final = 300  # all of them
# What pip-audit and requests write where there is no network, or none for them.
_NO_NETWORK: Final = re.compile(
    r"Could not connect to|requests\.exceptions\.(?:\w*Connect\w*|\w*Timeout|ProxyError|SSLError)"
    r"|is not redirecting properly|HTTPError: (?:429|5\d\d)"
)


class Found(enum.Enum):
    """The second column of the table; the value is the exit code."""

    CLEAN = ("clean", 0)
    HOLES = ("known holes", 1)
    UNKNOWN = ("not audited", 0)
    BROKEN = ("the audit is broken", 2)

    @property
    def exit_code(self) -> int:
        return self.value[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What pip-audit wrote; nothing where it took too long."""

    stdout: str
    stderr: str
    in_time: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found, and the lines that say so."""

    found: Found
    lines: tuple[str, ...]


Ask = Callable[[list[Path]], Ran]


def read(ran: Ran) -> Verdict:
    """The table. Pure."""
    if not ran.in_time:
        return _unknown(f"there was no answer in {AUDIT_S} s")
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        if _NO_NETWORK.search(ran.stderr):
            return _unknown("no database of advisories can be reached")
        last = ran.stderr.strip().splitlines()[-1:]
        return Verdict(found=Found.BROKEN, lines=("the audit itself failed", *last))
    skipped = [one["name"] for one in packages if "skip_reason" in one]
    looked_up = len(packages) - len(skipped)
    if not looked_up:
        return _unknown("the database that answers knows none of the packages")
    lines = [_hole(one, hole) for one in packages for hole in one.get("vulns", ())]
    if skipped:
        lines.append(f"not in the database: {', '.join(sorted(set(skipped)))}")
    holes = sum(len(one.get("vulns", ())) for one in packages)
    lines.append(f"{looked_up} packages were looked up: {holes} known holes")
    return Verdict(found=Found.HOLES if holes else Found.CLEAN, lines=tuple(lines))


def audit(ask: Ask, directory: Path) -> Verdict:
    """Look up one pin, and then all of them if there is anybody to ask."""
    with tempfile.TemporaryDirectory() as temporary:
        one = Path(temporary) / "one.txt"
        one.write_text(first_pin((directory / FILES[0]).read_text()))
        probed = read(ask([one]))
    if probed.found in (Found.UNKNOWN, Found.BROKEN):
        return probed
    return read(ask([directory / name for name in FILES]))


def first_pin(text: str) -> str:
    """The first requirement of a file, with its hashes."""
    found = re.search(r"^[A-Za-z0-9](?:.*\\\n)*.*\n", text, re.MULTILINE)
    assert found is not None
    return found[0]


def pip_audit(files: list[Path]) -> Ran:
    """Ask the real one; pins are complete, so it resolves nothing and installs nothing."""
    named = [word for file in files for word in ("-r", str(file))]
    try:
        ran = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", *named,
                "--format", "json", "--progress-spinner", "off", "--timeout", str(LOOK_UP_S),
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=AUDIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Ran(stdout="", stderr="", in_time=False)
    return Ran(stdout=ran.stdout, stderr=ran.stderr)


def _unknown(why: str) -> Verdict:
    return Verdict(found=Found.UNKNOWN, lines=(f"the pins were not audited: {why}",))


def _hole(package: dict[str, Any], hole: dict[str, Any]) -> str:
    fixed = ", ".join(hole.get("fix_versions", ())) or "no version yet"
    names = " ".join([hole["id"], *hole.get("aliases", ())])
    return f"{package['name']} {package['version']}: {names}, mended in {fixed}"


def main() -> int:
    verdict = audit(pip_audit, REQUIREMENTS)
    sys.stdout.write("".join(f"audit: {line}\n" for line in verdict.lines))
    return verdict.found.exit_code


if __name__ == "__main__":
    sys.exit(main())
