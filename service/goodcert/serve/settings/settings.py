"""Every setting of the service: read once, checked at start, frozen after."""

import difflib
import importlib.util
import ipaddress
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import DirectoryPath, Field, FilePath, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from goodcert.serve.settings import environment
from goodcert.serve.settings.environment import PREFIX
from goodcert.serve.settings.trigger_rules import Trigger

# Pillow warns above this and refuses above twice this; below it the limit is ours alone.
MOST_PIXELS = 89_478_485


class SettingsError(ValueError):
    """A setting that cannot be; the message names it, what was got and what was expected."""


class _Variables(EnvSettingsSource):
    """The environment, without what Kubernetes tells in it."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        given = self.env_vars.items()
        self.env_vars = {name: value for name, value in given if not environment.is_service_link(name, value)}


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
    model_names: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Names of the models that are served, comma separated; by default all in `models`, of those "
        "that ship `mnist-good100`, which starts fastest.",
    )
    model_poll_seconds: float | None = Field(
        None, ge=0.1, description="Seconds between looks at the models folder for what changed; by default none."
    )
    model_check_memory_bytes: int = Field(
        2**30,
        ge=2**26,
        description="Most bytes that a model file may take, in a process of its own, to be read and bounded.",
    )
    model_check_seconds: int = Field(
        10, ge=1, le=3600, description="Most seconds of processor time that this may take."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the engine runs.")
    threads: int | None = Field(
        None,
        ge=1,
        description="Threads of the engine of a process; by default the cores, divided among the workers.",
    )
    max_batch: int = Field(64, ge=1, le=4096, description="Most images in one run of the engine.")
    max_queue_items: int = Field(
        1024,
        ge=1,
        description="Most images waiting in a queue; more are refused with 503. Every version of a model has, per "
        "process, a queue for each priority and bound (ibp, crown).",
    )
    max_queue_bytes: int = Field(
        256 * 2**20,
        ge=1,
        description="Most bytes of prepared images waiting in one of these queues; more are refused with 503.",
    )
    max_body_bytes: int = Field(10 * 2**20, ge=1, description="Most bytes in one request body; more are 413.")
    max_bytes_in_flight: int = Field(
        256 * 2**20,
        ge=1,
        description="Most bytes of request bodies under way together, per process; more are refused with 503. A "
        "body over HTTP counts as it arrives, and what it unfolds to does, too. A message of gRPC counts once it "
        "is whole: those still arriving, `max_queue_items` of `max_body_bytes` at most, come on top.",
    )
    max_pixels: int = Field(
        16_000_000, ge=1, le=MOST_PIXELS, description="Most pixels in one image, by its header; more are 413."
    )
    request_timeout_ms: int = Field(
        10_000,
        ge=1,
        description="Most milliseconds from a request's header to its answer, unless X-Request-Timeout-Ms (under "
        "/v2 the parameter `timeout`) asks for fewer; later is 504.",
    )
    header_timeout_ms: int = Field(
        8_000, ge=1, description="Most milliseconds for the headers of a request; the connection is closed then."
    )
    body_timeout_ms: int = Field(
        9_000, ge=1, description="Most milliseconds for the body of a request; the connection is closed then."
    )
    idle_timeout_ms: int = Field(
        9_000, ge=1, description="Most milliseconds that a connection is kept open between two requests."
    )
    max_connections: int = Field(
        900,
        ge=1,
        description="Most connections per process; for one more, those that have waited longest without a "
        "complete request are closed.",
    )
    tls_certificate: FilePath | None = Field(None, description="PEM file with the certificate chain, for HTTPS.")
    tls_key: FilePath | None = Field(None, description="PEM file with its key, without a password.")
    tls_minimum_version: Literal["1.2", "1.3"] = Field("1.2", description="Oldest version of TLS that is spoken.")
    batch_wait_ms: float = Field(
        0, ge=0, le=1000, description="Milliseconds an idle engine waits for company; 0 starts at once."
    )
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="TCP port for gRPC on the same address; 0 takes a free one, none is off."
    )
    model_admin: bool = Field(False, description="Let callers load and unload models over /v2 and gRPC.")
    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="Keys that callers may present, comma separated; none means no key is asked for."
    )
    keys_file: Path | None = Field(
        None,
        description="File of `goodcert keys`, read again within a second of a change; while it cannot be read, "
        "none of its keys is accepted.",
    )
    key_requests_per_second: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="Most requests a second per key that has no limit of its own, in each worker; more are 429.",
    )
    key_concurrency: int | None = Field(
        None,
        ge=1,
        description="Most requests under way per key that has no limit of its own, in each worker; more are 429.",
    )
    signing_keys: DirectoryPath | None = Field(
        None,
        description="Folder of Ed25519 keys in PEM (`goodcert signing-keys create`): the newest signs, all are "
        "published at `/v1/keys`. It may change while the service runs.",
    )
    ledger_url: SecretStr | None = Field(
        None,
        description="Database of everything that was said, `sqlite:///PATH` or `postgresql://USER@HOST/DATABASE`; "
        "by default there is none.",
    )
    ledger_records: Literal["all", "not_in_distribution"] = Field(
        "all", description="Which certificates the ledger records: all, or those of images that were rejected."
    )
    ledger_on_failure: Literal["refuse", "serve"] = Field(
        "refuse",
        description="What happens to a certificate that the ledger cannot record: refused with 503, or served and "
        "counted.",
    )
    triggers: tuple[Trigger, ...] = Field(
        (),
        description="Rules whose webhooks call somebody, tables `[[triggers]]` of the TOML file ([triggers.md]"
        "(triggers.md)); the variable takes JSON. They need `ledger_url` and `goodcert[triggers]`.",
    )
    trigger_attempts: int = Field(
        20, ge=1, le=1000, description="Most attempts to deliver a webhook; after the last it is a dead letter."
    )
    trigger_retry_seconds: float = Field(
        5,
        gt=0,
        le=3600,
        description="Seconds after the first attempt; each wait is twice the one before, an hour at most, less up "
        "to a half by chance.",
    )
    trigger_timeout_ms: int = Field(
        10_000,
        ge=1,
        le=300_000,
        description="Most milliseconds for an attempt, from resolving the name to the answer.",
    )
    allow_anonymous: bool = Field(
        False, description="Listen on addresses other than loopback although no API key is configured."
    )

    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that share the port. Each has its own engine, queues and limits; a GPU holds every "
        "model once per process.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="A port of its own for `/metrics`, which asks for no key and costs requests nothing.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of `metrics_port`.")
    drain_ms: int = Field(
        7_000,
        ge=0,
        description="Milliseconds between SIGTERM, which turns readiness to 503, and refusing requests: the time "
        "that balancers need to look away. After Ctrl-C there is none.",
    )
    grace_ms: int = Field(
        20_000,
        ge=1,
        description="Milliseconds from the signal to end after which what is unanswered, over HTTP or gRPC, is "
        "broken off with 503 `shutting_down`; only the batch that the engine runs is still finished then.",
    )
    log_format: Literal["text", "json"] = Field("text", description="How lines of the log are written.")
    access_log: bool = Field(False, description="Whether every request gets a line in the log.")
    traces: bool = Field(
        False,
        description="Send OpenTelemetry spans (needs `goodcert[traces]`), as the variables `OTEL_*` say.",
    )

    @field_validator("api_keys", "model_names", mode="before")
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

    @field_validator("traces")
    @classmethod
    def _installed(cls, wanted: bool) -> bool:
        if wanted and not _has("opentelemetry.sdk"):
            raise ValueError("this needs OpenTelemetry, which is not installed: pip install 'goodcert[traces]'")
        return wanted

    @field_validator("triggers")
    @classmethod
    def _told_apart(cls, triggers: tuple[Trigger, ...]) -> tuple[Trigger, ...]:
        if len({trigger.name for trigger in triggers}) < len(triggers):
            raise ValueError("expected a name of its own for each trigger")
        if triggers and not (_has("standardwebhooks") and _has("httpcore")):
            raise ValueError("this needs libraries that are not installed: pip install 'goodcert[triggers]'")
        return triggers

    @model_validator(mode="after")
    def _triggers_are_kept(self) -> Self:
        if self.triggers and self.ledger_url is None:
            raise ValueError(
                f"triggers: got {len(self.triggers)} without ledger_url; what they raise is kept in the ledger's "
                "database until it is delivered, so set ledger_url"
            )
        return self

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if not (self.api_keys or self.keys_file or self.allow_anonymous or is_loopback(self.host)):
            raise ValueError(
                f"host: got {self.host} without an API key, which would let anyone in; set api_keys or keys_file, "
                "or allow_anonymous=true if that is meant, or host=127.0.0.1"
            )
        return self

    @model_validator(mode="after")
    def _certificate_with_key(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate, tls_key: got one of them, expected both or none")
        return self

    @model_validator(mode="after")
    def _largest_body_fits(self) -> Self:
        if self.max_bytes_in_flight < self.max_body_bytes:
            raise ValueError(
                f"max_bytes_in_flight: got {self.max_bytes_in_flight}, expected at least max_body_bytes, "
                f"which is {self.max_body_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _drained_within_the_grace(self) -> Self:
        if self.drain_ms and self.drain_ms >= self.grace_ms:
            raise ValueError(
                f"grace_ms: got {self.grace_ms}, expected more than drain_ms, which is {self.drain_ms}; what is "
                "taken at the end of the drain needs time for its answer, so raise grace_ms or lower drain_ms"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is the library's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        variables = _Variables(settings_cls)
        path = init_settings().get("config") or variables().get("config")
        file = InitSettingsSource(settings_cls, _read_toml(Path(path)) if path else {})
        return init_settings, variables, file


def load(**flags: Any) -> Settings:
    """The settings in force; `flags` are those given on the command line. Raises SettingsError."""
    _refuse_unknown(flags, Settings.model_fields)
    _refuse_unknown(environment.settings(), [PREFIX + name.upper() for name in Settings.model_fields])
    try:
        return Settings(**flags)
    except ValidationError as error:
        raise SettingsError("\n".join(_sentence(fault) for fault in error.errors())) from error


def _has(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


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


_SECRET = ("api_keys", "ledger_url", "triggers")


def _sentence(fault: Any) -> str:
    """One line per fault; the value of a key is never shown, nor a URL that may hold a password."""
    name = ".".join(map(str, fault["loc"]))
    message = str(fault["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    if fault["type"] == "extra_forbidden":
        return f"{name}: there is no such setting"
    got = "something else" if name.startswith(_SECRET) else repr(fault["input"])
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
