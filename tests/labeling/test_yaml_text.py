"""YAML as people type it."""

import pytest
import yaml

from labeling.web.planning import known_of
from labeling.web.routes.codebooks import read
from labeling.web.routes.rounds import numbers
from labeling.yaml_text import parsed
from sae.errors import UserError

UNREADABLE = ("title: 2024-99-99", '!!int "abc"', "[" * 3000, "{a: [}", "a: 1" + "0" * 5000)


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_one_kind_of_error(text: str):
    with pytest.raises(yaml.YAMLError):
        parsed(text)
    with pytest.raises(UserError, match="expected"):
        read(text)
    with pytest.raises(UserError, match="expected"):
        known_of(text)


def test_what_can_be_read_is_as_yaml_says():
    assert parsed("{a: [1, x]}") == {"a": [1, "x"]}


def test_a_number_of_thousands_of_digits_is_no_feature():
    with pytest.raises(UserError, match="whole numbers"):
        numbers("12, " + "9" * 5000)
    assert numbers("12, 7 3") == [12, 7, 3]
