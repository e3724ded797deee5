"""`goodcert signing-keys create|list FOLDER`: the keys that sign certificates."""

import argparse
import json
import sys
from pathlib import Path

from goodcert.serve.proof.signing import KeyFault, create_key, published, read_keys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, purpose in (
        ("create", "make a key, which signs from the next start of the service on"),
        ("list", "show the keys of a folder, the one that signs last"),
        ("publish", "print the public keys as a JWK set, as /v1/keys does"),
    ):
        action = actions.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        action.add_argument("folder", type=Path, metavar="FOLDER", help="what the setting signing_keys names")


def run(options: argparse.Namespace) -> int:
    try:
        print({"create": _create, "list": _list, "publish": _publish}[options.action](options.folder))
    except (KeyFault, OSError) as error:
        print(f"goodcert signing-keys: {error}", file=sys.stderr)
        return 1
    return 0


def _create(folder: Path) -> str:
    path, key = create_key(folder)
    return f"{path}: key {key.kid}"


def _list(folder: Path) -> str:
    keys = read_keys(folder)
    private = [key for key in keys if key.is_private]
    marks = ("signs" if private and key is private[-1] else "verifies" for key in keys)
    return "\n".join(f"{key.kid}  {mark}" for key, mark in zip(keys, marks, strict=True)) or "no keys"


def _publish(folder: Path) -> str:
    return json.dumps(published(read_keys(folder)))
