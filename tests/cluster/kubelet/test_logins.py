"""Pull secrets: which registry sees which, and a pull from one that asks."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pytest
from aiohttp import web
from tests.cluster.kubelet.support import Json, Node, pod

from weft.adapters.cri.types import Login
from weft.cluster.kubelet import oci
from weft.cluster.kubelet.images import architecture
from weft.cluster.kubelet.logins import logins
from weft.cluster.kubelet.objects import Objects, Reference


def auth(text: str) -> Json:
    return {"auth": base64.b64encode(text.encode()).decode()}


def secret(auths: Json, key: str = ".dockerconfigjson") -> Json:
    config = {"auths": auths} if key == ".dockerconfigjson" else auths
    return {"kind": "Secret", "data": {key: base64.b64encode(json.dumps(config).encode()).decode()}}


def found(image: str, *secrets: Json) -> list[Login]:
    names = [{"name": f"s{number}"} for number in range(len(secrets))]
    objects = {Reference("Secret", "default", f"s{number}"): each for number, each in enumerate(secrets)}
    return logins(pod("p", imagePullSecrets=[*names, {"name": "missing"}]), image, Objects(objects))


@pytest.mark.parametrize(
    ("place", "image", "seen"),
    [
        ("reg.example", "reg.example/app:1", True),
        ("https://reg.example/v2/", "reg.example/team/app:1", True),
        ("reg.example:5000", "reg.example:5000/app", True),
        ("reg.example", "reg.example:5000/app", False),
        ("*.example", "reg.example/app", True),
        ("*.example", "a.b.example/app", False),
        ("reg.example/team", "reg.example/team/app", True),
        ("reg.example/team", "reg.example/teams/app", False),
        ("https://index.docker.io/v1/", "nginx:1", True),
        ("https://index.docker.io/v1/", "docker.io/library/nginx", True),
        ("docker.io", "team/app", True),
        ("reg.example", "nginx", False),
    ],
)
def test_a_registry_sees_the_logins_of_its_name_only(place: str, image: str, seen: bool) -> None:  # noqa: FBT001, a case
    assert found(image, secret({place: auth("me:secret")})) == ([Login("me", "secret")] if seen else [])


def test_the_most_specific_login_is_tried_first_and_what_cannot_be_read_is_left_out() -> None:
    wide, narrow = secret({"reg.example": auth("a:1")}, ".dockercfg"), secret({"reg.example/team": auth("b:2")})
    broken = {"kind": "Secret", "data": {".dockerconfigjson": base64.b64encode(b"{").decode()}}
    odd = secret({"reg.example": {"auth": "***"}})
    plain = secret({"reg.example": {"username": "c", "password": "3", "identitytoken": "t"}})
    tried = found("reg.example/team/app", wide, broken, odd, narrow, plain)
    assert tried == [Login("b", "2"), Login("a", "1"), Login("c", "3", "t")]


class Registry:
    """A registry with one image, for those who know the password."""

    def __init__(self) -> None:
        layout = io.BytesIO(oci.image("private:1", {"hello": oci.File(b"x")}, oci.Config(), architecture()))
        with tarfile.open(fileobj=layout) as tar:
            self.files = {each.name: tar.extractfile(each).read() for each in tar if each.isfile()}  # type: ignore[union-attr]  # files have contents
        self.refused = 0

    async def serve(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic " + auth("me:secret")["auth"]:
            self.refused += 1
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="private"'})
        kind, _, name = request.match_info["rest"].partition("/")
        if kind == "manifests" and not name.startswith("sha256:"):
            name = json.loads(self.files["index.json"])["manifests"][0]["digest"]
        body = self.files["blobs/sha256/" + name.removeprefix("sha256:")]
        media = json.loads(body)["mediaType"] if kind == "manifests" else "application/octet-stream"
        headers = {"Docker-Content-Digest": name, "Content-Type": media}
        return web.Response(body=body, headers=headers)


async def test_an_image_is_pulled_with_the_pods_secret_and_refused_without(node: Node, tmp_path: Path) -> None:
    registry = Registry()
    app = web.Application()
    app.router.add_get("/v2/private/{rest:.*}", registry.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        place = f"127.0.0.1:{runner.addresses[0][1]}"
        main = {"name": "main", "image": f"{place}/private:1", "command": ["/none"]}
        node.pods.apply(pod("stranger", main, imagePullSecrets=[{"name": "nowhere"}]))
        await node.until(
            "stranger", lambda status: "ErrImagePull" in str(status) or "ImagePullBackOff" in str(status)
        )
        assert (
            "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (nowhere); "
            "attempting to pull the image may not succeed."
        ) in node.memory.told("stranger")
        assert any("401 Unauthorized" in each for each in node.memory.told("stranger"))
        node.memory.objects_[Reference("Secret", "default", "wrong")] = secret({place: auth("me:wrong")})
        node.memory.objects_[Reference("Secret", "default", "key")] = secret({place: auth("me:secret")})
        node.pods.apply(pod("friend", main, imagePullSecrets=[{"name": "wrong"}, {"name": "key"}]))
        await node.until("friend", lambda status: "StartError" in str(status))
        assert any("Successfully pulled image" in each for each in node.memory.told("friend"))
    finally:
        await runner.cleanup()
