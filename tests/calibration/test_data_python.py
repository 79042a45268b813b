"""Python values, loader scripts and random numbers as calibration data."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from amct_lite.calibration.data import InputSpec, open_data, random_data
from amct_lite.errors import DataError

X = InputSpec("x", "float32", ("N", 2))
IDS = InputSpec("ids", "int64", ("N", "length"))


def row(value: float = 1) -> np.ndarray:
    return np.full((1, 2), value, np.float32)


def values(data: object) -> list[float]:
    return [float(feeds["x"][0, 0]) for feeds in data]  # type: ignore[attr-defined]


@pytest.mark.parametrize("item", [{"x": row()}, row(), (row(),), [row()], {"x": [[1.0, 1.0]]}])
def test_a_batch_may_be_feeds_an_array_or_a_tuple(item: object) -> None:
    assert open_data([item], [X]).peek()["x"].tolist() == [[1, 1]]


def test_a_tuple_follows_the_order_of_the_inputs() -> None:
    feeds = open_data([(row(), np.zeros((1, 3), np.int64))], [X, IDS]).peek()
    assert feeds["ids"].shape == (1, 3)


def test_anything_with_an_array_interface_is_an_array() -> None:
    class Tensor:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return row(7)

    assert values(open_data([Tensor()], [X])) == [7]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (3.0, r"batch 0 is of type float\. Give a dict .* in the order of the inputs: 'x'"),
        ((row(), row()), r"batch 0 has 2 arrays for the model's 1 \('x'\).*leave labels out"),
        ({"y": row()}, r"batch 0 has no array for input 'x'"),
    ],
)
def test_another_batch_is_an_error(item: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data([item], [X]).peek()


def test_a_list_can_be_read_again() -> None:
    data = open_data([{"x": row(v)} for v in range(3)], [X])
    assert data.count == 3
    assert data.peek()["x"][0, 0] == 0
    assert values(data) == values(data) == [0, 1, 2]


def test_a_function_gives_a_fresh_iterator_each_time() -> None:
    data = open_data(lambda: ({"x": row(v)} for v in range(3)), [X])
    assert data.repeatable
    assert data.count is None
    assert data.peek()["x"][0, 0] == 0
    assert values(data) == values(data) == [0, 1, 2]


def test_a_generator_loses_nothing_by_peeking_and_is_read_once() -> None:
    data = open_data(({"x": row(v)} for v in range(3)), [X])
    assert not data.repeatable
    assert data.peek()["x"][0, 0] == data.peek()["x"][0, 0] == 0
    assert values(data) == [0, 1, 2]
    for again in (lambda: list(data), data.peek):
        with pytest.raises(DataError, match=r"can be read only once, and was\. Pass a list, or a function"):
            again()


def test_batches_limits_what_is_taken_from_an_endless_generator() -> None:
    taken = []

    def endless() -> Iterator[dict[str, np.ndarray]]:
        while True:
            taken.append(1)
            yield {"x": row()}

    data = open_data(endless(), [X], batches=3)
    data.peek()
    assert len(list(data)) == len(taken) == 3


def test_too_few_batches_are_noticed_at_once_or_at_the_end() -> None:
    with pytest.raises(DataError, match="Python list gives 2 batches, 5 were asked for"):
        open_data([row(), row()], [X], batches=5)
    data = open_data((row() for _ in range(2)), [X], batches=5)
    with pytest.raises(DataError, match="gives 2 batches, 5 were asked for"):
        list(data)


@pytest.mark.parametrize("peek", [True, False])
def test_no_batch_at_all_is_an_error(peek: bool) -> None:
    with pytest.raises(DataError, match="Python list gives no batch"):
        open_data([], [X])
    data = open_data(iter(()), [X])
    with pytest.raises(DataError, match="gives no batch"):
        data.peek() if peek else list(data)


def test_the_bad_batch_is_numbered_and_the_ones_before_are_given() -> None:
    data = iter(open_data([row(), row(), row(np.nan)], [X]))
    next(data), next(data)
    with pytest.raises(DataError, match="NaN in sample 0 of batch 2: 2 of 2 values"):
        next(data)


def test_calibration_data_pass_through() -> None:
    data = open_data([row()], [X])
    assert open_data(data, [X]) is data


def test_an_exception_of_the_callers_own_generator_reaches_the_caller() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield row()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(open_data(broken, [X]))


class Refusing:
    """As a tensor that requires a gradient does."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize("data", [Refusing(), {"x": Refusing()}, [{"x": Refusing()}], [(Refusing(),)]])
def test_a_tensor_that_refuses_to_become_an_array_is_an_error_that_says_why(data: object) -> None:
    with pytest.raises(DataError, match=r"input 'x' is no array in .*: Can't call .* instead\. Check the loader\."):
        open_data(data, [X]).peek()


def test_another_type_is_refused() -> None:
    with pytest.raises(DataError, match="calibration data of type int cannot be read"):
        open_data(3, [X])


def test_a_model_without_inputs_is_refused() -> None:
    with pytest.raises(DataError, match="the model has no inputs"):
        open_data([row()], [])


# --- loader scripts ---


def script(folder: Path, text: str) -> Path:
    path = folder / "loader.py"
    path.write_text("import numpy as np\n" + text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        "def feeds():\n    for v in range(3):\n        yield {'x': np.full((1, 2), v)}\n",
        "def calibration():\n    return [np.full((1, 2), v) for v in range(3)]\n",
        "DATA = [(np.full((1, 2), v),) for v in range(3)]\n",
    ],
)
def test_a_script_gives_feeds_and_can_be_read_again(tmp_path: Path, text: str) -> None:
    data = open_data(script(tmp_path, text), [X])
    assert data.repeatable
    data.peek()
    assert values(data) == values(data) == [0, 1, 2]
    assert data.reopen is None, "each process would do all its work"


def test_a_generator_in_data_is_read_once(tmp_path: Path) -> None:
    data = open_data(script(tmp_path, "DATA = (np.full((1, 2), v) for v in range(3))\n"), [X])
    assert not data.repeatable
    data.peek()
    assert values(data) == [0, 1, 2]


def test_a_script_imports_what_lies_beside_it_early_and_late(tmp_path: Path) -> None:
    (tmp_path / "beside_early.py").write_text("V = 4\n")
    (tmp_path / "beside_late.py").write_text("V = 5\n")
    text = "import beside_early as a\ndef feeds():\n    import beside_late as b\n    yield np.full((1, 2), a.V + b.V)\n"
    assert values(open_data(script(tmp_path, text), [X])) == [9]


def test_what_stands_under_main_does_not_run(tmp_path: Path) -> None:
    text = "DATA = [np.ones((1, 2))]\nif __name__ == '__main__':\n    raise SystemExit(3)\n"
    assert values(open_data(script(tmp_path, text), [X])) == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1 / 0\n", r"loader\.py:2: ZeroDivisionError: division by zero \(when it was loaded\)"),
        ("def feeds(:\n", r"loader\.py:2: SyntaxError"),
        ("import sys\nsys.exit('no')\n", r"loader\.py:3: SystemExit: no"),
        ("import not_there_at_all\n", r"loader\.py:2: ModuleNotFoundError"),
        ("def feeds():\n    return 1 / 0\n", r"loader\.py:3: ZeroDivisionError.*\(before the first batch\)"),
        ("def feeds():\n    return 3\n", r"loader\.py: TypeError: 'int' object is not iterable"),
        ("def feeds(path):\n    yield path\n", r"loader\.py: TypeError: feeds\(\) missing 1 required"),
        (
            "def load(v):\n    return 1 / v\ndef feeds():\n    yield np.ones((1, 2))\n    yield load(0)\n",
            r"loader\.py:3: ZeroDivisionError: division by zero \(in batch 1\)\. Correct the file",
        ),
        ("def feeds():\n    yield np.ones((1, 5))\n", r"shape \(1, 5\) in batch 0 \(.*loader\.py\)"),
        ("def feeds():\n    yield 'a'\n", r"batch 0 of .*loader\.py is of type str"),
        ("feed = 3\n", r"defines neither feeds\(\) nor calibration\(\) nor an iterable DATA \(did you mean 'feed'\?\)"),
    ],
)
def test_an_error_in_a_script_tells_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(open_data(script(tmp_path, text), [X]))


def test_an_interrupt_in_a_script_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        open_data(script(tmp_path, "raise KeyboardInterrupt\n"), [X])


# --- random numbers ---


def test_random_data_are_the_same_each_time_and_differ_by_batch() -> None:
    one, other = random_data([X], 3), random_data([X], 3)
    first, second = list(one), list(other)
    assert one.count == 3
    assert "random" in one.description
    assert [f["x"].tobytes() for f in first] == [f["x"].tobytes() for f in second] == [f["x"].tobytes() for f in one]
    assert len({f["x"].tobytes() for f in first}) == 3


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("int64", 0, 1), ("uint8", 0, 255), ("bool", 0, 1), ("float16", -9, 9), ("int8", 0, 1)]
)
def test_random_values_are_valid_for_their_type(dtype: str, low: int, high: int) -> None:
    array = random_data([InputSpec("x", dtype, ("N", 50))], 1).peek()["x"]
    assert array.shape == (1, 50)
    assert array.dtype == np.dtype(dtype)
    assert low <= array.min() < array.max() <= high


def test_random_shapes_take_the_hint() -> None:
    inputs = [IDS, InputSpec("y", "float32", None), InputSpec("past", "float32", ("N", "seen"))]
    feeds = random_data(inputs, 1, shapes={"ids": (2, 7), "y": (3,), "past": (2, 0)}).peek()
    assert [feeds[spec.name].shape for spec in inputs] == [(2, 7), (3,), (2, 0)]


@pytest.mark.parametrize("shapes", [None, {"ids": (2, -1)}, {"ids": (2, None)}])
def test_random_data_need_every_dimension(shapes: dict[str, tuple[int | None, ...]] | None) -> None:
    with pytest.raises(DataError, match=r"'ids' \(N, length\) has dynamic dimensions.*--input-shape \"ids:[12],\?\""):
        random_data([IDS], 1, shapes=shapes)


def test_all_inputs_whose_shape_is_not_known_are_named_at_once() -> None:
    """What is to be passed holds what was passed already, which it replaces."""
    inputs = [IDS, InputSpec("mask", "int64", ("N", "length")), X, InputSpec("y", "float32", None)]
    with pytest.raises(DataError, match=r"inputs 'ids' .*, 'mask' .*, 'y' .* have dynamic dimensions") as caught:
        random_data(inputs, 1)
    assert str(caught.value).endswith('Pass --input-shape "ids:1,?;mask:1,?;y:?".')
    with pytest.raises(DataError, match=r"inputs 'mask' .*, 'y'") as caught:
        random_data(inputs, 1, shapes={"ids": (2, 7)})
    assert str(caught.value).endswith('Pass --input-shape "ids:2,7;mask:1,?;y:?".')


def test_random_strings_do_not_exist() -> None:
    with pytest.raises(DataError, match="there are no random data"):
        random_data([InputSpec("x", "object", (1,))], 1).peek()
