"""One command's stay at a running service: open it, ask, close it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from smsblossom import settings as settings_module
from smsblossom import telemetry
from smsblossom.bootstrap import Runtime, open_runtime
from smsblossom.domain.ids import ShopId
from smsblossom.store.shops import Shop
from smsblossom.usecases import manage

_T = TypeVar("_T")

ACTOR = "operator at the command line"


def ask(body: Callable[[Runtime], Awaitable[_T]]) -> _T:
    """Run `body` with an open Runtime. Logs are for processes: a command says in words what it did."""
    settings = settings_module.load()
    telemetry.configure_logging("error", "console")

    async def asking() -> _T:
        async with open_runtime(settings, pool_size=2) as runtime:
            return await body(runtime)

    return asyncio.run(asking())


async def shops_meant(runtime: Runtime, domain: str | None) -> dict[ShopId, Shop]:
    """The shop of that domain, or all shops.

    Raises:
        Refused: no such shop.

    """
    found = [await manage.find_shop(runtime, domain)] if domain else await manage.list_shops(runtime)
    return {shop.id: shop for shop in found}
