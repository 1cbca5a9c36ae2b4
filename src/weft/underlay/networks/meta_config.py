"""The configuration by which the runtime calls us: it comes before the network that all pods have.

Others may have made a list of it to come after us (`istio-cni` does): then our entry is kept in that list.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from weft.underlay.networks.delegates import is_ours

Json = dict[str, Any]

TYPE: Final = "multus"
NAME: Final = "multus-cni-network"
_USUAL_VERSION: Final = "0.3.1"


def entry(first: Mapping[str, Any], run_dir: str, cache_dir: str) -> Json:
    """Our configuration before that of a network: in its version, and capable of what its plugins are."""
    version = first.get("cniVersion") or _USUAL_VERSION
    able = sorted(
        {
            str(name)
            for plugin in first["plugins"]
            for name, value in (plugin.get("capabilities") or {}).items()
            if value is True
        }
    )
    made = {"cniVersion": version, "name": NAME, "type": TYPE, "run_dir": run_dir, "cniDir": cache_dir}
    return made | ({"capabilities": dict.fromkeys(able, True)} if able else {})


def own(networks: Iterable[tuple[str, Json]], conf_name: str) -> tuple[str, Json] | None:
    """Our configuration as it is there: the file's name, and its list. We would write it to `conf_name`."""
    listed = {conf_name, f"{conf_name.removesuffix('.conf')}.conflist", f"{conf_name}.conflist"}
    return next(((name, one) for name, one in networks if name in listed and is_ours(one)), None)


def joined(found: Json, wanted: Json) -> Json | None:
    """A list that others made of our configuration, with our entry as it should be; None where it is so."""
    ours = {key: value for key, value in wanted.items() if key not in {"cniVersion", "name"}}
    plugins = [ours if each["type"] == TYPE else each for each in found["plugins"]]
    made = {**found, "cniVersion": wanted["cniVersion"], "name": wanted["name"], "plugins": plugins}
    return None if made == found else made


def before_us(networks: Iterable[tuple[str, Json]], name: str) -> str:
    """The file that runtimes take instead of ours, if there is one."""
    first = next((each for each, _ in networks), name)
    return first if first < name else ""
