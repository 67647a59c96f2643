"""The long proofs of the queue engine: a critical job among 50,000 others, and stock arq's own tests."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from smsblossom import jobs
from smsblossom.jobs import Priority
from smsblossom.queue.client import Add, open_client
from smsblossom.queue.registry import Registry
from tests.support.queues import make_job, own_redis, until, working

PLUGIN = """
import os, sys, types
import arq, arq.worker
from smsblossom.queue import engine
arq.Worker = arq.worker.Worker = engine.Worker

class RedisContainer:
    port = 6379
    def __init__(self, *_): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def get_container_host_ip(self): return "127.0.0.1"
    def get_exposed_port(self, _): return int(os.environ["ARQ_TEST_PORT"])

sys.modules["testcontainers"] = types.ModuleType("testcontainers")
module = sys.modules["testcontainers.redis"] = types.ModuleType("testcontainers.redis")
module.RedisContainer = RedisContainer
"""


async def measure(redis_url: str, *, background: int, seconds: float) -> list[float]:
    """Milliseconds from add to start of a critical job every 100 ms, while another shop's jobs each await 50 ms."""
    waits: list[float] = []
    registry = Registry()

    @registry.processor(jobs.ProcessEvent)
    async def process(_context: object, job: jobs.ProcessEvent) -> None:
        if job.topic == "critical":
            waits.append((time.perf_counter() - float(job.request_id)) * 1000)
        else:
            await asyncio.sleep(0.05)

    async with open_client(redis_url) as client:
        for first in range(0, background, 1_000):
            await client.add_many(
                [
                    Add(job=make_job("bulk"), priority=Priority.BACKGROUND, group="shop:1")
                    for _ in range(min(1_000, background - first))
                ]
            )
        async with working(redis_url, registry):
            await asyncio.sleep(1)
            count = int(seconds * 10)
            for _ in range(count):
                job = make_job("critical", request_id=str(time.perf_counter()))
                await client.add(job, priority=Priority.CRITICAL, group="shop:2")
                await asyncio.sleep(0.1)
            await until(lambda: len(waits) == count)
    return sorted(waits)


async def test_a_critical_job_does_not_wait_behind_thousands(redis_url: str):
    """The short version asserts the order: in line it would wait for minutes."""
    waits = await measure(redis_url, background=5_000, seconds=3)
    assert waits[-1] < 5_000


@pytest.mark.proof
async def test_critical_jobs_start_at_once_beside_fifty_thousand(redis_url: str):
    waits = await measure(redis_url, background=50_000, seconds=60)
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    print(f"critical jobs beside 50,000: start after {p50:.1f} ms (p99 {p99:.1f} ms)")
    assert p99 < 100


@pytest.fixture
def arq_tests(tmp_path: Path) -> Path:
    """arq's source distribution and what its tests need, in a folder of their own."""
    needs = ["pytest<9", "pytest-asyncio<0.22", "pytest-mock", "pytest-timeout", "msgpack", "dirty-equals", "pytz"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wanted = f"arq=={version('arq')}"
    commands = [
        [*pip, "download", wanted, "--no-deps", "--no-binary", "arq", "--no-build-isolation", "-d", str(tmp_path)],
        [*pip, "install", "--target", str(tmp_path / "needs"), *needs],
    ]
    for command in commands:
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("arq's source distribution is fetched from the package index, which does not answer")
    archive = next(tmp_path.glob("arq-*.tar.gz"))
    shutil.unpack_archive(archive, tmp_path, filter="data")
    (tmp_path / "ours.py").write_text(PLUGIN)
    return tmp_path / archive.name.removesuffix(".tar.gz")


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_arqs_own_tests_pass_against_our_worker(arq_tests: Path, tmp_path: Path):
    root = Path(__file__).parent.parent.parent
    with own_redis(tmp_path, fsync="no") as server:
        done = subprocess.run(
            [
                sys.executable, "-m", "pytest", "-p", "ours", "-p", "no:cacheprovider", "-p", "no:anyio",
                "-p", "no:aiohttp", "-p", "no:xdist", "-q", "-c", os.devnull, "--rootdir", ".", "--timeout", "60",
                "-o", "asyncio_mode=auto", "-W", "ignore", "--import-mode", "prepend",
                *(f"tests/test_{name}.py" for name in ("worker", "jobs", "main", "cron")),
            ],
            cwd=arq_tests,
            env={
                **os.environ,  # noqa: TID251
                "ARQ_TEST_PORT": str(server.port),
                "PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "needs", root, tmp_path))),
            },
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    print(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout[-4000:]
