"""Each sample body, in a shop of its own, leads to the row that `samples.csv` has for it."""

import pytest

from tests.support.running import MIDDAY, SECRET, Service
from tests.support.samples import PAYLOADS, Row, observe, read_table, samples

TABLE = {row.sample: row for row in read_table()}
FILES_ARE_HERE = PAYLOADS.is_dir()
HERE = [row for row in TABLE.values() if row.sample.startswith("builder: ") or FILES_ARE_HERE]


def test_the_table_has_a_row_for_every_sample() -> None:
    found = [(sample.name, sample.topic) for sample in samples(MIDDAY, "example.myshopify.com")]
    assert found == [(row.sample, row.topic) for row in HERE]


@pytest.mark.parametrize("row", [pytest.param(row, id=row.sample) for row in HERE])
async def test_a_body_makes_the_rows_and_the_verdict_of_its_table_row(service: Service, row: Row) -> None:
    with service.at(MIDDAY):
        shop = await service.new_shop()
        sample = next(sample for sample in samples(service.now(), shop.domain) if sample.name == row.sample)
        assert await observe(shop, sample) == row


@pytest.mark.parametrize("signature", [None, "", "not base64", "wrong secret"])
async def test_no_body_is_taken_without_a_right_signature(service: Service, signature: str | None) -> None:
    shop = await service.new_shop()
    for sample in samples(service.now(), shop.domain):
        headers = shop.signed(sample.topic, sample.body, secret=f"not {SECRET}")
        if signature is None:
            del headers["X-Shopify-Hmac-Sha256"]
        elif signature != "wrong secret":
            headers["X-Shopify-Hmac-Sha256"] = signature
        assert (sample.name, await shop.send(sample.body, headers)) == (sample.name, (401, "missing or wrong HMAC\n"))
    assert await shop.inbox() == []
