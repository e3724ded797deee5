"""Plots as SVG that sits inside a page: its text and axes take the page's colour, in light and dark."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from goodcert.evaluation.evaluate import SWEEP, Measured
from goodcert.evaluation.measures import Scores, auc, roc
from goodcert.evaluation.results import OutRow, ResultRow, outs

INK = "#010203"
"""Stands for the page's own text colour."""

CLEAN, ADVERSARIAL, GUARANTEED, INSIDE = "#3f7fbf", "#d9822b", "#c8455b", "#8a94a0"
"""Of middling lightness, so that they stand out on white and on black; markers and dashes differ as well."""

SERIES = ("#3f7fbf", "#d9822b", "#3f9a5f", "#c8455b", "#8f6bb8", "#b0883a", "#2fa3a3", "#c76b9f", "#8a94a0")
MARKERS = "osD^vP*Xp"

MOST_COLUMNS = 5
"""Panels side by side."""

_STYLE: dict[Any, Any] = {
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.titlesize": 10,
    "font.family": "sans-serif",
    "font.size": 9,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "axes.grid": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "goodcert",
}


@dataclass(frozen=True)
class Plot:
    """svg: an element to put into a page. alt: what it shows, for who cannot see it."""

    svg: str
    alt: str


@contextmanager
def _style() -> Iterator[None]:
    with matplotlib.rc_context(_STYLE):
        yield


def overview(rows: Sequence[ResultRow]) -> Plot:
    """One panel an out-distribution, one line a model: the three AUCs and how far they lie apart."""
    names = outs(rows)
    with _style():
        height = 0.9 + 0.26 * len(rows)
        figure, panels = _panels(len(names), height=height, sharey=True)
        for panel, name in zip(panels, names, strict=True):
            for line, one in enumerate(rows):
                _dots(panel, line, one.out.get(name, OutRow()))
            panel.set(title=name, xlim=(-3, 103), xticks=range(0, 101, 25), ylim=(len(rows) - 0.5, -0.5))
            panel.set_yticks(range(len(rows)), [f"{r.method} {r.net or ''} ({r.name})" for r in rows])
        _legend(figure, panels)
    alt = f"The three AUCs of {len(rows)} models on {', '.join(names)}; the table below has the numbers."
    return Plot(_svg(figure), alt)


def _dots(panel: Axes, line: int, out: OutRow) -> None:
    values = {"AUC": out.auc, "adversarial AUC": out.aauc, "guaranteed AUC": out.gauc}
    known = [value for value in values.values() if value is not None]
    if known:
        panel.plot([min(known), max(known)], [line, line], color=INSIDE, linewidth=1, zorder=1)
    looks = ((CLEAN, "o", 7), (ADVERSARIAL, "X", 6), (GUARANTEED, "|", 11))
    for (name, value), (color, marker, size) in zip(values.items(), looks, strict=True):
        shown = [] if value is None else [value]
        panel.plot(shown, [line] * len(shown), marker, color=color, markersize=size, markeredgewidth=2.5 if marker
                   == "|" else 0, label=name if line == 0 else None, zorder=3)  # fmt: skip


def histograms(measured: Measured) -> Plot:
    """Confidences of the in-distribution and of each out-distribution, and the bounds, on a log scale."""
    bins = np.linspace(0, 1, 41)
    with _style():
        figure, panels = _panels(len(measured.outside), height=1.9, xlabel="confidence, bound")
        for panel, (name, certificates) in zip(panels, measured.outside.items(), strict=True):
            inside, _ = np.histogram(measured.inside.confidence, bins)
            panel.stairs(inside / inside.sum(), bins, fill=True, color=INSIDE, alpha=0.35, label="in-distribution")
            for scores, color, dash, what in (
                (certificates.confidence, CLEAN, "-", "confidence"),
                (certificates.confidence_upper_bound, GUARANTEED, "--", "guaranteed bound"),
            ):
                counts, _ = np.histogram(scores, bins)
                panel.stairs(counts / counts.sum(), bins, color=color, linestyle=dash, linewidth=1.5, label=what)
            panel.set(title=name, yscale="log", ylim=(5e-5, 1.5), xlim=(0, 1))
            panel.minorticks_off()
        _legend(figure, panels)
        figure.supylabel("share of images")
    alt = f"Histograms of the confidence and of the guaranteed bound on {', '.join(measured.outside)}."
    return Plot(_svg(figure), alt)


def rocs(measured: Measured) -> Plot:
    """ROC curves by confidence, by the attacked confidence, by the bound."""
    inside = measured.inside.confidence
    with _style():
        figure, panels = _panels(len(measured.outside), height=2.3, xlabel="outliers accepted")
        for panel, (name, certificates) in zip(panels, measured.outside.items(), strict=True):
            _curve(panel, inside, certificates.confidence, CLEAN, "-", "confidence")
            if name in measured.attacked:
                _curve(panel, inside, measured.attacked[name], ADVERSARIAL, ":", "adversarial")
            _curve(panel, inside, certificates.confidence_upper_bound, GUARANTEED, "--", "guaranteed bound")
            panel.set(title=name, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend(figure, panels)
        figure.supylabel("in-distribution accepted")
    return Plot(_svg(figure), f"ROC curves of the in-distribution against {', '.join(measured.outside)}.")


def _curve(panel: Axes, inside: Scores, outside: Scores, color: str, dash: str, name: str) -> None:
    false, true = roc(inside, outside, points=80)
    panel.plot(false, true, drawstyle="steps-post", color=color, linestyle=dash, linewidth=1.7, label=name)


def radii(measured: Measured) -> Plot:
    """The bound and the guaranteed AUC as the radius grows, to twice epsilon."""
    epsilon, inside = float(measured.epsilon), measured.inside.confidence
    x = np.minimum(1, np.array(SWEEP) * epsilon)
    with _style():
        figure, (means, aucs) = _panels(2, height=2.8, xlabel="epsilon")
        for (name, bounds), color, marker in zip(measured.sweep.items(), SERIES, MARKERS, strict=False):
            look: dict[str, Any] = {
                "color": color,
                "marker": marker,
                "markersize": 4,
                "linewidth": 1.4,
                "label": name,
            }
            means.plot(x, bounds.mean(axis=1), **look)
            aucs.plot(x, [auc(inside, bound) for bound in bounds], **look)
        for panel, title in ((means, "mean guaranteed bound"), (aucs, "guaranteed AUC (%)")):
            panel.axvline(epsilon, color=INK, linestyle=":", linewidth=1)
            panel.set_title(title)
        aucs.set_ylim(-3, 103)
        _legend(figure, [means], columns=MOST_COLUMNS)
    alt = f"Mean bound and guaranteed AUC against epsilon from 0 to {x[-1]:g}; {epsilon:g} is marked."
    return Plot(_svg(figure), alt)


def png(image: NDArray[np.uint8]) -> str:
    """An image (C, H, W) as a data URI."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def layout(count: int) -> tuple[int, int]:
    """(lines, columns) for `count` panels: as few lines as there is room for, and all about equally long."""
    lines = -(-count // MOST_COLUMNS)
    return lines, -(-count // lines)


def _panels(count: int, height: float, *, xlabel: str = "", sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels; whatever is lowest in its column has numbers and the axis's name below it."""
    lines, columns = layout(count)
    figure = Figure(figsize=(10.5, lines * height + 0.7), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=sharey).ravel().tolist()
    for empty in grid[count:]:
        empty.remove()
    for lowest in grid[max(0, count - columns) : count]:
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel(xlabel)
    return figure, grid[:count]


def _legend(figure: Figure, panels: Sequence[Axes], columns: int = 3) -> None:
    found = {name: line for panel in panels for line, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(found.values(), found.keys(), loc="outside upper center", ncols=columns)


def _svg(figure: Figure) -> str:
    """Only the element, without ids, addresses and decimals of coordinates that mean nothing inside a page."""
    figure.patch.set_visible(False)
    for panel in figure.axes:
        panel.patch.set_visible(False)
    buffer = io.StringIO()
    with _style():  # text stays text
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    for pattern, replacement in _NEEDLESS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)


_NEEDLESS = (
    (r"<metadata>.*?</metadata>", ""),
    (r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">'),
    (r'<g id="[^"]*"', "<g"),
    (r"font-family: [^;\"]*; ", ""),
    (r"\s+", " "),
)
"""Patterns and what takes their place, such as the page's own font."""
