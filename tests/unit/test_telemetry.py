"""The last fence: what looks like a phone or an e-mail is blanked, and no traceback shows what a frame held."""

import json
import subprocess
import sys
from typing import Any

import pytest

from smsblossom.telemetry import Metrics, blank_personal, redact

SCRIPT = """
import structlog
from smsblossom.telemetry import configure_logging
configure_logging("info", {form!r})
def fail():
    text = "Dear Xanthippe"
    raise ValueError("cannot parse +1 202 555 0123 of x@example.com")
try:
    fail()
except ValueError:
    structlog.get_logger().exception("it.failed", shop_id="s-1", request_id="r-1")
import logging
logging.getLogger("third.party").warning("sent to 12025550123")
structlog.get_logger().debug("not.shown")
"""


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ("to +12025550123 failed", "to [number] failed"),
        ("to 12025550123", "to [number]"),
        ("(202) 555-0123 is no mobile", "([number] is no mobile"),
        ("Key (phone)=(+49 171 3920020) exists", "Key (phone)=([number]) exists"),
        ("mail to Ada.Example+tag@mail.example.com!", "mail to [e-mail]!"),
        ("<ada@example.com>", "<[e-mail]>"),
        ("order 1001, attempt 3 of 6, http_500", "order 1001, attempt 3 of 6, http_500"),
        ("at line 12, column 7", "at line 12, column 7"),
        ("", ""),
    ],
)
def test_what_looks_personal_is_blanked(text: str, blanked: str) -> None:
    assert blank_personal(text) == blanked


def test_errors_are_blanked_however_deep_and_ids_are_not_touched() -> None:
    shop_id = "9f1c0000-1111-2222-3333-444455556666"
    event: dict[str, Any] = {
        "error": "+12025550123",
        "exception": [{"exc_value": "x@example.com", "frames": [{"lineno": 12}]}],
        "detail": None,
        "shop_id": shop_id,
    }
    assert redact(None, "info", event) == {
        "error": "[number]",
        "exception": [{"exc_value": "[e-mail]", "frames": [{"lineno": 12}]}],
        "detail": None,
        "shop_id": shop_id,
    }


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_form_of_log_shows_locals_phones_or_addresses(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(form=form)], capture_output=True, text=True, check=True)
    assert "it.failed" in done.stderr
    assert "ValueError" in done.stderr
    for secret in ("Dear Xanthippe", "555 0123", "12025550123", "x@example.com"):
        # The console shows the line of source that raised; only what it held is a secret.
        assert secret not in done.stderr.replace('text = "Dear Xanthippe"', "")
    assert "not.shown" not in done.stdout + done.stderr
    if form == "json":
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        assert [line["event"] for line in lines] == ["it.failed", "library.log"]
        assert {"shop_id": "s-1", "request_id": "r-1", "level": "error"}.items() <= lines[0].items()


def test_no_metric_has_a_label_for_a_shop_or_a_person() -> None:
    for metric in Metrics().registry.collect():
        assert metric.name.startswith("smsblossom_")
    labels = {label for family in vars(Metrics()).values() for label in getattr(family, "_labelnames", ())}
    assert not labels & {"shop", "shop_id", "domain", "phone", "to", "contact", "email", "request_id", "message_id"}
