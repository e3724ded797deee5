"""`goodcert ledger verify|checkpoint|prune|export`: the ledger of a service, from its database."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from goodcert.serve.core import timestamps
from goodcert.serve.ledger import export
from goodcert.serve.ledger.audit import Audit, audit
from goodcert.serve.ledger.chain import Link, read_checkpoint
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.reader import Reader
from goodcert.serve.ledger.retention import prune
from goodcert.serve.proof.signing import KeyFault, SignatureRefused, Signer, key_set, read_keys
from goodcert.serve.settings.settings import SettingsError

VARIABLE = "GOODCERT_LEDGER_URL"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    verify = _action(actions, "verify", "look for certificates that were edited, deleted, swapped or cut off")
    verify.add_argument("--keys", type=Path, metavar="JWKS", help="file with the keys that may sign checkpoints")
    verify.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a checkpoint that was kept elsewhere; needs --keys"
    )
    _action(actions, "checkpoint", "print the newest signed checkpoint, for keeping elsewhere")
    old = _action(actions, "prune", "delete the oldest certificates; the chain of the others stays verifiable")
    old.add_argument("--before", required=True, metavar="TIME", help="such as 2026-01-31 or 2026-01-31T12:00:00Z")
    old.add_argument("--signing-keys", type=Path, metavar="FOLDER", help="sign the new beginning of the chain")
    out = _action(actions, "export", "write certificates to a file, a row each, oldest first")
    out.add_argument("file", type=Path, metavar="FILE", help=f"ends in {' or '.join(export.WRITERS)}")
    out.add_argument("--since", default="", metavar="TIME", help="only those issued then or later")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, purpose: str
) -> argparse.ArgumentParser:
    action = actions.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
    action.add_argument("--url", default=os.environ.get(VARIABLE), help=f"the database (default: {VARIABLE})")
    return action


def run(options: argparse.Namespace) -> int:
    """0 done, 1 the ledger is not what it was, 2 it could not be looked at."""
    actions: dict[str, Callable[[argparse.Namespace], int]] = {
        "verify": _verify, "checkpoint": _checkpoint, "prune": _prune, "export": _export,
    }  # fmt: skip
    if not options.url:
        print(f"goodcert ledger: name the database with --url or {VARIABLE}", file=sys.stderr)
        return 2
    try:
        return actions[options.action](options)
    except SignatureRefused as error:
        print(f"goodcert ledger: {options.checkpoint}: {error}", file=sys.stderr)
    except SQLAlchemyError as error:
        print(f"goodcert ledger: the database does not answer: {str(error).splitlines()[0]}", file=sys.stderr)
    except (SettingsError, KeyFault, ValueError, OSError) as error:
        print(f"goodcert ledger: {error}", file=sys.stderr)
    return 2


def _verify(options: argparse.Namespace) -> int:
    keys = key_set(options.keys.read_bytes()) if options.keys else None
    if options.checkpoint and keys is None:
        raise ValueError("--checkpoint needs --keys: without its signature a checkpoint proves nothing")
    held = read_checkpoint(options.checkpoint.read_text(), keys).link if options.checkpoint and keys else None
    with existing(options.url).begin() as connection:
        found = audit(connection, keys, held)
    for fault in found.faults:
        print(fault)
    print(_summary(found, held, signed=keys is not None))
    return int(bool(found.faults))


def _summary(found: Audit, held: Link | None, *, signed: bool) -> str:
    verdict = "the ledger is NOT what was written" if found.faults else "the chain is whole"
    rows = f"certificates {found.first} to {found.last}" if found.last >= found.first else "no certificates"
    marks = f"{found.checkpoints} checkpoints" + ("" if signed else " (signatures not checked: give --keys)")
    kept = f"; the checkpoint that was kept is of {held.seq}" if held else ""
    pruned = ", before what is left" if held and held.seq < found.first - 1 else ""
    return f"{verdict}: {rows}, {marks}{kept}{pruned}"


def _checkpoint(options: argparse.Namespace) -> int:
    found = Reader(existing(options.url)).checkpoint()
    if found is None:
        raise ValueError("there is no signed checkpoint; the service makes them where signing_keys is set")
    print(found, end="")
    return 0


def _prune(options: argparse.Namespace) -> int:
    signer = Signer(read_keys(options.signing_keys)) if options.signing_keys else None
    with existing(options.url, writes=True).begin() as connection:
        deleted = prune(connection, timestamps.parse(options.before), signer)
    print(f"{deleted} certificates deleted")
    return 0


def _export(options: argparse.Namespace) -> int:
    since = timestamps.parse(options.since) if options.since else ""
    with existing(options.url).begin() as connection:
        written = export.write(connection, options.file, since)
    print(f"{written} certificates written to {options.file}")
    return 0
