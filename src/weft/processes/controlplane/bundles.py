"""What the mesh verifies others with: its authority's roots, and those that its settings name."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from weft.model.mesh_config import MeshConfig
from weft.pki.succession import TrustBundle, Trusted


@dataclass(frozen=True, slots=True)
class Bundle:
    """What proxies are told to trust, and the roots (PEM) of the cluster's signers by name.

    `domains` are the trust domains whose identities are the mesh's own: the one in use first, then its aliases.
    """

    trusted: Trusted
    domains: tuple[str, ...]
    signers: tuple[tuple[str, str], ...] = ()

    def of_signer(self, name: str) -> str:
        """What the certificates of a signer are verified with; "" where that is not known."""
        return "".join(roots for signer, roots in self.signers if signer == name)


class Bundles:
    """What is trusted at this moment; `tell` is called with it when it has become something else."""

    def __init__(
        self,
        trusted: Callable[[], Trusted],
        mesh: Callable[[], MeshConfig],
        tell: Callable[[Trusted], Awaitable[None]],
    ) -> None:
        self._trusted, self._mesh, self._tell = trusted, mesh, tell
        self._made: tuple[Trusted, MeshConfig, Bundle] | None = None
        self._told: Trusted | None = None
        self._wake = asyncio.Event()

    def now(self) -> Bundle:
        """The bundle of this moment; the same one as before if nothing has changed."""
        trusted, mesh = self._trusted(), self._mesh()
        if self._made is None or self._made[0] is not trusted or self._made[1] is not mesh:
            self._made = (trusted, mesh, bundle(trusted, mesh))
        return self._made[2]

    async def tell(self) -> None:
        """Tell of what is trusted now, unless that is known."""
        trusted = self.now().trusted
        if trusted != self._told:
            self._told = trusted
            await self._tell(trusted)

    def look(self) -> None:
        """The settings may have changed; returns at once."""
        self._wake.set()

    async def run(self) -> None:
        """Tell of changes of the settings, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.tell()


def bundle(trusted: Trusted, mesh: MeshConfig) -> Bundle:
    """What is trusted by the authority's record and the mesh's settings.

    An alias is another name of ours, so that our own roots vouch for it too. Where some are revoked, other trust
    domains are left out: Envoy looks at either lists or trust domains.
    """
    ours = {mesh.trust_domain}
    aliases = set(mesh.trust_domain_aliases)
    own = [trusted.roots]
    own += [each.roots for each in mesh.authorities if not each.domains or ours & set(each.domains)]
    further: dict[str, list[str]] = {}
    for each in mesh.authorities:
        for domain in each.domains:
            if domain not in ours:
                further.setdefault(domain, []).append(each.roots)
    known = "".join(dict.fromkeys(own))
    others = [
        TrustBundle((domain,), "".join(dict.fromkeys([*([known] if domain in aliases else []), *roots])))
        for domain, roots in sorted(further.items())
    ]
    if others:
        plain = (mesh.trust_domain, *(each for each in mesh.trust_domain_aliases if each not in further))
        others.insert(0, TrustBundle(plain, known))
    told = () if trusted.revoked else tuple(others)
    signers = tuple((signer, each.roots) for each in mesh.authorities for signer in each.signers)
    return Bundle(Trusted(known, trusted.revoked, told), (mesh.trust_domain, *mesh.trust_domain_aliases), signers)
