"""What ProxyConfigs say about the proxy of a new pod."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from weft.api.proxy_config import ProxyConfig
from weft.model.clients import sorted_labels
from weft.model.rule import Rule
from weft.model.services import Labels


@dataclass(frozen=True, slots=True)
class ProxyConfigRule(Rule):
    """One ProxyConfig; `settings` is what it says in the words of `proxy.istio.io/config`."""

    selector: Labels | None
    settings: Mapping[str, Any]


def proxy_config_rule(source: ProxyConfig, _: str) -> ProxyConfigRule:
    """Translate one."""
    meta, spec = source.metadata, source.spec
    written = {
        "concurrency": spec.concurrency,
        "proxyMetadata": spec.environment_variables,
        "image": {"imageType": spec.image.image_type} if spec.image and spec.image.image_type else None,
    }
    return ProxyConfigRule(
        name=meta.name,
        namespace=meta.namespace,
        created=meta.creation_timestamp or "",
        selector=sorted_labels(spec.selector.match_labels) if spec.selector is not None else None,
        settings={name: value for name, value in written.items() if value is not None},
    )


class ProxyConfigs:
    """All of them."""

    def __init__(self, rules: Iterable[ProxyConfigRule], root_namespace: str) -> None:
        self._root = root_namespace
        # of two for the same pods the older one wins: it is laid over the younger
        self._rules = sorted(rules, key=lambda rule: rule.precedence, reverse=True)

    def layers(self, namespace: str, labels: Mapping[str, str]) -> tuple[Mapping[str, Any], ...]:
        """What they say about a pod, weakest first: those for the mesh, for its namespace, for itself."""
        own = set(labels.items())
        levels: tuple[list[Mapping[str, Any]], ...] = ([], [], [])
        for rule in self._rules:
            if rule.selector:
                if rule.namespace == namespace and set(rule.selector) <= own:
                    levels[2].append(rule.settings)
            elif rule.namespace == self._root:
                levels[0].append(rule.settings)
            elif rule.namespace == namespace:
                levels[1].append(rule.settings)
        return tuple(settings for level in levels for settings in level)
