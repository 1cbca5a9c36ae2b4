#!/usr/bin/python3 -ISE
"""The CNI plugin `istio-cni`: it carries a call to the node process, and prints the answer.

It needs Python 3.8 or newer, and nothing beside it. A pod waits for this program, so it imports next to nothing
until it has to decide alone: when the node process cannot be reached. An enrolled pod does not start then.

The protocol, on a Unix socket: the CNI_* variables as `NAME=value`, each with a NUL after it, one more NUL, and
standard input as it came; with the first bytes goes the network namespace, as a file descriptor. Back comes the
exit code, a newline, and what to print.
"""

import sys
from _socket import (
    AF_UNIX,
    MSG_DONTWAIT,
    SHUT_WR,
    SO_RCVTIMEO,
    SO_SNDTIMEO,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)
from posix import environ, read, write
from posix import open as open_file

TYPE_CHECKING = False  # the module typing takes a millisecond that nobody needs at run time
if TYPE_CHECKING:
    from typing import Any, NoReturn

RUN_DIR = b"/var/run/istio-cni"
VERSIONS = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
NEEDED = (b"CNI_CONTAINERID", b"CNI_NETNS", b"CNI_IFNAME")
MOST = 16 << 20  # bytes of standard input, and of an answer
ANSWER_SECONDS = 75  # the node process waits 30 s for a pod to be told of, and then it has rules to write
API_SECONDS = 5

INCOMPATIBLE, ENVIRONMENT, DECODING, CONFIG, LATER, UNAVAILABLE, OURS = 1, 4, 6, 7, 11, 50, 100
STATUS = "sidecar.istio.io/status"
MIRRORS = ("kubernetes.io/config.hash", "kubernetes.io/config.mirror")
AGENT = "istio-cni-node"


class Failed(Exception):  # noqa: N818 -- it is an answer, and a CNI error when it is printed
    """The call fails, with the code and texts of a CNI error."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(msg)
        self.code, self.msg, self.details = code, msg, details


def main() -> int:
    """Answer the call that the environment and standard input describe; the exit code."""
    config = b""
    try:
        command = environ.get(b"CNI_COMMAND", b"").decode("ascii", "replace")
        if command == "DEL":
            return 0  # a pod's rules go with its namespace
        config = stdin()
        if command == "VERSION":
            return say(0, versions(config))
        if command in ("ADD", "CHECK"):
            needs(command)
        elif command not in SINCE:
            return fail(
                Failed(
                    ENVIRONMENT,
                    f"CNI_COMMAND is {command!r}",
                    "A container runtime sets it to ADD, DEL, CHECK, GC, STATUS or VERSION.",
                ),
                config,
            )
        if command == "GC":
            parse(command, config)  # nothing is kept of pods, so there is nothing to collect
            return 0
        return carry(command, config)
    except Failed as failed:
        return fail(failed, config)
    except Exception as error:  # noqa: BLE001 -- a runtime shows people a CNI error, but no traceback
        return fail(Failed(OURS, f"istio-cni: {type(error).__name__}: {error}"), config)


def stdin() -> bytes:
    """The whole of standard input."""
    data = bytearray()
    while len(data) <= MOST:
        part = read(0, 1 << 16)
        if not part:
            return bytes(data)
        data += part
    raise Failed(CONFIG, f"the network configuration is longer than {MOST} bytes")


def needs(command: str) -> None:
    """Check that the variables of a command about one pod are set."""
    missing = [name.decode() for name in NEEDED if not environ.get(name)]
    if missing:
        raise Failed(
            ENVIRONMENT, "{} needs {}".format(command, " and ".join(missing)), "A container runtime sets them."
        )


def carry(command: str, config: bytes) -> int:
    """Have the node process answer; alone where it does not."""
    folder = run_dir(config)
    path = folder + b"/pluginevent.sock"
    try:
        answer = ask(path, config)
    except OSError as error:
        late = isinstance(error, BlockingIOError)
        said = f"no answer in {ANSWER_SECONDS} s" if late else error.strerror or error
        why = f"{path.decode('utf-8', 'replace')}: {said}"
    else:
        code, newline, body = answer.partition(b"\n")
        if newline and code.isdigit():
            return say(int(code), body)
        why = "it has ended before it answered"
    return alone(command, config, folder, why)


def ask(path: bytes, config: bytes) -> bytes:
    """What the node process answers. OSError where it cannot be reached or takes too long."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    # a struct timeval; a timeout of Python's would not wait for a place in a busy listener's queue
    size = 8 if sys.maxsize > 1 << 32 else 4
    seconds = ANSWER_SECONDS.to_bytes(size, sys.byteorder) + bytes(size)
    connection.setsockopt(SOL_SOCKET, SO_RCVTIMEO, seconds)
    connection.setsockopt(SOL_SOCKET, SO_SNDTIMEO, seconds)
    connection.connect(path)
    variables = [name + b"=" + value + b"\0" for name, value in environ.items() if name.startswith(b"CNI_")]
    request = b"".join(variables) + b"\0" + config
    sent = connection.sendmsg([request], namespace())
    connection.sendall(memoryview(request)[sent:])
    connection.shutdown(SHUT_WR)
    answer = bytearray()
    while len(answer) <= MOST:
        part = connection.recv(1 << 16)
        if not part:
            break
        answer += part
    connection.close()
    return bytes(answer)


def namespace() -> "list[tuple[int, int, bytes]]":
    """The network namespace, as what goes along with the first bytes; nothing where it cannot be opened."""
    from _socket import SCM_RIGHTS
    from posix import O_CLOEXEC, O_RDONLY

    try:
        descriptor = open_file(environ.get(b"CNI_NETNS", b""), O_RDONLY | O_CLOEXEC)
    except OSError:
        return []  # for many pods nothing has to be done in it; the node process tells where something has
    return [(SOL_SOCKET, SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))]


def run_dir(config: bytes) -> bytes:
    """The folder of the node process's sockets: the configuration's `cni_agent_run_dir`, without a parser."""
    folder = text_of(config, b"cni_agent_run_dir") or RUN_DIR
    if not folder.startswith(b"/") or b"\0" in folder:
        raise Failed(CONFIG, "cni_agent_run_dir is no path", "Write an absolute one, as /var/run/istio-cni.")
    return folder


def text_of(config: bytes, key: bytes) -> bytes:
    """The string that a key of a JSON text has; nothing where it is not there or is not simply written."""
    _, _, rest = config.partition(b'"' + key + b'"')
    value = rest.lstrip(b" \t\r\n")
    if not value.startswith(b":"):
        return b""
    value = value[1:].lstrip(b" \t\r\n")
    text, quote, _ = value[1:].partition(b'"')
    return text if value.startswith(b'"') and quote and b"\\" not in text else b""


def versions(config: bytes) -> bytes:
    """The answer to VERSION."""
    supported = ", ".join(f'"{one}"' for one in VERSIONS)
    return b'{"cniVersion": "%s", "supportedVersions": [%s]}\n' % (version(config), supported.encode())


def version(config: bytes) -> bytes:
    """The version to answer in: the configuration's, if we speak it."""
    wanted = text_of(config, b"cniVersion")
    return wanted if wanted.decode("ascii", "replace") in VERSIONS else VERSIONS[-1].encode()


def say(code: int, body: bytes) -> int:
    """Print an answer; the exit code."""
    while body:
        body = body[write(1, body) :]
    return code


def fail(failed: Failed, config: bytes) -> int:
    """Print a CNI error; the exit code."""
    import json

    error = {"cniVersion": version(config).decode(), "code": failed.code, "msg": failed.msg}
    if failed.details:
        error["details"] = failed.details
    try:
        return say(1, json.dumps(error).encode() + b"\n")
    except OSError:
        return 1  # nobody reads it


# What follows is for when the node process does not answer.


def alone(command: str, config: bytes, folder: bytes, why: str) -> int:
    """Answer without the node process: let through what is not the mesh's, and nothing else."""
    conf = parse(command, config)
    down = f"the node process of istio-cni does not answer ({why})"
    owner = text(conf, "pod_namespace") or "istio-system"
    look = f"See `kubectl get pods -n {owner} -l k8s-app={AGENT} -o wide`"
    if command == "STATUS":
        raise Failed(UNAVAILABLE, f"pods cannot be added: {down}", look + ".")
    if command == "CHECK":
        raise Failed(LATER, f"rules cannot be looked at: {down}", look + ".")
    arguments = kubernetes()
    where, name = arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", "")
    through = outside(conf, where, name, owner)
    if not through:
        through, known = asked(conf, where, name, arguments.get("K8S_POD_UID", ""))
        if not through:
            message = f"pod {where}/{name} does not start: {down}, and {known}"
            log(folder, "error " + message)
            raise Failed(LATER, message, f"It is tried again until the node process is back. {look}.")
    log(folder, f"warn pod {where}/{name} starts without us: {through}; {down}")
    return say(0, result(conf))


def parse(command: str, config: bytes) -> "dict[str, Any]":
    """The network configuration, in a version that has the command."""
    import json

    try:
        conf = json.loads(config.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Failed(DECODING, f"the network configuration is not JSON: {error}") from None
    if not isinstance(conf, dict):
        raise Failed(DECODING, "the network configuration is JSON, but no object")
    spoken = conf.get("cniVersion")
    if spoken not in VERSIONS:
        raise Failed(
            INCOMPATIBLE,
            f"cniVersion {spoken!r} is not supported",
            "Use one of {}.".format(", ".join(VERSIONS)),
        )
    if VERSIONS.index(spoken) < VERSIONS.index(SINCE.get(command, VERSIONS[0])):
        raise Failed(
            INCOMPATIBLE,
            f"cniVersion {spoken} does not have {command}",
            f"{SINCE[command]} does.",
        )
    if not isinstance(conf.get("prevResult") or {}, dict):
        raise Failed(CONFIG, "prevResult is no object")
    return conf


def kubernetes() -> "dict[str, str]":
    """CNI_ARGS: which pod it is."""
    parts = environ.get(b"CNI_ARGS", b"").decode("utf-8", "replace").split(";")
    pairs = [part.partition("=") for part in parts if part]
    for name, equals, _ in pairs:
        if not equals:
            raise Failed(ENVIRONMENT, f"CNI_ARGS: {name!r} is no NAME=VALUE", "Join pairs by semicolons.")
    return {name: value for name, _, value in pairs}


def outside(conf: "dict[str, Any]", where: str, name: str, owner: str) -> str:
    """Why the configuration alone says that a pod is not the mesh's; "" where it does not."""
    excluded = conf.get("exclude_namespaces") or []
    if not isinstance(excluded, list):
        raise Failed(CONFIG, "exclude_namespaces is no list", 'Write ["kube-system"].')
    if not (where and name):
        return "it is no pod of Kubernetes"
    if where in excluded:
        return "its namespace is excluded"
    if where == owner and name.startswith(AGENT + "-"):
        return "it is the node process itself"
    return ""


def asked(conf: "dict[str, Any]", where: str, name: str, uid: str) -> "tuple[str, str]":
    """Ask the API server of a pod: why it is not the mesh's or "", and what is known of it otherwise."""
    import signal

    def late(_number: int, _frame: object) -> "NoReturn":
        raise TimeoutError(f"no answer in {API_SECONDS} s")

    path = text(conf, "kubeconfig")
    if not path:
        return "", "nobody can be asked whether it is in the mesh (no kubeconfig in the network configuration)"
    signal.signal(signal.SIGALRM, late)
    signal.alarm(API_SECONDS)
    try:
        pod = get(path, where, name)
        metadata = pod["metadata"]
        annotations = metadata.get("annotations") or {}
        ours = STATUS in annotations
        known = {metadata["uid"]} | {annotations.get(mirror) for mirror in MIRRORS}
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is not known whether this pod is in the mesh
        said = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        return "", f"the API server cannot be asked whether it is in the mesh ({said or type(error).__name__})"
    finally:
        signal.alarm(0)
    if uid and uid not in known:
        return "", "the API server knows another pod of this name"
    return ("", "it is in the mesh") if ours else (f"it has no annotation {STATUS}", "")


def get(path: str, where: str, name: str) -> "dict[str, Any]":
    """A pod, by a kubeconfig: written as JSON by the node process, with a token and the server's authority."""
    import base64
    import http.client
    import json
    import ssl
    from urllib.parse import quote, urlsplit

    with open(path, encoding="utf-8") as file:
        config = json.load(file)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    token = user.get("token")
    if not token:
        with open(user["tokenFile"], encoding="utf-8") as file:
            token = file.read().strip()
    authority = base64.b64decode(cluster.get("certificate-authority-data", "")).decode("ascii")
    server = urlsplit(cluster["server"])
    # a default context of newer Pythons is stricter than the authorities of some clusters
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority:
        context.load_verify_locations(cadata=authority)
    else:
        context.load_default_certs()
    connection = http.client.HTTPSConnection(
        server.hostname or "", server.port or 443, timeout=API_SECONDS, context=context
    )
    url = "{}/api/v1/namespaces/{}/pods/{}".format(server.path.rstrip("/"), quote(where, ""), quote(name, ""))
    try:
        connection.request("GET", url, headers={"Authorization": "Bearer " + token, "Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(MOST)
    finally:
        connection.close()
    if answer.status == 401:
        raise OSError(f"it takes the token in {path} no more: the pod that had it is gone")
    if answer.status != 200:
        raise OSError(f"it answers {answer.status} {answer.reason}")
    return dict(json.loads(body.decode("utf-8")))


def text(conf: "dict[str, Any]", key: str) -> str:
    """A string of the configuration; "" where there is none."""
    value = conf.get(key) or ""
    if not isinstance(value, str):
        raise Failed(CONFIG, f"{key} is no string")
    return value


def result(conf: "dict[str, Any]") -> bytes:
    """The result of ADD: what the plugin before us made, or nothing."""
    import json

    return json.dumps(conf.get("prevResult") or {"cniVersion": conf["cniVersion"]}).encode() + b"\n"


def log(folder: bytes, line: str) -> None:
    """Tell the node's log and, where it listens, the node process's."""
    data = line.encode("utf-8", "replace")
    try:
        write(2, b"istio-cni: " + data + b"\n")
        socket(AF_UNIX, SOCK_DGRAM).sendto(data, MSG_DONTWAIT, folder + b"/log.sock")
    except OSError:
        pass  # the answer says the same


if __name__ == "__main__":
    sys.exit(main())
