"""`goodcert VERB ...`: finds the verb's module, and says what is missing when an extra is not installed."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType


@dataclass(frozen=True)
class Verb:
    """help: one line. extra: what `pip install 'goodcert[EXTRA]'` must have brought, or "" for nothing."""

    help: str
    extra: str


VERBS = {
    "certify": Verb("certify images with a running service", ""),
    "verify": Verb("check a signed certificate against its image, and its model", "sign"),
    "serve": Verb("start the service", "serve"),
    "keys": Verb("make, list and revoke the API keys of a service", "serve"),
    "fetch": Verb("download a data set from its official source", "train"),
    "train": Verb("train a model by a recipe and export it", "train"),
    "evaluate": Verb("measure a model file and write its card", "train"),
    "bench": Verb("measure what the guarantee costs, or try to break it", "train"),
    "fuzz": Verb("search random classifiers for what contradicts their certificates", "train"),
    "ledger": Verb("check, prune or export the ledger of a service", "ledger"),
    "triggers": Verb("list, re-send and receive what triggers raised", "triggers"),
    "signing-keys": Verb("make and list the keys that sign certificates", "sign"),
    "sbom": Verb("print the software bill of materials of this installation", "sbom"),
    "inspect": Verb("say whether a model file can be bounded, and why not", "engine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 the verb failed and said why, 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="goodcert", description="Guaranteed bounds on the confidence of image classifiers."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    chosen = _chosen(sys.argv[1:] if argv is None else argv)
    for name, verb in VERBS.items():
        subparser = verbs.add_parser(name, help=verb.help, description=verb.help.capitalize() + ".")
        if name == chosen:
            module = _module(name, verb)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    options = parser.parse_args(argv)
    return int(options.run(options))


def _chosen(argv: Sequence[str]) -> str | None:
    return next((word for word in argv if not word.startswith("-")), None)


def _module(name: str, verb: Verb) -> ModuleType:
    try:
        return importlib.import_module(f"goodcert.cli.{name.replace('-', '_')}")
    except ModuleNotFoundError as error:
        if not verb.extra:
            raise
        sys.exit(
            f"goodcert {name} needs {error.name}, which is not installed: pip install 'goodcert[{verb.extra}]'"
        )


if __name__ == "__main__":
    sys.exit(main())
