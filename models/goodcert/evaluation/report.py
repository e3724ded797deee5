"""The report: one HTML file that needs nothing else, made from what was measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from goodcert.evaluation import plots, results
from goodcert.evaluation.attack import sample
from goodcert.evaluation.benchmarks import Images
from goodcert.evaluation.evaluate import ImageSets, Measured
from goodcert.evaluation.measures import ABSENT, percent
from goodcert.evaluation.results import OutRow, ResultRow, label, outs

OUTLIERS_SHOWN = 12
"""The most confident ones of each out-distribution."""

COMPARED = 2
"""Outliers of each out-distribution that every model is asked about (the paper's figure 2)."""


@dataclass(frozen=True)
class Seen:
    """An outlier as a model sees it; picture: a data URI."""

    picture: str
    number: int
    label: str
    confidence: float
    bound: float


@dataclass(frozen=True)
class Section:
    """What is shown of one model."""

    row: ResultRow
    title: str
    labels: str
    plots: Sequence[tuple[str, plots.Plot]]
    answers: Sequence[Seen]
    confident: Mapping[str, Sequence[Seen]]


def report(
    title: str,
    introduction: Sequence[str],
    rows: Sequence[ResultRow],
    measured: Sequence[tuple[ResultRow, Measured]],
    images: ImageSets,
) -> str:
    """The page: all `rows` in its table, and the models of this run one by one, in the same order."""
    places = [row.name for row in rows]
    measured = sorted(measured, key=lambda one: places.index(one[0].name))
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "share": share, "limit": limit}
    return environment.get_template("report.html").render(
        title=title,
        introduction=introduction,
        rows=rows,
        outs=outs(rows),
        nothing=OutRow(),
        label=label,
        l2_outs=results.l2_outs(rows),
        l2_cell=results.l2_cell,
        l2_title=results.L2_TITLE,
        l2_explanation=results.L2_EXPLANATION,
        absent=ABSENT,
        overview=plots.overview(rows),
        compared=[
            {"out": n, "number": i, "picture": plots.png(images.outside[n][i])} for n, i in compared(images)
        ],
        sections=[section(row, one, images) for row, one in measured],
        checked=sum(len(c.confidence) for _, one in measured for c in (one.inside, *one.outside.values())),
        attacked=sum(len(scores) for _, one in measured for scores in one.attacked.values()),
    )


def share(confidence: float) -> str:
    """In percent with one decimal, never more than it is."""
    return f"{floor(1000 * confidence) / 10:.1f}"


def limit(bound: float) -> str:
    """In percent with one decimal, never less than it is."""
    return f"{ceil(1000 * bound) / 10:.1f}"


def section(row: ResultRow, measured: Measured, images: ImageSets) -> Section:
    """The plots and pictures of one model."""
    drawn = [
        ("Confidence and guaranteed bound", plots.histograms(measured)),
        ("ROC curves", plots.rocs(measured)),
        ("How guarantees carry beyond the training radius", plots.radii(measured)),
    ]
    confident = {
        name: [seen(measured, name, x, i) for i in most_confident(measured, name)]
        for name, x in images.outside.items()
    }
    answers = [seen(measured, name, images.outside[name], i) for name, i in compared(images)]
    return Section(row, label(row), ", ".join(measured.artifact.metadata.labels), drawn, answers, confident)


def most_confident(measured: Measured, name: str) -> list[int]:
    """The outliers that the model is most confident about, the worst first."""
    order = np.argsort(-measured.outside[name].confidence, kind="stable")
    return [int(i) for i in order[:OUTLIERS_SHOWN]]


def seen(measured: Measured, name: str, images: Images, number: int) -> Seen:
    certificates = measured.outside[name]
    return Seen(
        picture=plots.png(images[number]),
        number=number,
        label=measured.artifact.metadata.labels[certificates.index[number]],
        confidence=float(certificates.confidence[number]),
        bound=float(certificates.confidence_upper_bound[number]),
    )


def compared(images: ImageSets) -> list[tuple[str, int]]:
    """(out-distribution, number) of the outliers that all models are asked about, spread evenly over each set."""
    return [(name, int(i)) for name, x in images.outside.items() for i in sample(x, COMPARED + 2)[1:-1]]
