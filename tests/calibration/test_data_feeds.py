"""What fits an input and what does not, batch by batch."""

import numpy as np
import pytest
from small_nets import net

from amct_lite import ir
from amct_lite.calibration.data import InputSpec, check_feeds
from amct_lite.calibration.feeds import convert, input_specs
from amct_lite.errors import DataError

IMAGE = InputSpec("images", "float32", ("N", 3, 4, 4))
IDS = InputSpec("ids", "int64", ("N", None))
WHERE = "batch 5 (data/00005.npz)"


def image(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def test_fitting_arrays_pass_unchanged_and_uncopied() -> None:
    feeds = {"images": image(2, 3, 4, 4), "ids": np.zeros((2, 7), np.int64)}
    checked = check_feeds(feeds, [IMAGE, IDS], WHERE)
    assert checked["images"] is feeds["images"]
    assert checked["ids"] is feeds["ids"]


def test_arrays_become_contiguous() -> None:
    array = np.zeros((1, 4, 4, 3), np.float32).transpose(0, 3, 1, 2)
    assert check_feeds({"images": array}, [IMAGE], WHERE)["images"].flags.c_contiguous


def test_a_single_sample_gets_its_batch_axis() -> None:
    assert check_feeds({"images": image(3, 4, 4)}, [IMAGE], WHERE)["images"].shape == (1, 3, 4, 4)


def test_a_fixed_batch_above_one_takes_no_single_sample() -> None:
    with pytest.raises(DataError, match=r"shape \(3, 4\).* expects \(2, 3, 4\)"):
        check_feeds({"x": image(3, 4)}, [InputSpec("x", "float32", (2, 3, 4))], WHERE)


def test_an_input_of_unknown_rank_takes_any_shape() -> None:
    assert check_feeds({"x": image(2, 3)}, [InputSpec("x", "float32", None)], WHERE)["x"].shape == (2, 3)


PAST = InputSpec("past", "float32", ("N", 2, "P", 4))


def test_what_a_decoder_has_seen_before_its_first_step_may_be_nothing() -> None:
    feeds = {"images": image(1, 3, 4, 4), "past": image(1, 2, 0, 4)}
    assert check_feeds(feeds, [IMAGE, PAST], WHERE)["past"] is feeds["past"]
    assert check_feeds(feeds | {"past": np.zeros((1, 2, 0, 4), int)}, [IMAGE, PAST], WHERE)["past"].dtype == np.float32


@pytest.mark.parametrize(
    "feeds",
    [
        pytest.param({"images": image(1, 3, 4, 4), "past": image(0, 2, 3, 4)}, id="no sample"),
        pytest.param({"images": image(1, 3, 4, 4), "past": image(1, 0, 3, 4)}, id="a fixed axis"),
        pytest.param({"images": image(1, 3, 4, 4), "past": image(0)}, id="another rank"),
        pytest.param({"past": image(1, 2, 0, 4)}, id="nothing else"),
    ],
)
def test_other_inputs_may_not_be_empty(feeds: dict[str, np.ndarray]) -> None:
    inputs = [spec for spec in (IMAGE, PAST) if spec.name in feeds]
    with pytest.raises(
        DataError, match=r"^input 'past' is empty in batch 5 \(data/00005\.npz\): shape \(.*\)\. Check the loader\.$"
    ):
        check_feeds(feeds, inputs, WHERE)


def test_a_scalar_input_stays_a_scalar() -> None:
    assert check_feeds({"x": 3.0}, [InputSpec("x", "float32", ())], WHERE)["x"].shape == ()


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"images": image(1, 3, 2)},
            (
                r"input 'images' has shape \(1, 3, 2\) in batch 5 \(data/00005.npz\), "
                r"the model expects \(N, 3, 4, 4\)\. Check the samples, and the image size or input shape if one was given\."
            ),
        ),
        ({"images": image(2, 4, 4, 3)}, r"With its axes in another order it fits: array\.transpose\(0, 3, 1, 2\)\.$"),
        ({"images": image(4, 4, 3)}, r"it fits: array\.transpose\(2, 0, 1\)\.$"),
        ({"images": image(1, 3, 5, 4)}, r"has shape \(1, 3, 5, 4\)"),
        ({"images": image(0, 3, 4, 4)}, r"input 'images' is empty in batch 5"),
        ({"image": image(1, 3, 4, 4)}, r"no array for input 'images' \(did you mean 'image'\?\); it has 'image'"),
        ({}, r"no array for input 'images'; it has nothing"),
        ({f"k{n}": 0 for n in range(99)}, r"it has 'k0', .*'k7' and 91 more\. Name the arrays"),
        (
            {"images": image(1, 3, 4, 4), "label": image(1)},
            r"has 'label', not an input of the model; the inputs are 'images'\. Leave it out",
        ),
        ({"images": [[1.0], [2.0, 3.0]]}, r"input 'images' is no array in batch 5"),
        ({"images": np.full((1, 3, 4, 4), None)}, r"is not numeric in batch 5 .*, the model expects float32"),
        ({"images": image(1, 3, 4, 4).astype(complex)}, r"is complex128 in .*array\.astype\('float32'\)"),
        ({"images": np.full((1, 3, 4, 4), 2**24 + 1)}, r"is int64 in .*does not hold these values"),
        ({"images": np.full((1, 3, 4, 4), 1e300)}, r"overflows float32 in .*largest magnitude is 1e\+300"),
    ],
)
def test_what_does_not_fit_is_named(feeds: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_feeds(feeds, [IMAGE], WHERE)


@pytest.mark.parametrize(("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite values"), (-np.inf, "infinite values")])
def test_the_sample_that_is_not_finite_is_named(value: float, kind: str) -> None:
    array = image(4, 3, 4, 4)
    array[2, 1, 0, 0] = array[3, 0, 0, 0] = value
    with pytest.raises(DataError, match=rf"'images' has {kind} in sample 2 of batch 5 \(.*\): 2 of 192 values"):
        check_feeds({"images": array}, [IMAGE], WHERE)


def test_all_problems_of_a_batch_are_told_at_once() -> None:
    with pytest.raises(DataError, match=r"'images' has shape(.|\n)*'ids' is float32"):
        check_feeds({"images": image(1, 1, 1, 1), "ids": image(1, 2)}, [IMAGE, IDS], WHERE)


@pytest.mark.parametrize(
    ("array", "dtype", "survives"),
    [
        (np.array([1.5, 0.1]), "float32", True),
        (np.array([1.5], np.float16), "float32", True),
        (np.array([1.5], ">f4"), "float32", True),
        (np.array([0, 255], np.uint8), "float32", True),
        (np.array([0, 255], np.int64), "float32", True),
        (np.array([2**24], np.int64), "float32", True),
        (np.array([2**24 + 1], np.int64), "float32", False),
        (np.array([2049], np.int32), "float16", False),
        (np.array([1, 2], np.int32), "int64", True),
        (np.array([1, 2], np.int64), "int32", True),
        (np.array([2**31], np.int64), "int32", False),
        (np.array([-1], np.int64), "uint64", False),
        (np.array([2**63], np.uint64), "int64", False),
        (np.array([0, 1], np.int64), "bool", True),
        (np.array([2], np.int64), "bool", False),
        (np.array([True]), "float32", True),
        (np.array([1.0], np.float32), "int64", False),
        (np.array([1.0], np.float32), "bool", False),
        (np.array(["a"]), "object", True),
        (np.array(["a"]), "float32", False),
        (np.array(["2020"], "datetime64[Y]"), "float32", False),
    ],
)
def test_only_conversions_that_keep_the_values_are_made(array: np.ndarray, dtype: str, survives: bool) -> None:
    converted = convert(array, np.dtype(dtype))
    assert (converted is not None) == survives
    if converted is not None:
        assert converted.dtype == np.dtype(dtype)
        np.testing.assert_allclose(converted.astype(array.dtype), array, rtol=1e-7) if array.dtype.kind == "f" else None


def test_conversion_leaves_the_users_array_alone() -> None:
    array = np.arange(48, dtype=np.float64).reshape(1, 3, 4, 4)
    kept = array.copy()
    checked = check_feeds({"images": array}, [IMAGE], WHERE)["images"]
    checked[:] = 0
    np.testing.assert_array_equal(array, kept)


def test_a_type_numpy_lacks_is_named() -> None:
    with pytest.raises(DataError, match="type float7, which numpy cannot hold"):
        check_feeds({"x": image(1)}, [InputSpec("x", "float7", (1,))], WHERE)


def test_input_specs_are_those_of_the_model() -> None:
    (spec,) = input_specs(ir.load_bytes(net().SerializeToString()))
    assert (spec.name, spec.dtype, spec.shape) == ("x", "float32", ("N", 3, 16, 16))
