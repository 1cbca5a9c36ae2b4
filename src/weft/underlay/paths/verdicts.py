"""Whether a packet gets there and its answers come back, in a word, a sentence and all steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from weft.underlay.addresses import Address
from weft.underlay.paths.walking import Fate, Journey, Packet, answer, come, walk
from weft.underlay.paths.world import Place, World


class Word(StrEnum):
    """The verdict."""

    OK = "ok"
    LEAVES = "leaves"
    """It goes out rightly to where nobody looks; answers from there would come back."""
    DROPPED = "dropped"
    ANSWER_DROPPED = "answers dropped"
    UNSEEN = "not seen"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The way there, and that of the answers if there are any."""

    there: Journey
    back: Journey | None
    is_from_outside: bool = False

    @property
    def source(self) -> Address | None:
        """The address that it was sent from."""
        return self.there.hidden or self.there.packet.source

    @property
    def word(self) -> Word:
        """In a word."""
        if self.there.fate is Fate.DROPPED:
            return Word.DROPPED
        if self.back is None:
            return Word.UNSEEN
        if self.back.fate is Fate.DROPPED:
            return Word.ANSWER_DROPPED
        return Word.LEAVES if Fate.LEAVES in {self.there.fate, self.back.fate} else Word.OK

    @property
    def reason(self) -> str:
        """In a sentence."""
        if self.there.fate is Fate.DROPPED:
            return self.there.reason
        if self.back is not None and self.back.fate is Fate.DROPPED:
            return f"the answer: {self.back.reason}"
        if aside := self.asides:
            return "; ".join(aside)
        if self.is_from_outside:
            return f"in and out by {self.there.interface}"
        if self.there.fate is Fate.LEAVES:
            return f"by {self.there.sent_by} {self.there.reason}"
        return f"by {self.there.sent_by}, both ways"

    @property
    def hint(self) -> str:
        """The way out, "" where none is needed or known."""
        return self.there.hint or (self.back.hint if self.back else "")

    @property
    def asides(self) -> tuple[str, ...]:
        """Where answers take another interface than the packet did, at either end."""
        there, back = self.there, self.back
        if back is None or Fate.DROPPED in {there.fate, back.fate}:
            return ()
        found = []
        if not self.is_from_outside and back.fate is Fate.ARRIVES and there.sent_by != back.interface:
            found.append(f"leaves by {there.sent_by}, answers come in by {back.interface}")
        if back.sent_by and there.fate is Fate.ARRIVES and back.sent_by != there.interface:
            found.append(f"comes in by {there.interface}, answers leave by {back.sent_by}")
        return tuple(found)

    def lines(self) -> Iterator[str]:
        """All steps, numbered, each place once."""
        number, place = 0, ""
        for title, journey in (("", self.there), ("the answer", self.back)):
            if journey is None:
                continue
            place = ""
            if title:
                yield f"{title}:"
            for step in journey.steps:
                if step.place != place:
                    place = step.place
                    yield f"  {place}"
                number += 1
                yield f"  {number:>3}. {step.text}"


def from_outside(world: World, node: Place, packet: Packet) -> Verdict:
    """The same for a packet from where nobody looks, to a pod of this node."""
    there = come(world, node, packet)
    return Verdict(there, answer(world, there), is_from_outside=True)


def verdict(world: World, place: Place, packet: Packet) -> Verdict:
    """What becomes of a packet that is sent from a place, and of the answers to it."""
    there = walk(world, place, packet)
    return Verdict(there, answer(world, there))
