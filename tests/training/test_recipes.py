"""Recipes are data: complete, consistent, and the paper's where they say so."""

import json
from dataclasses import asdict, replace

import pytest

from goodcert.bounds.ball import parse_epsilon
from goodcert.nets import ARCHITECTURES
from goodcert.training.methods import METHODS
from goodcert.training.recipes import FAMILIES, RECIPES, Recipe


def test_every_recipe_goes_by_its_own_name_and_can_be_trained() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.net in ARCHITECTURES
        assert recipe.method in METHODS
        assert 0 < parse_epsilon(recipe.epsilon) <= 1
        assert recipe.held_out >= 2 * 20  # what a threshold needs


def test_what_a_recipe_builds_on_is_trained_before_it() -> None:
    for rows in FAMILIES.values():
        names = [recipe.name for recipe in rows]
        for position, recipe in enumerate(rows):
            assert not recipe.base or recipe.base in names[:position], recipe.name


def test_black_edges_of_crops_do_not_tell_colour_images_from_outliers_of_their_size() -> None:
    colour = [recipe for recipe in RECIPES.values() if recipe.color == "rgb"]
    assert colour
    assert all(recipe.out_crop_padding == recipe.crop_padding > 0 for recipe in colour)


def test_mnist_has_every_method_of_the_paper_and_prood_the_most_telling_first() -> None:
    for name in ("mnist", "full/mnist", "full/cifar10", "full/svhn"):
        assert {recipe.method for recipe in FAMILIES[name]} == set(METHODS)
    assert [recipe.method for recipe in FAMILIES["mnist"]][:3] == ["Plain", "OE", "GOOD_100"]


def test_the_short_recipe_and_the_full_one_are_the_same_data() -> None:
    for name in ("mnist", "cifar10", "svhn"):
        for short in FAMILIES[name]:
            full = RECIPES[f"full/{short.name}"]
            same = ("method", "in_pack", "out_pack", "labels", "color", "size", "epsilon", "quantile", "kappa",
                    "batch", "crop_padding", "held_out")  # fmt: skip
            assert all(getattr(short, field) == getattr(full, field) for field in same)


def at(recipe: Recipe, fractions: tuple[float, ...]) -> list[float]:
    return [pytest.approx(fraction * recipe.epochs) for fraction in fractions]


def test_full_mnist_has_the_papers_schedule() -> None:
    good = RECIPES["full/mnist/good80"]
    assert (good.net, good.optimizer, good.learning_rate, good.kappa) == ("L", "sgd", 0.005, 0.3)
    assert good.weight_decay * 128 == pytest.approx(0.05)
    assert at(good, good.decay_at) == [50, 100, 200, 300, 350]
    assert at(good, good.kappa_ramp) == [2, 102]
    assert at(good, good.epsilon_ramp) == [10, 130]
    acet = RECIPES["full/mnist/acet"]
    assert acet.attack_steps == 40
    assert at(acet, acet.kappa_ramp) == [2, 2]
    assert at(acet, acet.epsilon_ramp) == [6, 6]
    assert not good.clip_ball
    discriminator = RECIPES["full/mnist/prood"]  # with our own choice of a schedule, that of the balls
    assert (discriminator.base, discriminator.kappa) == ("full/mnist/plain", 1.0)
    assert (discriminator.kappa_ramp, discriminator.epsilon_ramp) == (good.kappa_ramp, good.epsilon_ramp)


def test_every_full_recipe_divides_its_learning_rate_by_five() -> None:
    assert {recipe.decay_factor for name, recipe in RECIPES.items() if name.startswith("full/")} == {0.2}


@pytest.mark.parametrize(("data", "epsilon", "rate"), [("cifar10", "0.01", 0.1), ("svhn", "0.03", 0.01)])
def test_full_colour_recipes_have_the_papers_schedule(data: str, epsilon: str, rate: float) -> None:
    plain, exposed, good = (RECIPES[f"full/{data}/{row}"] for row in ("plain", "oe", "good100"))
    assert plain.learning_rate * 128 == pytest.approx(rate)
    assert at(plain, plain.decay_at) == [30, 100]
    assert (plain.net, plain.optimizer, plain.auto_augment, plain.kappa) == ("XL", "adam", True, 1.0)
    assert at(exposed, exposed.kappa_ramp) == [60, 360]
    assert (good.base, good.epochs, good.learning_rate) == (f"full/{data}/ceda", 900, 1e-4)
    assert at(good, good.decay_at) == [450, 750, 850]
    assert at(good, good.kappa_ramp) == [-2, 298]
    assert at(good, good.epsilon_ramp) == [4, 204]
    assert good.epsilon == epsilon
    assert all(recipe.weight_decay * 128 == pytest.approx(0.005) for recipe in FAMILIES[f"full/{data}"])


@pytest.mark.parametrize("data", ["cifar10", "svhn"])
def test_full_colour_attacks_and_discriminators_have_their_schedules(data: str) -> None:
    acet, good, discriminator = (RECIPES[f"full/{data}/{row}"] for row in ("acet", "good100", "prood"))
    assert (acet.epochs, acet.attack_steps, acet.optimizer, acet.base) == (420, 40, "adam", "")
    assert at(acet, acet.kappa_ramp) == [2, 2]
    assert at(acet, acet.epsilon_ramp) == [6, 6]
    assert (discriminator.base, discriminator.epochs, discriminator.kappa) == (f"full/{data}/plain", 900, 1.0)
    same = ("learning_rate", "decay_at", "kappa_ramp", "epsilon_ramp")
    assert all(getattr(discriminator, field) == getattr(good, field) for field in same)


def test_a_recipe_knows_its_record_also_one_from_before_a_setting_came() -> None:
    for recipe in RECIPES.values():
        record = json.loads(json.dumps(asdict(recipe)))
        assert recipe.recorded_as(record)
        assert not recipe.recorded_as({**record, "seed": 1})
    recipe = RECIPES["mnist-good100"]
    record = json.loads(json.dumps(asdict(recipe)))
    del record["optimizer"], record["base"]
    assert recipe.recorded_as(record)
    assert not replace(recipe, optimizer="sgd").recorded_as(record)
