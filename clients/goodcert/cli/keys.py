"""`goodcert keys`: make, list and revoke the API keys of a service; it notices within a second."""

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from goodcert.serve.admission import keys
from goodcert.serve.settings import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--file", type=Path, help="file of the keys; by default the setting keys_file")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key and print it, this once")
    create.add_argument("name", help="what the key is called in the list")
    create.add_argument("--scopes", default="certify,read", help="some of certify,read,admin,metrics")
    create.add_argument("--expires", type=_moment, help="a date such as 2030-01-31 (UTC), or days from now: 90d")
    create.add_argument("--requests-per-second", type=float, help="limit of its own")
    create.add_argument("--concurrency", type=int, help="most requests under way, a limit of its own")
    actions.add_parser("list", help="show the keys, without what they are")
    actions.add_parser("revoke", help="take a key away").add_argument("name")


def run(options: argparse.Namespace) -> int:
    try:
        return int({"create": _create, "list": _list, "revoke": _revoke}[options.action](_file(options), options))
    except (keys.KeysFileError, settings.SettingsError) as error:
        print(f"goodcert keys: {error}", file=sys.stderr)
        return 1


def _file(options: argparse.Namespace) -> Path:
    path: Path | None = options.file or settings.load().keys_file
    if path is None:
        raise keys.KeysFileError("keys_file: got none, expected --file or the setting keys_file")
    return path


def _create(path: Path, options: argparse.Namespace) -> int:
    key = keys.create(
        path,
        options.name,
        [scope.strip() for scope in options.scopes.split(",")],
        expires=options.expires,
        requests_per_second=options.requests_per_second,
        concurrency=options.concurrency,
    )
    print(key)
    print("This key is shown once: the file holds its SHA-256 only.", file=sys.stderr)
    return 0


def _list(path: Path, _: argparse.Namespace) -> int:
    for key in keys.KeysFile.read(path).keys:
        until = f"until {key.expires:%Y-%m-%d %H:%M} UTC" if key.expires else "for ever"
        expired = " (expired)" if key.expires and key.expires <= datetime.now(UTC) else ""
        limits = [
            f"{key.requests_per_second:g} requests a second" if key.requests_per_second else "",
            f"{key.concurrency} at once" if key.concurrency else "",
        ]
        print("  ".join([key.name, ",".join(sorted(key.scopes)), until + expired, *filter(None, limits)]))
    return 0


def _revoke(path: Path, options: argparse.Namespace) -> int:
    keys.revoke(path, options.name)
    return 0


def _moment(text: str) -> datetime:
    """A date in UTC, or days from now."""
    if days := re.fullmatch(r"([0-9]{1,5})d", text):
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(days[1]))
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"got {text}, expected a date such as 2030-01-31, or 90d") from error
