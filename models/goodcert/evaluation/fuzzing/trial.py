"""One random classifier, from its number to what became of it."""

import re
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np

from goodcert import engine
from goodcert.engine.errors import EngineError
from goodcert.evaluation.fuzzing.classifiers import VERSIONS, RandomClassifier, make
from goodcert.evaluation.fuzzing.search import Searched, search
from goodcert.evaluation.fuzzing.unchecked import unchecked

WHOLE = 10
"""One classifier of so many has its bounds exported to ONNX, as those that are served; of the others PyTorch
computes them, by the same rules: the export would take most of the time."""


@dataclass(frozen=True)
class Trial:
    """outcome: `broken` is anything but an engine or a refusal by name. reason: why it is none. searched: of an
    accepted one."""

    index: int
    classifier: RandomClassifier
    outcome: Literal["accepted", "refused", "broken"]
    reason: str = ""
    searched: Searched | None = None


def attempt(seed: int, index: int, *, leaders: Sequence[str] = tuple(VERSIONS), validate: bool = True) -> Trial:
    """Makes, certifies and searches the classifier of this number. validate: as in `engine.compile`;
    without, windows and shapes are not checked either."""
    classifier = make(seed, index, leaders)
    eager = (index + index // len(leaders)) % WHOLE != 0
    try:
        with nullcontext() if validate else unchecked():
            certifier = engine.compile(classifier.model, threads=1, validate=validate, eager=eager)
    except EngineError as error:
        return Trial(index, classifier, "refused", summary(str(error)))
    except Exception as error:  # noqa: BLE001  an engine that breaks is what is looked for
        return Trial(index, classifier, "broken", summary(f"{type(error).__name__}: {error}"))
    random = np.random.default_rng([seed, index, 1])
    return Trial(index, classifier, "accepted", "", search(certifier, classifier.model, random, classifier.hints))


def summary(reason: str) -> str:
    """The kind of a refusal: without names, places and numbers, and not longer than a line."""
    plain = re.sub(r"node '[^']*' ", "", reason.splitlines()[0])
    plain = re.sub(r"'[^']*'", "...", plain)
    plain = re.sub(r"[\[(][-\d][-\d., x()]*[\])]|-?\d[\d.]*(e[+-]\d+)?", "#", plain)
    return plain.replace("|", "/")[:110]
