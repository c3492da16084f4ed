"""A PostgreSQL server of our own, in a directory of its own, for the tests of one worker."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

USER = "gatewayd"
DATABASE = "gatewayd"
START_S = 60
SETTINGS = {
    "listen_addresses": "''",
    "fsync": "on",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_min_messages": "fatal",
}


def find_bin() -> Path | None:
    """The directory of `initdb` and `pg_ctl`, the newest version first; None without a server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if config := shutil.which("pg_config"):
        done = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(done.stdout.strip()))
    return next((one for one in found if (one / "initdb").exists()), None)


class PostgresServer:
    """Started and stopped by the fixture `postgres`; reached by a unix socket only."""

    def __init__(self, bin_directory: Path) -> None:
        self._bin = bin_directory
        # A socket's name has at most 107 octets, so pytest's directories are too deep for it.
        self._directory = Path(tempfile.mkdtemp(prefix="gatewayd-postgres-"))
        self._data = self._directory / "data"
        if os.geteuid() == 0:  # initdb refuses to run as root
            shutil.chown(self._directory, "postgres", "postgres")

    @property
    def url(self) -> str:
        return f"postgresql://{USER}@/{DATABASE}?host={self._directory}"

    def start(self) -> None:
        self._run(
            "initdb", "--no-sync", "--no-instructions", "--auth=trust", "--encoding=UTF8",
            "--locale=C.UTF-8", f"--username={USER}", f"--pgdata={self._data}",
        )  # fmt: skip
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self._directory}'\n")
            file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
        self._control("start")
        self._run("createdb", f"--host={self._directory}", f"--username={USER}", DATABASE)

    def crash(self) -> None:
        """Stop as after a power loss, and start again: every connection is lost."""
        self._control("restart", "--mode=immediate")

    def stop(self) -> None:
        self._control("stop", "--mode=immediate")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _control(self, *words: str) -> None:
        self._run(
            "pg_ctl", *words, "--wait", f"--timeout={START_S}", f"--pgdata={self._data}",
            f"--log={self._directory}/log",
        )  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        output = self._directory / "output"
        with output.open("wb") as file:  # no pipe: the server would keep it open
            done = subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                timeout=2 * START_S,
                check=False,
            )
        said = output.read_text(errors="replace")
        assert done.returncode == 0, f"{program} failed:\n{said[-4000:]}"


def _version(directory: Path) -> float:
    return float(directory.parent.name)
