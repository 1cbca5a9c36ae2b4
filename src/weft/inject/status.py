"""The annotation that says what injection added, for tools that take it out again."""

import json
from collections.abc import Sequence

from weft.inject import volumes
from weft.inject.settings import InjectSettings
from weft.model.enrolment import SIDECAR


def status(settings: InjectSettings, *, init: Sequence[str], containers: Sequence[str] = (SIDECAR,)) -> str:
    """The value of `sidecar.istio.io/status`; `init` and `containers` name what was added."""
    added = {
        "initContainers": list(init) or None,
        "containers": list(containers) or None,
        "volumes": [volume["name"] for volume in volumes.volumes()],
        "imagePullSecrets": None,
        "revision": settings.revision,
    }
    return json.dumps(added, separators=(",", ":"))
