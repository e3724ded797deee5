"""The commands of the README, run as a user runs them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from goodcert.cli import main as cli
from goodcert.evaluation import speed

ROOT = Path(__file__).parent.parent.parent


def goodcert(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "goodcert.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def demo() -> str:
    """What the demo printed."""
    command = [sys.executable, str(ROOT / "scripts/demo.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_demo_shows_three_verdicts_and_leaves_nothing_running(demo: str) -> None:
    verdicts = {line.split()[-1] for line in demo.splitlines() if re.match(r"\w+\.(png|bmp) ", line)}
    assert verdicts == {"in_distribution", "out_of_distribution", "out_of_distribution_certified"}
    listening = re.search(r"http://127\.0\.0\.1:(\d+)", demo)
    assert listening
    assert goodcert("certify", str(ROOT / "LICENSE"), "--url", listening[0]).returncode == 1


def test_the_readme_shows_what_the_demo_prints(demo: str) -> None:
    shown = re.search(
        r"^mnist-good100 version.*?(?=\n```)", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert shown
    (words, numbers), (printed, measured) = map(_words_and_numbers, (shown[0], demo.strip()))
    assert words == printed
    assert measured == pytest.approx(numbers, abs=2e-6)  # processors differ in the last digit


def _words_and_numbers(text: str) -> tuple[str, list[float]]:
    text = re.sub(r"127\.0\.0\.1:\d+", "", text)
    number = r"\d\.\d+"
    return re.sub(number, "", text), [float(n) for n in re.findall(number, text)]


def test_certify_prints_a_table_and_json_lines(address: str, tmp_path: Path) -> None:
    image = tmp_path / "black.png"
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(image)
    table = goodcert("certify", str(image), "--url", address)
    assert table.returncode == 0
    assert table.stdout.split("\n")[0].split("  ")[0] == "image"
    assert "black.png" in table.stdout
    as_json = goodcert("certify", str(image), "--url", address, "--json", "--epsilon", "0.05")
    assert json.loads(as_json.stdout)["epsilon"] == 0.05


def test_certify_says_what_is_wrong_with_an_image_and_goes_on(address: str, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(good)
    bad.write_bytes(b"nothing")
    answer = goodcert("certify", str(bad), str(good), "--url", address)
    assert answer.returncode == 1
    assert "good.png" in answer.stdout
    assert "bad.png" in answer.stderr
    assert "not_an_image" in answer.stderr


def test_certify_without_a_service_says_so_in_one_line(tmp_path: Path) -> None:
    image = tmp_path / "black.png"
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(image)
    answer = goodcert("certify", str(image), "--url", "http://127.0.0.1:9")
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr


def test_serve_refuses_an_unknown_setting_by_name() -> None:
    answer = goodcert("serve", "--device", "tpu")
    assert answer.returncode == 2
    assert "device" in answer.stderr


def test_inspect_says_why_a_file_cannot_be_bounded(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"not a model")
    answer = goodcert("inspect", str(file))
    assert answer.returncode == 1
    assert "cannot be bounded" in answer.stdout


def test_inspect_accepts_the_default_model() -> None:
    from goodcert import zoo

    answer = goodcert("inspect", str(zoo.folder() / "mnist-good100/1/model.onnx"))
    assert answer.returncode == 0
    assert "GOOD_100" in answer.stdout
    assert "bound methods: ibp, crown" in answer.stdout


def test_bench_engine_prints_a_table_of_ratios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_SECONDS_PER_ROW", 0.2)
    assert cli.main(["bench", "engine", "--nets", "S", "--batches", "1", "--threads", "1"]) == 0
    *_, row = capsys.readouterr().out.strip().splitlines()
    net, batch, threads, *_, ratio = [cell.strip() for cell in row.strip("|").split("|")]
    assert (net, batch, threads) == ("S", "1", "1")
    assert float(ratio) > 1
