"""blitz.cifar10.classes: CIFAR-10's classes by the names that people use."""

import pytest

from blitz.cifar10.classes import CLASSES, official_name

NAMES = {
    "its own": "airplane automobile bird cat deer dog frog horse ship truck",
    "the tutorial's": "plane car bird cat deer dog frog horse ship truck",
    "British, in the plural": "aeroplanes cars birds cats deer dogs frogs horses boats trucks",
    "in capital letters": "Airplane AUTO Bird Cat Deer Dog Frog Horse Ship Truck",
    "numbered": "0_airplane 01-automobile 2.bird 3cat 4deer 5_dog 6_frog 7_horse 8_ship 9_truck",
    "Chinese": "飞机 汽车 鸟 猫 鹿 狗 青蛙 马 船 卡车",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_that_people_use_are_known(names):
    """Each of ten names is the official class in its place."""
    assert tuple(map(official_name, names.split())) == CLASSES


@pytest.mark.parametrize("name", ["puppy", "Carp", "0", "s"])
def test_other_names_stay_as_they_are(name):
    """What is no name of a class is no guess, either."""
    assert official_name(name) == name
