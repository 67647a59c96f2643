"""What the doctor makes of what it finds."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from smsblossom.cli import doctor
from smsblossom.cli.doctor import Check, Status
from smsblossom.jobs import QueueName
from smsblossom.store.health import ServerFacts

GOOD = ServerFacts(
    version_num=150000,
    version="15.0",
    role="smsblossom_app",
    unsafe=False,
    clock_at=datetime(2026, 11, 22, tzinfo=UTC),
    durable=True,
    has_tables=True,
)
GOOD_REDIS = {"redis_version": "6.2.0", "maxmemory_policy": "noeviction", "aof_enabled": 1}


def statuses(checks: list[Check]) -> dict[str, Status]:
    return {check.name: check.status for check in checks}


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param({}, set(), id="all good"),
        pytest.param({"version_num": 140012}, {"PostgreSQL version"}, id="PostgreSQL 14"),
        pytest.param({"unsafe": True}, {"PostgreSQL role"}, id="superuser"),
        pytest.param({"durable": False}, {"PostgreSQL durability"}, id="fsync off"),
    ],
)
def test_postgresql_is_judged(change: dict[str, Any], failing: set[str]) -> None:
    checks = doctor.server_checks(msgspec.structs.replace(GOOD, **change), timedelta(0))
    assert {check.name for check in checks if check.status is Status.FAIL} == failing
    assert all(check.todo for check in checks if check.status is not Status.OK)


@pytest.mark.parametrize(
    ("change", "name", "status"),
    [
        pytest.param({}, "Redis version", Status.OK, id="6.2 is enough"),
        pytest.param({"redis_version": "6.0.16"}, "Redis version", Status.FAIL, id="6.0"),
        pytest.param({"redis_version": "10.1.0"}, "Redis version", Status.OK, id="two digits"),
        pytest.param({"maxmemory_policy": "allkeys-lru"}, "Redis eviction", Status.FAIL, id="evicts"),
        pytest.param({"aof_enabled": 0}, "Redis persistence", Status.WARN, id="no append-only file"),
    ],
)
def test_redis_is_judged(change: dict[str, Any], name: str, status: Status) -> None:
    assert statuses(doctor.redis_checks({**GOOD_REDIS, **change}))[name] is status


@pytest.mark.parametrize(
    ("seconds", "status"), [(0, Status.OK), (2, Status.OK), (3, Status.WARN), (31, Status.FAIL)], ids=str
)
def test_the_clock_is_judged(seconds: int, status: Status) -> None:
    assert doctor.clock_check(timedelta(seconds=seconds)).status is status


def test_a_queue_without_a_worker_fails_and_says_which_command_helps() -> None:
    check = doctor.worker_check(QueueName.DELIVERY, is_served=False)
    assert check.status is Status.FAIL
    assert "--queue delivery" in check.todo


@pytest.mark.parametrize(
    ("stopped", "held", "status"),
    [(False, False, Status.OK), (True, False, Status.WARN), (False, True, Status.WARN)],
    ids=["on", "stopped", "held"],
)
def test_switches_that_stop_sending_are_told(*, stopped: bool, held: bool, status: Status) -> None:
    assert doctor.sending_check(stopped=stopped, held=held).status is status
