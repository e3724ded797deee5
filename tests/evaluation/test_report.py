"""The report: one file that stands alone."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.dom import minidom

import numpy as np
import pytest

from goodcert import artifact
from goodcert.evaluation import paper
from goodcert.evaluation.attack import Budget
from goodcert.evaluation.evaluate import SWEEP, ImageSets, Measured, load, measure
from goodcert.evaluation.plots import layout, overview, radii
from goodcert.evaluation.report import limit, report, share
from goodcert.evaluation.results import OutRow, ResultRow, row


class Page(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def images(artifacts: list[artifact.Artifact], folder: Path) -> ImageSets:
    return load(artifacts, folder)


@pytest.fixture(scope="module")
def measured(artifacts: list[artifact.Artifact], images: ImageSets) -> list[tuple[ResultRow, Measured]]:
    both = measure(artifacts, images, "0.05", budget=Budget(3, 2, 1), sweep=True)
    return [(row(one, f"model{i}", "goodcert evaluate"), one) for i, one in enumerate(both)]


@pytest.fixture(scope="module")
def page(measured: list[tuple[ResultRow, Measured]], images: ImageSets) -> str:
    rows = [*(r for r, _ in measured), *paper.ROWS["mnist"]]
    return report("A <title>", ["An <introduction>."], rows, measured, images)


def test_nothing_is_fetched_from_anywhere(page: str) -> None:
    assert "://" not in page
    for tag, attributes in Page(page).tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\((?!#)", page)


def test_every_picture_and_plot_says_what_it_shows(page: str) -> None:
    tags = Page(page).tags
    assert all(attributes.get("alt") for tag, attributes in tags if tag == "img")
    figures = [attributes for tag, attributes in tags if tag == "figure"]
    assert len(figures) == 1 + 2 * 3
    assert all(figure["role"] == "img" and figure["aria-label"] for figure in figures)


def test_it_has_every_model_and_out_distribution_and_escapes_text(page: str, images: ImageSets) -> None:
    assert "A &lt;title&gt;" in page
    assert "<p>An &lt;introduction&gt;.</p>" in page
    assert all(name in page for name in (*images.outside, "METHOD_0", "METHOD_1", "NeurIPS 2020"))


def test_plots_are_wellformed_and_take_the_colour_of_the_page(page: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(plots) == 7
    for plot in plots:
        assert minidom.parseString(plot.replace("xlink:href", "href"))  # noqa: S318  our own text
        assert "currentColor" in plot
    assert ">letters</text>" in plots[0]


def test_it_reads_in_light_and_dark(page: str) -> None:
    assert "prefers-color-scheme: dark" in page


def test_one_model_without_attack_makes_a_report_too(
    artifacts: list[artifact.Artifact], images: ImageSets
) -> None:
    (one,) = measure(artifacts[:1], images, "0.05", sweep=True)
    alone = row(one, "model0", "goodcert evaluate")
    page = report("Alone", [], [alone], [(alone, one)], images)
    assert "<details open>" in page
    assert "of them attacked" not in page


def test_models_come_one_by_one_in_the_order_of_the_table(
    measured: list[tuple[ResultRow, Measured]], images: ImageSets
) -> None:
    page = report("Reversed", [], [r for r, _ in reversed(measured)], measured, images)
    assert re.findall(r"<summary>\w+, S \((\w+)\)", page) == ["model1", "model0"]


def test_no_panel_is_left_alone_on_a_line() -> None:
    assert (layout(5), layout(7), layout(8), layout(11)) == ((1, 5), (2, 4), (2, 4), (3, 4))


def test_the_axis_of_the_bounds_is_as_long_as_they_are(measured: list[tuple[ResultRow, Measured]]) -> None:
    flat = {"a set": np.linspace(0.10, 0.15, len(SWEEP))[:, None]}
    means, _, _ = radii(replace(measured[0][1], sweep=flat)).svg.partition("guaranteed AUC (%)")
    ends = [float(number) for number in re.findall(r">(0\.1\d+)</text>", means)]
    assert len(ends) >= 3
    assert ">1.0</text>" not in means


def test_a_confidence_is_never_shown_higher_and_a_bound_never_lower_than_it_is() -> None:
    assert (share(0.9999), limit(0.1001), limit(1.0)) == ("99.9", "10.1", "100.0")


def test_the_numbers_at_the_axes_are_whole() -> None:
    rows = [ResultRow("Plain", "plain", accuracy=98.0, out={"a set at 0.12345": OutRow(auc=99.0)})]
    assert "a set at 0.12345</text>" in overview(rows).svg
