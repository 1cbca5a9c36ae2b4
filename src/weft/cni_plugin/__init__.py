"""The CNI plugins: programs that hosts run, with nothing of Weft beside them."""

from pathlib import Path
from typing import Final

PYTHON: Final = Path(__file__).with_name("istio_cni.py")
"""For hosts with a /usr/bin/python3 of 3.8 or newer."""
SELF_CONTAINED: Final = Path(__file__).with_name("istio-cni")
"""For all others: `make` builds it, for this machine's processor. Where nobody did, there is no such file."""
UNDERLAY: Final = Path(__file__).with_name("underlay")
"""The plugins of underlay networks, each by the name that it is called by; `make` builds it, too."""
