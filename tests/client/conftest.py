"""What holds for every test of the client."""

import pytest


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is asked directly, whatever proxy this machine names."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
