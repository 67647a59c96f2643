"""app/uninstalled: stop sending at once; a notice older than the present install is ignored."""

from processors.topics import on_topic
from smsblossom.domain.events import AppUninstalled
from smsblossom.store import shops
from smsblossom.store.inbox import InboxState
from smsblossom.store.shops import ShopStatus
from smsblossom.usecases.intake import Intake, Settled


@on_topic("app/uninstalled")
async def app_uninstalled(intake: Intake, _event: AppUninstalled) -> Settled:
    if intake.triggered_at < intake.shop.connected_at:
        return Settled(InboxState.IGNORED, "older than the present install")
    await shops.set_status(intake.connection, intake.shop.id, ShopStatus.UNINSTALLED, now=intake.now)
    return Settled(InboxState.PROCESSED, "sending stopped")
