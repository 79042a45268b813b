"""What a rounding is judged by, and how it is kept."""

import pickle

import numpy as np

from amct_lite.types import QParams
from amct_lite.weights import Reconstruction, Rounding


def task(**changed: object) -> Reconstruction:
    """Two inputs that always come together, weights 0.4 and 0.4 on a grid of whole numbers."""
    columns = np.array([[[1, 1]], [[2, 2]], [[-1, -1]], [[3, 3]]], np.float32)
    rows = np.array([[0.4, 0.4]], np.float32)
    outputs = columns[:, 0] @ rows.T
    given = {"rows": rows, "weight": QParams((1.0,), (0,)), "columns": columns, "outputs": outputs}
    return Reconstruction(**{**given, "bias": np.zeros(1, np.float32), **changed})


def test_the_error_is_that_of_the_outputs() -> None:
    # nearest gives 0 for 0.8, 1.6, -0.8, 2.4; one weight up gives 1, 2, -1, 3: mean of (0.2 x)^2 against (0.8 x)^2
    assert np.isclose(task().error(np.array([[0, 0]])), 0.64 * 15 / 4)
    assert np.isclose(task().error(np.array([[1, 0]])), 0.04 * 15 / 4)


def test_what_the_activation_function_clips_is_no_error() -> None:
    clipped = task(low=0.0, high=2.0)  # 0.8, 1.6, 0, 2 against 1, 2, 0, 2
    assert np.isclose(clipped.error(np.array([[1, 0]])), (0.2**2 + 0.4**2) / 4)


def test_channels_apart_are_the_same_problem() -> None:
    rng = np.random.default_rng(0)
    whole = task(
        rows=rng.standard_normal((3, 2)).astype(np.float32),
        weight=QParams((0.5, 1.0, 2.0), (0, 0, 0)),
        outputs=rng.standard_normal((4, 3)).astype(np.float32),
        bias=np.arange(3, dtype=np.float32),
    )
    parts = whole.by_channels(2)
    assert [part.rows.shape for part in parts] == [(2, 2), (1, 2)]
    codes = whole.nearest()
    np.testing.assert_array_equal(np.concatenate([part.nearest() for part in parts]), codes)
    errors = [part.error(codes[first : first + 2]) for first, part in zip((0, 2), parts, strict=True)]
    assert np.isclose(whole.error(codes), (2 * errors[0] + errors[1]) / 3)
    assert [part.weight for part in task(rows=whole.rows).by_channels(1)] == 3 * [task().weight]  # one scale for all of them


def test_layers_of_several_groups_stay_whole() -> None:
    grouped = task(columns=np.ones((4, 2, 1), np.float32), rows=np.ones((2, 1), np.float32))
    assert grouped.by_channels(1) == (grouped,)


def test_codes_come_back_from_what_is_kept() -> None:
    rows = np.array([[-1.28, 1.27, 0.004, 0.006]], np.float32)
    weight = QParams((np.float32(0.01).item(),), (0,))
    made = task(rows=rows, weight=weight)
    codes = np.array([[127, -128, 1, 0]])  # as far from the nearest as int8 allows
    rounding = Rounding.of(made, codes, "test", 2.0, 1.0)
    assert rounding.moves.dtype == np.int8
    np.testing.assert_array_equal(rounding.codes(made.nearest()), codes)


def test_large_rounding_lies_in_a_file_and_is_the_same() -> None:
    moves = np.arange(1 << 20, dtype=np.int64).reshape(1 << 10, -1).astype(np.int8)
    large, small = (Rounding(part, "", "test", 2.0, 1.0) for part in (moves, moves[:-1]))
    assert small.moves.base is moves
    for found in (large, pickle.loads(pickle.dumps(large))):
        assert not found.moves.flags.writeable
        np.testing.assert_array_equal(found.moves, moves)
    np.testing.assert_array_equal(large.codes(np.zeros(moves.shape, np.int32)), moves)


def test_it_fits_the_weight_and_scales_it_was_made_for_alone() -> None:
    made = task()
    rounding = Rounding.of(made, made.nearest(), "test", 2.0, 1.0)
    assert rounding.fits(made.rows, made.weight)
    assert not rounding.fits(made.rows, QParams((0.5,), (0,)))
    assert not rounding.fits(made.rows, QParams((1.0,), (0,), bits=4))
    assert not rounding.fits(made.rows.T, made.weight)
    assert not rounding.fits(2 * made.rows, made.weight)
