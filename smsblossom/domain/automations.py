"""Automations: what a shop wants said, when, to whom, and how old the occasion may be.

An automation is a small file (TOML or JSON) of this shape; unknown keys are refused by name:

    key = "order_created"
    name = "Order confirmation"
    trigger = "order_created"
    message_class = "transactional_urgent"
    text = "{{ shop.name }}: thank you, order {{ order.name }} is in."
    max_age = "6h"
"""

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from smsblossom.domain.messages import MessageClass

MAX_TEXT = 1600


class Trigger(StrEnum):
    ORDER_CREATED = "order_created"
    ORDER_PAID = "order_paid"
    FULFILLMENT_UPDATE = "fulfillment_update"


class AutomationError(ValueError):
    """An automation file is not of the schema. The message names the field and shows what is valid."""


class Accept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Orders that are left alone unless the automation asks for them. `test` None: only against the sandbox."""

    test: bool | None = None
    pos: bool = False
    imported: bool = False


class Automation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    # Python's `$` would accept a trailing newline.
    key: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{1,59}$(?!\n)")]
    name: Annotated[str, Meta(min_length=1, max_length=120)]
    trigger: Trigger
    message_class: MessageClass
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
    enabled: bool = True
    max_age: str = "6h"
    """How old the occasion may be when the text leaves: a number and s, m, h or d."""
    accept: Accept = Accept()
    greek_capitals: bool = False
    fulfillment_statuses: tuple[str, ...] = ()
    """For fulfillment_update: only these statuses; empty means all."""

    def wants(self, status: str | None) -> bool:
        """Whether an occasion of this fulfillment status (None: it has none) is one for this automation."""
        return status is None or not self.fulfillment_statuses or status in self.fulfillment_statuses

    @property
    def maximum_age(self) -> timedelta:
        return parse_duration(self.max_age)


def parse_duration(text: str) -> timedelta:
    """`90s`, `15m`, `6h` or `2d`.

    Raises:
        AutomationError: anything else, or nothing at all.

    """
    found = re.fullmatch(r"([1-9]\d{0,5})([smhd])", text)
    if found is None:
        raise AutomationError(f"max_age is {text!r}; write a number and s, m, h or d, such as 6h")
    unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[found[2]]
    return timedelta(**{unit: int(found[1])})


def parse(definition: dict[str, Any]) -> Automation:
    """An automation from the mapping that a file holds.

    Raises:
        AutomationError: naming the field.

    """
    try:
        automation = msgspec.convert(definition, Automation)
    except msgspec.ValidationError as exc:
        raise AutomationError(str(exc)) from exc
    parse_duration(automation.max_age)
    return automation


def schema() -> dict[str, Any]:
    """The JSON schema of an automation file."""
    return msgspec.json.schema(Automation)
