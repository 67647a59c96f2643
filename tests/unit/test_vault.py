"""Sealed for one shop by one key; readable by every configured key; indexed by one that never changes."""

import hashlib
import hmac
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.domain.ids import ShopId
from smsblossom.settings import EncryptionKey
from smsblossom.vault import Undecipherable, Vault

SHOP, OTHER = ShopId(UUID(int=1)), ShopId(UUID(int=2))
ONE, TWO = EncryptionKey(1, b"1" * 32), EncryptionKey(200, b"2" * 32)
INDEX = b"i" * 32
VAULT = Vault([ONE], INDEX)
PHONE = "+12025550123"


@given(st.text())
def test_text_comes_back(text: str) -> None:
    if text.isprintable():
        assert VAULT.decrypt_text(SHOP, VAULT.encrypt_text(SHOP, text)) == text


@given(st.binary(max_size=5000))
def test_a_body_comes_back_and_is_packed_smaller_when_it_can_be(body: bytes) -> None:
    assert VAULT.unpack(SHOP, VAULT.pack(SHOP, body)) == body
    assert len(VAULT.pack(SHOP, b'{"key": "value"}' * 1000)) < 1000


def test_the_same_text_is_never_sealed_the_same_way_and_shows_nothing() -> None:
    sealed = {VAULT.encrypt_text(SHOP, PHONE) for _ in range(100)}
    assert len(sealed) == 100
    assert not any(PHONE.encode() in each or b"2025550123" in each for each in sealed)


def test_keys_rotate() -> None:
    before = VAULT.encrypt_text(SHOP, PHONE)
    rotated = Vault([TWO, ONE], INDEX)
    after = rotated.encrypt_text(SHOP, PHONE)
    assert (before[0], after[0]) == (1, 200)
    assert rotated.decrypt_text(SHOP, before) == rotated.decrypt_text(SHOP, after) == PHONE
    with pytest.raises(Undecipherable, match="not configured"):
        VAULT.decrypt_text(SHOP, after)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda sealed: b"", id="nothing"),
        pytest.param(lambda sealed: sealed[:1], id="only the key's number"),
        pytest.param(lambda sealed: sealed[:20], id="cut"),
        pytest.param(lambda sealed: sealed[:-1], id="a byte short"),
        pytest.param(lambda sealed: sealed[:-1] + bytes([sealed[-1] ^ 1]), id="another tag"),
        pytest.param(lambda sealed: bytes([2]) + sealed[1:], id="an unknown key"),
        pytest.param(lambda sealed: sealed[:1] + bytes(12) + sealed[13:], id="another nonce"),
    ],
)
def test_what_was_changed_cannot_be_read(change: object) -> None:
    with pytest.raises(Undecipherable) as error:
        VAULT.decrypt(SHOP, change(VAULT.encrypt_text(SHOP, PHONE)))  # type: ignore[operator]
    assert PHONE not in str(error.value)


def test_another_shops_row_cannot_be_read() -> None:
    with pytest.raises(Undecipherable, match="does not belong"):
        VAULT.decrypt_text(OTHER, VAULT.encrypt_text(SHOP, PHONE))


def test_the_blind_index_is_the_promised_one() -> None:
    expected = hmac.digest(INDEX, SHOP.bytes + PHONE.encode(), hashlib.sha256)
    assert VAULT.blind_index(SHOP, PHONE) == expected
    assert Vault([TWO], INDEX).blind_index(SHOP, PHONE) == expected
    assert len({VAULT.blind_index(SHOP, PHONE), VAULT.blind_index(OTHER, PHONE), VAULT.blind_index(SHOP, "+1")}) == 3
