"""The application: routes, errors and the gate, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

from meshd import __version__
from meshd.api import (
    acting,
    discovering,
    events,
    failures,
    health,
    mesh,
    reading,
    registering,
)
from meshd.api.feed import Feed
from meshd.api.peers import Gate
from meshd.api.replies import Reply

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

    from meshd.api.loopback import Token
    from meshd.services import Services

PREFIX = "/api/mesh"


def make_app(services: Services, token: Token | None = None) -> FastAPI:
    """Return the application that answers for a daemon.

    Args:
        services: the daemon, as the routes see it.
        token: what those who come over TCP must show; None when nobody may come so.
    """
    app = FastAPI(
        title="meshd",
        summary="Which agents exist, where, and is that still true.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        default_response_class=Reply,
        generate_unique_id_function=_operation_id,
    )
    app.state.services = services
    app.state.feed = Feed(services.store)
    app.add_middleware(Gate, token=token)
    failures.install(app)
    for routes in (reading, mesh, events, acting, registering, discovering):
        app.include_router(routes.router, prefix=PREFIX)
    app.include_router(health.router)
    return app


def _operation_id(route: APIRoute) -> str:
    """Name an operation like its handler: `list_agents`."""
    return route.name
