"""The model card: what a person should know before relying on a model, written by what measured it."""

from collections.abc import Callable, Mapping

from goodcert.artifact import Artifact
from goodcert.evaluation import benchmarks
from goodcert.evaluation.measures import OutResult, Results, percent

_COLUMNS: Mapping[str, Callable[[OutResult], str]] = {
    "images": lambda r: str(r.images),
    "AUC": lambda r: percent(r.auc),
    "adversarial AUC": lambda r: percent(r.adversarial_auc),
    "guaranteed AUC": lambda r: percent(r.guaranteed_auc),
    "FPR": lambda r: f"{r.fpr95:.2f} %",
    "guaranteed FPR": lambda r: f"{r.guaranteed_fpr95:.2f} %",
    "certified": lambda r: f"{r.certified:.2f} %",
    "mean confidence": lambda r: f"{r.mean_confidence:.4f}",
    "mean bound": lambda r: f"{r.mean_bound:.4f}",
}


def card(name: str, version: str, artifact: Artifact, results: Results, command: str) -> str:
    """Markdown; `command` is the one that measured."""
    metadata, benchmark = artifact.metadata, benchmarks.of(artifact.metadata)
    notes = "".join(f"\n{note}\n" for note in benchmark.notes)
    recipe = ", ".join(f"{key} {_short(value)}" for key, value in metadata.recipe.items() if key != "labels")
    return f"""# {name}, version {version}

Method {metadata.method}, {metadata.color} images of {metadata.width} x {metadata.height} pixels, \
{len(metadata.labels)} classes ({", ".join(metadata.labels)}), default epsilon {metadata.epsilon}, \
threshold {metadata.threshold:.6f}.

Accuracy {results.accuracy:.2f} % on {results.images} test images, of which {results.accepted:.2f} % are accepted \
(confidence above the threshold); mean confidence {results.mean_confidence:.4f}.

{table(results)}

AUC: how often a test image of the in-distribution has a strictly higher confidence than an outlier. Guaranteed
AUC: the same with the guaranteed upper bound of each outlier over its l-infinity ball of radius {results.epsilon}
in place of its confidence. FPR: outliers that reach what 95 % of the in-distribution reach, by confidence and by
bound. Certified: outliers that nothing within epsilon can lift above the threshold.

An accepted image need not be of the in-distribution, and nothing is said about changes that are not within
epsilon in every pixel. Fitted to one data set of {benchmark.kind}; other sources will look different to it.
{notes}
Measured by `{command}`. Recipe: {recipe}.
"""


def table(results: Results) -> str:
    """The out-distributions as a Markdown table, in percent; no column of an attack without one."""
    attacked = any(r.attacked for r in results.outside.values())
    shown = {name: cell for name, cell in _COLUMNS.items() if attacked or name != "adversarial AUC"}
    rows = [["out-distribution", *shown], ["---", *["---:"] * len(shown)]]
    rows += [[name, *(cell(r) for cell in shown.values())] for name, r in results.outside.items()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _short(value: object) -> str:
    return "/".join(map(_rounded, value)) if isinstance(value, list | tuple) else str(value)


def _rounded(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
