"""Recipes: everything that differs between training runs, one frozen record each.

goodcert train mnist-good100 --data DIR          one recipe
goodcert train mnist --data DIR                  a family of them: every method of the paper
goodcert train mnist --full --data DIR           the same at the paper's length, with its optimiser and network
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Recipe:
    """One training run. Times are fractions of the run, so that its length is one number.

    method: a name in `methods.METHODS`. epsilon: the final radius, as a decimal; kappa: the final weight of the
    outlier loss.
    quantile: Q / 100 of GOOD_Q. out_contrast: by how much the contrast of outliers is varied at most, 1 for
    not at all. held_out: in-distribution images at the end of the training pack that are
    never trained on: the first half to look at while tuning, the second half for the threshold alone.
    out_held_out: the same for the out-distribution, for tuning. precision: of the arithmetic of training; the
    weights are float32 in any case, and bfloat16 is two to three times faster where a processor has it.
    optimizer: Adam, or SGD with Nesterov momentum 0.9. attack_steps: of ACET. components: Gaussians in each of
    the two mixtures of CCU. clip_ball: whether the balls of training stay in [0, 1]. flips, auto_augment: of the
    in-distribution, beside random crops. base: the recipe whose network this one starts from, or for ProoD the
    one whose classifier the discriminator is joined with; "" for none.
    """

    name: str
    method: str
    net: str
    in_pack: str
    out_pack: str
    labels: tuple[str, ...]
    color: str
    size: int
    epsilon: str
    quantile: float = 1.0
    kappa: float = 0.3
    epochs: int = 40
    batch: int = 128
    learning_rate: float = 5e-4
    decay_at: tuple[float, ...] = (0.7, 0.85, 0.95)
    decay_factor: float = 0.2
    kappa_ramp: tuple[float, float] = (0.0, 0.25)
    epsilon_ramp: tuple[float, float] = (0.0, 1 / 3)
    crop_padding: int = 4
    out_contrast: float = 1.0
    held_out: int = 4000
    out_held_out: int = 2000
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    optimizer: Literal["adam", "sgd"] = "adam"
    weight_decay: float = 0.0
    attack_steps: int = 40
    components: int = 100
    clip_ball: bool = True
    flips: bool = False
    auto_augment: bool = False
    base: str = ""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return 1 if self.color == "grey" else 3, self.size, self.size

    def recorded_as(self, record: Mapping[str, Any]) -> bool:
        """Whether `record`, read from JSON, is of this recipe. Settings younger than the record had their
        defaults when it was written."""
        defaults = {field.name: field.default for field in fields(self)}
        mine = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**defaults, **record} == mine


# --- MNIST --------------------------------------------------------------------------------------------

DIGITS = tuple("0123456789")

_MNIST = Recipe(
    name="mnist-good100",
    method="GOOD_100",
    net="S",
    in_pack="mnist_train",
    out_pack="natural_patches_32",
    labels=DIGITS,
    color="grey",
    size=28,
    epsilon="0.3",
)

_MNIST_M = replace(_MNIST, name="mnist-good100-m", net="M", epochs=60, out_contrast=3.0, precision="bfloat16")

# Every method of the paper, the most telling first.
_ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("plain", {"method": "Plain"}),
    ("oe", {"method": "OE"}),
    ("good100", {"method": "GOOD_100"}),
    ("prood", {"method": "ProoD", "base": "plain", "kappa": 1.0}),
    ("good80", {"method": "GOOD_80", "quantile": 0.8}),
    ("ceda", {"method": "CEDA"}),
    ("good0", {"method": "GOOD_0", "quantile": 0.0}),
    ("ccu", {"method": "CCU"}),
    ("acet", {"method": "ACET"}),
    ("good95", {"method": "GOOD_95", "quantile": 0.95}),
    ("good60", {"method": "GOOD_60", "quantile": 0.6}),
    ("good90", {"method": "GOOD_90", "quantile": 0.9}),
    ("good40", {"method": "GOOD_40", "quantile": 0.4}),
    ("good20", {"method": "GOOD_20", "quantile": 0.2}),
)


def _family(name: str, base: Recipe, rows: tuple[str, ...] = ()) -> dict[str, Recipe]:
    """One recipe a row, named `name/row`, on the settings of `base`; of all rows or of some."""
    made = {}
    for row, settings in _ROWS:
        if not rows or row in rows:
            before = f"{name}/{settings['base']}" if "base" in settings else ""
            made[f"{name}/{row}"] = replace(base, **{**settings, "name": f"{name}/{row}", "base": before})
    return made


_SHORT_MNIST = _family("mnist", replace(_MNIST, epochs=16, attack_steps=7, precision="bfloat16"))

RECIPES: Mapping[str, Recipe] = {recipe.name: recipe for recipe in (_MNIST, _MNIST_M, *_SHORT_MNIST.values())}
"""By the names that `goodcert train` takes."""

FAMILIES: Mapping[str, tuple[str, ...]] = {"mnist": tuple(_SHORT_MNIST)}
"""Recipes that are trained one after another."""
