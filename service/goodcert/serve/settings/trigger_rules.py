"""The settings of a trigger: its conditions, and the webhook that it calls."""

import binascii
from base64 import b64decode
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FilePath, HttpUrl, SecretStr, field_validator, model_validator

from goodcert.serve.core.verdict import Verdict
from goodcert.serve.settings.addresses import is_public

PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
"""The lengths that Standard Webhooks asks for."""

Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Trigger(BaseModel):
    """Raised by a certificate that meets all conditions that are given, or by the share of rejected images in a
    window, which every process keeps for itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    url: HttpUrl
    secret: SecretStr | None = None
    secret_file: FilePath | None = None

    model: str | None = None
    verdicts: tuple[Verdict, ...] = ()
    confidence_above: Share | None = None
    confidence_upper_bound_above: Share | None = None

    rejected_share_above: Share | None = None
    window_images: int | None = Field(None, ge=1, le=1_000_000)
    window_seconds: float | None = Field(None, gt=0, le=86_400)
    window_least: int = Field(20, ge=1)

    image: bool = False
    allow_private: bool = False
    ca_file: FilePath | None = None

    @property
    def watches_window(self) -> bool:
        return self.rejected_share_above is not None

    def secrets(self) -> tuple[str, ...]:
        """Those that sign: several, one a line of the file, while receivers change from one to the next."""
        if self.secret_file is not None:
            return read_secrets(self.secret_file)
        return parse_secrets(self.secret.get_secret_value() if self.secret else "")

    @field_validator("url")
    @classmethod
    def _without_credentials(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password or url.fragment:
            raise ValueError("expected a URL without user, password and fragment")
        return url

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError(f"{self.name}: expected secret or secret_file, one of them")
        self.secrets()
        return self

    @model_validator(mode="after")
    def _looks_for_one_thing(self) -> Self:
        alone = (self.confidence_above, self.confidence_upper_bound_above)
        of_images = bool(self.verdicts) or any(bound is not None for bound in alone)
        if of_images == self.watches_window:
            raise ValueError(
                f"{self.name}: expected conditions for one image (verdicts, confidence_above, "
                "confidence_upper_bound_above) or rejected_share_above for many, and not both"
            )
        if self.watches_window != ((self.window_images is None) != (self.window_seconds is None)):
            raise ValueError(
                f"{self.name}: rejected_share_above needs window_images or window_seconds, one of them"
            )
        return self

    @model_validator(mode="after")
    def _not_inside(self) -> Self:
        if not self.allow_private and (self.url.scheme != "https" or _is_inside(host_of(self.url))):
            raise ValueError(
                f"{self.name}: expected an https URL of a public host; allow_private=true allows http, and "
                "addresses of private networks"
            )
        return self


def host_of(url: HttpUrl) -> str:
    """Name or address, without the brackets of IPv6."""
    return (url.host or "").strip("[]")


def read_secrets(path: Path) -> tuple[str, ...]:
    """One a line. Raises ValueError, which does not tell them."""
    try:
        return parse_secrets(path.read_text("ascii"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def parse_secrets(text: str) -> tuple[str, ...]:
    """Raises ValueError, which does not tell them."""
    secrets = tuple(text.split())
    if not secrets or not all(map(_is_secret, secrets)):
        raise ValueError(
            f"expected secrets of the form {PREFIX} and base64 of {_SECRET_BYTES[0]} to {_SECRET_BYTES[-1]} bytes"
        )
    return secrets


def _is_secret(text: str) -> bool:
    try:
        key = b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(PREFIX) and len(key) in _SECRET_BYTES


def _is_inside(host: str) -> bool:
    """Of names only what is certain; the others are known when they are resolved."""
    try:
        return not is_public(host)
    except ValueError:
        return host == "localhost"
