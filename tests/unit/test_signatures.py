"""Shopify's signature, against vectors computed by the definition."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsblossom.shopify.signatures import WebhookVerifier, sign

BODY, NEW, OLD = b'{"id":820982911946154508,"url":"https:\\/\\/example.com\\/a\\u0026b"}', b"new-secret", b"old-secret"
RIGHT = base64.b64encode(hmac.digest(OLD, BODY, hashlib.sha256)).decode()


def test_the_known_vector() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert base64.b64decode(sign(b"what do ya want for nothing?", b"Jefe")).hex() == expected


@pytest.mark.parametrize(
    ("signature", "secrets", "valid"),
    [
        pytest.param(RIGHT, [OLD], True, id="the only secret"),
        pytest.param(RIGHT, [NEW, OLD], True, id="the older of two"),
        pytest.param(RIGHT, [OLD, NEW], True, id="the newer of two"),
        pytest.param(RIGHT, [NEW], False, id="a revoked secret"),
        pytest.param(RIGHT, [], False, id="no secret at all"),
        pytest.param(None, [OLD], False, id="missing"),
        pytest.param("", [OLD], False, id="empty"),
        pytest.param(RIGHT[:-1], [OLD], False, id="cut"),
        pytest.param(RIGHT + "=", [OLD], False, id="longer"),
        pytest.param(" " + RIGHT[:-1], [OLD], False, id="a space in front"),
        pytest.param(
            RIGHT[:-2] + "A=" if RIGHT[-2] != "A" else RIGHT[:-2] + "E=", [OLD], False, id="another last byte"
        ),
        pytest.param(RIGHT.swapcase(), [OLD], False, id="another case"),
        pytest.param("é" * 44, [OLD], False, id="above 127"),
        pytest.param("\udcff" * 44, [OLD], False, id="surrogates of raw bytes"),
        pytest.param("-" * 43 + "=", [OLD], False, id="another alphabet"),
        pytest.param(hmac.digest(OLD, BODY, hashlib.sha256).hex()[:44], [OLD], False, id="hex"),
        pytest.param(base64.b64encode(bytes(32)).decode(), [OLD], False, id="zeros"),
    ],
)
def test_what_is_valid(signature: str | None, secrets: list[bytes], valid: bool) -> None:
    assert WebhookVerifier(secrets).is_valid(BODY, signature) is valid


@given(st.binary(max_size=200), st.integers(0, 199))
def test_any_changed_byte_is_noticed(body: bytes, place: int) -> None:
    verifier, signature = WebhookVerifier([NEW, OLD]), sign(body, NEW)
    assert verifier.is_valid(body, signature)
    assert not verifier.is_valid(body + b" ", signature)
    if place < len(body):
        assert not verifier.is_valid(body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :], signature)
