"""CIFAR-10's ten classes, by its own names and by those that people give them."""

import re

NAMES = {  # those in Chinese are from the language of the notes
    "airplane": ("plane", "aeroplane", "飞机"),
    "automobile": ("auto", "car", "汽车"),
    "bird": ("鸟",),
    "cat": ("猫",),
    "deer": ("鹿",),
    "dog": ("狗",),
    "frog": ("青蛙",),
    "horse": ("马",),
    "ship": ("boat", "船"),
    "truck": ("lorry", "卡车"),
}
CLASSES = tuple(NAMES)
OFFICIAL = {name: official for official, others in NAMES.items() for name in (official, *others)}


def official_name(name: str) -> str:
    """Return what CIFAR-10 itself calls a class, or the name as it is where that is not known.

    >>> official_name("plane"), official_name("1_Cars"), official_name("puppy")
    ('airplane', 'automobile', 'puppy')
    """
    word = re.sub(r"^\d+[ ._-]*", "", name).casefold().strip()
    return OFFICIAL.get(word) or OFFICIAL.get(word.removesuffix("s")) or name
