"""Weights as people save them: alone or beside other things, by the names of a net or behind a prefix."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from blitz.cifar10.classes import CLASSES, official_name
from blitz.training.recipes import Recipe


class Weights(NamedTuple):
    """The weights of a net, out of what a file holds.

    Attributes:
        tensors: by their names in the net.
        classes: the names of the classes, in the order of the scores; None where the file tells none.
        wrapping: what they were taken out of, in words; empty where they were wrapped in nothing.
    """

    tensors: dict[str, Tensor]
    classes: tuple[str, ...] | None
    wrapping: str


def find(content: Any, nets: Sequence[nn.Module]) -> tuple[int, Weights]:
    """Return which of `nets` the weights in `content` are of, and these.

    They are looked for in `content` and in the dicts inside it, and have to be there once, complete, with
    the names and shapes of the net; before all the names the same prefix may stand, such as "module.".

    Raises:
        ValueError: there are none, or several; the message says what there is instead.
    """
    if isinstance(content, Mapping) and {"model", "optimizer", "settings"} <= content.keys():
        content = content["model"]  # of a training of ours, whose optimizers are not to be searched
    found: dict[str, tuple[int, Weights]] = {}
    for entry, place in _dicts(content):
        classes = remembered_classes(entry) or remembered_classes(content)
        for number, net in enumerate(nets):
            for prefix, tensors in _fitting(entry, net.state_dict()):
                where = [f"in the entry {place!r}"] if place else []
                where += [f"behind the prefix {prefix!r}"] if prefix else []
                wrapping = " ".join(where)
                found.setdefault(wrapping, (number, Weights(tensors, classes, wrapping)))
    if len(found) > 1:
        raise ValueError(f"holds weights {' and '.join(found)}: save only those that you mean")
    if not found:
        raise ValueError(_what_instead(content, nets))
    return found.popitem()[1]


def remember(
    weights: Mapping[str, Any], *, classes: Sequence[str] | None = None, recipe: Recipe | None = None
) -> None:
    """Note classes and recipe in a state_dict, beside the versions of its modules, where no net looks."""
    root = weights._metadata[""]  # type: ignore[attr-defined]
    if classes is not None:
        root["classes"] = tuple(classes)
    if recipe is not None:
        root["recipe"] = recipe._asdict()


def remembered_recipe(content: Any) -> Recipe | None:
    """Return the recipe that remember() noted, or that a training's checkpoint has; None where neither is.

    Raises:
        ValueError: what is noted is no recipe.
    """
    if not isinstance(content, Mapping):
        return None
    settings = content.get("settings")
    if isinstance(settings, Mapping) and "recipe" in settings:
        noted: Any = {**settings, "name": settings["recipe"]}
    elif (noted := _root(content).get("recipe")) is None:
        return None
    try:
        return Recipe(**{field: noted[field] for field in Recipe._fields if field in noted})
    except TypeError:
        raise ValueError("names a recipe with fields that no recipe has") from None


def _root(content: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return what a state_dict keeps beside its weights."""
    metadata = getattr(content, "_metadata", None)
    root = metadata.get("") if isinstance(metadata, Mapping) else None
    return root if isinstance(root, Mapping) else {}


def remembered_classes(content: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Return the classes that remember() noted, or an entry "classes"; None where neither is.

    Where all are names for CIFAR-10's classes they get its names, as blitz.load does with folders.
    """
    names = _root(content).get("classes", content.get("classes"))
    if not isinstance(names, list | tuple) or not all(map(_is_name, names)):
        return None
    official = tuple(map(official_name, names))
    return official if sorted(official) == sorted(CLASSES) else tuple(names)


def _is_name(word: Any) -> bool:
    return isinstance(word, str) and word.isprintable()  # a file may try to steer the terminal


def _dicts(content: Any, place: str = "", depth: int = 3) -> Iterator[tuple[Mapping[Any, Any], str]]:
    """Yield `content` and each dict inside, with its place."""
    if not isinstance(content, Mapping):
        return
    yield content, place
    for key, value in content.items() if depth else ():
        yield from _dicts(value, f"{place}.{key}" if place else str(key), depth - 1)


def _fitting(entry: Mapping[Any, Any], own: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield each prefix behind which a dict has all weights of a net, and these by the net's `own` names."""
    first = next(iter(own))
    tensors = _tensors(entry)
    for prefix in [name.removesuffix(first) for name in tensors if name.endswith(first)]:
        inside = {
            name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
        }
        if not _only_in(inside, own) and not _only_in(own, inside):
            yield prefix, inside


def _tensors(entry: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {
        name: value for name, value in entry.items() if isinstance(name, str) and isinstance(value, Tensor)
    }


def _what_instead(content: Any, nets: Sequence[nn.Module]) -> str:
    """Say what `content` holds where it holds the weights of none of the nets."""
    if not isinstance(content, Mapping):
        return f"holds a {type(content).__name__}, not a state_dict"
    tensors = max((_tensors(entry) for entry, _ in _dicts(content)), key=len)
    if not tensors:
        return f"holds a dict of {_listed([str(name) for name in content])}, and no weights"

    nearest = min(nets, key=lambda net: len(_only_in(net.state_dict(), tensors)))
    own = nearest.state_dict()
    return (
        f"holds the weights of another net: it has {_listed(_only_in(tensors, own))} "
        f"where {type(nearest).__name__} has {_listed(_only_in(own, tensors))}"
    )


def _only_in(these: Mapping[str, Tensor], those: Mapping[str, Tensor]) -> list[str]:
    """List with its form each tensor of `these` that `those` have not, or have otherwise."""
    forms = {name: _form(tensor) for name, tensor in those.items()}
    return [f"{name} {_form(tensor)}" for name, tensor in these.items() if forms.get(name) != _form(tensor)]


def _form(tensor: Tensor) -> str:
    """Return the shape, and the dtype of what is no float: quantized weights would be loaded as numbers."""
    return f"{tuple(tensor.shape)}" if tensor.is_floating_point() else f"{tuple(tensor.shape)} {tensor.dtype}"


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return (", ".join(words[:3]) or "nothing") + more
