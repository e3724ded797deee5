"""A PostgreSQL server of its own, on loopback, in a temporary folder, for as long as it is needed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg


@dataclass
class Postgres:
    """folder: of the data. port: on 127.0.0.1."""

    folder: Path
    port: int
    databases: int = 0

    def database(self) -> str:
        """The URL of a new, empty database."""
        self.databases += 1
        name = f"ledger{self.databases}"
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def start(self) -> None:
        # Without fsync: what a crash of the machine leaves is not what these tests are about.
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._control("start", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def make(self) -> None:
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "goodcert", "-A", "trust", "-N")

    def _url(self, name: str) -> str:
        return f"postgresql://goodcert@127.0.0.1:{self.port}/{name}"

    def _control(self, *action: str) -> None:
        self._run("pg_ctl", "-w", "-D", str(self.folder / "data"), *action)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, cwd=self.folder, text=True, check=False, **_as_user())
        assert done.returncode == 0, done.stdout + done.stderr


def missing() -> str:
    """Why there can be no server; "" where there can."""
    programs = [name for name in ("initdb", "pg_ctl") if shutil.which(name) is None]
    if programs:
        return f"{' and '.join(programs)} of PostgreSQL are not installed"
    return (
        ""
        if os.geteuid()
        else ""
        if _stranger()
        else "PostgreSQL does not run as root, and there is no other user"
    )


@contextmanager
def postgres() -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="goodcert-postgres-"))
    try:
        if user := _as_user().get("user"):
            shutil.chown(folder, user)
        server = Postgres(folder, _free_port())
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_user() -> dict[str, str]:
    """PostgreSQL refuses to run as root."""
    return {} if os.geteuid() else {"user": _stranger()}


def _stranger() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), "")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
