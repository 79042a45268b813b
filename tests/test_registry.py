"""What is meant by a name that does not exist, and how a table finds its entries."""

from __future__ import annotations

from pathlib import Path

import pytest

from amct_lite.registry import Registry, did_you_mean, pattern_meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("conv_pw", " (did you mean 'conv_pw*', which matches 2 names?)"),
        ("_1", " (did you mean '*_1*', which matches 2 names?)"),
        ("conv_dw", ""),  # one name: the nearest is enough
        ("gemm", ""),
    ],
)
def test_the_beginning_of_several_names_is_a_pattern_without_its_star(text: str, meant: str) -> None:
    assert pattern_meant(text, ["conv_pw_1", "conv_dw_1", "conv_pw_2"]) == meant


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("kll", " (did you mean 'kl'?)"),
        ("INT8", " (did you mean 'int8'?)"),
        ("INT16", " (did you mean 'int16'?)"),
        ("Convv", " (did you mean 'Conv'?)"),
        ("zebra", ""),
    ],
)
def test_the_nearest_name_in_whatever_case(name: str, meant: str) -> None:
    assert did_you_mean(name, ("int8", "int16", "INT6", "kl", "mse", "Conv", "conv")) == meant


def test_a_table_with_a_file_that_cannot_be_imported_is_refused_at_each_look_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "methods_of_a_test").mkdir()
    (tmp_path / "methods_of_a_test" / "__init__.py").write_text("")
    (tmp_path / "methods_of_a_test" / "broken.py").write_text("import nothing_like_this")
    monkeypatch.syspath_prepend(tmp_path)
    methods: Registry[int] = Registry("method", "methods_of_a_test")
    for _ in range(2):
        with pytest.raises(ImportError, match="nothing_like_this"):
            methods.names()
