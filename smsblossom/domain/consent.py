"""Consent: an append-only trail, and the state it adds up to."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

import msgspec


class ConsentKind(StrEnum):
    MARKETING = "marketing"
    TRANSACTIONAL = "transactional"


class ConsentState(StrEnum):
    """Shopify's `CustomerSmsMarketingState`, lower case."""

    SUBSCRIBED = "subscribed"
    UNSUBSCRIBED = "unsubscribed"
    PENDING = "pending"
    NOT_SUBSCRIBED = "not_subscribed"
    REDACTED = "redacted"


class OptInLevel(StrEnum):
    SINGLE = "single_opt_in"
    CONFIRMED = "confirmed_opt_in"
    UNKNOWN = "unknown"


class ConsentRecord(msgspec.Struct, frozen=True):
    """One entry of the trail. `consented_at` is when the person said so, not when we heard of it."""

    state: ConsentState
    consented_at: datetime


def current_state(trail: Iterable[ConsentRecord]) -> ConsentState:
    """What the trail adds up to: the latest consent time wins, an opt-out wins a tie; order of arrival is nothing.

    Source: Shopify, CustomerSmsMarketingConsentState: "reflects the record with the most recent date".
    """
    latest = max(trail, key=lambda record: (record.consented_at, _WEIGHT[record.state]), default=None)
    return ConsentState.NOT_SUBSCRIBED if latest is None else latest.state


_WEIGHT = {
    ConsentState.SUBSCRIBED: 0,
    ConsentState.PENDING: 1,
    ConsentState.NOT_SUBSCRIBED: 2,
    ConsentState.REDACTED: 3,
    ConsentState.UNSUBSCRIBED: 4,
}
