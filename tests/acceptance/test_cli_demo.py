"""`smsblossom demo --exit`, as a newcomer runs it: sends and withholds each with a reason, books that agree."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import servers as support

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = support.make_run_folder()
    yield made
    support.delete_home(made / ".smsblossom")
    shutil.rmtree(made, ignore_errors=True)


def smsblossom(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    outside = {"DATABASE_URL", "REDIS_URL", "APP_URL", "PORT", "MITTO_API_KEY"}
    environment = {name: value for name, value in os.environ.items() if name not in outside}  # noqa: TID251
    # What the demo must not touch: servers that somebody's environment names.
    environment |= {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0"}
    return subprocess.run(
        [sys.executable, "-m", "smsblossom", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_shows_sends_and_withholds_and_its_books_agree(folder: Path) -> None:
    ran = smsblossom(folder, "demo", "--json", "--port", "0")
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-2000:]
    result: dict[str, Any] = json.loads(ran.stdout)
    assert result["problems"] == []
    rows = {row["event"]: row for row in result["rows"]}
    # Some of the texts wait for the recipient's morning, which ones depends on the hour of the run.
    said = {event: row["decision"].split(" until ")[0] for event, row in rows.items()}
    by_the_hour = {"parcel in Washington", "parcel in Berlin", "parcel in Sydney", "paid, consenting: thank you offer"}
    assert {said[event] for event in by_the_hour} <= {"send", "hold: quiet hours"}
    assert {event: said[event] for event in said.keys() - by_the_hour} == {
        "web order": "send",
        "guest order": "send",
        "order in yen": "send",
        "unicode name": "send",
        "order without a phone": "withhold: no phone",
        "phone with letters": "withhold: number letters",
        "order at the till (POS)": "withhold: pos order",
        "test order": "send",
        "old order, imported": "withhold: too late",
        "paid, consenting: order paid": "send",
        "paid, no consent: order paid": "send",
        "paid, no consent: thank you offer": "withhold: no marketing consent",
        "provider: number refused": "send",
        "provider: never answers": "send",
        "provider: busy twice": "send",
        "provider: late report": "send",
        "person answers STOP": "send",
        "provider: 500, yet took it": "send",
        "provider: 500, not taken": "send",
        "forged signature": "answered 401, not kept",
        "same order, another webhook": "withhold: duplicate",
        "order of who said STOP": "withhold: opted out",
    }
    assert rows["provider: busy twice"]["provider"] == "429 → 429 → accepted → delivered"
    assert rows["provider: number refused"]["provider"] == "refused (mitto 8)"
    assert rows["provider: 500, yet took it"]["provider"] == "unknown (http 500) → delivered"
    assert rows["provider: 500, not taken"]["provider"] == "unknown (http 500)"
    assert all("555" not in row["contact"] for row in rows.values())
    assert "DATABASE_URL and REDIS_URL are not" not in ran.stderr  # it does not even look at them
