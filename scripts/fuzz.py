"""Mutated images through the decoder and the preprocessing for ten minutes, or `--seconds`.

Ends with status 0 when nothing but refusals came of it, and prints how many files there were and which errors of
the decoders became refusals. With atheris (`pip install 'goodcert[fuzz]'`) the mutations are led by the code that
they reach; without, they are random.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

LONGEST_SECONDS = 20
MOST_MIB = 2048


class Target:
    """What is tried: raises on anything but a picture or a refusal."""

    def __init__(self) -> None:
        from goodcert.artifact import Metadata
        from goodcert.images import decode, errors, preprocess

        self._open, self._decode, self._balls = decode.open_image, decode.decode, preprocess.balls
        self._refused = errors.ImageRefused
        self._metadata = Metadata(
            labels=("a", "b"), height=8, width=8, color="rgb", epsilon="0.1", threshold=0.5, method="none",
            recipe={}, results={}, resize="area",
        )  # fmt: skip
        self.outcomes: Counter[str] = Counter()

    def __call__(self, data: bytes) -> None:
        began = time.monotonic()
        try:
            self._balls(self._decode(data, self._open(data, 1_000_000)), self._metadata)(0.1)
        except self._refused as error:
            self.outcomes[f"{type(error).__name__} for {type(error.__cause__).__name__}"] += 1
        else:
            self.outcomes["picture"] += 1
        if time.monotonic() - began > LONGEST_SECONDS:
            raise TimeoutError(f"{len(data)} bytes took more than {LONGEST_SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz.py", description=__doc__)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--plain", action="store_true", help="without atheris, although it is there")
    options = parser.parse_args()
    fuzz = mutate if options.plain else guided
    try:
        import atheris  # noqa: F401  only asked whether it is there
    except ModuleNotFoundError:
        fuzz = mutate
    fuzz(options.seconds)
    return 0


def guided(seconds: int) -> None:
    """libFuzzer ends the process itself: with status 0 when the time is over, 77 or so on a crash, whose input it
    leaves in the working folder."""
    import atheris

    with atheris.instrument_imports(include=["PIL", "goodcert.serve"]):
        target = Target()
        for data in seeds().values():  # the readers of the formats are imported when they are met
            target(data)
    corpus = tempfile.mkdtemp(prefix="goodcert-fuzz-")
    for name, data in seeds().items():
        (Path(corpus) / name.replace(" ", "-").replace(";", "")).write_bytes(data)
    limits = [f"-max_total_time={seconds}", f"-timeout={LONGEST_SECONDS}", f"-rss_limit_mb={MOST_MIB}"]
    atheris.Setup([sys.argv[0], corpus, "-max_len=4096", *limits, "-print_final_stats=1"], reporting(target))
    atheris.Fuzz()


def reporting(target: Target) -> Callable[[bytes], None]:
    """The target, which says what came out whenever the number of files has doubled: nothing runs at the end."""
    count, following = 0, 1024

    def told(data: bytes) -> None:
        nonlocal count, following
        target(data)
        count += 1
        if count == following:
            following *= 2
            print(count, dict(target.outcomes), flush=True)

    return told


def mutate(seconds: int) -> None:
    """Random pieces of random seeds replaced, until the time is over."""
    chance = random.Random(0)  # noqa: S311  nothing is secret
    target, count = Target(), 0
    files = list(seeds().values())
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        data = bytearray(chance.choice(files))
        for _ in range(chance.randint(1, 6)):
            start = chance.randrange(len(data) + 1)
            end = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 30)))
            data[start:end] = chance.randbytes(chance.choice((0, 1, 1, 2, 4, 30)))
        try:
            target(bytes(data))
        except Exception:
            Path("crash.image").write_bytes(data)
            raise
        count += 1
    print(count, dict(target.outcomes))


def seeds() -> dict[str, bytes]:
    import hostile_images

    return hostile_images.seeds()


if __name__ == "__main__":
    sys.exit(main())
