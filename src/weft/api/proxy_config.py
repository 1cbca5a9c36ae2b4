"""ProxyConfig (networking.istio.io): settings of the proxies of a mesh, a namespace or some workloads."""

from typing import Annotated

from msgspec import Meta

from weft.api.proxy_settings import Image
from weft.api.shape import Resource, Shape, WorkloadSelector


class ProxyConfigSpec(Shape, frozen=True):
    """What pods get that start from now on. The annotation `proxy.istio.io/config` goes over it."""

    selector: Annotated[
        WorkloadSelector | None,
        Meta(description="Pods of this namespace that it is for. Without one: all of it, or of the mesh."),
    ] = None
    concurrency: Annotated[
        Annotated[int, Meta(ge=0, le=1024)] | None,
        Meta(description="Worker threads of Envoy; 0 is one for each processor."),
    ] = None
    environment_variables: Annotated[
        dict[str, str] | None, Meta(description="Variables of the proxy; ISTIO_META_… are told to istiod too.")
    ] = None
    image: Image | None = None


class ProxyConfig(Resource, frozen=True, kw_only=True):
    """Settings of proxies."""

    spec: ProxyConfigSpec
