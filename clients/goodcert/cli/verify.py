"""`goodcert verify CERT IMAGE`: whether a signed certificate is what a service said about this image."""

import argparse
import hashlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from joserfc.jwk import KeySet

from goodcert.serve.core.version import version
from goodcert.serve.proof.claims import NAME, VERSION, ClaimsRefused, UnknownFormat, read
from goodcert.serve.proof.contradictions import contradictions
from goodcert.serve.proof.signing import CERTIFICATE, KeyFault, SignatureRefused, key_set, verified

if TYPE_CHECKING:  # which needs the whole engine
    from goodcert.serve.proof.recompute import Recomputation

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
        "--served-as",
        metavar="NAME/VERSION",
        help="what the service calls this model (default: its folders, where FILE is .../NAME/VERSION/model.onnx)",
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
    except (Refuted, SignatureRefused, ClaimsRefused) as error:
        print(f"NOT VALID: {error}", file=sys.stderr)
        return 1
    except (Unchecked, UnknownFormat, KeyFault, OSError) as error:
        print(f"goodcert verify: {error}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> list[str]:
    """What holds, in sentences. Raises Refuted, Unchecked, and as `verified` and `claims.read` do; OSError."""
    token, upload = options.certificate.read_bytes(), options.image.read_bytes()
    payload = verified(token.decode("latin-1"), _keys(options.keys), CERTIFICATE)
    body = read(payload)
    digest = hashlib.sha256(upload).hexdigest()
    if body["image"]["sha256"] != digest:
        raise Refuted(f"the image is another one: SHA-256 {digest}, certified was {body['image']['sha256']}")
    faults, sentences = list(contradictions(body, datetime.now(UTC))), _statement(body, digest)
    if options.model:
        wrong, unknown = _about_names(body["model"], options.model, options.served_as)
        faults, sentences = faults + wrong, sentences + unknown
    try:
        more, said = _computed(body, payload, upload, options)
    except Unchecked:
        if not faults:  # else it is refuted, whether or not anything could be computed
            raise
    else:
        faults, sentences = faults + more, sentences + said
    if faults:
        raise Refuted("; ".join(faults))
    return sentences


def _statement(body: Mapping[str, Any], digest: str) -> list[str]:
    model, engine, radius = body["model"], body["engine"], body["epsilon"]
    bound = f"{body['confidence_upper_bound']} (by {body['method']}); {body['verdict']}"
    ours = "" if engine["version"] == version() else f"; this is version {version()}"
    return [
        f"The signature is that of a trusted key; issued at {body['issued_at']}.",
        f"The image is the one that was certified: SHA-256 {digest}.",
        f"The model is {model['name']} version {model['version']}: SHA-256 {model['sha256']}.",
        f"The engine was version {engine['version']} on {engine['device']}{ours}.",
        f"It says: no image within {radius} of this one in every pixel is given a confidence above {bound}.",
    ]


def _keys(source: str) -> KeySet:
    if not source.startswith(("http://", "https://")):
        return key_set(Path(source).read_bytes())
    try:
        return key_set(httpx.get(source, timeout=10).raise_for_status().content)
    except httpx.HTTPError as error:
        raise Unchecked(f"{source}: the keys could not be fetched ({error}); name a file with --keys") from error


def _computed(
    body: Mapping[str, Any], payload: bytes, upload: bytes, options: argparse.Namespace
) -> tuple[list[str], list[str]]:
    """Faults, and what holds."""
    if options.exact:
        return _exactly(payload, upload, options.model)
    return _anew(_recomputed(body, upload, options.model)) if options.model else ([], [])


def _anew(found: "Recomputation") -> tuple[list[str], list[str]]:
    low, computed, high = found.upper
    agrees = [
        f"Computed anew, the bound is {computed!r}; every sound evaluation is in [{low!r}, {high!r}]: it agrees.",
        f"The file itself, run {found.looks} times at all levels of ONNX Runtime, stays in the bounds.",
    ]
    remarks = [f"Reported, not refused, as another version computed it: {remark}." for remark in found.remarks]
    return list(found.faults), [*(remarks or agrees[:1]), *agrees[1:]]


def _about_names(model: Mapping[str, str], file: Path, served_as: str | None) -> tuple[list[str], list[str]]:
    """A file does not say what a service calls it: that is told, or is where it lies."""
    name, number = _told(served_as) if served_as else _folders(file)
    if not (NAME.holds(name) and VERSION.holds(number)):
        return [], [
            "What the service calls the model was not checked: no --served-as, and no folders that say it."
        ]
    wrong = [
        f"model.{claim}: stated {model[claim]!r}, but it is {so!r} (by {'--served-as' if served_as else file})"
        for claim, so in (("name", name), ("version", number))
        if model[claim] != so
    ]
    return wrong, []


def _told(served_as: str) -> tuple[str, str]:
    name, _, number = served_as.partition("/")
    if not (NAME.holds(name) and VERSION.holds(number)):
        raise Unchecked(f"--served-as: got {served_as!r}, expected NAME/VERSION, such as mnist-good100/1")
    return name, number


def _folders(file: Path) -> tuple[str, str]:
    parts = file.absolute().parts
    return (parts[-3], parts[-2]) if len(parts) > 3 and parts[-1] == "model.onnx" else ("", "")


def _recomputed(body: Mapping[str, Any], upload: bytes, model: Path) -> "Recomputation":
    try:
        from goodcert.serve.proof.recompute import recompute
    except ModuleNotFoundError as error:
        raise Unchecked(f"--model needs {error.name}, which is not installed: {_EXTRA}") from error
    if hashlib.sha256(model.read_bytes()).hexdigest() != body["model"]["sha256"]:
        raise Refuted("the model file is another one than the one that answered: it has another SHA-256")
    try:
        return recompute(body, upload, model)
    except Exception as error:  # whatever is wrong with a file that others made
        raise Unchecked(f"the bound could not be computed: {type(error).__name__} {error}") from error


def _exactly(payload: bytes, upload: bytes, model: Path | None) -> tuple[list[str], list[str]]:
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
    return [sentence(one) for one in found if one.excess < 0], [sentence(one) for one in found]
