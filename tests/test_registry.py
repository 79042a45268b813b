"""What is meant by a name that does not exist."""

from __future__ import annotations

import pytest

from amct_lite.registry import did_you_mean


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kll", " (did you mean 'kl'?)"),
        ("INT8", " (did you mean 'int8'?)"),
        ("Convv", " (did you mean 'Conv'?)"),
        ("zebra", ""),
    ],
)
def test_the_nearest_name_in_whatever_case(name: str, meant: str) -> None:
    assert did_you_mean(name, ("int8", "kl", "mse", "Conv", "conv")) == meant
