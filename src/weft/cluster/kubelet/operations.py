"""What a worker does for its pod: operations that leave their results in the runtime and the notes."""

import asyncio
import contextlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.adapters.cri.client import CriError
from weft.adapters.cri.types import Resources
from weft.cluster.kubelet import cgroups, image_names, lifecycle, logins, probes, quantity, volume_files
from weft.cluster.kubelet.images import Got, ImageError
from weft.cluster.kubelet.lifecycle import SANDBOX, Backoff, Kill, Start, Trouble
from weft.cluster.kubelet.making import Making
from weft.cluster.kubelet.objects import ConfigError, references
from weft.cluster.kubelet.prober import attempt as try_check
from weft.cluster.kubelet.recorder import Event
from weft.cluster.kubelet.station import Json, Station
from weft.cluster.kubelet.status import initial_reason

if TYPE_CHECKING:
    from weft.cluster.kubelet.worker import Worker

_CONFIG_RETRY = 10.0  # seconds; the objects themselves are followed, and wake the pod sooner
_SANDBOX_RETRIES = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)
_FAILURE_SHOWN = 2.0  # seconds for which a failure is shown as such, before it is a back-off


class Operations:
    """The operations of one worker."""

    def __init__(self, station: Station, worker: "Worker") -> None:
        self._station, self._worker = station, worker
        self._pull_backoffs: dict[str, Backoff] = {}
        self._waiting: set[asyncio.Task[Any]] = set()

    def abandon(self) -> None:
        """Give up waiting for images: the pod is to go."""
        for task in self._waiting:
            task.cancel()

    # -- the sandbox

    async def run_sandbox(self, attempt: int) -> None:
        """Run the pod's sandbox, or remember why not."""
        worker = self._worker
        if worker.seen.sandboxes:
            worker.tell(Event("SandboxChanged", "Pod sandbox changed, it will be killed and re-created."))
        try:
            worker.maker.logs.mkdir(parents=True, exist_ok=True)
            handler = await self._handler()
            self._weigh()
            await self._station.runtime.run_sandbox(worker.maker.sandbox(attempt, handler))
        except (CriError, ConfigError, OSError) as error:
            said = error.message if isinstance(error, CriError) else str(error)
            delay = _SANDBOX_RETRIES[min(worker.notes.failures, len(_SANDBOX_RETRIES) - 1)]
            message = f"Failed to create pod sandbox: {said}"
            worker.tell(Event("FailedCreatePodSandBox", message, warning=True))
            worker.note(failures=worker.notes.failures + 1)
            worker.trouble(SANDBOX, Trouble("FailedCreatePodSandBox", said, self._station.clock() + delay))
            return
        worker.note(failures=0)
        worker.trouble(SANDBOX, None)

    def _weigh(self, *, unlimited: bool = False) -> None:
        """Give the pod's own cgroup its weight and limits as the spec has them now."""
        wanted = quantity.pod_cgroup(self._worker.pod["spec"])
        if unlimited:
            wanted = replace(wanted, memory=0, cpu_quota=0)
        cgroups.give(self._station.pod_cgroup(self._worker.pod["metadata"]["uid"]), wanted)

    async def limit(self, container: str, wanted: Resources) -> None:
        """Give a running container other limits, and its pod with it."""
        self._weigh(unlimited=True)
        await self._station.runtime.limit(container, wanted)
        self._weigh()

    async def resize_anew(self, kill: Kill) -> None:
        """End a container whose new limits need a start; the restart policy goes on from there."""
        await self.kill(kill)
        self._weigh()

    async def _handler(self) -> str:
        name = self._worker.pod["spec"].get("runtimeClassName")
        return await self._station.cluster.runtime_handler(str(name)) if name else ""

    async def stop_sandbox(self, sandbox: str) -> None:
        """Stop a sandbox, and remember that it is stopped."""
        await self._station.runtime.stop_sandbox(sandbox)
        self._worker.note(stopped=self._worker.notes.stopped | {sandbox})

    async def remove_sandbox(self, sandbox: str) -> None:
        """Remove a sandbox and its containers."""
        await self._station.runtime.stop_sandbox(sandbox)
        await self._station.runtime.remove_sandbox(sandbox)

    def clean(self) -> None:
        """Remove what the pod had on disk and its cgroups."""
        clean(self._station, self._worker.pod["metadata"]["uid"], self._worker.maker.logs)
        self._station.recorder.forget(self._worker.pod["metadata"]["uid"])

    # -- volumes

    async def refresh_volumes(self) -> None:
        """Bring the volumes of a running pod up to date; what cannot be read now stays as it is."""
        with contextlib.suppress(ConfigError):
            await self._worker.maker.place_volumes(self._worker.ip)

    # -- containers

    async def start(self, action: Start) -> None:
        """Create and start a container, or remember why not."""
        worker, name = self._worker, action.name
        spec = self._spec(name)
        if action.ended:
            worker.backoff(name, lifecycle.next_backoff(worker.notes.backoffs.get(name), action.ended))
        try:
            await worker.maker.place_volumes(worker.ip)
        except ConfigError as error:
            worker.tell(Event("FailedMount", str(error), warning=True))
            reason = initial_reason(worker.pod)
            worker.trouble(name, Trouble(reason, "", self._station.clock() + _CONFIG_RETRY))
            return
        got = await self._image(spec)
        if got is None:
            return
        container = await self._create(spec, action.attempt, got)
        if container is None:
            return
        worker.trouble(name, None)
        worker.tell(Event("Created", f"Created container: {name}", container=name))
        try:
            await self._station.runtime.start_container(container)
        except CriError as error:
            # the runtime marks it as ended with StartError; the restart policy goes on from there
            worker.tell(Event("Failed", f"Error: {error.message}", warning=True, container=name))
            retry = self._station.clock() + _FAILURE_SHOWN
            worker.trouble(name, Trouble("RunContainerError", error.message, retry))
            return
        worker.tell(Event("Started", f"Started container {name}", container=name))
        await self._post_start(spec, container)

    async def kill(self, action: Kill) -> None:
        """End a container: its preStop hook, then the stop signal, then SIGKILL, all within its grace."""
        worker, clock = self._worker, self._station.clock
        worker.tell(Event("Killing", action.message, container=action.name))
        begun = clock()
        hook = (self._spec(action.name).get("lifecycle") or {}).get("preStop")
        if hook and action.grace > 0:
            trouble = await self._hook(hook, action.name, action.id, float(action.grace))
            if trouble:
                message = f"PreStopHook failed: {trouble}"
                worker.tell(Event("FailedPreStopHook", message, warning=True, container=action.name))
        left = action.grace - round(clock() - begun)
        # a moment for the signal to work even after a hook that took all the time (pod lifecycle: termination)
        await self._station.runtime.stop_container(action.id, max(left, min(action.grace, 2)))

    async def remove(self, container: str) -> None:
        """Remove a container that is of no more use."""
        await self._station.runtime.remove_container(container)

    async def _image(self, spec: Json) -> Got | None:
        worker, name, image = self._worker, spec["name"], spec["image"]
        policy = spec.get("imagePullPolicy") or "IfNotPresent"
        if trouble := _malformed(image):
            worker.tell(Event("InspectFailed", trouble, warning=True, container=name))
            worker.tell(Event("Failed", "Error: InvalidImageName", warning=True, container=name))
            retry = self._station.clock() + _CONFIG_RETRY
            worker.trouble(name, Trouble("InvalidImageName", trouble, retry))
            return None

        def pulling() -> None:
            worker.tell(Event("Pulling", f'Pulling image "{image}"', container=name))

        objects = await self._station.cluster.objects(references(worker.pod))
        shown = logins.logins(worker.pod, image, objects)
        if lacking := logins.missing(worker.pod, objects):
            message = (
                f"Unable to retrieve some image pull secrets ({', '.join(lacking)}); "
                "attempting to pull the image may not succeed."
            )
            worker.tell(Event("FailedToRetrieveImagePullSecret", message, warning=True))
        waiting = asyncio.ensure_future(self._station.images.ensure(image, policy, pulling, shown))
        self._waiting.add(waiting)
        try:
            got = await waiting
        except ImageError as error:
            self._no_image(spec, error)
            return None
        except asyncio.CancelledError:
            if not worker.notes.terminating:
                raise
            return None
        finally:
            self._waiting.discard(waiting)
        self._pull_backoffs.pop(name, None)
        worker.tell(Event("Pulled", got.told, container=name))
        return got

    def _no_image(self, spec: Json, error: ImageError) -> None:
        worker, name, image = self._worker, spec["name"], spec["image"]
        now = self._station.clock()
        backoff = lifecycle.next_backoff(self._pull_backoffs.get(name), now)
        self._pull_backoffs[name] = backoff
        full = f"{error.message}. {error.hint}" if error.hint else error.message
        never = error.reason == "ErrImageNeverPull"
        worker.tell(Event(error.reason if never else "Failed", full, warning=True, container=name))
        worker.tell(Event("Failed", f"Error: {error.reason}", warning=True, container=name))
        retry = now + backoff.delay
        worker.trouble(name, Trouble(error.reason, full, retry))
        if error.reason == "ErrImagePull":
            later = Trouble("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {full}', retry)
            asyncio.get_running_loop().call_later(
                _FAILURE_SHOWN, self._hold, name, worker.notes.troubles[name], later
            )

    def _hold(self, name: str, shown: Trouble, later: Trouble) -> None:
        worker = self._worker
        if worker.notes.troubles.get(name) is shown:
            message = later.message.partition(": ")[0]
            worker.tell(Event("BackOff", message, container=name))
            worker.tell(Event("Failed", "Error: ImagePullBackOff", warning=True, container=name))
            worker.trouble(name, later)
            worker.wake()

    async def _create(self, spec: Json, attempt: int, got: Got) -> str | None:
        worker, name = self._worker, spec["name"]
        sandbox = worker.seen.sandbox
        if sandbox is None:
            return None
        within = worker.maker.sandbox(sandbox.attempt)
        try:
            target = worker.seen.latest().get(spec.get("targetContainerName") or "")
            container = Making(spec, attempt, got, target.id if target is not None else "")
            return await worker.maker.make(container, sandbox.id, within, worker.ip)
        except (ConfigError, ValueError) as error:
            reason, message = "CreateContainerConfigError", str(error)
        except CriError as error:
            reason, message = "CreateContainerError", error.message
        worker.tell(Event("Failed", f"Error: {message}", warning=True, container=name))
        worker.trouble(name, Trouble(reason, message, self._station.clock() + _CONFIG_RETRY))
        return None

    async def _post_start(self, spec: Json, container: str) -> None:
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if not hook:
            return
        trouble = await self._hook(hook, spec["name"], container, 3600.0)
        if trouble:
            message = f"PostStartHook failed: {trouble}"
            self._worker.tell(Event("FailedPostStartHook", message, warning=True, container=spec["name"]))
            retry = self._station.clock() + _FAILURE_SHOWN
            self._worker.trouble(spec["name"], Trouble("PostStartHookError", message, retry))
            await self._station.runtime.stop_container(container, self._worker.notes.grace)

    async def _hook(self, hook: Json, name: str, container: str, seconds: float) -> str:
        """Run a hook; why it failed, or empty."""
        if (pause := hook.get("sleep")) is not None:
            await asyncio.sleep(min(float(pause.get("seconds") or 0), seconds))
            return ""
        try:
            check = probes.check(hook, self._spec(name), self._worker.ip)
            async with asyncio.timeout(seconds):
                return await try_check(self._station.runtime, container, check, seconds)
        except TimeoutError:
            return "it took longer than the grace period"
        except ValueError as error:
            return str(error)

    def _spec(self, name: str) -> Json:
        spec = lifecycle.spec_of(self._worker.pod, name)
        if spec is None:
            raise ConfigError(f"the pod has no container {name}")
        return spec


def _malformed(image: str) -> str:
    """Why a name is no image's; empty if it may be one."""
    try:
        image_names.full(image)
    except ValueError as error:
        return f'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": {error}'
    return ""


def clean(station: Station, uid: str, logs: Path) -> None:
    """Remove a pod's volumes, files, logs and cgroups; what is not there is no error."""
    volume_files.remove(station.pod_folder(uid))
    shutil.rmtree(logs, ignore_errors=True)
    cgroups.remove(station.pod_cgroup(uid))
