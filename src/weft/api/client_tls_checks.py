"""What must hold of a client's TLS settings beyond their shape."""

from collections.abc import Iterator

from weft.api.report import Report
from weft.api.traffic_policy import Tls
from weft.base.problem import Problem


def check_client_tls(tls: Tls, field: str, report: Report) -> Iterator[Problem]:
    """Give all that is wrong with the settings, or has no effect in their mode."""
    files = {
        "clientCertificate": tls.client_certificate,
        "privateKey": tls.private_key,
        "caCertificates": tls.ca_certificates,
        "caCrl": tls.ca_crl,
    }
    given = [name for name, value in files.items() if value]
    if tls.credential_name and tls.mode in {"SIMPLE", "MUTUAL"} and given:
        message = f"credentialName and {' and '.join(given)} exclude each other."
        yield report.error(field, message, "Keep the Secret or the files.")
    elif tls.mode == "MUTUAL" and not tls.credential_name:
        for name in ("clientCertificate", "privateKey"):
            if not files[name]:
                hint = f"Add {name}, a file in the proxy's container, or credentialName."
                yield report.error(f"{field}.{name}", "MUTUAL shows a certificate, and there is none.", hint)
    elif tls.mode in {"DISABLE", "ISTIO_MUTUAL"} and (given or tls.credential_name):
        name = given[0] if given else "credentialName"
        hint = "ISTIO_MUTUAL has the mesh's certificates." if tls.mode == "ISTIO_MUTUAL" else "Set mode: MUTUAL."
        yield report.error(f"{field}.{name}", f"has no effect with mode {tls.mode}.", hint)
    if tls.insecure_skip_verify:
        if tls.mode in {"DISABLE", "ISTIO_MUTUAL"}:
            message = f"has no effect with mode {tls.mode}."
            yield report.error(f"{field}.insecureSkipVerify", message, "Take it out.")
        elif tls.ca_certificates or tls.subject_alt_names:
            message = "any certificate is taken, whatever caCertificates and subjectAltNames say."
            yield report.warning(f"{field}.insecureSkipVerify", message, "Take it out, so that they count.")
