"""What the paper reports, to stand beside what is measured here: only figures that are certain."""

from collections.abc import Mapping, Sequence

from goodcert.evaluation.results import OutRow, Row

SOURCE = (
    "Bitterwolf, Meinke and Hein, NeurIPS 2020: the L network on the original images "
    "(all of Fashion-MNIST, EMNIST letters, CIFAR-10 without a JPEG round trip); the paper's other figures and "
    "rows are left out, as only figures that are certain stand here"
)

_MNIST = Row(
    method="GOOD_100",
    name="paper",
    net="L",
    epsilon="0.3",
    accuracy=98.7,
    out={
        "Fashion-MNIST": OutRow(gauc=78.0),
        "letters": OutRow(auc=99.0),
        "grey CIFAR-10": OutRow(gauc=99.4),
        "uniform noise": OutRow(gauc=100.0),
    },
    source=SOURCE,
)

ROWS: Mapping[str, Sequence[Row]] = {"mnist": (_MNIST,)}
"""By the name of the benchmark; none for the others."""
