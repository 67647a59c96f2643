"""What a local run takes from the environment, from an earlier run, and makes up."""

from dataclasses import replace

import pytest

from smsblossom import settings
from smsblossom.cli import stack
from smsblossom.cli.local import Addresses, settings_of
from smsblossom.settings import SettingError

AT = Addresses(
    "postgresql://app@/x", "postgresql://owner@/x", "unix:///r.sock", "127.0.0.1", 8080, "http://127.0.0.1:9"
)


def test_made_up_settings_load() -> None:
    loaded = settings.load(settings_of({}, {}, AT))
    assert loaded.sandbox
    assert loaded.mitto_base_url == "http://127.0.0.1:9"
    assert loaded.app_url == "http://127.0.0.1:8080"


def test_secrets_are_made_once() -> None:
    first = settings_of({}, {}, AT)
    assert settings_of({}, first, AT) == first


def test_the_environment_goes_before_what_was_made_up() -> None:
    made = settings_of({"API_TOKEN": "a-token-of-the-environment"}, settings_of({}, {}, AT), AT)
    assert made["API_TOKEN"] == "a-token-of-the-environment"


def test_a_run_with_a_key_takes_nothing_of_an_earlier_sandbox_run() -> None:
    real = settings_of({"MITTO_API_KEY": "key"}, settings_of({}, {}, AT), replace(AT, mitto_url=None))
    loaded = settings.load(real)
    assert not loaded.sandbox
    assert loaded.mitto_base_url == "https://rest.mittoapi.net"


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://127.0.0.1:8080"), ("192.0.2.1", "http://192.0.2.1:8080")],
    ids=["everywhere", "everywhere, six", "one address"],
)
def test_the_address_is_one_that_a_browser_here_can_open(host: str, url: str) -> None:
    assert settings_of({}, {}, replace(AT, host=host))["APP_URL"] == url


@pytest.mark.parametrize(
    ("given", "option", "port"),
    [({}, None, 8080), ({"PORT": "9000"}, None, 9000), ({"PORT": "9000"}, 0, 0)],
    ids=["neither", "PORT", "the option before PORT"],
)
def test_which_port_is_wished(given: dict[str, str], option: int | None, port: int) -> None:
    assert stack.wished_port(given, option) == port


@pytest.mark.parametrize("port", ["x", "-1", "65536", "８０"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    with pytest.raises(SettingError, match="PORT"):
        stack.wished_port({"PORT": port}, None)
