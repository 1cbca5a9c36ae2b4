"""`weft agent proxy sidecar` and `… router`: Envoy, with all it needs to live in a pod."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.adapters import envoy_process, grpc_server, http, sds_server
from weft.adapters.istiod import Credentials, Istiod
from weft.inject.bootstrap import Sockets, bootstrap
from weft.processes.agent import bootstrap_changes, sources
from weft.processes.agent.file_secrets import FileSecrets, own
from weft.processes.agent.holding import Holding
from weft.processes.agent.identity import Identity, Requests
from weft.processes.agent.kept import Kept
from weft.processes.agent.metrics import metrics
from weft.processes.agent.name_feed import NameFeed
from weft.processes.agent.relay import Feed, Relay
from weft.processes.agent.settings import Role, Settings, SettingsError, read
from weft.processes.agent.status import Status
from weft.processes.agent.supervisor import GATEWAY, SIDECAR, CannotStartError, Duty, Supervisor
from weft.processes.agent.trust_feed import TrustFeed
from weft.processes.limits import no_core_dumps

if TYPE_CHECKING:
    from weft.processes.agent.dns import Dns

_log = logging.getLogger("weft.agent")
VERSION = "0.1.0"


def main(role: Role, argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run until told to end: 0 then; Envoy's exit code when it cannot start; 1 for settings that cannot work."""
    _log_to_stderr()
    try:
        settings = read(argv, environment, version=VERSION, role=role)
        logging.getLogger().setLevel(settings.agent_log_level)
        return asyncio.run(run(settings))
    except (SettingsError, envoy_process.EnvoyMissingError) as error:
        _log.error("%s", error)
        return 1


async def run(settings: Settings, stop: asyncio.Event | None = None) -> int:
    """Run the proxy of one pod until `stop`, a signal or /quitquitquit; then drain. Returns an exit code."""
    stop = stop or asyncio.Event()
    _on_signals(stop)
    no_core_dumps()
    for warning in settings.identity.warnings:
        _log.warning("%s", warning)
    if settings.ignored:
        _log.info("flags without effect here: %s", " ".join(settings.ignored))
    istiod = Istiod(_credentials(settings, settings.istiod))
    secrets = sds_server.Secrets()
    # configuration may come from another control plane than certificates do
    authority = (
        istiod
        if settings.authority in {"", settings.istiod}
        else Istiod(_credentials(settings, settings.authority))
    )
    holding = Holding(secrets, settings.identity.output)
    requests = Requests()
    work, feeds = _identified(settings, authority, secrets, requests)
    changes = await bootstrap_changes.ask(istiod, settings.node)
    supervisor = Supervisor(await _command(settings, changes), settings.ports, _duty(settings))
    dns = _dns(settings) if settings.dns else None
    status = Status(
        settings,
        stop.set,
        lambda: metrics(holding, requests, supervisor),
        why_not=lambda: "" if dns is None or dns.is_ready else "the names of the mesh are not here yet",
    )
    feeds += [NameFeed(dns.learn)] if dns else []
    server = await _serve_envoy(settings, secrets, Relay(istiod, feeds))
    listener = await http.serve("0.0.0.0", settings.ports.status, status.handle)
    work += [holding.run(), supervisor.run()]
    if dns:
        work.append(dns.serve(settings.ports.dns))
    tasks = [asyncio.ensure_future(task) for task in work]
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((*tasks, stopped), return_when=asyncio.FIRST_COMPLETED)
        return await _end(tasks, status, supervisor, settings)
    finally:
        for task in (*tasks, stopped):
            task.cancel()
        await asyncio.gather(*tasks, stopped, return_exceptions=True)
        await supervisor.stop()
        listener.close()
        await server.stop()
        await istiod.close()
        await authority.close()


async def _end(
    tasks: Sequence[asyncio.Future[None]], status: Status, supervisor: Supervisor, settings: Settings
) -> int:
    """What the proxy ends with. A task that ended by itself failed: nothing in it returns."""
    for task in tasks:
        if task.done():
            try:
                task.result()
            except CannotStartError as error:
                _log.error("%s", error)
                return error.code
    _log.info("draining for %g s", settings.drain.least.total_seconds())
    status.draining = True
    await supervisor.drain(settings.drain)
    return 0


def _identified(
    settings: Settings, authority: Istiod, secrets: sds_server.Secrets, requests: Requests
) -> tuple[list[Coroutine[Any, Any, None]], list[Feed]]:
    """What keeps the pod's certificate fresh, and those in files that Envoy asks for; what istiod is asked."""
    match sources.choose(settings):
        case sources.Mounted(files):
            _log.info("the certificate is that of %s; this agent makes none", files.chain)
            return [FileSecrets(secrets, own(files)).run()], []
        case sources.External(socket):
            # most pods do without it
            from weft.processes.agent.external_secrets import ExternalSecrets

            external = ExternalSecrets(socket, secrets, settings.node.id)
            return [external.run(), FileSecrets(secrets).run()], []
        case sources.Authority():
            kept = Kept(settings.paths.kept, settings.namespace, settings.account)
            roots = settings.proxy.ca_certificates_pem or ()
            identity = Identity(authority, secrets, settings.identity, kept, requests, roots)
            # what istiod trusts is of no concern to whom another authority certifies
            feeds: list[Feed] = [TrustFeed(identity.learn)] if settings.authority in {"", settings.istiod} else []
            return [identity.run(), FileSecrets(secrets).run()], feeds


def _duty(settings: Settings) -> Duty:
    """A sidecar's clients are those of its pod's ports; all that a gateway listens on is for clients."""
    return GATEWAY if settings.role == "router" else SIDECAR


def _credentials(settings: Settings, address: str) -> Credentials:
    paths, shown = settings.paths, settings.identity.shown
    if shown is None:
        return Credentials(address, paths.token, paths.root, settings.cluster_id)
    root = paths.root if paths.root.exists() else shown.roots
    return Credentials(address, paths.token, root, settings.cluster_id, shown.chain, shown.key)


async def _command(settings: Settings, changes: tuple[bytes, ...]) -> envoy_process.Command:
    """Write Envoy's bootstrap and say how to run it. Changes that Envoy refuses are left out."""
    sockets = Sockets(str(settings.paths.xds), str(settings.paths.sds))
    plain = bootstrap(settings.node, settings.ports, sockets, settings.proxy)
    command = _written(settings, bootstrap_changes.applied(plain, changes))
    if changes and (why := await envoy_process.refusal(command)):
        _log.error("Envoy refuses its bootstrap as EnvoyFilters change it, so it starts without: %s", why)
        return _written(settings, plain)
    return command


def _written(settings: Settings, content: Mapping[str, Any]) -> envoy_process.Command:
    path = settings.paths.bootstrap
    try:
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}. The volume istio-envoy is missing") from error
    return envoy_process.Command(
        program=envoy_process.find(),
        bootstrap=path,
        concurrency=settings.concurrency,
        log_level=settings.log_level,
        component_log_level=settings.component_log_level,
        drain_seconds=max(1, round(settings.drain.envoy.total_seconds())),
        flush_milliseconds=round(settings.flush_interval.total_seconds() * 1000),
        flush_kilobytes=settings.proxy.file_flush_min_size_kb,
        override=_override(settings.bootstrap_override),
    )


def _dns(settings: Settings) -> "Dns":
    from weft.processes.agent.dns import Dns  # most pods do without it, and without the memory for its library

    return Dns.of_pod(settings.namespace, settings.domain)


def _override(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        way_out = "The ConfigMap of sidecar.istio.io/bootstrapOverride needs the key custom_bootstrap.json"
        raise SettingsError(f"cannot read {path}: {error.strerror}. {way_out}") from error


async def _serve_envoy(settings: Settings, secrets: sds_server.Secrets, relay: Relay) -> grpc_server.Server:
    """Secrets and configuration on Unix sockets, each where Istio has it."""
    server = grpc_server.Server()
    sds_server.register(server, secrets)
    relay.register(server)
    for socket in (settings.paths.sds, settings.paths.xds):
        # what a former run of this container left behind
        socket.unlink(missing_ok=True)
        server.listen(f"unix:{socket}")
    await server.start()
    return server


def _on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _log_to_stderr() -> None:
    """Istio's layout: time, level, message, tab-separated."""
    logging.Formatter.converter = time.gmtime
    layout = "%(asctime)s.%(msecs)03dZ\t%(levelname)s\t%(name)s\t%(message)s"
    logging.basicConfig(level=logging.INFO, format=layout, datefmt="%Y-%m-%dT%H:%M:%S", stream=sys.stderr)
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.addLevelName(level, logging.getLevelName(level).lower())
