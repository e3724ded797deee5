"""Results as data: one row a model, kept as JSON, shown as Markdown. What is not known is None, never a guess."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from goodcert.evaluation.attack import BUDGETS
from goodcert.evaluation.evaluate import Measured
from goodcert.evaluation.l2 import RADII
from goodcert.evaluation.measures import ABSENT, auc, percent

DIGITS = 4
"""Decimals that are kept."""


@dataclass(frozen=True)
class OutRow:
    """One model on one out-distribution: percent, but for the two means, which are in [0, 1].

    auc, aauc, gauc: by the confidence, by the highest confidence an attack found on `attacked` of the `images`
    outliers, and by the guaranteed bound; the same for the false positive rates.
    """

    images: int | None = None
    attacked: int | None = None
    auc: float | None = None
    aauc: float | None = None
    gauc: float | None = None
    fpr95: float | None = None
    afpr95: float | None = None
    gfpr95: float | None = None
    certified: float | None = None
    mean_confidence: float | None = None
    mean_bound: float | None = None


@dataclass(frozen=True)
class L2Row:
    """What CCU guarantees within `radius` in l2, by out-distribution: the mean bound on the confidence, in [0, 1],
    and the guaranteed AUC, in percent."""

    radius: float
    mean_bound: Mapping[str, float | None]
    gauc: Mapping[str, float | None]


@dataclass(frozen=True)
class ResultRow:
    """One model. name: of its folder, unique in a table. command: what measured it; source: who else says so. l2:
    for models with a guarantee of their own in l2."""

    method: str
    name: str
    net: str | None = None
    epsilon: str | None = None
    accuracy: float | None = None
    mean_confidence: float | None = None
    out: Mapping[str, OutRow] = field(default_factory=dict)
    command: str | None = None
    model_sha256: str | None = None
    source: str | None = None
    l2: tuple[L2Row, ...] = ()


def row(measured: Measured, name: str, command: str) -> ResultRow:
    """The row of one model, measured by `command`."""
    results, artifact = measured.results(), measured.artifact
    out = {
        key: OutRow(
            images=r.images,
            attacked=r.attacked or None,
            auc=_rounded(r.auc),
            aauc=_rounded(r.adversarial_auc),
            gauc=_rounded(r.guaranteed_auc),
            fpr95=_rounded(r.fpr95),
            afpr95=_rounded(r.adversarial_fpr95),
            gfpr95=_rounded(r.guaranteed_fpr95),
            certified=_rounded(r.certified),
            mean_confidence=_rounded(r.mean_confidence),
            mean_bound=_rounded(r.mean_bound),
        )
        for key, r in results.outside.items()
    }
    return ResultRow(
        method=artifact.metadata.method,
        name=name,
        net=artifact.metadata.recipe.get("net"),
        epsilon=measured.epsilon,
        accuracy=_rounded(results.accuracy),
        mean_confidence=_rounded(results.mean_confidence),
        out=out,
        command=command,
        model_sha256=artifact.sha256,
        l2=_l2(measured),
    )


def _l2(measured: Measured) -> tuple[L2Row, ...]:
    inside, bounds = measured.inside.confidence, measured.l2
    return tuple(
        L2Row(
            radius,
            {name: _rounded(float(b[at].mean())) for name, b in bounds.items()},
            {name: _rounded(auc(inside, b[at])) for name, b in bounds.items()},
        )
        for at, radius in enumerate(RADII)
        if bounds
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def read(path: Path) -> list[ResultRow]:
    """The rows of a file; none where there is no file. ValueError for a file that holds something else."""
    if not path.exists():
        return []
    return [_parse(path, facts) for facts in json.loads(path.read_text(encoding="utf-8"))]


def write(rows: Sequence[ResultRow], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")


def merged(old: Sequence[ResultRow], new: Sequence[ResultRow]) -> list[ResultRow]:
    """The old rows, each replaced where a new one has its name, then the others; published ones last, of which
    only the new."""
    by_name = {r.name: r for r in old if r.source is None} | {r.name: r for r in new}
    return sorted(by_name.values(), key=lambda r: r.source is not None)


def _parse(path: Path, facts: Mapping[str, Any]) -> ResultRow:
    known = {f.name for f in fields(ResultRow)}
    wrong = sorted((facts.keys() | {"l2"}) ^ known)  # l2 is younger than some files
    if wrong:
        raise ValueError(f"{path}: a row lacks or adds {wrong}; delete the file and evaluate the models again")
    out = {name: OutRow(**r) for name, r in facts["out"].items()}
    return ResultRow(**{**facts, "out": out, "l2": tuple(L2Row(**r) for r in facts.get("l2", ()))})


def outs(rows: Sequence[ResultRow]) -> list[str]:
    """Every out-distribution of any row, in the order in which they first come."""
    return list(dict.fromkeys(name for r in rows for name in r.out))


def markdown(title: str, introduction: Sequence[str], rows: Sequence[ResultRow]) -> str:
    """A page: its paragraphs, the AUCs, the false positive rates, where the rows come from."""
    paragraphs = "\n\n".join(introduction)
    aucs = _table(rows, lambda r: (r.auc, r.aauc, r.gauc))
    rates = _table(rows, lambda r: (r.fpr95, r.afpr95, r.gfpr95))
    own = f"\n## {L2_TITLE}\n\n{L2_EXPLANATION}\n\n{_l2_table(rows)}\n" if any(r.l2 for r in rows) else ""
    return f"""# {title}

{paragraphs}

## AUC / adversarial AUC / guaranteed AUC (%)

{aucs}

## The same for the false positive rate at 95 % true positives (%, lower is better)

{rates}
{own}
## Where the rows come from

{_origins(rows)}
"""


def _origins(rows: Sequence[ResultRow]) -> str:
    """A paragraph for each source and each command, with its rows and, of those measured here, their files."""
    paragraphs: dict[str, list[str]] = {}
    for r in rows:
        file = "" if r.source else f", file {r.model_sha256}"
        paragraphs.setdefault(r.source or f"`{r.command}`", []).append(f"- {label(r)}{file}")
    return "\n\n".join("\n".join([f"{origin}:", "", *lines]) for origin, lines in paragraphs.items())


def introduction(notes: Sequence[str], rows: Sequence[ResultRow]) -> list[str]:
    """The paragraphs before the tables: what the figures mean, notes on the data, and how to read these rows."""
    reading = [text for method, text in READING.items() if any(r.method.startswith(method) for r in rows)]
    return [explanation(), *notes, *reading]


READING: Mapping[str, str] = {
    "GOOD_": "The order of the methods: networks that train without bounds (Plain, CEDA, OE, ACET, GOOD_0) have a "
    "guaranteed AUC of 0 however well they detect, as nothing in them keeps intervals from widening; with GOOD_Q "
    "it rises with the share Q of the outliers whose bounds are trained, and costs accuracy.",
    "CCU": "CCU is not at 0 everywhere although it trains without bounds: intervals bound the distances of an "
    "image to the centres of its Gaussians, so that one far from all centres of the in-distribution, as bright "
    "images are from digits on black, is provably an outlier in l-infinity, too.",
}
"""What the figures show, by the method (or the beginning of its name) that they are of."""


def explanation() -> str:
    """What the figures mean, in one paragraph."""
    settings = "; ".join(
        f"{name}: {b.points} outliers of a set, {b.restarts} runs of {b.steps} steps"
        for name, b in BUDGETS.items()
    )
    return (
        "AUC: how often an image of the in-distribution has a strictly higher confidence than an outlier; a tie "
        "counts against the model. Adversarial: with the highest confidence that Auto-PGD from several starts, "
        "and points found on the other models, reach within epsilon of each outlier that was attacked "
        f"({settings}). Guaranteed: with the proven upper bound over the whole ball, below which no attack can "
        "ever push the AUC. A dash: not measured, or not known."
    )


L2_TITLE = "CCU's own guarantee, in l2 (mean guaranteed bound / guaranteed AUC in %)"
L2_EXPLANATION = (
    "Against changes whose squares, summed over all pixels (in [0, 1]), are at most the square of the radius. "
    "From the mixtures alone, by the bound p_in + (1 - p_in) / K, with the largest p_in that they allow in the "
    "ball (Meinke and Hein, ICLR 2020); in real arithmetic, so it is not served."
)


def label(one: ResultRow) -> str:
    """What a table calls a model."""
    return f"{one.method}, {one.net or 'net unknown'} ({one.name})"


def _table(rows: Sequence[ResultRow], figures: Callable[[OutRow], Sequence[float | None]]) -> str:
    names = outs(rows)
    lines = [
        ["model", "epsilon", "accuracy", "mean confidence", *names],
        ["---", *["---:"] * (3 + len(names))],
        *([label(r), r.epsilon or ABSENT, percent(r.accuracy), _mean(r.mean_confidence),
           *(_cell(r.out.get(name, OutRow()), figures) for name in names)] for r in rows if _told(r, figures)),
    ]  # fmt: skip
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _told(one: ResultRow, figures: Callable[[OutRow], Sequence[float | None]]) -> bool:
    """Whether the row has any of these figures."""
    return any(value is not None for out in one.out.values() for value in figures(out))


def l2_outs(rows: Sequence[ResultRow]) -> list[str]:
    """Every out-distribution on which an l2 guarantee was measured."""
    return list(dict.fromkeys(name for r in rows for one in r.l2 for name in one.gauc))


def _l2_table(rows: Sequence[ResultRow]) -> str:
    names = l2_outs(rows)
    lines = [
        ["model", "radius", *names],
        ["---", *["---:"] * (1 + len(names))],
        *([label(r), f"{one.radius:g}", *(l2_cell(one, name) for name in names)] for r in rows for one in r.l2),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def l2_cell(one: L2Row, name: str) -> str:
    """The mean bound and the guaranteed AUC on one out-distribution."""
    return f"{_mean(one.mean_bound.get(name))} / {percent(one.gauc.get(name))}"


def _cell(out: OutRow, figures: Callable[[OutRow], Sequence[float | None]]) -> str:
    return " / ".join(percent(value) for value in figures(out))


def _mean(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.4f}"
