"""Where settings come from, and how wrong ones are refused."""

import os

import pytest
from pydantic import ValidationError

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


def test_the_table_has_every_setting_with_a_meaning():
    table = table_markdown()
    for name, field in Settings.model_fields.items():
        assert f"`{name}`" in table
        assert field.description
        assert field.description in table
