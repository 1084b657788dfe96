"""Where messages arrive: what apprise posts to ``json://…/chat/NAME`` is kept, and listed to whoever looks there.

https://github.com/caronc/apprise/wiki/Notify_Custom_JSON: ``{"version", "title", "message", "attachments", "type"}``.
"""

from __future__ import annotations

from collections import defaultdict, deque

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

NAME = "chat"
_kept: dict[str, deque[dict[str, str]]] = defaultdict(lambda: deque(maxlen=100))


async def keep_messages(request: Request) -> Response:
    """Add one, or tell those of the channel, the oldest first."""
    channel = _kept[request.path_params["channel"]]
    if request.method == "POST":
        body = await request.json()
        channel.append({"title": str(body.get("title", "")), "message": str(body.get("message", ""))})
    return JSONResponse(list(channel))


ROUTES = [Route("/chat/{channel}", keep_messages, methods=["GET", "POST"])]
