"""The default model over HTTP, through the client: what a user relies on."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from goodcert.artifact import Artifact
from goodcert.client import BadRequest, Certificate, Client, NotFound, PartError
from goodcert.data.packs import Pack

Save = Callable[..., bytes]


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A grey PNG file of this size with right check sums and hardly a pixel."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def numbers(certificate: Certificate) -> tuple[object, ...]:
    return (
        certificate.prediction,
        certificate.confidence,
        certificate.confidence_upper_bound,
        certificate.confidence_lower_bound,
        certificate.possible_labels,
        certificate.verdict,
    )


def in_order(certificate: Certificate) -> bool:
    return (
        0.1
        <= certificate.confidence_lower_bound
        <= certificate.confidence
        <= certificate.confidence_upper_bound
        <= 1
    )


def test_digits_are_recognised_and_every_answer_is_in_order(client: Client, digits: Pack) -> None:
    assert digits.labels is not None
    certificates = [client.certify(png(image)) for image in digits.images[:200]]
    right = [c.prediction.index == label for c, label in zip(certificates, digits.labels[:200], strict=True)]
    assert np.mean(right) >= 0.975
    assert all(map(in_order, certificates))
    assert np.mean([c.verdict.startswith("in_distribution") for c in certificates]) >= 0.9


def test_an_image_gets_the_same_bits_alone_and_among_64_others(
    client: Client, outliers: NDArray[np.uint8]
) -> None:
    images = [png(image[0]) for image in outliers[::15][:65]]
    for epsilon in ("0", "0.05", "0.3"):
        together = client.certify_many(images, epsilon=epsilon)
        for image, neighbour in zip(images[::13], together[::13], strict=True):
            assert isinstance(neighbour, Certificate)
            assert numbers(client.certify(image, epsilon=epsilon)) == numbers(neighbour)


def test_noise_is_certified_to_be_out_of_distribution(client: Client, outliers: NDArray[np.uint8]) -> None:
    certificates = client.certify_many([png(image[0]) for image in outliers[:1000:5]])
    assert all(isinstance(c, Certificate) and in_order(c) for c in certificates)
    assert {c.verdict for c in certificates if isinstance(c, Certificate)} == {"out_of_distribution_certified"}


def test_the_certificate_says_what_it_is_about(client: Client, artifact: Artifact) -> None:
    image = png(np.zeros((28, 28), np.uint8))
    certificate = client.certify(image)
    assert (certificate.epsilon, certificate.norm, certificate.scope, certificate.method) == (
        0.3,
        "linf",
        "upload",
        "ibp",
    )
    assert certificate.model.sha256 == artifact.sha256
    assert (certificate.image.format, certificate.image.width, certificate.image.height) == ("PNG", 28, 28)
    assert certificate.threshold == artifact.metadata.threshold


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"not an image", 415, "not_an_image"),
        (png(np.zeros((28, 28), np.uint8))[:-30], 415, "not_an_image"),
        (png(np.zeros((29, 28), np.uint8)), 422, "wrong_size"),
        (png_header(10_000, 10_000), 413, "too_many_pixels"),
    ],
    ids=["empty", "text", "truncated", "wrong size", "100 megapixels in the header"],
)
def test_a_bad_image_is_refused_and_the_service_goes_on(
    client: Client, body: bytes, status: int, code: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        client.certify(body)
    assert (refused.value.status, refused.value.code) == (status, code)
    assert in_order(client.certify(png(np.zeros((28, 28), np.uint8))))


@pytest.mark.parametrize("epsilon", ["nan", "-0.1", "2", "", "0,3", "1e-1", "inf"])
def test_an_epsilon_that_cannot_be_is_refused(client: Client, epsilon: str) -> None:
    with pytest.raises(BadRequest) as refused:
        client.certify(png(np.zeros((28, 28), np.uint8)), epsilon=epsilon)
    assert (refused.value.status, refused.value.code) == (422, "bad_epsilon")


def test_an_unknown_model_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound) as refused:
        client.certify(png(np.zeros((28, 28), np.uint8)), model="nobody")
    assert refused.value.code == "unknown_model"


def test_a_bad_part_costs_its_neighbours_nothing(client: Client) -> None:
    good = png(np.full((28, 28), 128, np.uint8))
    first, broken, last = client.certify_many([good, b"broken", good])
    assert isinstance(broken, PartError)
    assert isinstance(first, Certificate)
    assert isinstance(last, Certificate)
    assert numbers(first) == numbers(last) == numbers(client.certify(good))


def test_linear_bounds_are_nowhere_looser_and_the_radius_is_one_that_was_certified(
    client: Client, scribbles: NDArray[np.uint8]
) -> None:
    image = png(scribbles[0, 0])
    ibp, crown = (client.certify(image, version="1", epsilon="0.02", method=method) for method in ("ibp", "crown"))
    assert (ibp.method, crown.method) == ("ibp", "crown")
    assert in_order(crown)
    assert crown.confidence == ibp.confidence
    assert crown.confidence_upper_bound <= ibp.confidence_upper_bound
    noise = png(np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8))
    found = client.certify(noise, version="1", method="auto", radius=True)
    assert found.method == "ibp"  # which decides it
    assert found.certified_radius is not None
    assert found.certified_radius >= found.epsilon
    at = client.certify(noise, version="1", epsilon=found.certified_radius)
    assert at.confidence_upper_bound <= at.threshold
