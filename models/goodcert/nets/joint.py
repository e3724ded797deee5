"""A classifier and a discriminator between in- and out-distribution, joined in one posterior."""

from math import log

import torch.nn.functional as F
from torch import Tensor, nn


class Joint(nn.Module):
    """From images (N, C, H, W) to log p(y | x) (N, K).

    classifier: to logits (N, K) of p(y | x, in). discriminator: to the log-odds (N, 1) of p(in | x).
    """

    def __init__(self, classifier: nn.Module, discriminator: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.discriminator = discriminator

    def forward(self, images: Tensor) -> Tensor:
        return log_posterior(self.classifier(images), self.discriminator(images))


def log_posterior(logits: Tensor, log_odds: Tensor) -> Tensor:
    """(N, K) log p(y | x) with p(y | x) = p(y | x, in) p(in | x) + (1 - p(in | x)) / K, where p(y | x, in) is the
    softmax of logits (N, K) and p(in | x) the sigmoid of log_odds (N, 1).

    (Meinke and Hein, ICLR 2020; Meinke, Bitterwolf, Hein, NeurIPS 2022.) With s the log-odds,
    p(y | x) = (1 + K exp(s) p(y | x, in)) / (K (1 + exp(s))), and log(1 + exp(t)) is softplus(t).
    """
    shift = log(logits.shape[1])
    return F.softplus(logits.log_softmax(dim=1) + log_odds + shift) - (F.softplus(log_odds) + shift)
