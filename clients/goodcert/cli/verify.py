"""`goodcert verify CERT IMAGE`: whether a signed certificate is what a service said about this image."""

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from joserfc.jwk import KeySet

from goodcert.serve.proof.signing import CERTIFICATE, KeyFault, SignatureRefused, key_set, verified

_EXTRA = "pip install 'goodcert[serve]'"


class Unchecked(Exception):
    """Something that was asked for could not be checked; the message says why."""


class Refuted(Exception):
    """Something does not hold; the message says what."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "certificate", type=Path, metavar="CERT", help="a file with the signed certificate, one line"
    )
    parser.add_argument("image", type=Path, metavar="IMAGE", help="the file that was certified")
    parser.add_argument("--model", type=Path, metavar="FILE", help="compute the bound anew with this model file")
    parser.add_argument(
        "--exact",
        action="store_true",
        help="compute it in exact arithmetic, by code that shares nothing with the engine",
    )
    parser.add_argument(
        "--keys",
        default="http://127.0.0.1:8000/v1/keys",
        metavar="JWKS",
        help="the keys to trust: a file or a URL with a JWK set (default: %(default)s)",
    )
    parser.epilog = "Exit status: 0 all holds, 1 something does not, 2 something could not be checked."


def run(options: argparse.Namespace) -> int:
    try:
        for sentence in _check(options):
            print(sentence)
    except (Refuted, SignatureRefused) as error:
        print(f"NOT VALID: {error}", file=sys.stderr)
        return 1
    except (Unchecked, KeyFault, OSError) as error:
        print(f"goodcert verify: {error}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> list[str]:
    """What holds, in sentences. Raises Refuted, SignatureRefused, Unchecked, KeyFault, OSError."""
    token, upload = options.certificate.read_bytes(), options.image.read_bytes()
    payload = verified(token.decode("latin-1"), _keys(options.keys), CERTIFICATE)
    body = _read(payload)
    digest = hashlib.sha256(upload).hexdigest()
    if body["image"]["sha256"] != digest:
        raise Refuted(f"the image is another one: SHA-256 {digest}, certified was {body['image']['sha256']}")
    if options.exact:
        again = _exactly(payload, upload, options.model)
    else:
        again = _recomputed(body, upload, options.model) if options.model else []
    return [*_statement(body, digest), *again]


def _statement(body: Mapping[str, Any], digest: str) -> list[str]:
    model, engine, radius = body["model"], body["engine"], body["epsilon"]
    bound = f"{body['confidence_upper_bound']} (by {body['method']}); {body['verdict']}"
    return [
        f"The signature is that of a trusted key; issued at {body['issued_at']}.",
        f"The image is the one that was certified: SHA-256 {digest}.",
        f"The model is {model['name']} version {model['version']}: SHA-256 {model['sha256']}.",
        f"The engine was version {engine['version']} on {engine['device']}.",
        f"It says: no image within {radius} of this one in every pixel is given a confidence above {bound}.",
    ]


def _read(payload: bytes) -> dict[str, Any]:
    try:
        body = json.loads(payload)
        if all(isinstance(body[name], Mapping) for name in ("image", "model", "engine")):
            return dict(body)
    except (ValueError, KeyError, TypeError):
        pass
    raise Refuted("what was signed is no certificate")


def _keys(source: str) -> KeySet:
    if not source.startswith(("http://", "https://")):
        return key_set(Path(source).read_bytes())
    try:
        return key_set(httpx.get(source, timeout=10).raise_for_status().content)
    except httpx.HTTPError as error:
        raise Unchecked(f"{source}: the keys could not be fetched ({error}); name a file with --keys") from error


def _recomputed(body: dict[str, Any], upload: bytes, model: Path) -> list[str]:
    try:
        from goodcert.serve.proof.recompute import recompute
    except ModuleNotFoundError as error:
        raise Unchecked(f"--model needs {error.name}, which is not installed: {_EXTRA}") from error
    if hashlib.sha256(model.read_bytes()).hexdigest() != body["model"]["sha256"]:
        raise Refuted("the model file is another one than the one that answered: it has another SHA-256")
    try:
        found = recompute(body, upload, model)
    except (KeyError, TypeError) as error:
        raise Refuted("what was signed is no certificate") from error
    except Exception as error:  # whatever is wrong with a file that others made
        raise Unchecked(f"the bound could not be computed: {type(error).__name__} {error}") from error
    if found.faults:
        raise Refuted("; ".join(found.faults))
    low, computed, high = found.upper
    return [
        f"Computed anew, the bound is {computed!r}; every sound evaluation is in [{low!r}, {high!r}]: it agrees."
    ]


def _exactly(payload: bytes, upload: bytes, model: Path | None) -> list[str]:
    try:
        from goodcert.checker import BadClaim, NotCheckable, check
        from goodcert.cli.exact import pixels, sentence
    except ModuleNotFoundError as error:
        raise Unchecked(
            f"--exact needs {error.name}, which is not installed: pip install 'goodcert[exact]'"
        ) from error
    if model is None:
        raise Unchecked("--exact needs the model file: name it with --model FILE")
    try:
        found = check(payload, model.read_bytes(), pixels(upload))
    except BadClaim as error:
        raise Refuted(str(error)) from error
    except NotCheckable as error:
        raise Unchecked(str(error)) from error
    if refuted := [sentence(one) for one in found if one.excess < 0]:
        raise Refuted("; ".join(refuted))
    return [sentence(one) for one in found]
