"""Settings: complete or not started, one line that names what is wrong, and secrets made once for a local run."""

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from smsblossom import settings
from smsblossom.settings import SettingError, load

KEY, OTHER_KEY = base64.b64encode(b"k" * 32).decode(), base64.b64encode(b"o" * 32).decode()
COMPLETE = {
    "DATABASE_URL": "postgresql://smsblossom_app@localhost/smsblossom",
    "REDIS_URL": "redis://localhost:6379/0",
    "APP_URL": "https://sms.example.com",
    "SHOPIFY_API_SECRET": "new, old,",
    "MITTO_CALLBACK_TOKEN": "0123456789abcdef",
    "ENCRYPTION_KEYS": f"2:{KEY},1:{OTHER_KEY}",
    "BLIND_INDEX_KEY": KEY,
    "API_TOKEN": "0123456789abcdef",
}


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in COMPLETE.items() if key != name}


def test_a_complete_environment_is_read(tmp_path: Path) -> None:
    found = load(COMPLETE, home=tmp_path)
    assert found.shopify_api_secrets == (b"new", b"old")
    assert [(key.key_id, key.key) for key in found.encryption_keys] == [(2, b"k" * 32), (1, b"o" * 32)]
    assert (found.host, found.port, found.shopify_api_version, found.mitto_api) == (
        "127.0.0.1",
        8080,
        "2026-10",
        "classic",
    )
    assert (found.mitto_base_url, found.sandbox) == ("https://rest.mittoapi.net", False)
    assert found.callback_base == "https://sms.example.com/webhooks/mitto/0123456789abcdef"


def test_settings_never_show_what_they_hold(tmp_path: Path) -> None:
    shown = repr(load(COMPLETE, home=tmp_path)) + repr(load(COMPLETE, home=tmp_path).encryption_keys)
    for secret in ("new", "old", "0123456789abcdef", KEY, "smsblossom_app", "kkkk"):
        assert secret not in shown


@pytest.mark.parametrize("name", sorted(COMPLETE))
def test_a_missing_one_is_named_with_a_valid_example(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        load({"DATABASE_URL": "", **without(name)}, home=tmp_path)
    line = str(error.value)
    assert line.startswith(f"{name} is not set; for example {name}=")
    assert "\n" not in line
    example = line.partition(f"{name}=")[2]
    load({**COMPLETE, name: example}, home=tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "localhost"),
        ("REDIS_URL", "http://localhost"),
        ("APP_URL", "sms.example.com"),
        ("PORT", "eighty"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("PORT", "8080.0"),
        ("SHOPIFY_API_SECRET", " , ,"),
        ("SHOPIFY_API_VERSION", "2026-1"),
        ("MITTO_API", "soap"),
        ("MITTO_CALLBACK_TOKEN", "short"),
        ("MITTO_CALLBACK_TOKEN", "0123456789abcde/"),
        ("API_TOKEN", "with space in it 123"),
        ("MITTO_READ_TIMEOUT", "0"),
        ("MITTO_READ_TIMEOUT", "nan"),
        ("ENCRYPTION_KEYS", KEY),
        ("ENCRYPTION_KEYS", f"256:{KEY}"),
        ("ENCRYPTION_KEYS", f"x:{KEY}"),
        ("ENCRYPTION_KEYS", f"1:{KEY},1:{OTHER_KEY}"),
        ("ENCRYPTION_KEYS", f"1:{KEY[:-4]}"),
        ("BLIND_INDEX_KEY", "not base64!"),
        ("BLIND_INDEX_KEY", base64.b64encode(b"k" * 31).decode()),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("SMSBLOSSOM_SANDBOX", "yes"),
    ],
)
def test_a_malformed_one_is_named(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as error:
        load({**COMPLETE, name: value}, home=tmp_path)
    assert error.value.name == name
    assert re.fullmatch(rf"{name} .+; for example {name}=.+", str(error.value))


@pytest.mark.parametrize(
    "name", ["SHOPIFY_API_SECRET", "MITTO_CALLBACK_TOKEN", "ENCRYPTION_KEYS", "BLIND_INDEX_KEY", "API_TOKEN"]
)
def test_a_malformed_secret_is_not_quoted(name: str, tmp_path: Path) -> None:
    value = "a secret with spaces" if name != "SHOPIFY_API_SECRET" else ",,"
    with pytest.raises(SettingError) as error:
        load({**COMPLETE, name: value}, home=tmp_path)
    assert "a secret" not in str(error.value)


def test_a_local_run_reads_its_file_and_a_deployment_does_not(tmp_path: Path) -> None:
    settings.write_local(tmp_path, COMPLETE)
    assert load({"PORT": "9000"}, home=tmp_path).port == 9000
    assert load({}, home=tmp_path).app_url == COMPLETE["APP_URL"]
    with pytest.raises(SettingError, match="REDIS_URL"):
        load({"DATABASE_URL": COMPLETE["DATABASE_URL"]}, home=tmp_path)


def test_the_local_file_is_its_owners_alone_and_is_merged(tmp_path: Path) -> None:
    home = tmp_path / "deep" / "home"
    settings.write_local(home, {"A": "1", "B": "with=equals"})
    assert settings.write_local(home, {"A": "2"}) == {"A": "2", "B": "with=equals"} == settings.read_local(home)
    assert (home / settings.LOCAL_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [settings.LOCAL_FILE]


def test_secrets_are_made_once_and_are_good(tmp_path: Path) -> None:
    made = settings.local_secrets({})
    assert settings.local_secrets(made) == {}
    assert settings.local_secrets({}) != made
    assert settings.local_secrets({**made, "API_TOKEN": ""}).keys() == {"API_TOKEN"}
    load({**COMPLETE, **made}, home=tmp_path)


def test_no_file_is_no_settings(tmp_path: Path) -> None:
    assert settings.read_local(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("unknown", [{"SMSBLOSSOM_UNKNOWN": "1"}, {"PATH": "/bin"}])
def test_other_peoples_variables_do_not_matter(unknown: dict[str, Any], tmp_path: Path) -> None:
    assert load({**COMPLETE, **unknown}, home=tmp_path) == load(COMPLETE, home=tmp_path)
