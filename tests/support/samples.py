"""Every sample body there is, and what the service makes of one: the row of `tests/acceptance/samples.csv`."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields
from datetime import datetime
from pathlib import Path

from smsblossom.domain.contacts import Phone, parse_phone
from smsblossom.sandbox.shopify import Sample, catalogue, redate
from tests.support.running import Shop

TABLE = Path(__file__).parent.parent / "acceptance" / "samples.csv"
PAYLOADS = Path(__file__).parents[2].parent / "shared" / "payloads"
"""Bodies seen in public, beside the checkout; not part of it."""

_DOTTED = {"customer-tags-added": "customer.tags_added"}
_PLURALS = ("checkouts", "carts", "orders", "fulfillments", "customers", "products", "discounts", "variants", "shop")
_PREFIXES = (
    "customers-email-marketing-consent",
    "customers-marketing-consent",
    "fulfillment-events",
    "inventory-levels",
    "bulk-operations",
    "draft-orders",
    "app",
    *_PLURALS,
)


@dataclass(frozen=True)
class Row:
    """What one body led to in a shop that had seen nothing before."""

    sample: str
    topic: str
    contacts: str
    orders: str
    phone: str
    """The regions of the numbers that were kept, or none."""
    consent: str
    trigger: str
    verdicts: str
    inbox: str


def topic_of(file: str) -> str:
    """The topic that a file's name spells: `orders-create--…` is orders/create."""
    spelled = file.split("--", maxsplit=1)[0]
    if spelled in _DOTTED:
        return _DOTTED[spelled]
    prefix = next(prefix for prefix in _PREFIXES if spelled.startswith(f"{prefix}-"))
    return f"{prefix}/{spelled[len(prefix) + 1 :]}".replace("-", "_")


def samples(now: datetime, domain: str) -> Iterator[Sample]:
    """The builders' bodies, and those of the folder where there is one, as if they had just happened in this shop."""
    for sample in catalogue(now, seed=7, shop=domain):
        yield Sample(f"builder: {sample.name}", sample.topic, sample.body)
    for file in sorted(PAYLOADS.glob("*.json")):
        yield Sample(file.name, topic_of(file.name), _moved(redate(file.read_bytes(), now), domain))


def _moved(body: bytes, domain: str) -> bytes:
    """A body that names its shop names this one."""
    named = re.search(rb'"shop_domain"\s*:\s*"([^"]+)"', body)
    return body if named is None else body.replace(named[1], domain.encode())


def read_table() -> list[Row]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def write_table(rows: list[Row]) -> None:
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)


async def observe(shop: Shop, sample: Sample) -> Row:
    """Deliver it, wait until it is settled, and read the rows."""
    await shop.taken(sample.topic, sample.body)
    ((state, reason),) = await shop.inbox()
    contacts, orders = await shop.fetch("contacts"), await shop.fetch("orders")
    consents, runs = await shop.fetch("consent_events"), await shop.fetch("runs")
    sealed = [row["phone_sealed"] for row in (*contacts, *orders, *await shop.fetch("messages"))]
    regions = {_region(shop.open(phone)) for phone in sealed if phone is not None}
    return Row(
        sample=sample.name,
        topic=sample.topic,
        contacts=str(len(contacts)),
        orders=str(len(orders)),
        phone=" ".join(sorted(regions)) or "none",
        consent=" ".join(row["state"] for row in consents) or "none",
        trigger=" ".join(sorted({row["trigger"] for row in runs})) or "none",
        verdicts="; ".join(await shop.verdicts()) or "none",
        inbox=state if reason is None else f"{state}: {reason}",
    )


def _region(e164: str) -> str:
    phone = parse_phone(e164, None)
    assert isinstance(phone, Phone)
    return phone.region


def shown(row: Row) -> str:
    return json.dumps(asdict(row), indent=1, ensure_ascii=False)
