"""The bytes of bodies under way."""

import pytest

from goodcert.serve.admission.admission import BytesInFlight
from goodcert.serve.core.errors import BodiesFull


def test_bodies_have_room_up_to_the_limit_and_again_when_others_are_gone():
    in_flight = BytesInFlight(10)
    in_flight.add(4)
    with in_flight.holding(6), pytest.raises(BodiesFull):
        in_flight.add(1)
    in_flight.add(6)
    in_flight.take_away(10)
    in_flight.require_room(10)


def test_what_is_refused_does_not_count():
    in_flight = BytesInFlight(10)
    with pytest.raises(BodiesFull), in_flight.holding(11):
        pytest.fail("there is no room")
    in_flight.require_room(10)


def test_a_body_leaves_its_room_when_its_request_fails():
    in_flight = BytesInFlight(10)
    with pytest.raises(ZeroDivisionError), in_flight.holding(10):
        1 / 0  # noqa: B018
    in_flight.require_room(10)
