"""What follows from an attempt, how long a job waits, and what is written down, without a Redis."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from arq.worker import Retry
from hypothesis import given
from hypothesis import strategies as st

from smsblossom import jobs
from smsblossom.domain.ids import ShopId, WebhookEventId
from smsblossom.jobs import Priority, QueueName
from smsblossom.queue import codec
from smsblossom.queue.adds import Add, arguments
from smsblossom.queue.jobinfo import head_start_ms
from smsblossom.queue.outcomes import (
    BrokenJob,
    JobExpired,
    JobStalled,
    JobTimedOut,
    Permanent,
    Retryable,
)
from smsblossom.queue.rules import Again, Drop, Ending, GiveBack, GiveUp, Stop, StopReason, judge
from smsblossom.queue.topology import HEAD_STARTS, TOPOLOGY, RetryPolicy, next_wait, with_overrides
from smsblossom.queue.turn import Endings, read_reply

STEADY = RetryPolicy(jitter=0)
NOW = datetime(2026, 3, 8, 12, tzinfo=UTC)
JOB = jobs.ProcessEvent(
    shop_id=ShopId(UUID(int=1)),
    request_id="r",
    created_at=NOW,
    event_id=WebhookEventId(UUID(int=2)),
    topic="orders/create",
)


@pytest.mark.parametrize(
    ("error", "attempt", "reason", "ending"),
    [
        pytest.param(ValueError(), 1, None, Again(timedelta(seconds=1)), id="first failure"),
        pytest.param(ValueError(), 5, None, Again(timedelta(seconds=16)), id="fifth failure"),
        pytest.param(ValueError(), 6, None, GiveUp(), id="sixth failure"),
        pytest.param(Retryable(), 1, None, Again(timedelta(seconds=1)), id="retryable"),
        pytest.param(Retryable(after=timedelta(seconds=9)), 1, None, Again(timedelta(seconds=9)), id="asked to wait"),
        pytest.param(Retryable(after=timedelta(seconds=9)), 6, None, GiveUp(), id="asked to wait too often"),
        pytest.param(Retryable(after=timedelta(seconds=-1)), 1, None, Again(timedelta(0)), id="asked for the past"),
        pytest.param(Retry(defer=3), 1, None, Again(timedelta(seconds=3)), id="arq's retry"),
        pytest.param(JobTimedOut(), 2, None, Again(timedelta(seconds=2)), id="time-out"),
        pytest.param(Permanent(), 1, None, GiveUp(), id="permanent"),
        pytest.param(BrokenJob(), 1, None, GiveUp(counted=False), id="broken"),
        pytest.param(JobStalled(), 1, None, GiveUp(counted=False), id="stalled"),
        pytest.param(JobExpired(), 1, None, Stop(), id="expired"),
        pytest.param(asyncio.CancelledError(), 1, None, Again(timedelta(seconds=1)), id="cancelled by itself"),
        pytest.param(asyncio.CancelledError(), 1, StopReason.SHUTDOWN, GiveBack(), id="shutdown"),
        pytest.param(asyncio.CancelledError(), 1, StopReason.ABORTED, Stop(), id="aborted"),
        pytest.param(asyncio.CancelledError(), 1, StopReason.LOST, Drop(), id="taken over"),
        pytest.param(ValueError(), 1, StopReason.SHUTDOWN, Again(timedelta(seconds=1)), id="failed while stopping"),
    ],
)
def test_an_attempt_ends_as_stated(error: BaseException, attempt: int, reason: str | None, ending: Ending):
    assert judge(error, attempt, reason, STEADY) == ending


def test_the_waits_are_the_stated_ones():
    waits = [next_wait(STEADY, attempt) for attempt in range(1, 7)]
    assert waits == [*(timedelta(seconds=s) for s in (1, 2, 4, 8, 16)), None]


@given(st.integers(1, 5), st.floats(0, 1))
def test_jitter_moves_a_wait_by_its_share_at_most(attempt: int, jitter: float):
    base = next_wait(STEADY, attempt)
    moved = next_wait(RetryPolicy(jitter=jitter), attempt)
    assert base is not None
    assert moved is not None
    assert abs(moved - base) <= base * jitter + timedelta(microseconds=1)


def test_the_five_queues_have_the_stated_slots():
    slots = {queue.value: (plan.concurrency, plan.reserved) for queue, plan in TOPOLOGY.items()}
    assert slots == {
        "events": (10, 0),
        "automations": (10, 0),
        "campaigns": (3, 0),
        "delivery": (20, 4),
        "housekeeping": (2, 0),
    }
    assert {plan.retries.attempts for plan in TOPOLOGY.values()} == {6}


def test_every_value_of_the_topology_can_be_overridden():
    changed = with_overrides(TOPOLOGY, {QueueName.EVENTS: {"concurrency": 3}})
    assert changed[QueueName.EVENTS].concurrency == 3
    assert changed[QueueName.DELIVERY] == TOPOLOGY[QueueName.DELIVERY]
    with pytest.raises(TypeError):
        with_overrides(TOPOLOGY, {QueueName.EVENTS: {"no_such_field": 3}})


def test_priorities_are_ordered_by_their_head_start():
    starts = [HEAD_STARTS[priority] for priority in Priority]
    assert starts == sorted(starts, reverse=True)
    assert [head_start_ms(name) for name in (None, "unheard of", "background")] == [0, 0, 0]


@pytest.mark.parametrize(
    ("how", "due", "tag", "expiry", "uniqueness"),
    [
        pytest.param({}, "", "", "", "", id="plain"),
        pytest.param({"job_id": "x"}, "", "", "", "id", id="named"),
        pytest.param({"run_at": NOW}, "1772971200000", "", "", "", id="at a time"),
        pytest.param({"delay_in": timedelta(seconds=2)}, "+2000", "", "", "", id="after a while"),
        pytest.param({"delay_in": timedelta(seconds=-2)}, "+0", "", "", "", id="after no time"),
        pytest.param({"priority": Priority.LOW}, "", "-;30000;", "", "", id="low"),
        pytest.param({"group": "shop:1"}, "", "-;120000;shop:1", "", "", id="grouped"),
        pytest.param({"expires_in": timedelta(seconds=1)}, "", "", "+3601000", "", id="expiring"),
        pytest.param({"dedupe_key": "k"}, "", "", "", "id", id="deduplicated"),
        pytest.param(
            {"dedupe_key": "k", "dedupe_in": timedelta(seconds=3)},
            *("", "", "", "key;3000;events:process:k"),
            id="deduplicated for a while",
        ),
    ],
)
def test_a_job_is_spelled_for_the_script(how: dict[str, Any], due: str, tag: str, expiry: str, uniqueness: str):
    job_id, data, *rest = arguments(Add(job=JOB, **how), TOPOLOGY, 1_000)
    assert tuple(rest) == (due, tag, expiry, uniqueness)
    assert how.get("job_id", job_id) == job_id
    envelope = codec.decode_job(data)
    assert (envelope.f, envelope.et) == ("events:process", 1_000)
    assert msgspec.msgpack.decode(envelope.a[0], type=jobs.ProcessEvent) == JOB


def test_only_urgent_jobs_of_a_reserving_queue_are_in_the_reserved_lane():
    text = jobs.SendMessage(
        shop_id=JOB.shop_id,
        request_id="r",
        created_at=NOW,
        contact_id=UUID(int=3),  # type: ignore[arg-type]
        message_id=UUID(int=4),  # type: ignore[arg-type]
        provider="mitto",
    )
    assert arguments(Add(job=text), TOPOLOGY, 1)[3] == "r;600000;"
    assert arguments(Add(job=text, priority=Priority.LOW), TOPOLOGY, 1)[3] == "-;30000;"
    assert arguments(Add(job=JOB, priority=Priority.CRITICAL), TOPOLOGY, 1)[3] == "-;3600000;"


def test_a_stored_failure_has_type_message_and_the_innermost_frames():
    def deep(level: int) -> None:
        if level == 0:
            raise ValueError("bottom")
        deep(level - 1)

    try:
        deep(50)
    except ValueError as exc:
        failure = codec.failure_of(exc)
    assert (failure.type, failure.message) == ("ValueError", "bottom")
    assert "raise ValueError" in failure.trace
    assert len(failure.trace) <= 8_000
    stored = codec.loads(codec.dumps({"r": ValueError("bottom")}))
    assert stored["r"].failure.message == "bottom"


def test_endings_that_did_not_arrive_come_before_newer_ones():
    older, newer = Endings(), Endings()
    older.add_well("a", "o1")
    older.add_other("b", "o1", "retry", number=5)
    newer.add_well("c", "o1")
    newer.add_well("d", "o2")
    newer.add_result("d", 10, b"r")
    older.merge_before(newer)
    assert older.owners() == {"o1", "o2"}
    well, plan, results, *rest = older.arguments(b"plan")
    assert msgspec.msgpack.decode(well) == {"o1": ["a", "c"], "o2": ["d"]}
    assert (plan, results, rest) == (b"plan", 1, ["d", 10, b"r", "b", "o1", "retry", 5, "", b""])


def test_a_reply_is_read():
    reply = read_reply(
        [5, 7, 1, [b"l"], [b"m", b"12"], [b"a", b"b"], [b"1.5", b"2"], [b"data", None, None, b"3"], [b"b"], [b"a", 2]]
    )
    assert (reply.now_ms, reply.due_ms, reply.again, reply.marks) == (5, 7, True, {"m": 12})
    assert reply.jobs == [("a", b"1.5", b"data", 0), ("b", b"2", None, 3)]
    assert (reply.reserved, reply.stalls) == (frozenset({"b"}), {"a": 2})
