"""`goodcert triggers list|dead|resend|drop|listen`: what triggers raised, from the ledger's database."""

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from goodcert.serve.events.receiver import Receiver
from goodcert.serve.ledger.database import existing
from goodcert.serve.ledger.outbox import Outbox
from goodcert.serve.settings import settings
from goodcert.serve.settings.settings import Settings, SettingsError
from goodcert.serve.settings.trigger_rules import read_secrets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    purposes = {
        "list": "show the triggers, with what waits and what is dead",
        "dead": "show dead letters: what nobody received",
        "resend": "send dead letters again, under their old ids; enables triggers that a 410 disabled",
        "drop": "forget dead letters",
    }
    for name, purpose in purposes.items():
        action = actions.add_parser(name, help=purpose, description=purpose.capitalize() + ".")
        action.add_argument(
            "--config", help="TOML file with the settings of the service (default: GOODCERT_CONFIG)"
        )
        if name != "list":
            action.add_argument("--trigger", metavar="NAME", help="only those of this trigger")
        if name in ("resend", "drop"):
            action.add_argument("ids", nargs="*", metavar="ID", help="only these; by default all")
    listen = actions.add_parser("listen", help="receive webhooks, check their signatures and print them")
    listen.add_argument(
        "--secret-file", type=Path, required=True, metavar="FILE", help="what the trigger signs with"
    )
    listen.add_argument("--host", default="127.0.0.1")
    listen.add_argument("--port", type=int, default=9000)


def run(options: argparse.Namespace) -> int:
    """0 done, 2 it could not be."""
    try:
        return _listen(options) if options.action == "listen" else _ask(options)
    except SQLAlchemyError as error:
        print(f"goodcert triggers: the database does not answer: {str(error).splitlines()[0]}", file=sys.stderr)
    except (SettingsError, ValueError, OSError) as error:
        print(f"goodcert triggers: {error}", file=sys.stderr)
    return 2


def _ask(options: argparse.Namespace) -> int:
    actions: dict[str, Callable[[argparse.Namespace, Settings, Outbox], None]] = {
        "list": _list, "dead": _dead, "resend": _resend, "drop": _drop,
    }  # fmt: skip
    chosen = settings.load(**({"config": options.config} if options.config else {}))
    if chosen.ledger_url is None:
        raise SettingsError(
            "ledger_url: got none, expected that of the service; triggers are kept in its database"
        )
    url = chosen.ledger_url.get_secret_value()
    outbox = Outbox(existing(url, writes=True), existing(url))
    try:
        actions[options.action](options, chosen, outbox)
    finally:
        outbox.close()
    return 0


def _list(_: argparse.Namespace, chosen: Settings, outbox: Outbox) -> None:
    known = {trigger.name for trigger in chosen.triggers}
    for name in sorted(known | set(outbox.triggers())):
        waiting = outbox.waiting(name)
        states = [
            f"{waiting.letters} waiting" + (f" since {waiting.oldest}" if waiting.oldest else ""),
            f"{outbox.count_dead(name)} dead",
            "disabled by 410" if outbox.is_disabled(name) else "",
            "" if name in known else "not in the settings",
        ]
        print("  ".join([name, *filter(None, states)]))


def _dead(options: argparse.Namespace, _: Settings, outbox: Outbox) -> None:
    for letter in outbox.dead(options.trigger):
        print("  ".join([letter.id, letter.trigger, letter.raised_at, letter.reason, letter.payload.decode()]))


def _resend(options: argparse.Namespace, _: Settings, outbox: Outbox) -> None:
    found = outbox.resend(options.trigger, options.ids, datetime.now(UTC))
    print(f"{found} webhooks are due again")
    _miss(options.ids, found)


def _drop(options: argparse.Namespace, _: Settings, outbox: Outbox) -> None:
    found = outbox.drop(options.trigger, options.ids)
    print(f"{found} webhooks forgotten")
    _miss(options.ids, found)


def _miss(ids: Sequence[str], found: int) -> None:
    """Raises ValueError if some of the ids were none of dead letters."""
    if found < len(set(ids)):
        raise ValueError(f"{len(set(ids)) - found} of the ids are no dead letters that were asked for")


def _listen(options: argparse.Namespace) -> int:
    secrets, seen = read_secrets(options.secret_file), set()
    # A shell that starts it in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def show(identity: str, payload: bytes) -> int:
        print(json.dumps({"id": identity, "again": identity in seen, "message": json.loads(payload)}), flush=True)
        seen.add(identity)
        return 204

    with Receiver(options.host, options.port, secrets, show) as receiver:
        print(f"listening on http://{options.host}:{receiver.server_port}", file=sys.stderr, flush=True)
        try:
            receiver.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
