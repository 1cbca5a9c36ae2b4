"""Image names that stand for the machine's own programs: what they are, their images and their mounts."""

import fnmatch
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import msgspec
import yaml

from weft.cluster.kubelet import oci

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# what programs from /usr look for outside it
_ETC_BINDS = (
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/protocols",
    "/etc/services",
    "/etc/localtime",
)
_FOLDERS = ("dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "usr", "var/cache")
_USERS = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
nginx:x:101:101:nginx:/nonexistent:/usr/sbin/nologin
istio-proxy:x:1337:1337:istio-proxy:/home:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = """root:x:0:
daemon:x:1:
tty:x:5:
www-data:x:33:
nginx:x:101:
istio-proxy:x:1337:
nogroup:x:65534:
"""

OWN = "weft.local/alias/"
"""How the names of the images of aliases begin in containerd."""


class AliasError(Exception):
    """An images.yaml that cannot be used; the message names the file, the field and the way out."""


class Alias(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One entry of images.yaml, as that file explains it."""

    name: str
    match: tuple[str, ...]
    about: str = "the machine's own programs"
    needs: dict[str, str] = {}
    binds: tuple[str, ...] = ("/usr",)
    applets: bool = False
    files: dict[str, str] = {}
    links: dict[str, str] = {}
    folders: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    user: str = ""
    working_dir: str = "/"
    stop_signal: str = ""

    def lacks(self, exists: Callable[[str], bool]) -> dict[str, str]:
        """What the machine would need first: missing file to the package that brings it."""
        return {path: package for path, package in self.needs.items() if not exists(path)}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Weft itself is: the folders to bind for `$WEFT`, and the interpreter for `$PYTHON`."""

    folders: tuple[str, ...]
    python: str


@dataclass(frozen=True, slots=True)
class Busybox:
    """The static busybox of the machine and the names of its commands."""

    binary: bytes
    applets: tuple[str, ...]


def parse(text: str, file: str, known: Sequence[Alias] = ()) -> tuple[Alias, ...]:
    """Read an images.yaml; `file` is what error messages call it. `like` may name one of the `known`."""
    try:
        read = yaml.safe_load(text) or {}
        entries = read.get("aliases") if isinstance(read, dict) else None
        if isinstance(entries, list):
            read = {**read, "aliases": [_liked(each, file, known) for each in entries]}
        return msgspec.convert(read, type=_File).aliases
    except yaml.YAMLError as error:
        raise AliasError(f"{file}: not valid YAML: {error}. Mend or remove the file.") from error
    except msgspec.ValidationError as error:
        what = str(error).replace(" - at `$", " - at `")
        raise AliasError(f"{file}: {what}. The fields are explained in weft's own images.yaml.") from error


def _liked(entry: object, file: str, known: Sequence[Alias]) -> object:
    """An entry with what it takes over from the alias that it is `like`."""
    if not isinstance(entry, dict) or "like" not in entry:
        return entry
    model = next((alias for alias in known if alias.name == entry["like"]), None)
    if model is None:
        names = ", ".join(alias.name for alias in known)
        raise AliasError(f"{file}: like: no alias of weft's is called {entry['like']}. There are {names}.")
    own = {key: value for key, value in entry.items() if key != "like"}
    return {**msgspec.to_builtins(model), "match": [], **own}


def with_alias(text: str, name: str, like: str, patterns: Sequence[str]) -> str:
    """An images.yaml with one more alias at its end, which comes before weft's own as all of the file's do.

    What is there keeps its comments, unless it is written in a way that nothing can be put behind.
    """
    entry = {"name": name, "like": like, "match": list(patterns)}
    before = yaml.safe_load(text) or {}
    wanted = {**before, "aliases": [*(before.get("aliases") or ()), entry]}
    written = yaml.safe_dump([entry], sort_keys=False, default_flow_style=None, width=1000)
    added = "".join(f"  {line}\n" for line in written.splitlines())
    head = text if text.endswith("\n") or not text else f"{text}\n"
    appended = head + ("" if "aliases" in before else "aliases:\n") + added
    try:
        kept = yaml.safe_load(appended) == wanted
    except yaml.YAMLError:
        kept = False
    return appended if kept else yaml.safe_dump(wanted, sort_keys=False)


def find(name: str, aliases: Sequence[Alias]) -> Alias | None:
    """The first alias that an image's name matches."""
    short = familiar(name)
    return next(
        (alias for alias in aliases if any(fnmatch.fnmatchcase(short, each) for each in alias.match)), None
    )


def familiar(name: str) -> str:
    """An image's name as people write it, with a tag: `docker.io/library/nginx` is `nginx:latest`."""
    short = name.removeprefix("docker.io/").removeprefix("index.docker.io/").removeprefix("library/")
    repository, at, digest = short.partition("@")
    if at:
        return f"{repository}:{digest}" if ":" not in repository.rsplit("/", 1)[-1] else repository
    return short if ":" in short.rsplit("/", 1)[-1] else f"{short}:latest"


def resolved(alias: Alias, weft: Installation) -> Alias:
    """The alias with `$WEFT`, `$PYTHON` and `$PROGRAMS` filled in."""
    programs = str(PurePosixPath(weft.python).parent)

    def spread(binds: Iterable[str]) -> Iterator[str]:
        for each in binds:
            yield from weft.folders if each == "$WEFT" else (each,)

    def named(words: Iterable[str]) -> tuple[str, ...]:
        return tuple(word.replace("$PYTHON", weft.python) for word in words)

    return msgspec.structs.replace(
        alias,
        binds=tuple(dict.fromkeys(spread(alias.binds))),
        entrypoint=named(alias.entrypoint),
        command=named(alias.command),
        env={name: value.replace("$PROGRAMS", programs) for name, value in alias.env.items()},
    )


def image_name(alias: Alias) -> str:
    """What the image of an alias is called in containerd: its content's hash is in the tag."""
    content = hashlib.sha256(msgspec.json.encode(alias, order="deterministic")).hexdigest()
    return f"{OWN}{alias.name.lower()}:{content[:12]}"


def image(alias: Alias, architecture: str, busybox: Busybox | None = None) -> bytes:
    """The image of a resolved alias, as an OCI tar. `busybox` is asked for by aliases with applets."""
    entries: dict[str, oci.Entry] = {folder: oci.Directory() for folder in _FOLDERS}
    entries |= {"tmp": oci.Directory(0o1777), "var/tmp": oci.Directory(0o1777), "var/run": oci.Link("/run")}
    entries |= {folder: oci.Link(f"usr/{folder}") for folder in ("bin", "sbin", "lib", "lib64")}
    if alias.applets and busybox is not None:
        del entries["bin"]
        entries["bin/busybox"] = oci.File(busybox.binary, 0o755)
        entries |= {f"bin/{applet}": oci.Link("busybox") for applet in busybox.applets if applet != "busybox"}
    entries |= {
        "etc/passwd": oci.File(_USERS.encode()),
        "etc/group": oci.File(_GROUP.encode()),
        "etc/nsswitch.conf": oci.File(b"passwd: files\ngroup: files\nhosts: files dns\n"),
        "etc/os-release": oci.Link("../usr/lib/os-release"),
    }
    entries |= {path.lstrip("/"): oci.Directory() for path in alias.folders}
    for path, text in alias.files.items():
        entries[path.lstrip("/")] = oci.File(text.encode(), 0o755 if text.startswith("#!") else 0o644)
    for path, target in alias.links.items():
        entries[path.lstrip("/")] = oci.Link(target)
    config = oci.Config(
        entrypoint=alias.entrypoint,
        command=alias.command,
        env=[f"{key}={value}" for key, value in ({"PATH": PATH} | alias.env).items()],
        user=alias.user,
        working_dir=alias.working_dir,
        stop_signal=alias.stop_signal,
    )
    return oci.image(image_name(alias), entries, config, architecture)


def pause_image(name: str, busybox: bytes, architecture: str) -> bytes:
    """The image of a sandbox's own process, which only waits."""
    config = oci.Config(entrypoint=("/busybox", "sleep", "2147483647"), env=("PATH=/",))
    return oci.image(name, {"busybox": oci.File(busybox, 0o755)}, config, architecture)


def binds(
    alias: Alias,
    mount_points: Iterable[str],
    exists: Callable[[str], bool],
    children: Callable[[str], Sequence[str]],
) -> tuple[str, ...]:
    """The paths of the machine to bind read-only, so that `mount_points` and the alias's own files can be.

    A file of the writable layer below a bound folder, or a mount point that the machine does not have there,
    splits the bind into its children: the folder itself then belongs to the writable layer.
    """
    layer = [*alias.files, *alias.links, *alias.folders]
    wanted = [*alias.binds, *(path for path in _ETC_BINDS if exists(path))]
    points = list(mount_points)
    holes = [*layer, *(point for point in points if not exists(point))]
    found = (piece for bind in wanted if exists(bind) for piece in _split(bind, holes, exists, children))
    taken = {*layer, *points}
    return tuple(dict.fromkeys(piece for piece in found if piece not in taken))


def _split(
    bind: str, holes: Sequence[str], exists: Callable[[str], bool], children: Callable[[str], Sequence[str]]
) -> Iterator[str]:
    inside = [hole for hole in holes if PurePosixPath(bind) in PurePosixPath(hole).parents]
    if not inside:
        yield bind
        return
    for child in children(bind):
        path = f"{bind}/{child}"
        if exists(path) and path not in inside:
            yield from _split(path, inside, exists, children)


def merged(own: Mapping[str, str], builtin: Mapping[str, str]) -> tuple[Alias, ...]:
    """The aliases of all files (name of the file to its text), the user's own first."""
    return tuple(alias for files in (own, builtin) for file, text in files.items() for alias in parse(text, file))
