"""How a pod's traffic is captured: a plan of rules, each with its reason, and its rendering."""
