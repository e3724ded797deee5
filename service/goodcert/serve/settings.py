"""Every setting of the service: read once, checked at start, frozen after."""

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import DirectoryPath, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

PREFIX = "GOODCERT_"
# Not the service's: the images for training and tests, and the key that the command line's client presents.
FOREIGN = frozenset({"GOODCERT_DATA", "GOODCERT_API_KEY"})

# Pillow warns above this and refuses above twice this; below it the limit is ours alone.
MOST_PIXELS = 89_478_485


class SettingsError(ValueError):
    """A setting that cannot be; the message names it, what was got and what was expected."""


class Settings(BaseSettings):
    """Flags come before GOODCERT_* variables, these before the TOML file, this before the defaults."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    config: Path | None = Field(None, description="TOML file with any of the other settings.")
    host: str = Field("127.0.0.1", description="Address to listen on. Others than loopback need an API key.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    models: DirectoryPath | None = Field(
        None,
        description="Folder of `<name>/<version>/model.onnx`; by default the models that ship with goodcert.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the engine runs.")
    threads: int | None = Field(None, ge=1, description="Threads of the engine; by default it decides.")
    max_batch: int = Field(64, ge=1, le=4096, description="Most images in one run of the engine.")
    max_queue_items: int = Field(
        1024, ge=1, description="Most images waiting per model and priority; more are refused with 503."
    )
    max_queue_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Most bytes of prepared images waiting per model and priority; more are refused with 503.",
    )
    max_body_bytes: int = Field(10 * 2**20, ge=1, description="Most bytes in one request body; more are 413.")
    max_pixels: int = Field(
        16_000_000, ge=1, le=MOST_PIXELS, description="Most pixels in one image, by its header; more are 413."
    )
    request_timeout_ms: int = Field(
        10_000,
        ge=1,
        description="Most milliseconds from a request's header to its answer, unless X-Request-Timeout-Ms asks "
        "for fewer; later is 504.",
    )
    batch_wait_ms: float = Field(
        0, ge=0, le=1000, description="Milliseconds an idle engine waits for company; 0 starts at once."
    )
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that callers may present, comma separated; none means no key is asked for."
    )
    allow_anonymous: bool = Field(
        False, description="Listen on addresses other than loopback although no API key is configured."
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(key.strip() for key in value.split(",") if key.strip()) if isinstance(value, str) else value

    @field_validator("api_keys")
    @classmethod
    def _fit_for_a_header(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for text in (key.get_secret_value() for key in keys):
            if not text or any(not "!" <= character <= "~" for character in text):
                raise ValueError("expected keys of printable ASCII characters without spaces")
        return keys

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not (self.api_keys or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"host: got {self.host} without an API key, which would let anyone in; set api_keys, "
                "or allow_anonymous=true if that is meant, or host=127.0.0.1"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is the library's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = init_settings().get("config") or env_settings().get("config")
        file = InitSettingsSource(settings_cls, _read_toml(Path(path)) if path else {})
        return init_settings, env_settings, file


def load(**flags: Any) -> Settings:
    """The settings in force; `flags` are those given on the command line. Raises SettingsError."""
    _refuse_unknown(flags, Settings.model_fields)
    variables = {name.upper() for name in os.environ if name.upper().startswith(PREFIX)} - FOREIGN
    _refuse_unknown(variables, [PREFIX + name.upper() for name in Settings.model_fields])
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(fault) for fault in error.errors())) from error


def is_loopback(host: str) -> bool:
    """Whether `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: expected a TOML file with settings; {error}") from error
    _refuse_unknown(values, set(Settings.model_fields) - {"config"})
    return values


def _refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in sorted(set(names) - set(known)):
        closest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
        raise SettingsError(f"{name}: there is no such setting; the closest is {closest}")


def _sentence(fault: Any) -> str:
    """One line per fault; the value of a key is never shown."""
    name = ".".join(map(str, fault["loc"]))
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    got = "something else" if name.startswith("api_keys") else repr(fault["input"])
    return f"{name}: got {got}; {message}"


def table_markdown() -> str:
    """The table of settings for the documentation."""
    lines = [
        f"| `{name}` | `{PREFIX}{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| Setting | Variable | Default | Meaning |", "|---|---|---|---|", *lines]) + "\n"


def _default(value: object) -> str:
    if value in (None, (), PydanticUndefined):
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
