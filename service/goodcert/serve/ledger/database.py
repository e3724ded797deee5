"""A database by its URL: SQLite in a file, or PostgreSQL; brought to the newest tables when it is opened."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import NullPool

from goodcert.serve.settings.settings import SettingsError

WAIT_SECONDS = 5
"""How long may be waited for a connection, a lock, or a server that has gone silent."""

_POSTGRESQL = {"postgresql", "postgres", "postgresql+psycopg"}
_MIGRATION = 0x676F6F64
"""The number of the advisory lock under which PostgreSQL is migrated: "good"."""


def connect(url: str, *, writes: bool = False, **options: Any) -> Engine:
    """An engine; nothing is opened yet. options: of SQLAlchemy's.

    Raises SettingsError for a URL of neither kind, without telling it.
    """
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise SettingsError("ledger_url: expected sqlite:///PATH or postgresql://USER@HOST/DATABASE") from error
    if address.drivername == "sqlite" and address.database not in (None, "", ":memory:"):
        return _sqlite(address, "BEGIN IMMEDIATE" if writes else "BEGIN", options)
    if address.drivername in _POSTGRESQL:
        return _postgresql(address, "READ COMMITTED" if writes else "REPEATABLE READ", options)
    raise SettingsError(
        f"ledger_url: got {address.drivername}, expected sqlite:///PATH of a file, or postgresql://USER@HOST/DATABASE"
    )


def existing(url: str, *, writes: bool = False) -> Engine:
    """For a ledger that is there, one connection at a time. Raises SettingsError."""
    engine = connect(url, writes=writes, poolclass=NullPool)
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        raise SettingsError(f"{engine.url.database}: there is no such file")
    return engine


def migrate(engine: Engine) -> None:
    """Make or change the tables; several processes may do so at once. Raises SQLAlchemyError or OSError."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION})"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def responds(connection: Connection) -> bool:
    """Whether there still is a database at the other end."""
    raw = connection.connection.dbapi_connection
    try:
        return raw is not None and connection.dialect.do_ping(raw)
    except Exception:  # noqa: BLE001  the driver's own
        return False


def in_place(connection: Connection) -> bool:
    """Whether an open SQLite file is still the one at its path: SQLite goes on writing to a deleted one."""
    if connection.dialect.name != "sqlite":
        return True
    try:
        there = os.stat(str(connection.engine.url.database))
    except OSError:
        return False
    return bool(connection.info["file"] == (there.st_dev, there.st_ino))


def _sqlite(address: URL, begin: str, options: dict[str, Any]) -> Engine:
    arguments = {"timeout": WAIT_SECONDS, "check_same_thread": False}
    engine = create_engine(address, connect_args=arguments, **options)

    def opened(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, and nowhere else
        write_ahead(connection)
        connection.execute("PRAGMA synchronous=FULL")
        there = os.stat(str(address.database))
        record.info["file"] = (there.st_dev, there.st_ino)

    def begun(connection: Connection) -> None:
        try:
            connection.connection.cursor().execute(begin)
        except sqlite3.Error as error:
            raise OperationalError(begin, None, error) from error

    event.listen(engine, "connect", opened)
    event.listen(engine, "begin", begun)
    return engine


def write_ahead(connection: sqlite3.Connection) -> None:
    """Of two processes that open a new file at the same time SQLite refuses one at once, whatever its timeout."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def _postgresql(address: URL, isolation: IsolationLevel, options: dict[str, Any]) -> Engine:
    """isolation: readers see one moment, writers what the lock lets them."""
    arguments = {
        "connect_timeout": WAIT_SECONDS,
        "tcp_user_timeout": 1000 * WAIT_SECONDS,
        "options": f"-c synchronous_commit=on -c lock_timeout={WAIT_SECONDS}s",
    }
    url = address.set(drivername="postgresql+psycopg")
    options = {"pool_pre_ping": True, "isolation_level": isolation, "paramstyle": "format"} | options
    return create_engine(url, connect_args=arguments, **options)
