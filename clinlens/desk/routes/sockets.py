"""News of a job as it happens: a snapshot, then every event with its number, so that who reconnects misses none.

Source: WS /api/ws/jobs/{job_id} of A.1 in paper 003.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from clinlens.desk.jobs.office import Office
from clinlens.desk.routes.visitor import Analyst, TheJob, TheOffice
from labeling.web.access import Allow
from labeling.web.errors import Refusal

api = APIRouter(tags=["desk"])
ROUTERS = (api,)
LOOK_S = 20.0
"""How often a socket that hears nothing looks whether its owner is still signed in, and the job still there."""
GONE, NOT_ALLOWED = 4404, 4401
"""Codes with which a socket is closed."""


@api.websocket("/api/ws/jobs/{job_id}")
async def news(
    socket: WebSocket, visit: Analyst, office: TheOffice, row: TheJob, after: Annotated[int | None, Query(ge=0)] = None
) -> None:
    """The state of a job, then its events from the one after `after` on; without it, those from now on."""
    await socket.accept()
    bell = office.notices.join(row["id"])
    leaving = asyncio.ensure_future(until_gone(socket))
    try:
        await tell(socket, office, row["id"], after, bell, leaving)
    except WebSocketDisconnect:
        pass
    finally:
        office.notices.leave(row["id"], bell)
        leaving.cancel()


async def tell(
    socket: WebSocket, office: Office, job: str, after: int | None, bell: asyncio.Event, leaving: "asyncio.Future[None]"
) -> None:
    """Sends until the other side leaves, is signed out, or the job is gone."""
    row = await run_in_threadpool(office.store.job, job)
    if row is None:
        await socket.close(GONE)
        return
    snapshot = await run_in_threadpool(office.status, row)
    await socket.send_json({"type": "snapshot", **snapshot})
    seen = snapshot["seq"] if after is None else min(after, snapshot["seq"])
    while not leaving.done():
        bell.clear()
        events = await run_in_threadpool(office.store.events, job, seen)
        for event in events:
            await socket.send_json(event)
            seen = event["seq"]
        if events:
            continue
        ringing = asyncio.ensure_future(bell.wait())
        done, _ = await asyncio.wait({ringing, leaving}, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        ringing.cancel()
        code = None if done and leaving in done else await run_in_threadpool(why_to_close, socket, office, job)
        if code is not None:
            await socket.close(code)
            return


def why_to_close(socket: WebSocket, office: Office, job: str) -> int | None:
    """The code with which a socket ends: its owner may not listen any more, or the job is gone."""
    try:
        Allow("desk")(socket)
    except Refusal:
        return NOT_ALLOWED
    return GONE if office.store.job(job) is None else None


async def until_gone(socket: WebSocket) -> None:
    """Waits until the other side leaves; what it says is not listened to."""
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
