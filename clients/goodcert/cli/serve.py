"""`goodcert serve`: start the service; every setting is also a flag."""

import argparse
import sys

from goodcert.serve.settings import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for name, field in settings.Settings.model_fields.items():
        if name not in (
            "api_keys",
            "triggers",
        ):  # a key or secret on a command line can be read by everyone on the machine
            flag = "--" + name.replace("_", "-")
            parser.add_argument(flag, default=argparse.SUPPRESS, metavar="X", help=field.description)


def run(options: argparse.Namespace) -> int:
    flags = {name: value for name, value in vars(options).items() if name not in ("verb", "run")}
    try:
        chosen = settings.load(**flags)
        # Imported when it is known which: the supervisor of several must come before prometheus_client.
        if chosen.workers > 1:
            from goodcert.serve.server.supervisor import run as serve
        else:
            from goodcert.serve.server.process import run as serve
        serve(chosen)
    except settings.SettingsError as error:
        print(f"goodcert serve: {error}", file=sys.stderr)
        return 2
    return 0
