"""Attack the service, as it is started, through its own OpenAPI: `scripts/surface.py --examples 1000` for hours.

The default model, made to take images of any size, with a ledger and a signing key. Prints what schemathesis
prints, and ends with status 0 where nothing was found.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def main() -> int:
    import serving
    import surface
    from goodcert import zoo
    from goodcert.artifact import read, write
    from goodcert.serve.proof.signing import create_key

    parser = argparse.ArgumentParser(prog="scripts/surface.py", description=__doc__)
    parser.add_argument("--examples", type=int, default=1000, help="for each path")
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
            done = surface.attack(f"http://127.0.0.1:{served.port}", options.examples)
    print(done.stdout + done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
