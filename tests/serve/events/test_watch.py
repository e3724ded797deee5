"""What raises a trigger, and what does not."""

import json
from base64 import b64decode

import pytest

from goodcert.serve.events.watch import Watch
from serve.events.conftest import trigger
from serve.ledger.conftest import body

IMAGE = b"\x89PNG"


def raised(watch, *bodies):
    return watch.raised(bodies, [IMAGE] * len(bodies))


def shares(watch, *verdicts):
    """The windows that were told of, as (images, rejected)."""
    names = {True: "out_of_distribution_certified", False: "in_distribution"}
    events = raised(watch, *(body(n, names[v]) for n, v in enumerate(verdicts)))
    return [tuple(json.loads(event.payload)["data"]["window"].values()) for event in events]


@pytest.mark.parametrize(
    ("conditions", "is_raised"),
    [
        ({"verdicts": ["out_of_distribution"]}, True),
        ({"verdicts": ["in_distribution", "out_of_distribution"]}, True),
        ({"verdicts": ["out_of_distribution_certified"]}, False),
        ({"verdicts": ["out_of_distribution"], "model": "tiny"}, True),
        ({"verdicts": ["out_of_distribution"], "model": "other"}, False),
        ({"confidence_above": 0.49}, True),
        ({"confidence_above": 0.5}, False),
        ({"confidence_upper_bound_above": 0.74}, True),
        ({"confidence_upper_bound_above": 0.75}, False),
        ({"confidence_above": 0.49, "confidence_upper_bound_above": 0.75}, False),
        ({"confidence_above": 0.49, "verdicts": ["in_distribution"]}, False),
    ],
)
def test_all_conditions_must_hold_and_above_means_above(conditions, is_raised):
    assert bool(raised(Watch([trigger(**conditions)]), body(1))) == is_raised


def test_the_payload_holds_the_certificate_and_the_image_only_where_that_is_wanted():
    without, with_image = raised(Watch([trigger(), trigger(name="eyes", image=True)]), body(1))
    told = json.loads(without.payload)
    assert told == {
        "type": "certificate.matched",
        "timestamp": without.raised_at,
        "data": {"trigger": "person", "certificate": body(1)},
    }
    assert b64decode(json.loads(with_image.payload)["data"]["image"]) == IMAGE
    assert without.id != with_image.id


def test_a_share_is_looked_at_when_the_window_is_full_and_then_it_starts_anew():
    watch = Watch([trigger(rejected_share_above=0.5, window_images=4)])
    assert shares(watch, True, True, True) == []
    assert shares(watch, False) == [(4, 3)]
    assert shares(watch, True, True, True) == []
    assert shares(watch, True) == [(4, 4)]


def test_a_share_at_the_limit_is_not_above_it_and_old_images_leave_the_window():
    watch = Watch([trigger(rejected_share_above=0.5, window_images=4)])
    assert shares(watch, True, True, False, False) == []
    assert shares(watch, True, True) == []  # TFFT, FFTT
    assert shares(watch, True) == [(4, 3)]  # FTTT


def test_a_window_in_seconds_is_full_after_them_and_with_enough_images():
    now = [0.0]
    rule = trigger(rejected_share_above=0.4, window_seconds=10, window_least=3)
    watch = Watch([rule], clock=lambda: now[0])
    assert shares(watch, True, True, True, True) == []
    now[0] = 10.5
    assert shares(watch, True, True) == []  # the first four have left
    assert shares(watch, True) == [(3, 3)]
    now[0] = 15
    assert shares(watch, True, True, True, True) == []
    now[0] = 20.5
    assert shares(watch, False) == [(5, 4)]


def test_other_models_are_not_in_the_window():
    watch = Watch([trigger(model="other", rejected_share_above=0, window_images=1)])
    assert shares(watch, True, True) == []
