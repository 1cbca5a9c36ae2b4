"""Watching the health of one running container, by its probes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from weft.adapters.cri.client import CriError, Runtime
from weft.cluster.kubelet import grpc_probe, probes
from weft.cluster.kubelet.lifecycle import Health
from weft.cluster.kubelet.probes import Check, Exec, Grpc, Http, Role, Tally, Tcp, Timing
from weft.cluster.kubelet.recorder import Event

_SHOWN = 400  # characters of a probe's output in an event


async def attempt(runtime: Runtime, container: str, check: Check, seconds: float) -> str:
    """Try a check once; why it is not good, or empty."""
    match check:
        case Exec(command):
            try:
                output = await runtime.exec_sync(container, command, seconds)
            except CriError as error:
                return f"command {list(command)} timed out or could not run: {error.message}"
            return (
                ""
                if output.exit_code == 0
                else (output.stdout + output.stderr).decode(errors="replace") or "failed"
            )
        case Http():
            return await probes.get(check, seconds)
        case Tcp():
            return await probes.connect(check, seconds)
        case Grpc(host, port, service):
            return await grpc_probe.ask(host, port, service, seconds)


@dataclass(frozen=True, slots=True)
class Subject:
    """A running container to watch. `known` is its health if that is known already, `started` epoch seconds."""

    id: str
    spec: dict[str, Any]
    pod_ip: str
    started: float
    known: Health | None = None


class Prober:
    """Watches one container until it is cancelled, and tells each change of its health."""

    def __init__(
        self,
        runtime: Runtime,
        subject: Subject,
        clock: Callable[[], float],
        changed: Callable[[Health], None],
        tell: Callable[[Event], None],
    ) -> None:
        self._runtime, self._subject, self._clock = runtime, subject, clock
        self._changed, self._tell = changed, tell
        spec = subject.spec
        started = not spec.get("startupProbe")
        self.health = subject.known or Health(started, started and not spec.get("readinessProbe"))

    async def run(self) -> None:
        """Watch for as long as the container runs."""
        if not self.health.started:
            await self._startup()
        async with asyncio.TaskGroup() as group:
            if self._subject.spec.get("livenessProbe"):
                group.create_task(self._liveness())
            if self._subject.spec.get("readinessProbe"):
                group.create_task(self._readiness())

    async def _startup(self) -> None:
        async for tally in self._tries(Role.STARTUP):
            if tally.passing:
                break
            if tally.passing is False:
                self._set(Health(started=False, ready=False, failed=self._killing("startup")))
                await asyncio.Event().wait()
        self._set(Health(started=True, ready=not self._subject.spec.get("readinessProbe")))

    async def _liveness(self) -> None:
        async for tally in self._tries(Role.LIVENESS):
            if tally.passing is False:
                self._set(Health(self.health.started, self.health.ready, self._killing("liveness")))
                return

    async def _readiness(self) -> None:
        async for tally in self._tries(Role.READINESS):
            ready = self.health.ready if tally.passing is None else tally.passing
            self._set(Health(self.health.started, ready, self.health.failed))

    async def _tries(self, role: Role) -> AsyncIterator[Tally]:
        probe = self._subject.spec[f"{role.value.lower()}Probe"]
        rule = probes.timing(role, probe)
        try:
            check = probes.check(probe, self._subject.spec, self._subject.pod_ip)
        except ValueError as error:
            self._unhealthy(rule, str(error))
            return
        await asyncio.sleep(max(0.0, self._subject.started + rule.initial_delay - self._clock()))
        begun = self._clock()
        tally = Tally()
        while True:
            trouble = await attempt(self._runtime, self._subject.id, check, rule.timeout)
            early = role is Role.READINESS and tally.passing is None and self._clock() - begun < rule.period
            if not (trouble and early):
                # a look before the first period is over is no failure yet
                tally = probes.after(tally, not trouble, rule)
                if trouble:
                    self._unhealthy(rule, trouble)
                yield tally
            await asyncio.sleep(probes.pause(tally, rule))

    def _unhealthy(self, rule: Timing, trouble: str) -> None:
        message = f"{rule.role.value} probe failed: {trouble.strip()[:_SHOWN]}"
        self._tell(Event("Unhealthy", message, warning=True, container=self._subject.spec["name"]))

    def _killing(self, probe: str) -> str:
        return f"Container {self._subject.spec['name']} failed {probe} probe, will be restarted"

    def _set(self, health: Health) -> None:
        if health != self.health:
            self.health = health
            self._changed(health)
