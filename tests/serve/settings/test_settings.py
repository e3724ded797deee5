"""Where settings come from, and how wrong ones are refused."""

import logging
import os

import pytest
from pydantic import ValidationError

from goodcert.serve.settings import environment
from goodcert.serve.settings.settings import Settings, SettingsError, load, table_markdown

KEY = "a-secret-key"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("GOODCERT_")]:
        monkeypatch.delenv(name)


def test_without_anything_the_service_listens_on_loopback():
    settings = load()
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")


def test_flags_come_before_variables_before_the_file(tmp_path, monkeypatch):
    file = tmp_path / "goodcert.toml"
    file.write_text("port = 1\nmax_batch = 1\nthreads = 1\n")
    monkeypatch.setenv("GOODCERT_CONFIG", str(file))
    monkeypatch.setenv("GOODCERT_PORT", "2")
    monkeypatch.setenv("GOODCERT_MAX_BATCH", "2")
    settings = load(port=3)
    assert (settings.port, settings.max_batch, settings.threads) == (3, 2, 1)


def test_the_file_can_be_named_by_a_flag(tmp_path):
    file = tmp_path / "goodcert.toml"
    file.write_text('api_keys = ["one", "two"]\n')
    assert len(load(config=file).api_keys) == 2


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        load().port = 1


def test_an_unknown_variable_is_an_error_that_names_the_closest(monkeypatch):
    monkeypatch.setenv("GOODCERT_MAX_BACH", "3")
    with pytest.raises(SettingsError, match=r"GOODCERT_MAX_BACH.*closest is GOODCERT_MAX_BATCH"):
        load()


def links(service, address, *named):
    """The variables of a Service, which listens on TCP and UDP; named: its ports that have a name."""
    host, port = address.split(":")
    told = {"SERVICE_HOST": host, "SERVICE_PORT": port, "PORT": f"tcp://{address}"}
    told |= {f"SERVICE_PORT_{name}": port for name in named}
    for proto in ("tcp", "udp", "sctp"):
        own = {"": f"{proto}://{address}", "_PROTO": proto, "_PORT": port, "_ADDR": host}
        told |= {f"PORT_{port}_{proto.upper()}{suffix}": value for suffix, value in own.items()}
    return {f"{service}_{name}": value for name, value in told.items()}


@pytest.mark.parametrize(
    "service",
    ["GOODCERT", "GOODCERT_WEB", "GOODCERT_METRICS", "GOODCERT_GRPC", "GOODCERT_2_PORT", "GOODCERT_SERVICE"],
)
def test_what_kubernetes_tells_of_a_service_is_ignored_with_one_warning(monkeypatch, caplog, service):
    told = links(service, "10.96.12.7:9000", "HTTP", "GRPC_WEB")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert load() == Settings()
    assert (load().port, load().metrics_port, load().grpc_port) == (8000, None, None)
    with caplog.at_level(logging.INFO):
        environment.warn(logging.getLogger("test"))
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert all(f"{name}," in f"{line.getMessage().split(' ignored')[0]}," for name in told)


def test_a_setting_beside_them_holds(monkeypatch, tmp_path):
    file = tmp_path / "goodcert.toml"
    file.write_text("port = 9001\n")
    for name, value in links("GOODCERT", "10.96.12.7:9000").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GOODCERT_METRICS_PORT", "9464")
    assert (load(config=file).port, load(config=file).metrics_port) == (9001, 9464)
    monkeypatch.setenv("GOODCERT_PORT", "9002")
    assert load(config=file).port == 9002


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROT", "8000"),
        ("PROT", "tcp://10.96.12.7:8000"),
        ("SERVICE_HOSTS", "10.96.12.7"),
        ("SERVICEHOST", "10.96.12.7"),
        ("SERVICE_PORTS", "8000"),
        ("METRIC_PORT", "9464"),
        ("PORT_HTTP_TCP", "8000"),
        ("PORT_8000", "8000"),
        ("PORT_8000_TCP_HOST", "10.96.12.7"),
        ("MAX_BACH", "tcp://10.96.12.7:8000"),
    ],
)
def test_a_misspelt_setting_that_resembles_them_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(f"GOODCERT_{name}", value)
    with pytest.raises(SettingsError, match=f"GOODCERT_{name}: there is no such setting"):
        load()


@pytest.mark.parametrize("value", ["tpc", "8000x", "", "//10.96.12.7:8000"])
def test_a_port_that_is_neither_number_nor_address_is_refused(monkeypatch, value):
    monkeypatch.setenv("GOODCERT_PORT", value)
    with pytest.raises(SettingsError, match="port: got"):
        load()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_no_setting_is_taken_for_a_service(name):
    assert not environment.is_service_link(f"GOODCERT_{name.upper()}", "8000")


def test_without_services_nothing_is_said(caplog):
    environment.warn(logging.getLogger("test"))
    assert caplog.records == []


@pytest.mark.parametrize("name", ["GOODCERT_DATA", "GOODCERT_API_KEY"])
def test_variables_of_other_parts_of_goodcert_are_left_alone(monkeypatch, name):
    monkeypatch.setenv(name, "something")
    assert load().api_keys == ()


def test_a_models_folder_that_is_none_is_refused_at_start(tmp_path):
    with pytest.raises(SettingsError, match=r"models: got .*nowhere"):
        load(models=tmp_path / "nowhere")


def test_an_unknown_flag_is_an_error():
    with pytest.raises(SettingsError, match=r"prot.*closest is port"):
        load(prot=1)


@pytest.mark.parametrize("text", ["prot = 1", "port = ", "config = 'x'"])
def test_a_file_with_something_else_is_an_error(tmp_path, text):
    file = tmp_path / "goodcert.toml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        load(config=file)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load(config=tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("name", "value"),
    [("port", "70000"), ("max_batch", "0"), ("device", "tpu"), ("max_pixels", "100000000"), ("threads", "many")],
)
def test_a_value_that_cannot_be_is_named_with_what_was_got(monkeypatch, name, value):
    monkeypatch.setenv(f"GOODCERT_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"{name}: got '{value}'"):
        load()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104  refused, not bound
def test_strangers_are_not_let_in_by_accident(host):
    with pytest.raises(SettingsError, match="api_keys"):
        load(host=host)


@pytest.mark.parametrize("options", [{"api_keys": KEY}, {"allow_anonymous": True}, {"keys_file": "keys.json"}])
def test_strangers_may_come_with_a_key_or_if_that_is_meant(options):
    assert load(host="0.0.0.0", **options).host == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    assert load(host=host).api_keys == ()


def test_keys_are_separated_by_commas(monkeypatch):
    monkeypatch.setenv("GOODCERT_API_KEYS", " one, two,,")
    assert [key.get_secret_value() for key in load().api_keys] == ["one", "two"]


@pytest.mark.parametrize("keys", [["one", ""], [" "], ["ключ"], ["two words"]])
def test_a_key_that_no_header_can_carry_is_refused(keys):
    with pytest.raises(SettingsError, match="api_keys"):
        load(api_keys=keys)


def test_no_key_is_ever_shown():
    assert KEY not in repr(load(api_keys=KEY))
    with pytest.raises(SettingsError) as refusal:
        load(api_keys=[KEY, "two words"])
    assert KEY not in str(refusal.value)


def test_the_largest_body_must_fit_among_those_under_way():
    with pytest.raises(SettingsError, match="max_bytes_in_flight: got 5, expected at least max_body_bytes"):
        load(max_bytes_in_flight=5)


def test_what_is_taken_while_balancers_look_away_has_time_for_its_answer():
    settings = load()
    assert settings.grace_ms - settings.drain_ms >= settings.request_timeout_ms
    with pytest.raises(SettingsError, match="grace_ms: got 7000, expected more than drain_ms, which is 7000"):
        load(grace_ms=7000)
    assert load(grace_ms=1, drain_ms=0).grace_ms == 1


def test_the_table_has_every_setting_with_a_meaning():
    table = table_markdown()
    for name, field in Settings.model_fields.items():
        assert f"`{name}`" in table
        assert field.description
        assert field.description in table
