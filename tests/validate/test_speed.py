"""Timing two models: in turns, or, where both do not fit into memory well, one after the other."""

import numpy as np
import pytest

from amct_lite import ir, runtime
from amct_lite.validate import profile, speed

TEXT = """<ir_version: 8, opset_import: ["" : 17]> net (float[8] x) => (float[8] y) { %s }"""
MODELS = [ir.from_text(TEXT % body) for body in ("y = Relu (x)", "z = Relu (x) y = Abs (z)")]
FEEDS = {"x": np.ones(8, np.float32)}


@pytest.mark.parametrize(("heavy", "most"), [(1 << 40, 2), (0, 1)])
def test_large_models_are_never_open_together(monkeypatch: pytest.MonkeyPatch, heavy: int, most: int) -> None:
    monkeypatch.setattr(runtime, "_HEAVY", heavy)
    alive, largest = [0], [0]

    class Counting(runtime.Session):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            alive[0] += 1
            largest[0] = max(largest[0], alive[0])

        def __del__(self) -> None:
            alive[0] -= 1

    monkeypatch.setattr(runtime, "Session", Counting)
    monkeypatch.setattr(speed, "SECONDS", 0.001)
    monkeypatch.setattr(profile, "SECONDS", 0.001)
    found = speed.compare_speed(*MODELS, [FEEDS])
    assert found.float_ms > 0
    assert found.integer_ms > 0
    assert [len(times) >= speed.ROUNDS for times in speed.run_times(MODELS, FEEDS, runtime.RuntimeOptions())] == [True] * 2
    kernels = profile.kernel_times(MODELS, FEEDS)
    assert [[kernel.op_type for kernel in one] for one in kernels] == [["Relu"], ["Relu", "Abs"]]
    assert (largest[0], alive[0]) == (most, 0)


def test_rows_of_a_table_take_the_time_of_what_makes_floats_of_them_too() -> None:
    text = "y = Gather <axis = 0> (words, ids) z = MatMul (y, w)"
    model = ir.from_text(
        f'<ir_version: 8, opset_import: ["" : 17]> net (int64[2] ids) => (float[2,2] z) '
        f"<float[2,2] words = {{1,2,3,4}}, float[2,2] w = {{1,2,3,4}}> {{ {text} }}"
    )
    table, fc = model.graph
    table.name, fc.name = "table", "fc"
    ran = {"table": "Gather", "table.rows.dequantizelinear.cast": "Cast", "table.rows.dequantizelinear.mul": "Mul"}
    ran |= {"table.rowsum": "Mul", "fc": "MatMul", "fc.data0.quantizelinear": "QuantizeLinear"}
    times = [profile.KernelTime(name, op_type, 2.0**place) for place, (name, op_type) in enumerate(ran.items())]
    assert profile.layer_times([table, fc], times) == {"table": 1 + 2 + 4, "fc": 16}


def test_runs_that_something_else_disturbs_do_not_count_but_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other run of the second model takes 20 times as long."""
    opened: list[runtime.Session] = []
    monkeypatch.setattr(speed, "open_session", lambda *given: opened.append(runtime.open_session(*given)) or opened[-1])
    disturbed = np.array([1.0, 20.0] * 4)
    monkeypatch.setattr(speed, "_milliseconds", lambda s, _feeds: np.ones(8) if s is opened[0] else disturbed)
    found = speed.compare_speed(*MODELS, [FEEDS], runtime.RuntimeOptions(threads=1))
    assert (found.ratio, found.threads, found.shapes) == (1.0, 1, {"x": (8,)})
    assert found.busy


def test_the_ratio_is_below_one_where_the_integer_model_is_faster() -> None:
    assert speed.Speed(float_ms=4.0, integer_ms=1.0, threads=1, shapes={}).ratio == 0.25


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_asked_for_are_those_that_are_told(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0.001)
    found = speed.compare_speed(*MODELS, [FEEDS], runtime.RuntimeOptions(threads=threads))
    assert found.threads == threads
    assert found.scatter >= 1
