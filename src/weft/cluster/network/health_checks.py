"""`healthCheckNodePort`, answered as kube-proxy does.

An outside load balancer asks each node, so that it sends connections only where an endpoint is
(externalTrafficPolicy Local).
"""

import asyncio
import logging
from collections.abc import Mapping

from aiohttp import web

from weft.cluster.network.directory import Directory, Key, Picture

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 5.0


def asked(picture: Picture) -> dict[int, Key]:
    """The ports that are to be served, and for which service."""
    return {
        service.spec.health_check_node_port: key
        for key, service in picture.services.items()
        if service.spec.health_check_node_port
        and service.spec.type == "LoadBalancer"
        and service.spec.external_traffic_policy == "Local"
    }


def local_endpoints(picture: Picture, service: Key, node_name: str) -> int:
    """How many ready endpoints of a service are on this node."""
    found = (one for part in picture.of(service) if part.address_type == "IPv4" for one in part.endpoints or ())
    return len({ip for one in found if one.ready and one.node_name == node_name for ip in one.addresses})


async def run(directory: Directory, bind_ip: str, node_name: str) -> None:
    """Serve the ports that services ask for, for ever."""
    stirred = asyncio.Event()
    directory.listen(stirred.set)
    servers: dict[int, web.AppRunner] = {}
    try:
        while True:
            await stirred.wait()
            stirred.clear()
            wanted = asked(directory.picture)
            for port in servers.keys() - wanted.keys():
                await servers.pop(port).cleanup()
            for port in wanted.keys() - servers.keys():
                try:
                    servers[port] = await _serve(directory, bind_ip, port, node_name)
                except OSError as error:
                    _LOG.error("healthCheckNodePort %d: %s", port, error)
                    asyncio.get_running_loop().call_later(_RETRY_SECONDS, stirred.set)
    finally:
        for runner in servers.values():
            await runner.cleanup()


async def _serve(directory: Directory, bind_ip: str, port: int, node_name: str) -> web.AppRunner:
    async def answer(_: web.Request) -> web.Response:
        service = asked(directory.picture).get(port)
        if service is None:
            raise web.HTTPNotFound
        return _response(service, local_endpoints(directory.picture, service, node_name))

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind_ip, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner


def _response(service: Key, count: int) -> web.Response:
    namespace, name = service
    told: Mapping[str, object] = {
        "service": {"namespace": namespace, "name": name},
        "localEndpoints": count,
        "serviceProxyHealthy": True,
    }
    return web.json_response(
        told, status=200 if count else 503, headers={"X-Load-Balancing-Endpoint-Weight": str(count)}
    )
