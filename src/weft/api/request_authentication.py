"""RequestAuthentication (security.istio.io): which tokens come with requests, and who vouches for them."""

from typing import Annotated, Literal

from msgspec import Meta, field

from weft.api.policy_target import PolicyTarget
from weft.api.shape import Duration, Resource, Shape, WorkloadSelector


class JwtHeader(Shape, frozen=True):
    """A header that a token comes in."""

    name: str = ""
    prefix: Annotated[str, Meta(description='What stands before the token, "Bearer " for example.')] = ""


class ClaimToHeader(Shape, frozen=True):
    """A header that tells the application a claim."""

    header: str = ""
    claim: Annotated[str, Meta(description="The claim's name; dots lead into nested ones.")] = ""


class JwtRule(Shape, frozen=True):
    """An issuer of tokens."""

    issuer: Annotated[str, Meta(description="The token's `iss`. Empty, with jwksUri: any.")] = ""
    audiences: Annotated[
        tuple[str, ...], Meta(description="The token's `aud` must be one of them. Without any: whatever it is.")
    ] = ()
    jwks_uri: Annotated[str, Meta(description="Where the public keys are, fetched by istiod.")] = ""
    jwks_uri_old: Annotated[str, Meta(description="The old name of jwksUri.")] = field(default="", name="jwks_uri")
    jwks: Annotated[str, Meta(description="The public keys themselves, a JSON Web Key Set.")] = ""
    from_headers: Annotated[
        tuple[JwtHeader, ...], Meta(description="Without any place: Authorization, and access_token in the query.")
    ] = ()
    from_params: Annotated[tuple[str, ...], Meta(description="Parameters of the query.")] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: Annotated[str, Meta(description="A header that gets the payload, in base64url.")] = (
        ""
    )
    output_claim_to_headers: tuple[ClaimToHeader, ...] = ()
    forward_original_token: Annotated[
        bool, Meta(description="The application gets the token too; otherwise it is taken out.")
    ] = False
    timeout: Annotated[Duration | None, Meta(description="How long istiod waits for the keys; 5s by default.")] = (
        None
    )
    space_delimited_claims: Annotated[
        tuple[str, ...],
        Meta(description="Claims whose words are matched one by one, beside scope and permission."),
    ] = ()
    presence: Annotated[
        Literal["OPTIONAL", "REQUIRED"],
        Meta(description="REQUIRED: a request without a token is refused by itself."),
    ] = "OPTIONAL"


class RequestAuthenticationSpec(Shape, frozen=True):
    """Tokens that some workloads accept. Those of all policies for a workload add up."""

    selector: Annotated[
        WorkloadSelector | None,
        Meta(description="Without it: all workloads of the namespace; of the root one, of the mesh."),
    ] = None
    target_ref: PolicyTarget | None = None
    target_refs: tuple[PolicyTarget, ...] = ()
    jwt_rules: tuple[JwtRule, ...] = ()


class RequestAuthentication(Resource, frozen=True, kw_only=True):
    """Which tokens workloads accept with a request."""

    spec: RequestAuthenticationSpec = RequestAuthenticationSpec()
