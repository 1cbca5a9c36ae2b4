"""The namespaces that the mesh looks at (MeshConfig, discoverySelectors)."""

from collections.abc import Mapping

from weft.model.mesh_config import MeshConfig


class Namespaces:
    """Namespaces by name with their labels, and which of them count. Nothing counts before it is known."""

    def __init__(self, mesh: MeshConfig) -> None:
        self._mesh = mesh
        self._labels: dict[str, Mapping[str, str]] = {}

    def put(self, name: str, labels: Mapping[str, str] | None) -> None:
        """Take in a namespace, or its deletion (None)."""
        if labels is None:
            self._labels.pop(name, None)
        else:
            self._labels[name] = labels

    def configure(self, mesh: MeshConfig) -> None:
        """Take in other settings."""
        self._mesh = mesh

    def selects(self, name: str) -> bool:
        """Whether objects of a namespace are kept; those of the root namespace always are."""
        if not self._mesh.discovery or name == self._mesh.root_namespace:
            return True
        labels = self._labels.get(name)
        return labels is not None and self._mesh.selects(labels)

    def selected(self) -> frozenset[str]:
        """The names of those that are known and count."""
        return frozenset(name for name in self._labels if self.selects(name))
