"""What every test shares: generators that repeat themselves, and the devices that are there."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("goodcert", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("goodcert")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no NVIDIA GPU")
    return str(request.param)
