import pytest

from weft.cluster.kubelet import image_names


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.27", "docker.io/library/nginx:1.27"),
        ("istio/examples-helloworld-v1:1.0", "docker.io/istio/examples-helloworld-v1:1.0"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("registry:5000/a/b", "registry:5000/a/b:latest"),
        ("registry.k8s.io/pause@sha256:" + "a" * 64, "registry.k8s.io/pause@sha256:" + "a" * 64),
        ("UPPER/x:1", "UPPER/x:1"),
    ],
)
def test_a_name_is_made_whole_as_docker_does(written: str, meant: str) -> None:
    assert image_names.full(written) == meant


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("Nginx:1", r"repository name \(library/Nginx\) must be lowercase"),
        ("nginx::1", "invalid reference format"),
        ("nginx:" + "a" * 129, "invalid reference format"),
        ("-x", "invalid reference format"),
        ("a" * 64, "cannot specify 64-byte hexadecimal strings"),
    ],
)
def test_what_is_no_name_is_refused_in_dockers_words(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        image_names.full(written)
    assert image_names.shown(written) == written
