"""The JSON of the contract, key by key."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from goodcert.images.decode import Decoded
from goodcert.serve.certifier.certifier import Certificate, Radius
from goodcert.serve.core.verdict import Verdict
from goodcert.serve.core.version import version
from goodcert.serve.http.schemas import CertificateBody, certificate_body
from goodcert.serve.repository.predictor import Answer
from goodcert.serve.repository.repository import ServedModel


@pytest.fixture
def certificate(make_metadata, make_engine):
    model = ServedModel("tiny", "1", make_metadata(), "ab", make_engine(), None)
    image = Decoded(np.zeros((4, 6), np.uint8), "PNG", 6, 4, "cd", True)
    answer = Answer(1, 0.9, 0.25, 1.0, (0, 1), "crown")
    moment = datetime(2024, 2, 3, 4, 5, 6, 70, tzinfo=UTC)
    radius = Radius(0.3, 0.30000000000000004)
    return Certificate("0f", model, image, radius, "upload", answer, Verdict.IN_DISTRIBUTION, 0.1234, moment)


def test_a_certificate_on_the_wire_is_this_to_the_byte(certificate):
    assert json.dumps(certificate_body(certificate)) == (
        '{"format": 2, "id": "0f", "model": {"name": "tiny", "version": "1", "sha256": "ab"}, '
        '"image": {"sha256": "cd", "format": "PNG", "width": 6, "height": 4}, '
        '"epsilon": 0.3, "norm": "linf", "scope": "upload", "method": "crown", '
        '"prediction": {"index": 1, "label": "b"}, '
        '"confidence": 0.9, "confidence_upper_bound": 1.0, "confidence_lower_bound": 0.25, '
        '"possible_labels": ["a", "b"], "threshold": 0.7, "verdict": "in_distribution", '
        '"certified_radius": 0.1234, "issued_at": "2024-02-03T04:05:06.000070Z", '
        f'"engine": {{"version": "{version()}", "device": "cpu"}}}}'
    )


def test_the_documented_schema_is_what_is_sent(certificate):
    body = certificate_body(certificate)
    assert list(CertificateBody.model_validate(body).model_dump()) == list(body)
