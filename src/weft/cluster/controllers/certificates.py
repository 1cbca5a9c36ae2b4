"""Signs what was approved: CertificateSigningRequests of Kubernetes' own signers, with the cluster's authority."""

import base64
import binascii
from collections.abc import Callable, Iterable

from weft.adapters.kube.client import Json
from weft.adapters.kube.kinds import CERTIFICATESIGNINGREQUESTS, Kind
from weft.cluster.controllers.changes import Patch, Plan
from weft.cluster.controllers.loop import Controller, World
from weft.cluster.controllers.objects import Key, condition, key_of, timestamp
from weft.pki import pem, signers
from weft.pki.authority import Authority
from weft.pki.request import RefusedError


class Certificates(Controller):
    """`serial` makes serial numbers of certificates."""

    name = "certificate-controller"
    watches: tuple[Kind, ...] = (CERTIFICATESIGNINGREQUESTS,)

    def __init__(self, authority: Authority, serial: Callable[[], int]) -> None:
        self._authority, self._serial = authority, serial

    def keys(self, kind: Kind, obj: Json, world: World) -> Iterable[Key]:  # noqa: ARG002, each by itself
        """The request itself."""
        return [key_of(obj)]

    def plan(self, key: Key, world: World) -> Plan:
        """Sign what is approved and not signed, or say why not."""
        request = world.of(CERTIFICATESIGNINGREQUESTS).get(key)
        if request is None or not _waits(request):
            return Plan()
        spec, status = request["spec"], request.get("status") or {}
        usages = [str(usage) for usage in spec.get("usages") or ()]
        try:
            asked = signers.read(base64.b64decode(spec["request"]))
            signers.check(spec["signerName"], asked, usages)
            signed = signers.sign(
                self._authority,
                asked,
                usages,
                seconds=spec.get("expirationSeconds"),
                now=world.now,
                serial=self._serial(),
            )
        except (RefusedError, ValueError, binascii.Error) as error:
            failed = {
                "type": "Failed",
                "status": "True",
                "reason": "SignerValidationFailure",
                "message": str(error),
                "lastUpdateTime": timestamp(world.now),
                "lastTransitionTime": timestamp(world.now),
            }
            conditions = [*(status.get("conditions") or ()), failed]
            return _status(request, {"conditions": conditions})
        return _status(request, {"certificate": base64.b64encode(pem.certificate(signed).encode()).decode()})


def _waits(request: Json) -> bool:
    approved = condition(request, "Approved").get("status") == "True"
    over = condition(request, "Failed") or (request.get("status") or {}).get("certificate")
    return approved and not over and request["spec"].get("signerName") in signers.SIGNERS


def _status(request: Json, status: Json) -> Plan:
    return Plan([Patch(CERTIFICATESIGNINGREQUESTS, request, {"status": status}, "status")])
