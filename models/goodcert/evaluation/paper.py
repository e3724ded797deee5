"""What the paper reports, to stand beside what is measured here.

The figures are those that the authors' own notebook prints for the tables of their paper; it has none for CCU.
"""

from collections.abc import Mapping, Sequence

from goodcert.evaluation.results import OutRow, ResultRow

SOURCE = (
    "Bitterwolf, Meinke and Hein, NeurIPS 2020, as printed by eval2tex.ipynb in github.com/j-cb/GOOD at c4a8ce1: "
    "the L network on the original images (all of Fashion-MNIST, EMNIST letters, CIFAR-10 never coded as JPEG)"
)

_SETS = ("Fashion-MNIST", "letters", "grey CIFAR-10", "uniform noise", "notMNIST")

# Method, accuracy; then for each of the sets AUC, adversarial AUC and guaranteed AUC.
_MNIST = """
Plain    99.4   98.0 34.2  0.0   88.0 31.4 0.0   98.8 36.6  0.0   99.1  36.5   0.0   91.9 38.8  0.0
CEDA     99.4   99.9 82.1  0.0   92.6 52.8 0.0  100.0 95.1  0.0  100.0 100.0   0.0   99.9 97.8  0.0
OE       99.4   99.9 76.8  0.0   92.7 50.9 0.0  100.0 92.4  0.0  100.0 100.0   0.0   99.9 96.8  0.0
ACET     99.4  100.0 98.4  0.0   95.9 61.5 0.0  100.0 99.3  0.0  100.0 100.0   0.0  100.0 99.5  0.0
GOOD_0   99.5   99.9 82.3  0.0   92.9 55.0 0.0  100.0 94.7  0.0  100.0 100.0   0.0   99.9 97.7  0.0
GOOD_20  99.0   99.8 88.2  9.7   95.3 54.3 0.0  100.0 97.6 28.3  100.0 100.0 100.0  100.0 99.6 19.3
GOOD_40  99.0   99.8 88.0 29.1   95.7 56.6 0.0  100.0 97.7 65.2  100.0 100.0 100.0  100.0 99.7 44.7
GOOD_60  99.0   99.9 88.8 42.0   96.6 57.9 0.1  100.0 97.9 85.3  100.0 100.0 100.0  100.0 99.8 76.2
GOOD_80  99.1   99.8 90.3 55.5   97.9 63.1 3.4  100.0 98.4 94.7  100.0 100.0 100.0  100.0 99.9 96.7
GOOD_90  98.8   99.9 91.4 66.9   98.0 59.4 5.1  100.0 99.0 97.8  100.0 100.0 100.0  100.0 99.9 99.2
GOOD_95  98.8   99.9 93.1 73.9   98.7 59.2 5.6  100.0 99.4 98.8  100.0 100.0 100.0  100.0 100.0 99.5
GOOD_100 98.7  100.0 96.5 78.0   99.0 53.8 3.3  100.0 99.9 99.4  100.0 100.0 100.0  100.0 99.9 99.3
"""


def _row(method: str, accuracy: float, figures: Sequence[float]) -> ResultRow:
    aucs = [
        OutRow(auc=a, aauc=b, gauc=c) for a, b, c in zip(figures[::3], figures[1::3], figures[2::3], strict=True)
    ]
    return ResultRow(
        method=method,
        name=f"paper/{method.lower().replace('_', '')}",
        net="L",
        epsilon="0.3",
        accuracy=accuracy,
        out=dict(zip(_SETS, aucs, strict=True)),
        source=SOURCE,
    )


def _rows(table: str) -> tuple[ResultRow, ...]:
    lines = [line.split() for line in table.strip().splitlines()]
    return tuple(_row(method, float(first), [float(text) for text in rest]) for method, first, *rest in lines)


ROWS: Mapping[str, Sequence[ResultRow]] = {"mnist": _rows(_MNIST)}
"""By the name of the benchmark; none for the others."""
