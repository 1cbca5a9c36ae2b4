"""Who asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

ISSUER = "https://kubernetes.default.svc.cluster.local"
"""Who signs the tokens of service accounts."""
MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
ANONYMOUS = "system:anonymous"
UNAUTHENTICATED = "system:unauthenticated"
CREDENTIAL = "authentication.kubernetes.io/credential-id"
"""The `extra` that tells by which certificate or token somebody came."""
SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller, as TokenReview and admission reviews show it."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def info(self) -> dict[str, object]:
        """The `UserInfo` object."""
        return {
            "username": self.name,
            **({"uid": self.uid} if self.uid else {}),
            "groups": list(self.groups),
            **({"extra": {key: list(values) for key, values in self.extra.items()}} if self.extra else {}),
        }


NOBODY = User(ANONYMOUS, groups=(UNAUTHENTICATED,))
"""Who shows nothing."""
