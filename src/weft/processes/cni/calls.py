"""Calls of the CNI plugin as they come over the wire, and the answers to them (the CNI specification, 1.1.0)."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
MOST: Final = 16 << 20
"""Bytes of a request."""

INCOMPATIBLE: Final = 1
ENVIRONMENT: Final = 4
IO: Final = 5
DECODING: Final = 6
CONFIG: Final = 7
LATER: Final = 11
"""The runtime is to try again."""
UNAVAILABLE: Final = 50
DEFECT: Final = 100
REDIRECTION: Final = 101
"""The pod asks for something that cannot be honoured."""
RULES: Final = 102
"""Rules could not be written, or are missing."""

_SINCE: Final[Mapping[str, str]] = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_OF_A_POD: Final = frozenset({"ADD", "CHECK"})
_NEEDED: Final = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")
_CONTAINER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*", re.ASCII)
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}")


class CallError(Exception):
    """The call fails. `msg` is what the kubelet shows beside the pod, so it names the trouble and the way out."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, details

    def answer(self, version: str) -> bytes:
        """On the wire, as a CNI error in a version that the runtime speaks."""
        texts = {"msg": self.msg} | ({"details": self.details} if self.details else {})
        error = {"cniVersion": version if version in VERSIONS else VERSIONS[-1], "code": self.code, **texts}
        return b"1\n" + msgspec.json.encode(error) + b"\n"


class Config(msgspec.Struct):
    """The network configuration: the keys of ours that count here, spelled as they are written.

    `prevResult` is empty where there is none.
    """

    cniVersion: str = ""  # noqa: N815 -- the wire's name
    plugin_log_level: str = "info"
    exclude_namespaces: Sequence[str] | None = None
    pod_namespace: str = ""
    native_nftables: bool = False
    prevResult: msgspec.Raw = msgspec.Raw()  # noqa: N815 -- the wire's name


class _Versioned(msgspec.Struct):
    cniVersion: str = ""  # noqa: N815 -- the wire's name


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `namespace`, `name` and `uid` are the pod's, empty where it is none of Kubernetes."""

    command: str
    config: Config
    netns: str = ""
    """Its path as the runtime sees it, for messages."""
    namespace: str = ""
    name: str = ""
    uid: str = ""

    @property
    def level(self) -> int:
        """The lowest level that is logged of this call, as `logging` counts."""
        if self.config.plugin_log_level == "none":
            return logging.CRITICAL + 1
        known = logging.getLevelNamesMapping()
        return known.get(self.config.plugin_log_level.upper(), logging.INFO)

    @property
    def subject(self) -> str:
        """What the call is about, for messages."""
        return f"pod {self.namespace}/{self.name}" if self.name else "no pod of Kubernetes"

    @property
    def unchanged(self) -> bytes:
        """The answer that leaves the result of the plugin before us as it is; by itself it has an empty one."""
        if self.command != "ADD":
            return b"0\n"
        result = bytes(self.config.prevResult) or msgspec.json.encode({"cniVersion": self.config.cniVersion})
        return b"0\n" + result + b"\n"


def read(request: bytes) -> Call:
    """The call that a request on the wire makes; CallError for what the specification does not allow."""
    variables, text = split(request)
    command = command_of(variables)
    config = Config() if command == "DEL" else _config(command, text)
    if command not in _OF_A_POD:
        return Call(command, config)
    check(command, variables, _NEEDED)
    arguments = arguments_of(variables)
    namespace, name = arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", "")
    named = (namespace, name, arguments.get("K8S_POD_UID", "")) if namespace and name else ("", "", "")
    return Call(command, config, variables["CNI_NETNS"], *named)


def version(request: bytes) -> str:
    """The version that a request's answer is to be in, as far as it can be told."""
    try:
        return msgspec.json.decode(split(request)[1], type=_Versioned).cniVersion
    except (msgspec.DecodeError, CallError, RecursionError):
        return ""


def split(request: bytes) -> tuple[dict[str, str], bytes]:
    """The variables of a request, and its network configuration."""
    # the empty variable ends them: `A=1\0B=2\0\0{…}`
    head, end, text = (b"\0" + request).partition(b"\0\0")
    if not end:
        raise CallError(IO, "the request of the plugin is cut off", "Its version is not the node process's.")
    pairs = (one.partition("=") for one in head.decode(errors="replace").split("\0") if one)
    return {name: value for name, _, value in pairs}, text


def command_of(variables: Mapping[str, str]) -> str:
    """What the runtime wants."""
    command = variables.get("CNI_COMMAND", "")
    if command not in {"ADD", "DEL", *_SINCE}:
        raise CallError(
            ENVIRONMENT, f"CNI_COMMAND is {command!r}", "The runtime sets ADD, DEL, CHECK, GC or STATUS."
        )
    return command


def supported(version: object, command: str) -> None:
    """Whether a configuration's `cniVersion` (None where it has none) is one of ours, and has the command."""
    if version not in VERSIONS:
        told = "no cniVersion" if version is None else f"cniVersion {version!r} is not supported"
        raise CallError(INCOMPATIBLE, told, f"Use one of {', '.join(VERSIONS)}.")
    since = _SINCE.get(command, VERSIONS[0])
    if VERSIONS.index(str(version)) < VERSIONS.index(since):
        raise CallError(INCOMPATIBLE, f"cniVersion {version} does not have {command}", f"{since} does.")


def _config(command: str, text: bytes) -> Config:
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallError(DECODING, f"the network configuration is no JSON object: {error}") from error
    try:
        config = msgspec.json.decode(text, type=Config)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CallError(CONFIG, f"the network configuration: {error}") from error
    supported(config.cniVersion if "cniVersion" in keys else None, command)
    before = bytes(config.prevResult)
    if before == b"null":
        config.prevResult = msgspec.Raw()
    elif before and not before.startswith(b"{"):
        raise CallError(CONFIG, "the network configuration: prevResult is no object")
    return config


def check(command: str, variables: Mapping[str, str], needed: Sequence[str]) -> None:
    """Whether the variables that a command needs are there, and of a form that the specification allows."""
    missing = [name for name in needed if not variables.get(name)]
    if missing:
        raise CallError(ENVIRONMENT, f"{command} needs {' and '.join(missing)}", "The runtime sets them.")
    for name, form in (("CNI_CONTAINERID", _CONTAINER), ("CNI_IFNAME", _INTERFACE)):
        value = variables.get(name, "")
        if name in needed and (not form.fullmatch(value) or value in {".", ".."}):
            raise CallError(ENVIRONMENT, f"{name} is {value!r}", "The CNI specification does not allow that.")


def arguments_of(variables: Mapping[str, str]) -> dict[str, str]:
    """What the runtime says of the pod, by its own names for it."""
    pairs = [part.partition("=") for part in variables.get("CNI_ARGS", "").split(";") if part]
    for name, equals, _ in pairs:
        if not equals:
            raise CallError(ENVIRONMENT, f"CNI_ARGS: {name!r} is no NAME=VALUE", "Join pairs by semicolons.")
    return {name: value for name, _, value in pairs}
