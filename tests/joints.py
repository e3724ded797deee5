"""The formula that joint models are held against."""

from torch import Tensor


def confidence_bound(log_odds: Tensor, classes: int) -> Tensor:
    """p(in | x) + (1 - p(in | x)) / K: what p(y | x) is at most where the log-odds are at most these."""
    inside = log_odds.sigmoid()
    return inside + (1 - inside) / classes
