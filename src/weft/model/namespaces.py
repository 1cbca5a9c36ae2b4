"""The namespaces that the mesh looks at (MeshConfig, discoverySelectors)."""

from collections.abc import Mapping

from weft.model.mesh_config import MeshConfig


class Namespaces:
    """Namespaces by name with their labels, and which of them count. Nothing counts before it is known."""

    def __init__(self, mesh: MeshConfig) -> None:
        self._mesh = mesh
        self._labels: dict[str, Mapping[str, str]] = {}

    def put(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """Take in a namespace, or its deletion (None); whether it counts now and did not before."""
        before = self.selects(name)
        if labels is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = labels
        return self.selects(name) and not before

    def configure(self, mesh: MeshConfig) -> bool:
        """Take in other settings; whether namespaces may count now that did not before."""
        before = {name for name in self._labels if self.selects(name)}
        wider = bool(self._mesh.discovery) and not mesh.discovery
        self._mesh = mesh
        return wider or any(self.selects(name) and name not in before for name in self._labels)

    @property
    def names(self) -> frozenset[str]:
        """All that are there."""
        return frozenset(self._labels)

    def selects(self, name: str) -> bool:
        """Whether objects of a namespace are kept; those of the root namespace always are."""
        if not self._mesh.discovery or name == self._mesh.root_namespace:
            return True
        labels = self._labels.get(name)
        return labels is not None and self._mesh.selects(labels)
