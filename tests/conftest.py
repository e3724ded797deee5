"""What every test shares: generators that repeat themselves, one thread, and the devices that are there."""

import os

# Before PyTorch is imported, and for the processes that tests start. Its threads wait for each other without
# letting go of their cores, and tests run side by side: beside other programs the smallest training took 30 times
# the processor time on two threads that it takes on one. Tests that are about threads say how many.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
import torch
from hypothesis import settings

settings.register_profile("goodcert", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("goodcert")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests that take minutes, and every sweep")
    parser.addoption(
        "--sweep", action="store_true", help="also run sweeps as a whole, of which a share always runs"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = {
        "slow": "takes minutes; run with --slow",
        "sweep": "a share of it ran; run the whole with --sweep",
    }
    if config.getoption("--slow"):
        reasons.clear()
    elif config.getoption("--sweep"):
        del reasons["sweep"]
    for item in items:
        for name, reason in reasons.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    return str(request.param)
