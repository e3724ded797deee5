"""Attack the service, as it is started, through its own OpenAPI, for minutes or, with more examples, for hours.

The default model, made to take images of any size, with a ledger and a signing key. Prints what schemathesis
prints. Where it found nothing, that is written into docs/security.md, and the status is 0.
"""

import argparse
import re
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "security.md"
PLACE = re.compile(r"(?<=<!-- surface -->\n).*(?=<!-- /surface -->)", re.DOTALL)

sys.path.insert(0, str(ROOT / "tests"))


def told(output: str, examples: int, seconds: float) -> str:
    """A sentence about a run in which nothing was found. output: of schemathesis. Raises ValueError."""
    counts = re.search(r"(\d+) generated, (\d+) passed", output)
    if counts is None or counts[1] != counts[2]:
        raise ValueError("expected the output of a run in which everything passed")
    date = datetime.now(UTC).date()
    command, minutes = f"scripts/surface.py --examples {examples}", seconds / 60
    return f"On {date} `{command}` made {counts[1]} requests in {minutes:.0f} minutes and found nothing.\n"


def main() -> int:
    import serving
    import surface
    from goodcert import zoo
    from goodcert.artifact import read, write
    from goodcert.serve.proof.signing import create_key

    parser = argparse.ArgumentParser(prog="scripts/surface.py", description=__doc__)
    parser.add_argument("--examples", type=int, default=400, help="for each path (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        create_key(root / "keys")
        model = read(zoo.folder() / "mnist-good100" / "1" / "model.onnx")
        write(model.model, replace(model.metadata, resize="area"), root / "models" / "any" / "1" / "model.onnx")
        flags = ["--models", str(root / "models"), "--signing-keys", str(root / "keys")]
        serving.LONGEST_SECONDS = 60 * options.examples
        with serving.serving(*flags, "--ledger-url", f"sqlite:///{root / 'ledger.db'}") as served:
            served.line(serving.is_ready)
            began = time.monotonic()
            done = surface.attack(f"http://127.0.0.1:{served.port}", options.examples)
    print(done.stdout + done.stderr)
    if done.returncode == 0:
        sentence = told(done.stdout, options.examples, time.monotonic() - began)
        PAGE.write_text(PLACE.sub(lambda _: sentence, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
