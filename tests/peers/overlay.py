"""Overlay: a Debian package run beside those that it excludes, as if it alone were installed.

Every mail server of Debian excludes the others, so Exim and OpenSMTPD cannot be installed where
Postfix is. `.ci/run` downloads them, with the libraries that this machine lacks, to build/peers.

| inside         | is                                                                            |
|----------------|-------------------------------------------------------------------------------|
| files          | this machine's, copy on write, with the packages unpacked over them; what is  |
|                | written goes to a tmpfs that ends with the server                              |
| users          | this machine's, and those that the package's installation would have made     |
| processes      | the server's own namespace: when its first one is killed, none is left        |
| network        | this machine's loopback; the resolver is a port where nobody answers          |
| name           | HOST                                                                          |

The server lives no longer than the test's own process. Nothing of the machine is changed.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.peers.programs import let_users_read, missing, require, require_root
from tests.peers.routes import HOST
from tests.peers.waiting import eventually, is_listening

PACKAGES = Path(__file__).parents[2] / "build" / "peers"
PROGRAMS = ("unshare", "setpriv", "dpkg-deb", "tar", "hostname")
START_S = 30.0
FIRST_UID = 64_900  # of users that exist inside only

ENTER = """\
set -eu
stage=$1 packages=$2 files=$3 logs=$4 name=$5; shift 5
hostname "$name"
mount -t tmpfs -o mode=0755 tmpfs "$stage"
mkdir "$stage/upper" "$stage/work" "$stage/root"
mount -t overlay -o "lowerdir=/,upperdir=$stage/upper,workdir=$stage/work" overlay "$stage/root"
cd "$stage/root"
mount -t proc proc proc
mount --rbind /dev dev
for package in "$packages"/*.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar -x -p --keep-directory-symlink
done
cp -a "$files/." .
mkdir -p ".$logs"
mount --bind "$logs" ".$logs"
chroot . "$@" || exit  # no exec: a setuid program forgets that it has to die with its parent
"""


class Overlay:
    """One server; `with` starts it, and ends exactly it.

    Args:
        package: the Debian package; its directory below build/peers has that name.
        users: those that it runs as.
        port: where it listens on loopback.
    """

    def __init__(self, package: str, *, users: tuple[str, ...], port: int) -> None:
        require(*PROGRAMS)
        require_root()
        let_users_read()
        self._packages = PACKAGES / package
        if not list(self._packages.glob(f"{package}_*.deb")):
            missing(f"needs the package {package} in {PACKAGES}")
        self.port = port
        self._directory = Path(tempfile.mkdtemp(prefix=f"gatewayd-{package}-"))
        self._directory.chmod(0o755)
        for part in ("stage", "files", "log"):
            (self._directory / part).mkdir()
        self.logs = self._directory / "log"
        self.logs.chmod(0o777)  # servers write there as users of their own
        self._process: subprocess.Popen[bytes] | None = None
        self._uids = {name: FIRST_UID + index for index, name in enumerate(users)}
        for file, rest in (("passwd", ":{id}::/nonexistent:/usr/sbin/nologin"), ("group", ":")):
            lines = "".join(
                f"{name}:x:{uid}{rest.format(id=uid)}\n" for name, uid in self._uids.items()
            )
            self.write(f"/etc/{file}", lines + Path("/etc", file).read_text())
        self.write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.write("/etc/mailname", f"{HOST}\n")

    def write(self, path: str, text: str) -> None:
        """Lay a file over that of the machine or of the package."""
        file = self._directory / "files" / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def make_directory(self, path: str, owner: str) -> None:
        """Make what the package's installation would have made."""
        directory = self._directory / "files" / path.lstrip("/")
        directory.mkdir(parents=True)
        shutil.chown(directory, self._uids[owner], self._uids[owner])

    def command(self) -> tuple[str, ...]:
        """What to run inside, in the foreground."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        stage, files = self._directory / "stage", self._directory / "files"
        with (self.logs / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"),
                    *("sh", "-c", ENTER, "enter", stage, self._packages, files),
                    *(self.logs, HOST),
                    *self.command(),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            eventually(self._is_up_or_gone, within_s=START_S, what=self.tail)
            assert self._process.poll() is None, self.tail()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill it and all that it started, and remove what it wrote."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(START_S)
        eventually(lambda: not is_listening(self.port), within_s=START_S, what="its port closes")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _is_up_or_gone(self) -> bool:
        assert self._process is not None
        return is_listening(self.port) or self._process.poll() is not None

    def tail(self) -> str:
        """The end of each of its logs, for a failed test."""
        texts = [file.read_text(errors="replace")[-4000:] for file in sorted(self.logs.iterdir())]
        return "\n".join(texts)
