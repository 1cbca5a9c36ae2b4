"""The variants of the proxy's image, told by how its tag ends."""

from typing import Final

_VARIANTS: Final = ("distroless", "debug")


def of_type(image: str, kind: str) -> str:
    """The image of this type: `hub/proxyv2:1.0.0-distroless`; `default` has no such ending."""
    for variant in _VARIANTS:
        image = image.removesuffix(f"-{variant}")
    return image if kind == "default" else f"{image}-{kind}"
