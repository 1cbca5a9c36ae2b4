"""What is to be changed in a node's folder of network configurations, so that our plugin is in the first of them.

The files are others'. What we change of theirs is kept beside it (`NAME.istio-cni-saved`, which no runtime reads)
as it was, and put back unless somebody has changed it since.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from weft.install import cni_networks
from weft.install.cni_networks import TYPE, File, InvalidError, Json, Listing

OWN_NAME: Final = "02-istio-cni.conflist"
STANDALONE_NAME: Final = "YYY-istio-cni.conf"
_SAVED: Final = ".istio-cni-saved"


class How(Enum):
    """Where our plugin is put."""

    CHAINED = "an entry in the network's own file"
    OWN = "a file of ours, with the network's plugins and ours, that comes before the network's"
    STANDALONE = "a file of ours with our plugin alone, for Multus to name"


@dataclass(frozen=True, slots=True)
class Choice:
    """`entry` is our plugin's configuration; `conf_name` the file to join, or empty for the first valid one."""

    entry: Mapping[str, Any]
    how: How = How.CHAINED
    conf_name: str = ""
    own_name: str = OWN_NAME

    @property
    def standalone_name(self) -> str:
        """The name of the file with our plugin alone."""
        return self.conf_name or STANDALONE_NAME


@dataclass(frozen=True, slots=True)
class Put:
    """Make a file so, whole or not at all. `over` is what was there: if that has changed, nothing is done."""

    name: str
    file: File
    over: File | None


@dataclass(frozen=True, slots=True)
class Remove:
    """Take a file away, if it is still as it was."""

    name: str
    over: File


Change = Put | Remove


@dataclass(frozen=True, slots=True)
class Plan:
    """`changes` in their order; `joined` is the file we are in afterwards, or else `waiting` says why in none.

    `notes` is what an operator should know, a sentence each.
    """

    changes: tuple[Change, ...] = ()
    joined: str = ""
    waiting: str = ""
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Folder:
    """The folder as it becomes, and the changes on the way."""

    files: dict[str, File]
    changes: list[Change] = field(default_factory=list)

    def put(self, name: str, file: File) -> None:
        before = self.files.get(name)
        if before is None or (before.content, before.mode, before.link) != (file.content, file.mode, file.link):
            self.changes.append(Put(name, file, before))
            self.files[name] = file

    def remove(self, name: str) -> None:
        if name in self.files:
            self.changes.append(Remove(name, self.files.pop(name)))


def is_ours_to_list(name: str) -> bool:
    """Whether a file of this name is to be in the listing."""
    return cni_networks.is_network(name) or name.endswith(_SAVED)


def plan(listing: Listing, choice: Choice) -> Plan:
    """What to change so that we are in, once and nowhere else. After that, a plan is empty."""
    folder = _Folder(dict(listing))
    chosen, notes = _primary(listing, choice)
    if isinstance(chosen, str):
        # as long as there is no network, nothing of ours may pass for one
        _drop(folder, choice, but="")
        return Plan(tuple(folder.changes), waiting=chosen, notes=notes)
    name, found = chosen
    match choice.how:
        case How.CHAINED:
            joined = _chain(folder, name, found, choice.entry)
        case How.OWN:
            listed = cni_networks.with_us(cni_networks.without_us(found), dict(choice.entry))
            folder.put(choice.own_name, File(cni_networks.text(listed), listing[name].mode))
            joined = choice.own_name
        case How.STANDALONE:
            joined = choice.standalone_name
            folder.put(joined, File(cni_networks.text(cni_networks.alone(joined, dict(choice.entry)))))
    _withdraw(folder, choice, but=joined)
    return Plan(tuple(folder.changes), joined, _order(folder.files, joined, choice, name), notes)


def removal(listing: Listing, choice: Choice) -> Plan:
    """What to change so that nothing of ours is left, and what others have done since is."""
    folder = _Folder(dict(listing))
    _withdraw(folder, choice, but="")
    return Plan(tuple(folder.changes))


def _primary(listing: Listing, choice: Choice) -> tuple[tuple[str, Json] | str, tuple[str, ...]]:
    """The network to join, or why there is none; and what is to be told."""
    ours = _own(listing, choice) | ({choice.own_name} if choice.how is How.OWN else frozenset())
    notes, valid = list[str](), dict[str, Json]()
    for name, found in cni_networks.networks(listing):
        if name in ours:
            continue
        if isinstance(found, InvalidError):
            notes.append(f"{name} is passed over: {found}. Some runtimes take no network while it is there.")
        elif cni_networks.is_ours_alone(found):
            notes.append(f"{name} is passed over: it has no plugin but {TYPE}.")
        else:
            valid[name] = found
    wanted = "" if choice.how is How.STANDALONE else choice.conf_name
    if not valid:
        waiting = "there is no network to join yet. The cluster's network plugin has to be installed."
        return waiting, tuple(notes)
    first = next(iter(valid))
    if choice.how is How.STANDALONE and choice.standalone_name in valid:
        waiting = f"{choice.standalone_name} (CNI_CONF_NAME) is another's. Name a file of ours, or none."
        return waiting, tuple(notes)
    if not wanted:
        return (first, valid[first]), tuple(notes)
    # what was a single plugin has become a list, by us or by others, or the other way round
    names = (wanted, *reversed(cni_networks.candidates(wanted)), f"{cni_networks.stem(wanted)}.conf")
    chosen = next((each for each in names if each in valid), "")
    if not chosen:
        waiting = f"{wanted} (CNI_CONF_NAME) is not there, or no valid network. There are {', '.join(valid)}."
        return waiting, tuple(notes)
    if chosen != first:
        notes.append(f"{first} comes before {chosen} (CNI_CONF_NAME): runtimes may take that one, without us.")
    return (chosen, valid[chosen]), tuple(notes)


def _own(files: Listing, choice: Choice) -> frozenset[str]:
    """Names of files that are wholly ours: a name of ours and what we put there, or just what we put there."""
    names = {STANDALONE_NAME, choice.standalone_name} if choice.how is How.STANDALONE else {STANDALONE_NAME}
    copies = {choice.own_name, OWN_NAME} - _products(files)
    found = {name: one for name, one in cni_networks.networks(files) if not isinstance(one, InvalidError)}
    alone = {name for name in names & found.keys() if cni_networks.is_ours_alone(found[name])}
    alone |= {
        name for name, one in found.items() if not cni_networks.is_list(name) and _is_as_written(one, choice)
    }
    return frozenset(alone | {name for name in copies & found.keys() if cni_networks.has_us(found[name])})


def _is_as_written(found: Json, choice: Choice) -> bool:
    """Whether a single plugin is ours, with the keys that we write."""
    return cni_networks.is_ours_alone(found) and found["plugins"][0].keys() | {"name"} == choice.entry.keys()


def _products(files: Listing) -> set[str]:
    """Names that files of others may have, since we joined them."""
    kept = [name.removesuffix(_SAVED) for name in files if name.endswith(_SAVED)]
    return {product for name in kept for product in cni_networks.candidates(name)}


def _chain(folder: _Folder, name: str, found: Json, entry: Mapping[str, Any]) -> str:
    """Put our entry into a network's file, which becomes a list; the name that it has then."""
    before = folder.files[name]
    product = _product(folder.files, name)
    listed = cni_networks.with_us(found, dict(entry))
    if not cni_networks.has_us(found):
        folder.put(name + _SAVED, before)
        _forget(folder, product, name + _SAVED)
    if product == name and listed == found:
        return name
    folder.put(product, File(cni_networks.text(listed), before.mode))
    if product != name:
        folder.remove(name)
    return product


def _forget(folder: _Folder, product: str, saved: str) -> None:
    """What we kept of another file that became `product` is of no use, now that `product` is somebody's own."""
    for other in [each for each in folder.files if each.endswith(_SAVED) and each != saved]:
        if product in cni_networks.candidates(other.removesuffix(_SAVED)):
            folder.remove(other)


def _product(files: Listing, name: str) -> str:
    """The list that a network's file becomes: no file of others, and not after others that come after it."""
    usual, beside = (*cni_networks.candidates(name), "")[:2]
    if usual == name:
        return name
    later = [each for each in files if cni_networks.is_network(each) and each > name and each != usual]
    if _is_made_by_us(files, name, usual) or (usual not in files and all(usual < each for each in later)):
        return usual
    return beside


def _is_made_by_us(files: Listing, name: str, product: str) -> bool:
    """Whether `product` is what a single plugin's file became by our doing."""
    if product not in files or name + _SAVED not in files:
        return False
    try:
        return cni_networks.has_us(cni_networks.read(product, files[product]))
    except InvalidError:
        return False


def _withdraw(folder: _Folder, choice: Choice, *, but: str) -> None:
    """Take what is ours out of every file but one."""
    _drop(folder, choice, but=but)
    for saved in [each for each in folder.files if each.endswith(_SAVED)]:
        _restore(folder, saved, but=but)
    for name, found in list(cni_networks.networks(folder.files)):
        if name == but or not cni_networks.is_list(name) or isinstance(found, InvalidError):
            continue
        if cni_networks.has_us(found):
            _strip(folder, name, found)


def _drop(folder: _Folder, choice: Choice, *, but: str) -> None:
    """Take away the files that are wholly ours, but one."""
    for name in _own(folder.files, choice) - {but}:
        folder.remove(name)


def _restore(folder: _Folder, saved: str, *, but: str) -> None:
    """Put back what we kept of a file, unless others have changed since what we made of it."""
    name, kept = saved.removesuffix(_SAVED), folder.files[saved]
    products = [each for each in cni_networks.candidates(name) if each in folder.files]
    if but and but in cni_networks.candidates(name):
        return
    for product in products:
        try:
            found = cni_networks.read(product, folder.files[product])
            before = cni_networks.without_us(cni_networks.read(name, kept))
        except InvalidError:
            continue
        if not cni_networks.has_us(found) or cni_networks.without_us(found) != before:
            continue
        if name == product or name not in folder.files:
            folder.put(name, kept)
        if name != product:
            folder.remove(product)
    folder.remove(saved)


def _strip(folder: _Folder, name: str, found: Json) -> None:
    rest = cni_networks.without_us(found)
    if rest["plugins"]:
        folder.put(name, File(cni_networks.text(rest), folder.files[name].mode))
    else:
        folder.remove(name)


def _order(files: Listing, joined: str, choice: Choice, primary: str) -> str:
    """What is wrong with the place of a file of ours among the others; empty if nothing is."""
    names = [name for name, found in cni_networks.networks(files) if not isinstance(found, InvalidError)]
    first = next(iter(names), "")
    if choice.how is How.OWN and not choice.conf_name and first != joined:
        return (
            f"{joined} comes after {first}, which runtimes take. "
            f"Set ISTIO_OWNED_CNI_CONFIG_FILENAME to a name before {first}."
        )
    if choice.how is How.STANDALONE and first == joined:
        return (
            f"{joined} comes before {primary}, so that pods have no network. Set CNI_CONF_NAME to a name after it."
        )
    return ""
