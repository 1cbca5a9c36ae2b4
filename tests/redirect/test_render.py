from weft.redirect import render
from weft.redirect.capture import Capture
from weft.redirect.plan import plan

PLAN = plan(Capture(excluded_inbound_ports=(15090, 15021, 15020)))
SAVED = "*nat\n:PREROUTING ACCEPT [5:300]\n:ISTIO_INBOUND - [0:0]\n" + "\n".join(render.lines(PLAN)) + "\nCOMMIT\n"


def test_what_is_there_already_needs_no_transaction() -> None:
    assert render.transaction(PLAN, SAVED) == ""


def test_an_empty_table_gets_every_chain_and_rule() -> None:
    text = render.transaction(PLAN, "")
    assert text.count("\n-A ") == len(PLAN.rules)
    assert "-D" not in text
    assert text.endswith("COMMIT\n")


def test_a_drifted_table_is_rebuilt_and_the_rules_of_others_stay() -> None:
    drifted = SAVED.replace("-A ISTIO_OUTPUT -j ISTIO_REDIRECT\n", "").replace(
        "COMMIT\n", "-A PREROUTING -p tcp -j KUBE-SERVICES\nCOMMIT\n"
    )
    text = render.transaction(PLAN, drifted)
    assert "-D PREROUTING -p tcp -j ISTIO_INBOUND\n" in text
    assert "KUBE-SERVICES" not in text


def test_a_removal_takes_chains_and_jumps_and_nothing_else() -> None:
    rules = "-A PREROUTING -p tcp -j ISTIO_INBOUND\n-A PREROUTING -p tcp -j KUBE-SERVICES\n"
    saved = f"*nat\n:ISTIO_INBOUND - [0:0]\n{rules}"
    assert render.removal(PLAN, saved).splitlines() == [
        "*nat",
        ":ISTIO_INBOUND - [0:0]",
        "-D PREROUTING -p tcp -j ISTIO_INBOUND",
        "-X ISTIO_INBOUND",
        "COMMIT",
    ]
    assert render.removal(PLAN, "") == ""


def test_the_explanation_gives_each_rule_its_reason() -> None:
    text = render.explanation(PLAN)
    assert "# localhost stays local\n-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n" in text
