"""`goodcert verify`: what it takes for certified, what it refutes, and what it says. With the model that ships."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from joserfc.jwk import OKPKey
from PIL import Image

from goodcert import zoo
from goodcert.checker import check
from goodcert.cli import main as cli
from goodcert.cli.exact import pixels
from goodcert.serve.proof.recompute import recompute
from goodcert.serve.proof.signing import CERTIFICATE, CHECKPOINT, Signer, create_key, key_set, read_keys, verified
from goodcert.serve.server.app import create_app
from goodcert.serve.settings.settings import Settings

MODEL = zoo.folder() / "mnist-good100" / "1" / "model.onnx"
PATH = "/v1/models/mnist-good100/versions/1/certify"


class Case(NamedTuple):
    """An image, and the certificate that the service gave for it, as it was signed and as it reads."""

    image: bytes
    token: str
    body: dict[str, Any]


class Desk(NamedTuple):
    """Where verifying happens: a folder with the keys, and the signer behind them."""

    folder: Path
    signer: Signer

    def verify(self, token: str, image: bytes, *options: str, keys: str = "keys.json") -> int:
        (self.folder / "cert.jws").write_bytes(token.encode("latin-1"))
        (self.folder / "image.png").write_bytes(image)
        files = [str(self.folder / name) for name in ("cert.jws", "image.png")]
        return cli.main(["verify", *files, "--keys", str(self.folder / keys), *options])

    def lie(self, body: dict[str, Any]) -> str:
        """What a service signs that has the key and does not tell the truth."""
        return self.signer.certificate(json.dumps(body).encode())


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def noise() -> bytes:
    return png(np.random.default_rng(1).integers(0, 256, (28, 28), dtype=np.uint8))


def stroke() -> bytes:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 12:15] = 255
    return png(pixels)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    create_key(folder / "signing")
    signer = Signer(read_keys(folder / "signing"))
    (folder / "keys.json").write_text(json.dumps(signer.published()))
    return Desk(folder, signer)


@pytest.fixture(scope="module")
def ask(desk: Desk) -> Iterator[Callable[..., Case]]:
    app = create_app(Settings(signing_keys=desk.folder / "signing", threads=1))
    keys = key_set((desk.folder / "keys.json").read_bytes())
    headers = {"Content-Type": "image/png", "Accept": "application/jose"}
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service", headers=headers)
    with asyncio.Runner() as runner:

        def certify(image: bytes, **params: str) -> Case:
            answer = runner.run(client.post(PATH, content=image, params=params))
            assert answer.status_code == 200
            return Case(image, answer.text, json.loads(verified(answer.text, keys, CERTIFICATE)))

        running = app.router.lifespan_context(app)
        runner.run(running.__aenter__())
        yield certify
        runner.run(client.aclose())
        runner.run(running.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def case(ask: Callable[..., Case]) -> Case:
    return ask(noise(), epsilon="0.3", radius="true")


def test_a_certificate_holds_and_the_numbers_are_computed_again(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(case.token, case.image, "--model", str(MODEL)) == 0
    said = capsys.readouterr().out
    assert f"a confidence above {case.body['confidence_upper_bound']} (by ibp)" in said
    assert "it agrees" in said


@pytest.mark.parametrize(
    ("image", "params"),
    [
        (noise(), {"epsilon": "0"}),
        (stroke(), {}),
        (stroke(), {"epsilon": "0.001"}),
        (stroke(), {"epsilon": "0.02", "method": "crown"}),
        (noise(), {"epsilon": "0.1", "method": "auto", "radius": "true"}),
    ],
)
def test_whatever_the_service_says_is_borne_out(
    desk: Desk, ask: Callable[..., Case], image: bytes, params: dict[str, str]
) -> None:
    case = ask(image, **params)
    assert desk.verify(case.token, case.image, "--model", str(MODEL)) == 0


def test_a_bound_a_hair_below_the_exact_one_is_refuted(
    desk: Desk, ask: Callable[..., Case], capsys: pytest.CaptureFixture[str]
) -> None:
    case = ask(stroke(), epsilon="0.0005")
    low = recompute(case.body, case.image, MODEL).upper.low
    assert case.body["confidence"] < low < case.body["confidence_upper_bound"] < 1
    for stated, status in ((low, 0), (np.nextafter(low, 0.0), 1)):
        token = desk.lie(case.body | {"confidence_upper_bound": float(stated)})
        assert desk.verify(token, case.image, "--model", str(MODEL)) == status
    assert "refuted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"confidence_upper_bound": 0.1000001}, "confidence_upper_bound"),
        ({"confidence_upper_bound": 0.2}, "confidence_upper_bound"),
        ({"confidence_lower_bound": 0.1002}, "confidence_lower_bound"),
        ({"confidence": 0.5}, "confidence"),
        ({"confidence_upper_bound": 0.100059251557}, "confidence_upper_bound"),
        ({"verdict": "in_distribution"}, "verdict"),
        ({"threshold": 0.05}, "threshold"),
        ({"scope": "model_input"}, "scope"),
        ({"possible_labels": ["7"]}, "possible_labels"),
        ({"certified_radius": 1.0}, "certified_radius"),
        ({"prediction": {"index": 99, "label": "7"}}, "prediction.index"),
        ({"prediction": {"index": -1, "label": "7"}}, "prediction.index"),
        ({"possible_labels": list("01234567890")}, "possible_labels"),
        ({"possible_labels": [*"0123456789", "10"]}, "possible_labels"),
        ({"epsilon": "0.3"}, "epsilon"),
        ({"issued_at": "2999-01-01T00:00:00.000000Z"}, "issued_at"),
    ],
)
def test_a_service_that_lies_is_found_out(
    desk: Desk, ask: Callable[..., Case], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    case = ask(noise() if named != "certified_radius" else stroke())
    assert desk.verify(desk.lie(case.body | changes), case.image, "--model", str(MODEL)) == 1
    assert f"{named}: stated" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inside", "change", "said"),
    [
        ("model", {"name": "mnist-prood"}, "model.name: stated 'mnist-prood', but it is 'mnist-good100'"),
        ("model", {"version": "2"}, "model.version: stated '2', but it is '1'"),
        ("model", {"owner": "me"}, "model.owner: unknown to format 2"),
        ("prediction", {"label": "8"}, "prediction.label: stated '8'"),
        ("engine", {"device": "tpu"}, "engine.device: stated 'tpu', expected cpu or cuda"),
    ],
)
def test_a_lie_inside_a_claim_is_named(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str], inside: str, change: dict[str, str], said: str
) -> None:
    lie = desk.lie(case.body | {inside: case.body[inside] | change})
    assert desk.verify(lie, case.image, "--model", str(MODEL)) == 1
    assert said in capsys.readouterr().err


def test_a_claim_that_is_not_known_is_refused_without_the_model(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(desk.lie(case.body | {"insured": True}), case.image) == 1
    assert capsys.readouterr().err == "NOT VALID: insured: unknown to format 2\n"


def test_in_exact_arithmetic_a_contradiction_and_a_false_name_are_refused_as_well(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    for change, said in (
        ({"verdict": "in_distribution"}, "verdict: stated in_distribution"),
        ({"model": case.body["model"] | {"version": "2"}}, "model.version: stated '2', but it is '1'"),
    ):
        options = "--model", str(MODEL), "--exact"
        assert desk.verify(desk.lie(case.body | change), case.image, *options) == 1
        assert said in capsys.readouterr().err


def test_a_certificate_of_a_format_to_come_is_not_judged(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(desk.lie(case.body | {"format": 3, "insured": True}), case.image) == 2
    assert "format 3, this version knows 1 to 2" in capsys.readouterr().err


class TestWhatTheServiceCallsTheModel:
    @pytest.fixture
    def elsewhere(self, tmp_path: Path) -> Path:
        return Path(shutil.copy(MODEL, tmp_path / "downloaded.onnx"))

    def test_it_is_told_that_it_is_not_known(
        self, desk: Desk, case: Case, elsewhere: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert desk.verify(case.token, case.image, "--model", str(elsewhere)) == 0
        assert "What the service calls the model was not checked" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("stated", "status", "said"),
        [
            ("mnist-good100/1", 0, ""),
            ("mnist-good100/2", 1, "model.version: stated '1', but it is '2' (by --served-as)"),
            ("other/1", 1, "model.name: stated 'mnist-good100', but it is 'other' (by --served-as)"),
            ("other", 2, "expected NAME/VERSION"),
        ],
    )
    def test_it_is_what_the_user_states(
        self, desk: Desk, case: Case, elsewhere: Path, capsys: pytest.CaptureFixture[str],
        stated: str, status: int, said: str,
    ) -> None:  # fmt: skip
        options = "--model", str(elsewhere), "--served-as", stated
        assert desk.verify(case.token, case.image, *options) == status
        told = capsys.readouterr()
        assert said in told.err
        assert "not checked" not in told.out


class TestAnotherVersionOfTheEngine:
    """It is reported. What counts is that the bound computed here is not above the one that is stated."""

    def other(self, case: Case, **changes: Any) -> dict[str, Any]:
        return case.body | {"engine": {"version": "99", "device": "cuda"}} | changes

    def test_it_may_have_said_the_same(self, desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
        assert desk.verify(desk.lie(self.other(case)), case.image, "--model", str(MODEL)) == 0
        assert "The engine was version 99 on cuda; this is version" in capsys.readouterr().out

    def test_a_looser_bound_of_it_is_reported(
        self, desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        loose = desk.lie(self.other(case, confidence_upper_bound=0.2))
        assert desk.verify(loose, case.image, "--model", str(MODEL)) == 0
        said = capsys.readouterr().out
        assert "Reported, not refused, as another version computed it: confidence_upper_bound: stated 0.2" in said
        assert "it agrees" not in said

    def test_a_tighter_bound_of_it_is_refuted(self, desk: Desk, ask: Callable[..., Case]) -> None:
        case = ask(stroke(), epsilon="0.0005")
        tight = self.other(case, confidence_upper_bound=case.body["confidence"])
        assert desk.verify(desk.lie(tight), case.image, "--model", str(MODEL)) == 1


def test_a_bound_for_a_smaller_radius_is_refuted(desk: Desk, ask: Callable[..., Case]) -> None:
    small = ask(stroke(), epsilon="0.0005")
    assert desk.verify(desk.lie(small.body | {"epsilon": 0.002}), small.image, "--model", str(MODEL)) == 1


EXACT = ("--exact", "--model", str(MODEL))


@pytest.mark.parametrize("epsilon", ["0", "0.0005", "0.3", "0.30000000000000001", "1"])
def test_exact_arithmetic_says_how_far_the_bounds_are_on_the_safe_side(
    desk: Desk, ask: Callable[..., Case], capsys: pytest.CaptureFixture[str], epsilon: str
) -> None:
    case = ask(stroke(), epsilon=epsilon)
    assert desk.verify(case.token, case.image, *EXACT) == 0
    said = capsys.readouterr().out
    for name, side in (("confidence_upper_bound", "above"), ("confidence_lower_bound", "below")):
        if f"{name}: {case.body[name]} equals" in said:
            assert case.body[name] in (0.1, 1.0)
            continue
        (line,) = re.findall(rf"{name}: (\S+) is (\S+) {side} (\S+), what follows in exact arithmetic", said)
        stated, excess, exact = map(float, line)
        assert stated == case.body[name]
        assert 0 < excess < 1e-3
        assert abs(stated - exact) == pytest.approx(excess, rel=0.01, abs=1e-15)


@pytest.mark.parametrize(
    "changes", [{"confidence_upper_bound": 0.99}, {"confidence_lower_bound": 0.999998}, {"epsilon": 0.002}]
)
def test_exact_arithmetic_refutes_a_bound_that_does_not_follow(
    desk: Desk, ask: Callable[..., Case], capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    case = ask(stroke(), epsilon="0.0001")
    assert desk.verify(desk.lie(case.body | changes), case.image, *EXACT) == 1
    assert "the statement is refuted" in capsys.readouterr().err


def test_the_last_float_below_the_exact_bound_is_refuted_and_the_next_one_holds(
    desk: Desk, ask: Callable[..., Case]
) -> None:
    case = ask(stroke(), epsilon="0.0001")
    upper, _ = check(json.dumps(case.body).encode(), MODEL.read_bytes(), pixels(case.image))
    # A number in JSON is the decimal that is written, the shortest one of its float.
    near = [float(upper.exact[1]) + step * 2.0**-53 for step in range(-3, 4)]
    below = max(stated for stated in near if Fraction(repr(stated)) < upper.exact[0])
    for stated, status in ((float(np.nextafter(below, 1)), 0), (below, 1)):
        token = desk.lie(case.body | {"confidence_upper_bound": stated})
        assert desk.verify(token, case.image, *EXACT) == status


def test_what_the_exact_checker_does_not_know_is_not_called_false(
    desk: Desk, ask: Callable[..., Case], case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(case.token, case.image, "--exact") == 2
    assert "--model FILE" in capsys.readouterr().err
    crown = ask(stroke(), epsilon="0.02", method="crown")
    assert desk.verify(crown.token, crown.image, *EXACT) == 2
    assert "'crown'" in capsys.readouterr().err


def test_another_image_is_noticed_without_the_model(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(case.token, case.image + b"\0") == 1
    assert "the image is another one" in capsys.readouterr().err


def test_another_model_is_noticed(desk: Desk, case: Case, tmp_path: Path) -> None:
    other = tmp_path / "model.onnx"
    other.write_bytes(MODEL.read_bytes() + b"\0")
    assert desk.verify(case.token, case.image, "--model", str(other)) == 1


def test_what_was_changed_after_signing_is_not_valid(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    middle = len(case.token) // 2
    changed = case.token[:middle] + ("A" if case.token[middle] != "A" else "B") + case.token[middle + 1 :]
    for token in (changed, case.token + "\n", case.token[:-1], "", "{}", json.dumps(case.body)):
        assert desk.verify(token, case.image) == 1
        assert "NOT VALID" in capsys.readouterr().err


def test_what_another_key_signed_is_not_valid(desk: Desk, case: Case) -> None:
    stranger = OKPKey.generate_key("Ed25519")
    stranger.ensure_kid()
    assert desk.verify(Signer([stranger]).certificate(json.dumps(case.body).encode()), case.image) == 1


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b'{"image": {}, "model": {}}', b"\xff"])
def test_something_else_that_was_signed_is_no_certificate(desk: Desk, case: Case, payload: bytes) -> None:
    assert desk.verify(desk.signer.sign(payload, CERTIFICATE), case.image) == 1
    assert desk.verify(desk.signer.sign(payload, CHECKPOINT), case.image) == 1


def test_without_keys_nothing_is_said_about_validity(
    desk: Desk, case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.verify(case.token, case.image, keys="missing.json") == 2
    assert desk.verify(case.token, case.image, keys="cert.jws") == 2
    assert "NOT VALID" not in capsys.readouterr().err


def test_keys_are_made_listed_and_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert cli.main(["signing-keys", "create", str(tmp_path)]) == 0
    assert cli.main(["signing-keys", "list", str(tmp_path)]) == 0
    marks = [line.split()[1] for line in capsys.readouterr().out.splitlines()[-2:]]
    assert marks == ["verifies", "signs"]
    assert cli.main(["signing-keys", "publish", str(tmp_path)]) == 0
    assert len(list(key_set(capsys.readouterr().out))) == 2


def test_the_page_shows_how_to_check_a_certificate_by_hand(desk: Desk, case: Case, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "certificates.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.+?)```", page, flags=re.DOTALL)
    (tmp_path / "digit.png").write_bytes(case.image)
    (tmp_path / "keys.json").write_bytes((desk.folder / "keys.json").read_bytes())
    changed = case.token[:200] + ("A" if case.token[200] != "A" else "B") + case.token[201:]
    for token, status in ((case.token, 0), (changed, 1)):
        (tmp_path / "digit.jws").write_text(token)
        ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=False)
        assert ran.returncode == status
