"""One container runtime, by CRI over its socket: typed calls and its events."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from weft.adapters.cri.descriptors import Message, Messages
from weft.adapters.cri.encode import container_config, fill_resources, sandbox_config
from weft.adapters.cri.types import (
    DIGEST,
    UID_LABEL,
    Container,
    ContainerSpec,
    Image,
    Login,
    Output,
    Resources,
    Sandbox,
    SandboxSpec,
    State,
    Usage,
)

_STATES = (State.CREATED, State.RUNNING, State.EXITED, State.UNKNOWN)
_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_CALL = 30.0  # seconds: the longest that a call without waiting of its own may take
_PULL = 300.0


class CriError(Exception):
    """The runtime refused a call. `code` is gRPC's (`NOT_FOUND`, `UNAVAILABLE`…), the message is the runtime's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Runtime:
    """Use as `async with Runtime(socket, messages) as runtime`. Every call raises CriError."""

    def __init__(self, socket: Path, messages: Messages) -> None:
        self._socket, self._messages = socket, messages
        self._channel: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(
            f"unix:{self._socket}", options=(("grpc.max_receive_message_length", 64 << 20),)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._channel:
            await self._channel.close()

    # -- the runtime itself

    async def version(self) -> str:
        """`containerd://1.6.20`, as a node's `containerRuntimeVersion` says it."""
        answer = await self._runtime("Version", self._new("VersionRequest", version="v1"), wait=True)
        return f"{answer.runtime_name}://{answer.runtime_version.split('~')[0]}"

    async def conditions(self) -> dict[str, str]:
        """What the runtime lacks: condition (`RuntimeReady`, `NetworkReady`) to why; empty when ready."""
        answer = await self._runtime("Status", self._new("StatusRequest"))
        lacking = [each for each in answer.status.conditions if not each.status]
        return {each.type: f"reason:{each.reason} message:{each.message}" for each in lacking}

    # -- sandboxes

    async def run_sandbox(self, spec: SandboxSpec) -> str:
        """Create and start a sandbox with its network; its id."""
        request = self._new(
            "RunPodSandboxRequest", config=sandbox_config(self._messages, spec), runtime_handler=spec.handler
        )
        return str((await self._runtime("RunPodSandbox", request, deadline=120.0)).pod_sandbox_id)

    async def stop_sandbox(self, sandbox: str) -> None:
        """Kill what runs in it and take its network away; done already is no fault."""
        await self._forgiving("StopPodSandbox", self._new("StopPodSandboxRequest", pod_sandbox_id=sandbox))

    async def remove_sandbox(self, sandbox: str) -> None:
        """Remove a sandbox and its containers; done already is no fault."""
        await self._forgiving("RemovePodSandbox", self._new("RemovePodSandboxRequest", pod_sandbox_id=sandbox))

    async def sandboxes(self, uid: str = "") -> list[Sandbox]:
        """All sandboxes, or those of one pod; addresses are not in a list (see `sandbox_ip`)."""
        wanted = self._new("PodSandboxFilter", label_selector={UID_LABEL: uid} if uid else {})
        answer = await self._runtime("ListPodSandbox", self._new("ListPodSandboxRequest", filter=wanted))
        return [
            Sandbox(
                id=each.id,
                uid=each.metadata.uid,
                name=each.metadata.name,
                namespace=each.metadata.namespace,
                attempt=each.metadata.attempt,
                ready=each.state == 0,
                created=each.created_at / 1e9,
            )
            for each in answer.items
        ]

    async def sandbox_ip(self, sandbox: str) -> str:
        """The pod's address; empty in the node's own network."""
        request = self._new("PodSandboxStatusRequest", pod_sandbox_id=sandbox)
        return str((await self._runtime("PodSandboxStatus", request)).status.network.ip)

    # -- containers

    async def create_container(self, sandbox: str, spec: ContainerSpec, within: SandboxSpec) -> str:
        """Create a container in a sandbox that was run with `within`; its id."""
        request = self._new(
            "CreateContainerRequest",
            pod_sandbox_id=sandbox,
            config=container_config(self._messages, spec),
            sandbox_config=sandbox_config(self._messages, within),
        )
        return str((await self._runtime("CreateContainer", request, deadline=120.0)).container_id)

    async def start_container(self, container: str) -> None:
        """Start a created container."""
        await self._runtime("StartContainer", self._new("StartContainerRequest", container_id=container))

    async def stop_container(self, container: str, grace: int) -> None:
        """Send the stop signal, and SIGKILL after `grace` seconds; returns when it has ended."""
        request = self._new("StopContainerRequest", container_id=container, timeout=grace)
        await self._forgiving("StopContainer", request, deadline=grace + _CALL)

    async def remove_container(self, container: str) -> None:
        """Remove a container, killing it if it runs; done already is no fault."""
        await self._forgiving("RemoveContainer", self._new("RemoveContainerRequest", container_id=container))

    async def containers(self, uid: str = "") -> list[Container]:
        """All containers, or those of one pod; times and exit codes are not in a list (see `container`)."""
        wanted = self._new("ContainerFilter", label_selector={UID_LABEL: uid} if uid else {})
        answer = await self._runtime("ListContainers", self._new("ListContainersRequest", filter=wanted))
        return [
            Container(
                id=each.id,
                uid=each.labels.get(UID_LABEL, ""),
                sandbox=each.pod_sandbox_id,
                name=each.metadata.name,
                attempt=each.metadata.attempt,
                state=_STATES[each.state],
                created=each.created_at / 1e9,
                image_id=each.image_ref,
                made_from=each.annotations.get(DIGEST, ""),
            )
            for each in answer.containers
        ]

    async def container(self, listed: Container) -> Container:
        """A listed container with its times, its log and how it ended."""
        request = self._new("ContainerStatusRequest", container_id=listed.id)
        status = (await self._runtime("ContainerStatus", request)).status
        return Container(
            id=listed.id,
            uid=listed.uid,
            sandbox=listed.sandbox,
            name=listed.name,
            attempt=listed.attempt,
            state=_STATES[status.state],
            created=status.created_at / 1e9,
            started=status.started_at / 1e9,
            finished=status.finished_at / 1e9,
            exit_code=status.exit_code,
            reason=status.reason,
            message=status.message,
            image_id=status.image_ref,
            log=status.log_path,
            made_from=listed.made_from,
        )

    async def limit(self, container: str, resources: Resources) -> None:
        """Give a running container other limits."""
        request = self._new("UpdateContainerResourcesRequest", container_id=container)
        fill_resources(request.linux, resources)
        await self._runtime("UpdateContainerResources", request)

    async def usages(self) -> dict[str, Usage]:
        """What each running container uses, by its id."""
        answer = await self._runtime("ListContainerStats", self._new("ListContainerStatsRequest"))
        return {
            each.attributes.id: Usage(
                cpu=each.cpu.usage_core_nano_seconds.value / 1e9,
                memory=each.memory.working_set_bytes.value,
                at=each.cpu.timestamp / 1e9,
                used=each.memory.usage_bytes.value,
                resident=each.memory.rss_bytes.value,
                written=each.writable_layer.used_bytes.value,
                inodes=each.writable_layer.inodes_used.value,
            )
            for each in answer.stats
        }

    async def reopen_log(self, container: str) -> None:
        """Write on into a new file at the log's path, after the old one was moved away."""
        await self._runtime("ReopenContainerLog", self._new("ReopenContainerLogRequest", container_id=container))

    async def exec_sync(self, container: str, command: tuple[str, ...], seconds: float) -> Output:
        """Run a command to its end, at most `seconds` (CriError UNKNOWN or DEADLINE_EXCEEDED after)."""
        request = self._new("ExecSyncRequest", container_id=container, cmd=command, timeout=max(1, round(seconds)))
        answer = await self._runtime("ExecSync", request, deadline=seconds + 5.0)
        return Output(answer.exit_code, bytes(answer.stdout), bytes(answer.stderr))

    # -- streams: each answers the URL of the runtime's own streaming server

    async def exec_url(
        self, container: str, command: list[str], *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        """Where to run a command with its streams."""
        request = self._new(
            "ExecRequest", container_id=container, cmd=command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty
        )
        return str((await self._runtime("Exec", request)).url)

    async def attach_url(self, container: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool) -> str:
        """Where to meet the streams of a container's first process."""
        request = self._new(
            "AttachRequest", container_id=container, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty
        )
        return str((await self._runtime("Attach", request)).url)

    async def port_forward_url(self, sandbox: str) -> str:
        """Where to reach ports inside a pod."""
        return str(
            (await self._runtime("PortForward", self._new("PortForwardRequest", pod_sandbox_id=sandbox))).url
        )

    # -- images

    async def image(self, name: str) -> Image | None:
        """An image that is there already, by any of its names."""
        spec = self._new("ImageSpec", image=name)
        answer = await self._call("ImageService", "ImageStatus", self._new("ImageStatusRequest", image=spec))
        if not answer.image.id:
            return None
        return _image(answer.image)

    async def images(self) -> list[Image]:
        """All images that are there."""
        answer = await self._call("ImageService", "ListImages", self._new("ListImagesRequest"))
        return [_image(each) for each in answer.images]

    async def pull(self, name: str, login: Login | None = None) -> str:
        """Fetch an image from its registry; its id."""
        request = self._new("PullImageRequest", image=self._new("ImageSpec", image=name))
        if login is not None:
            request.auth.username, request.auth.password = login.user, login.password
            request.auth.identity_token = login.identity_token
        return str((await self._call("ImageService", "PullImage", request, deadline=_PULL)).image_ref)

    async def remove_image(self, name: str) -> None:
        """Forget an image; done already is no fault."""
        spec = self._new("ImageSpec", image=name)
        await self._call("ImageService", "RemoveImage", self._new("RemoveImageRequest", image=spec))

    # -- events

    async def exits(self) -> AsyncIterator[str]:
        """The ids of containers (and sandboxes) as they end, from containerd's own event service.

        CRI's GetContainerEvents came with containerd 1.7; this one every release has. Raises CriError
        when the stream breaks: subscribe again, and look at everything once.
        """
        request = self._messages("containerd.services.events.v1.SubscribeRequest")(
            filters=['topic=="/tasks/exit"']
        )
        write, read = self._messages.method("containerd.services.events.v1.Events", "Subscribe")
        call = self._open().unary_stream(
            "/containerd.services.events.v1.Events/Subscribe", request_serializer=write, response_deserializer=read
        )
        ended = self._messages("containerd.events.TaskExit")
        try:
            async for envelope in call(request, metadata=_NAMESPACE):
                exit_ = ended.FromString(envelope.event.value)
                if exit_.id == exit_.container_id:  # else a command run in it has ended
                    yield str(exit_.container_id)
        except grpc.aio.AioRpcError as error:
            raise _fault(error) from None

    # -- the calls themselves

    def _new(self, message: str, **fields: Any) -> Message:
        return self._messages(f"runtime.v1.{message}")(**fields)

    async def _forgiving(self, method: str, request: Message, deadline: float = 120.0) -> None:
        try:
            await self._runtime(method, request, deadline=deadline)
        except CriError as fault:
            if fault.code != "NOT_FOUND":
                raise

    async def _runtime(
        self, method: str, request: Message, deadline: float = _CALL, *, wait: bool = False
    ) -> Message:
        return await self._call("RuntimeService", method, request, deadline, wait=wait)

    async def _call(
        self,
        service: str,
        method: str,
        request: Message,
        deadline: float = _CALL,
        *,
        wait: bool = False,
    ) -> Message:
        write, read = self._messages.method(f"runtime.v1.{service}", method)
        call = self._open().unary_unary(
            f"/runtime.v1.{service}/{method}", request_serializer=write, response_deserializer=read
        )
        try:
            return await call(request, timeout=deadline, wait_for_ready=wait)
        except grpc.aio.AioRpcError as error:
            raise _fault(error) from None

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            raise RuntimeError("Runtime is used before `async with`")
        return self._channel


def _image(found: Message) -> Image:
    user = str(found.uid.value) if found.HasField("uid") else found.username
    return Image(found.id, tuple(found.repo_tags), tuple(found.repo_digests), user, found.size, found.pinned)


def _fault(error: grpc.aio.AioRpcError) -> CriError:
    return CriError(error.code().name, error.details() or error.code().name)
