"""Shopify's webhook signature: base64(HMAC-SHA256(client secret, raw body)).

During a rotation the oldest unrevoked secret still signs, so every configured one is tried.
Source: shopify.dev, Verify webhook deliveries.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence

_DIGEST_CHARACTERS = 44


class WebhookVerifier:
    """Checks raw bodies against a list of secrets; the keyed state is prepared once."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keyed = tuple(hmac.new(secret, digestmod=hashlib.sha256) for secret in secrets)

    def is_valid(self, body: bytes, signature: str | None) -> bool:
        """Constant time for a given signature length; anything that is not base64 of 32 bytes is False."""
        if signature is None or len(signature) != _DIGEST_CHARACTERS:
            return False
        try:
            given = base64.b64decode(signature.encode("ascii"), validate=True)
        except ValueError:
            return False
        valid = False
        for keyed in self._keyed:
            mine = keyed.copy()
            mine.update(body)
            valid |= hmac.compare_digest(mine.digest(), given)
        return valid


def sign(body: bytes, secret: bytes) -> str:
    """The header's value, as Shopify would set it."""
    return base64.b64encode(hmac.new(secret, body, hashlib.sha256).digest()).decode()
