"""`goodcert certify IMAGE...`: certificates from a running service, as a table or as JSON lines."""

import argparse
import json
import os
import sys
from pathlib import Path

from goodcert.cli.table import TableRow, render
from goodcert.client import Certificate, Client, GoodcertError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="PNG, JPEG, WebP or BMP files")
    parser.add_argument("--model", default="mnist-good100", help="which model (default: mnist-good100)")
    parser.add_argument("--epsilon", metavar="E", help="radius in [0, 1] (default: the model's)")
    parser.add_argument(
        "--method",
        choices=["ibp", "crown", "auto"],
        help="bounds by ibp (default), by crown, tighter and slower, or by crown where needed",
    )
    parser.add_argument("--radius", action="store_true", help="show the largest certified epsilon, too")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="the service (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print each certificate as one line of JSON")
    parser.epilog = "An API key is read from the environment variable GOODCERT_API_KEY."


def run(options: argparse.Namespace) -> int:
    """0 when every image got its certificate, 1 otherwise."""
    try:
        client = Client(options.url, api_key=os.environ.get("GOODCERT_API_KEY"))
    except ValueError as error:
        print(f"goodcert certify: {error}", file=sys.stderr)
        return 2
    with client:
        results = [(path, _certificate(client, path, options)) for path in options.images]
    failed = [(path, result) for path, result in results if isinstance(result, Exception)]
    certified = [(path, result) for path, result in results if isinstance(result, Certificate)]
    if options.json:
        for path, certificate in certified:
            print(json.dumps({"file": str(path), **certificate.raw}))
    elif certified:
        print(
            render([TableRow.of(path.name, certificate) for path, certificate in certified], radius=options.radius)
        )
    for path, reason in failed:
        print(f"goodcert certify: {path}: {reason}", file=sys.stderr)
    return 1 if failed else 0


def _certificate(client: Client, path: Path, options: argparse.Namespace) -> Certificate | Exception:
    """The certificate, or why there is none: one bad image does not end the others."""
    try:
        return client.certify(
            path, model=options.model, epsilon=options.epsilon, method=options.method, radius=options.radius
        )
    except (GoodcertError, OSError) as error:
        return error
