"""The answers to the plugin's calls: whether a pod is captured, and its rules, written or looked for.

A pod that should be in the mesh and cannot be captured does not start: every way out of here that is not sure
fails the call, with a message that says why and how to go on.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from weft.model import enrolment
from weft.processes.cni import calls, capturing, wire
from weft.processes.cni.calls import Call, CallError
from weft.processes.cni.metrics import Registry
from weft.processes.cni.pods import Pods
from weft.processes.cni.telling import Teller
from weft.redirect import render
from weft.redirect.pod import RedirectError

T = TypeVar("T")
Pod = Mapping[str, Any]

PATIENCE: Final = 30.0
"""Seconds that a pod may take to be told of: Istio asks thirty times, a second apart."""
_WORKERS: Final = 8
"""Namespaces in which rules are written at the same time."""
_AGENT: Final = "istio-cni-node-"
_NOT_CAPTURED: Final = "IstioCNINotCaptured"
"""The reason of an event."""

log = logging.getLogger("weft.cni.plugin")


class Attaching:
    """Answers calls. `excluded` and `namespace` (ours) hold beside what a network's configuration says.

    `captured` is told the UID of each pod whose traffic is captured now.
    """

    def __init__(
        self,
        pods: Pods,
        teller: Teller,
        registry: Registry,
        monotonic: Callable[[], float],
        *,
        namespace: str,
        excluded: frozenset[str],
        native: bool = False,
        patience: float = PATIENCE,
        captured: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._pods, self._teller, self._monotonic, self._patience = pods, teller, monotonic, patience
        self._namespace, self._excluded, self._native = namespace, excluded, native
        self._captured = captured
        self._threads = ThreadPoolExecutor(_WORKERS, thread_name_prefix="cni")
        self._calls = registry.counter(
            "istio_cni_plugin_calls_total", "Calls of the plugin, and what came of them.", "command", "outcome"
        )
        self._took = registry.histogram(
            "istio_cni_plugin_seconds", "Seconds that a call took here: in all, and its parts.", "command", "part"
        )

    @contextlib.asynccontextmanager
    async def serving(self, folder: Path) -> AsyncIterator[None]:
        """Answer on the socket in `folder` while the context is open."""
        log.setLevel(logging.DEBUG)  # each call says for itself what is logged of it
        try:
            async with wire.serving(folder, self.answer):
                yield
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, request: bytes, netns: str) -> bytes:
        """The answer to a request, as it goes back. `netns` is the path of the namespace that came along."""
        began, command, outcome = self._monotonic(), "?", "failed"
        try:
            call = calls.read(request)
            command = call.command
            outcome = await self._answer(call, netns)
        except CallError as error:
            return error.answer(calls.version(request))
        except Exception as error:
            log.exception("a call failed by a defect of ours")
            defect = f"istio-cni: a defect of the node process: {type(error).__name__}: {error}"
            return CallError(calls.DEFECT, defect, "Its log has more. Please report it.").answer("")
        finally:
            self._calls.add(command, outcome)
            self._took.took(self._monotonic() - began, command, "all")
        return call.unchanged

    async def _answer(self, call: Call, netns: str) -> str:
        """Do what a call asks for; what came of it, in a word."""
        match call.command:
            case "STATUS" if not self._pods.synced.is_set():
                raise CallError(
                    calls.UNAVAILABLE,
                    "pods cannot be added yet: the node process has not read the node's pods",
                    "It waits for the API server; its log says more.",
                )
            case "ADD" | "CHECK":
                return await self._attach(call, netns)
            case _:
                # a pod's rules go with its namespace: there is nothing to take away and nothing to collect
                return "done"

    async def _attach(self, call: Call, netns: str) -> str:
        if reason := self._outside(call):
            _say(call, logging.DEBUG, f"left alone: {reason}")
            return "left"
        pod = await self._find(call)
        decision = enrolment.captured(call.namespace, pod, self._all_excluded(call))
        if isinstance(decision, enrolment.Leave):
            _say(call, logging.INFO, f"left alone: {decision.reason}")
            return "left"
        _say(call, logging.DEBUG, "is to be captured: it has its sidecar, and nothing says otherwise")
        try:
            if call.command == "CHECK":
                await self._look(call, pod, _opened(call, netns))
            else:
                await self._capture(call, pod, _opened(call, netns))
        except CallError as error:
            _say(call, logging.ERROR, f"is not captured: {error.msg}")
            if call.command == "ADD":
                self._teller.tell(pod, _NOT_CAPTURED, f"{error.msg} {error.details}".strip())
            raise
        return "captured"

    def _outside(self, call: Call) -> str:
        """Why a call is not about a pod of the mesh, if that can be told without the pod."""
        if not call.name:
            return "it is no pod of Kubernetes"
        if reason := enrolment.excluded_namespace(call.namespace, self._all_excluded(call)):
            return reason
        ours = call.namespace in {self._namespace, call.config.pod_namespace} and call.name.startswith(_AGENT)
        return "it is the node process itself" if ours else ""

    def _all_excluded(self, call: Call) -> frozenset[str]:
        return self._excluded.union(call.config.exclude_namespaces or ())

    async def _find(self, call: Call) -> Pod:
        began = self._monotonic()
        pod = await self._pods.find(call.namespace, call.name, call.uid, self._patience)
        self._took.took(self._monotonic() - began, call.command, "pod")
        if pod is None:
            uid = f" with UID {call.uid}" if call.uid else ""
            raise CallError(
                calls.LATER,
                f"{call.subject}{uid} is not known: the API server has not told of it in {self._patience:g} s",
                "Whether it is in the mesh is in the pod, so it waits. It is tried again; see whether the node's "
                f"istio-cni-node in namespace {self._namespace} reaches the API server.",
            )
        return pod

    async def _capture(self, call: Call, pod: Pod, netns: str) -> None:
        how = capturing.backend(native=self._native or call.config.native_nftables)
        applied = await self._in_thread(call, partial(capturing.apply, pod, netns, how))
        self._captured(pod["metadata"]["uid"])
        wrote = f"{len(applied.plan.rules)} rules by {applied.program}" if applied.changed else "as it was already"
        _say(call, logging.INFO, f"captured: {wrote}")
        if call.level <= logging.DEBUG:
            for version in applied.plan.versions:
                for line in render.explanation(applied.plan, version).splitlines():
                    _say(call, logging.DEBUG, f"IPv{version}: {line}")
        for name, address in applied.addresses:
            _say(call, logging.INFO, f"interface {name} has the address {address} now, as the pod asks")
        for problem in applied.problems:
            _say(call, logging.WARNING, str(problem))
            self._teller.tell(pod, problem.code, f"{problem.at.name}: {problem.message} {problem.hint}")

    async def _look(self, call: Call, pod: Pod, netns: str) -> None:
        how = capturing.backend(native=self._native or call.config.native_nftables)
        if lacking := await self._in_thread(call, partial(capturing.missing, pod, netns, how)):
            raise CallError(
                calls.RULES,
                f"{call.subject} is not captured: {len(lacking)} rules are missing, the first is {lacking[0]}",
                "Delete the pod, or have it repaired (repair.repairPods).\n" + "\n".join(lacking),
            )

    async def _in_thread(self, call: Call, work: Callable[[], T]) -> T:
        """Work on the kernel. Its errors become the call's.

        It is never broken off: the descriptor of the namespace may be another's once this call is over.
        """
        began = self._monotonic()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except RedirectError as error:
            raise CallError(
                calls.REDIRECTION,
                f"the traffic of {call.subject} cannot be captured: {error}",
                "The pod does not start outside the mesh. Correct its template, and it is made anew.",
            ) from error
        except capturing.Errors as error:
            raise CallError(
                calls.RULES,
                f"the traffic of {call.subject} cannot be captured: {error}",
                "The pod does not start outside the mesh. It is tried again.",
            ) from error
        finally:
            self._took.took(self._monotonic() - began, call.command, "rules")


def _opened(call: Call, netns: str) -> str:
    if not netns:
        raise CallError(
            calls.ENVIRONMENT, f"the plugin could not open the network namespace CNI_NETNS={call.netns}"
        )
    return netns


def _say(call: Call, level: int, text: str) -> None:
    if level >= call.level:
        log.log(level, "%s %s: %s", call.command, call.subject, text)
