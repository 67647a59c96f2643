"""The commands, as subprocesses in a folder where `smsblossom up` runs: what they do, and what they refuse."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from smsblossom.sandbox.shopify_catalogue import web_order
from smsblossom.sandbox.shopify_orders import order_body
from smsblossom.sandbox.shopify_shapes import Ids, encode
from tests.support import servers as support

pytestmark = pytest.mark.timeout(240)

SHOP = "cli-test.myshopify.com"
_SETTINGS = ("DATABASE_URL", "REDIS_URL", "APP_URL", "PORT", "HOST", "MITTO_", "SHOPIFY_", "API_TOKEN")


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}  # noqa: TID251


def run(folder: Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "smsblossom", *words],
        cwd=folder,
        env=clean_environment(),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )


@dataclass
class Up:
    """A running `smsblossom up`."""

    folder: Path
    process: subprocess.Popen[bytes]

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return run(self.folder, *words, stdin=stdin)

    def json(self, *words: str, stdin: bytes = b"") -> Any:
        done = self(*words, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def children(self) -> dict[str, int]:
        """The processes it started, by the last word of what they run."""
        found = {}
        for each in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (each / "children").read_text().split():
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                name = next(
                    (word for word in (b"serve", b"worker", b"smsblossom.sandbox.mitto") if word in words), None
                )
                found[name.decode() if name else words[0].decode()] = int(pid)
        return found


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = support.make_run_folder()
    yield made
    support.delete_home(made / ".smsblossom")
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def up(folder: Path) -> Iterator[Up]:
    words = [sys.executable, "-m", "smsblossom", "up", "--port", "0"]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(words, cwd=folder, env=clean_environment(), stdout=log, stderr=log)
    try:
        until(lambda: b"Everything runs" in (folder / "up.log").read_bytes(), alive=process)
        yield Up(folder, process)
    finally:
        process.terminate()
        process.wait(timeout=60)


def until(condition: Callable[[], bool], *, alive: subprocess.Popen[bytes] | None = None) -> None:
    """Wait for something to become true; the limit only ends a test that would never end."""
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        assert alive is None or alive.poll() is None
        time.sleep(0.05)


def order(phone: str) -> bytes:
    now = datetime.now(UTC)
    return encode(order_body(web_order(Ids(int(now.timestamp())), now, phone)))


def test_an_operator_adds_a_shop_posts_an_order_and_sees_its_text(up: Up) -> None:
    added = up.json("shop", "add", SHOP, "--timezone", "America/New_York", "--country", "US", "--name", "Example")
    assert (added["domain"], added["status"], added["is_new"]) == (SHOP, "active", True)
    contact = up.json("contact", "add", "--shop", SHOP, "--phone", "(202) 555-0142", "--consent", "marketing")
    assert (contact["phone"], contact["marketing"]) == ("+1•••••••0142", True)

    send = ("webhook", "send", "orders/create", "--shop", SHOP, "--file", "-", "--id", "first")
    assert up.json(*send, stdin=order("+12025550142"))["status"] == 200
    found: list[dict[str, Any]] = []

    def is_delivered() -> bool:
        found[:] = up.json("messages", "--shop", SHOP, "--phone", "+12025550142", "--show-text")
        return [row["state"] for row in found] == ["delivered"]

    until(is_delivered)
    assert found[0]["text"].startswith("Example: thank you, Robin!")
    assert "text" not in up.json("messages", "--shop", SHOP)[0]
    (decision,) = up.json("decisions", "--phone", "+12025550142")
    assert (decision["shop"], decision["verdict"], decision["automation"]) == (SHOP, "send", "order_created")
    assert decision["phone"] == "+1•••••••0142"


def test_stop_all_withholds_until_it_is_released(up: Up) -> None:
    up.json("shop", "add", SHOP, "--timezone", "America/New_York", "--country", "US")
    assert up.json("stop-all")["stop_all"] is True
    checks = {check["name"]: check["status"] for check in up.json("doctor")}
    assert checks.pop("sending") == "warn"
    assert set(checks.values()) == {"ok"}, checks
    sent = up("webhook", "send", "orders/create", "--shop", SHOP, "--file", "-", stdin=order("+12025550143"))
    assert sent.returncode == 0
    until(lambda: bool(up.json("decisions", "--phone", "+12025550143")))
    (decision,) = up.json("decisions", "--phone", "+12025550143", "--verdict", "withhold")
    assert decision["reason"] == "stop_all"
    assert up.json("stop-all", "--release") == {"stop_all": False, "sending_held": False}


def test_a_forged_webhook_is_exit_code_1(up: Up) -> None:
    # The same command with another secret in the environment signs wrongly.
    done = subprocess.run(
        [sys.executable, "-m", "smsblossom", "webhook", "send", "orders/create", "--shop", SHOP, "--file", "-"],
        cwd=up.folder,
        env={**clean_environment(), "SHOPIFY_API_SECRET": "wrong"},
        input=order("+12025550144"),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split(b" ")[0]) == (1, b"401")


@pytest.mark.parametrize(
    ("words", "field"),
    [
        pytest.param(("nosuch",), "No such command 'nosuch'", id="no such command"),
        pytest.param(("up", "--port", "0"), "already runs", id="the folder is taken"),
        pytest.param(("shop", "add", "x.example.com"), "'DOMAIN'", id="no myshopify domain"),
        pytest.param(
            ("shop", "add", "x.myshopify.com", "--country", "US", "--timezone", "Mars/Base"),
            "timezone:",
            id="no such zone",
        ),
        pytest.param(("shop", "show", "nobody.myshopify.com"), "domain:", id="no such shop"),
        pytest.param(("contact", "add", "--shop", SHOP, "--phone", "555"), ":", id="phone cannot be texted"),
        pytest.param(("messages", "--state", "gone"), "'--state'", id="no such state"),
        pytest.param(
            ("webhook", "send", "orders", "--shop", SHOP, "--file", "-"), "topic:", id="no topic"
        ),
        pytest.param(
            ("webhook", "send", "a/b", "--shop", SHOP, "--file", "-", "--triggered-at", "2026-11-22T10:00:00"),
            "'--triggered-at'",
            id="a time without its offset",
        ),
        pytest.param(("stop-all", "--release", "--status"), "--release and --status", id="both switches"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_that_names_the_field(up: Up, words: tuple[str, ...], field: str) -> None:
    done = up(*words)
    said = done.stderr.decode().splitlines()
    assert done.returncode == 2, done
    assert len(said) == 1, said
    assert said[0].startswith("smsblossom: ")
    assert field in said[0]


@pytest.mark.parametrize("words", [("messages",), ("doctor",)], ids=" ".join)
def test_where_nothing_was_ever_set_up_the_one_line_says_how(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words)
    (said,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert "DATABASE_URL" in said
    assert said.endswith("smsblossom up")


def test_a_taken_port_is_one_line_that_says_how_to_choose_another(up: Up, tmp_path: Path) -> None:
    environment = (up.folder / ".smsblossom" / "local.env").read_text()
    port = next(line for line in environment.splitlines() if line.startswith("PORT=")).partition("=")[2]
    done = run(tmp_path, "up", "--port", port)
    (said,) = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert said == f"smsblossom: port: {port} on 127.0.0.1 is in use; choose another, such as --port {int(port) + 1}"
    assert not (tmp_path / ".smsblossom").exists()


def test_secrets_are_readable_by_their_owner_alone(up: Up) -> None:
    assert (up.folder / ".smsblossom" / "local.env").stat().st_mode & 0o777 == 0o600


def test_a_killed_worker_is_started_again_and_the_end_leaves_no_process(up: Up) -> None:
    """The last test: it ends `up`."""
    killed = up.children()["worker"]
    os.kill(killed, signal.SIGKILL)
    until(lambda: up.children().get("worker", killed) != killed)
    left = list(up.children().values())
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(timeout=60) == 0
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            pytest.fail(f"process {pid} is left")
