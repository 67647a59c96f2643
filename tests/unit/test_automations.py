"""The automation file format: what is valid, and what is refused by name."""

from datetime import timedelta
from typing import Any

import pytest

from smsblossom.domain import templates
from smsblossom.domain.automations import AutomationError, Trigger, parse, parse_duration, schema
from smsblossom.domain.messages import MessageClass
from smsblossom.usecases.manage import default_automations

FILE = {
    "key": "order_created",
    "name": "Order confirmation",
    "trigger": "order_created",
    "message_class": "transactional_urgent",
    "text": "{{ shop.name }}: thank you",
}


def test_the_smallest_file_and_its_defaults() -> None:
    automation = parse(FILE)
    assert (automation.trigger, automation.message_class) == (Trigger.ORDER_CREATED, MessageClass.TRANSACTIONAL_URGENT)
    assert (automation.enabled, automation.maximum_age) == (True, timedelta(hours=6))
    assert (automation.accept.test, automation.accept.pos, automation.accept.imported) == (None, False, False)
    assert automation.fulfillment_statuses == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        pytest.param({"trigger": "birthday"}, "trigger", id="unknown trigger"),
        pytest.param({"message_class": "spam"}, "message_class", id="unknown class"),
        pytest.param({"key": "Order"}, "key", id="key in capitals"),
        pytest.param({"key": "a"}, "key", id="key too short"),
        pytest.param({"key": "order_created\n"}, "key", id="key and a line feed"),
        pytest.param({"text": ""}, "text", id="no text"),
        pytest.param({"text": "x" * 1601}, "text", id="text too long"),
        pytest.param({"enabled": "yes"}, "enabled", id="a word for a switch"),
        pytest.param({"enable": True}, "enable", id="an unknown key"),
        pytest.param({"accept": {"tests": True}}, "tests", id="an unknown key inside"),
        pytest.param({"accept": {"pos": 1}}, "accept.pos", id="a number for a switch"),
        pytest.param({"max_age": "6 hours"}, "max_age", id="an unreadable age"),
        pytest.param({"fulfillment_statuses": "delivered"}, "fulfillment_statuses", id="a word for a list"),
    ],
)
def test_a_wrong_file_is_refused_by_name(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(AutomationError, match=named):
        parse({**FILE, **changed})


@pytest.mark.parametrize("missing", sorted(FILE))
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(AutomationError, match=missing):
        parse({name: value for name, value in FILE.items() if name != missing})


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("2d", timedelta(days=2)),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "0h", "6", "h", "6H", "-1h", "1.5h", "6h\n", "1234567s", " 6h", "٦h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(AutomationError, match="such as 6h"):
        parse_duration(text)


def test_the_schema_says_the_same() -> None:
    found = schema()
    definition = found["$defs"]["Automation"]
    assert definition["additionalProperties"] is False
    assert set(definition["required"]) == set(FILE)


def test_a_new_shop_gets_these_and_the_ones_that_sell_are_off() -> None:
    assert {automation.key: automation.enabled for automation in default_automations()} == {
        "fulfillment_update": True,
        "order_created": True,
        "order_paid": True,
        "thank_you_offer": False,
    }
    for automation in default_automations():
        templates.compile_template(automation.text)
        assert automation.enabled == (automation.message_class is not MessageClass.PROMOTIONAL)
        if automation.message_class is MessageClass.PROMOTIONAL:
            assert "STOP" in automation.text
