"""Health, metrics and nodes, for those who run the program."""

from aiohttp import web

from coordinator.errors import InfrastructureError
from web.access import caller, check_list
from web.bodies import Health, NodePage, answer, check_query, limit_of
from web.metrics import CONTENT_TYPE
from web.operations import LIST_PARAMETERS, Operation
from web.services import services


async def alive(request: web.Request) -> web.StreamResponse:
    """The process answers; nothing else is looked at: a restart heals no other."""
    return answer(Health(status="ok"))


async def ready(request: web.Request) -> web.StreamResponse:
    """Raises InfrastructureError: server_draining, center_unavailable, no_node."""
    here = services(request)
    if here.draining:
        raise InfrastructureError("server_draining")
    if not await here.center.ping():
        raise InfrastructureError("center_unavailable")
    if not await here.nodes.list("media"):
        raise InfrastructureError("no_node", "No media node is registered.")
    return answer(Health(status="ok"))


async def metrics(request: web.Request) -> web.StreamResponse:
    body = await services(request).metrics.text()
    response = web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})
    response.enable_compression()
    return response


async def list_nodes(request: web.Request) -> web.StreamResponse:
    here = services(request)
    check_list(caller(request, here.signaling))
    check_query(request, ("limit", "cursor"))
    limit, cursor = limit_of(request), request.query.get("cursor", "")
    nodes = [node for node in await here.nodes.list() if node.id > cursor]
    more = len(nodes) > limit
    return answer(NodePage(nodes=nodes[:limit], next_cursor=nodes[limit - 1].id if more else None))


OPERATIONS = (
    Operation(
        method="GET",
        path="/v1/nodes",
        handler=list_nodes,
        name="listNodes",
        summary="List the processes that live: media nodes and web processes.",
        tag="operation",
        grant="roomList",
        parameters=LIST_PARAMETERS,
        answers=((200, NodePage),),
    ),
    Operation(
        method="GET",
        path="/healthz",
        handler=alive,
        name="alive",
        summary="Whether this process answers.",
        tag="operation",
        answers=((200, Health),),
    ),
    Operation(
        method="GET",
        path="/readyz",
        handler=ready,
        name="ready",
        summary="Whether people can meet: Redis is reachable and a media node is registered.",
        tag="operation",
        answers=((200, Health),),
        codes=("server_draining", "center_unavailable", "no_node"),
    ),
    Operation(
        method="GET",
        path="/metrics",
        handler=metrics,
        name="metrics",
        summary="Counters and gauges of this process and of all media nodes.",
        tag="operation",
        answers=((200, "text/plain"),),
    ),
)
