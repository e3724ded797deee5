"""An engine that breaks its word in any way, wherever it is asked, never gets a certificate out of the door."""

from dataclasses import replace

import numpy as np
import pytest

UPPER, LOWER, CONFIDENCE = "confidence_upper_bound", "confidence_lower_bound", "confidence"


def put(name, value):
    """Every value of an array replaced; `value` may look at the answer."""
    return lambda answer: replace(
        answer, **{name: np.full(len(answer.index), value(answer) if callable(value) else value)}
    )


def lost(answer):
    """The predicted class is below another one in the whole ball."""
    margins = answer.margins.copy()
    margins[np.arange(len(answer.index)), answer.index, answer.index - 1] = -1e-9
    return replace(answer, margins=margins)


VIOLATIONS = {
    "an upper bound that is NaN": put(UPPER, np.nan),
    "a confidence that is NaN": put(CONFIDENCE, np.nan),
    "a lower bound that is NaN": put(LOWER, np.nan),
    "an endless upper bound": put(UPPER, np.inf),
    "an upper bound of minus infinity": put(UPPER, -np.inf),
    "an endless confidence": put(CONFIDENCE, np.inf),
    "an endless lower bound": put(LOWER, np.inf),
    "a lower bound of minus infinity": put(LOWER, -np.inf),
    "an upper bound one step below the confidence": put(UPPER, lambda a: np.nextafter(a.confidence, 0)),
    "a lower bound one step above the confidence": put(LOWER, lambda a: np.nextafter(a.confidence, 2)),
    "a lower bound one step below 1/K": put(LOWER, np.nextafter(1 / 3, 0)),
    "an upper bound one step above 1": put(UPPER, np.nextafter(1, 2)),
    "everything at 0": lambda a: put(UPPER, 0)(put(LOWER, 0)(put(CONFIDENCE, 0)(a))),
    "bounds that changed places": lambda a: replace(
        a, **{UPPER: a.confidence_lower_bound, LOWER: a.confidence_upper_bound}
    ),
    "a prediction that cannot win": lost,
}
PLACES = {
    "certify": lambda service, png: service.certify(png),
    "a version": lambda service, png: service.certify(png, path="/v1/models/tiny/versions/1/certify"),
    "crown": lambda service, png: service.certify(png, params={"method": "crown"}),
    "auto": lambda service, png: service.certify(png, params={"method": "auto"}),
    "the search for the radius": lambda service, png: service.certify(png, params={"radius": "true"}),
}


def assert_out_of_service(service, png):
    assert service.metric("goodcert_unsound_total") >= 1
    assert service.metric("goodcert_model_ready", model="tiny", version="1") == 0
    assert service.metric("goodcert_model_unsound", model="tiny", version="1") == 1
    assert service.client.get("/health/ready").status_code == 503
    service.engines[0].sabotage = None
    again = service.certify(png)
    assert (again.status_code, again.json()["code"]) == (503, "model_unsound")


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS)
def test_a_broken_word_of_any_kind_is_engine_unsound_and_takes_the_model_out(service, png, violation):
    service.engines[0].sabotage = violation
    answer = service.certify(png)
    assert (answer.status_code, answer.json()["code"]) == (500, "engine_unsound")
    assert service.metric("goodcert_rejections_total", code="engine_unsound") == 1
    assert_out_of_service(service, png)


@pytest.mark.parametrize("ask", PLACES.values(), ids=PLACES)
def test_wherever_it_happens(service, png, ask):
    service.engines[0].sabotage = put(UPPER, np.nan)
    assert ask(service, png).json()["code"] == "engine_unsound"
    assert_out_of_service(service, png)


def test_in_a_form_no_part_gets_a_certificate_after_it(service, encode):
    first = encode(np.zeros((4, 6), np.uint8))
    service.engines[0].sabotage = lambda a: replace(a, **{UPPER: np.where(np.arange(len(a.index)) == 1, 2.0, 1.0)})
    entries = service.certify_form([first] * 3).json()["certificates"]
    codes = [entry["error"]["code"] for entry in entries]
    assert "engine_unsound" in codes
    assert set(codes) <= {"engine_unsound", "model_unsound"}
    assert_out_of_service(service, first)


def test_in_the_search_for_the_radius_alone(start, png, tmp_path, write_model):
    write_model(tmp_path / "models", threshold=0.999)
    runs = []

    def later(answer):
        runs.append(len(answer.index))
        return put(LOWER, 0.0)(answer) if len(runs) > 1 else answer

    with start() as service:
        service.engines[0].slack = 10.0
        service.engines[0].sabotage = later
        answer = service.certify(png, params={"radius": "true"})
        assert (answer.status_code, answer.json()["code"], len(runs) > 1) == (500, "engine_unsound", True)
        assert_out_of_service(service, png)


@pytest.mark.parametrize("count", [0, 2])
def test_an_answer_for_another_number_of_images_is_engine_failed(service, png, count):
    service.engines[0].sabotage = lambda a: (
        type(a).concatenate([a, a])
        if count
        else type(a)(*(getattr(a, name)[:0] for name in a.__dataclass_fields__))
    )
    assert service.certify(png).json()["code"] == "engine_failed"


def test_every_number_of_an_answer_is_finite_and_in_order(service, encode):
    random = np.random.default_rng(5)
    for epsilon in ("0", "0.001", "0.1", "1"):
        for _ in range(20):
            image = encode(random.integers(0, 256, (4, 6), dtype=np.uint8))
            body = service.certify(image, params={"epsilon": epsilon}).json()
            assert 1 / 3 <= body[LOWER] <= body[CONFIDENCE] <= body[UPPER] <= 1
