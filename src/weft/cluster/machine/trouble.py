"""What stops a cluster from coming up, said so that a user can mend it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that is wrong on the machine, and the way out: a command or an option."""

    what: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.what} {self.way_out}"


class UpError(Exception):
    """The cluster cannot come up: one or more troubles."""

    def __init__(self, *troubles: Trouble) -> None:
        super().__init__("; ".join(str(trouble) for trouble in troubles))
        self.troubles = troubles
