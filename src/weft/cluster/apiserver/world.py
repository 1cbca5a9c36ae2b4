"""Time and chance, which the process hands down."""

import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

# No vowels and no look-alikes, so that no words appear (apimachinery/pkg/util/rand).
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def stamp(moment: datetime) -> str:
    """A moment as Kubernetes' `Time` writes it, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_stamp(text: str) -> datetime:
    """The moment that a `Time` or `MicroTime` stands for; ValueError where it is none."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """What the server knows of outside: the clocks and a source of chance."""

    now: Callable[[], datetime]
    chance: random.Random
    spent: Callable[[], float] = time.thread_time
    """Processor seconds of this thread."""

    def stamp(self) -> str:
        """The present, as objects carry it."""
        return stamp(self.now())

    def uid(self) -> str:
        """A new object's uid."""
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def suffix(self) -> str:
        """Five characters, as `generateName` adds them."""
        return "".join(self.chance.choices(_ALPHABET, k=5))
