"""Models on their way to workers: what is sent, and what is unpacked there."""

import gc
from pathlib import Path

import numpy as np
import pytest

from amct_lite import ir
from amct_lite.errors import CalibrationError
from amct_lite.ir import stored, travelling, writing

HEADER = """<ir_version: 8, opset_import: ["" : 17]> net (float[N, 64] x) => (float[N, 64] y) { y = MatMul (x, x) }"""


@pytest.fixture
def model(monkeypatch):
    """Its weight is large, and in memory."""
    made = ir.from_text(HEADER)
    ir.replace_input(made.graph[0], 1, ir.add_initializer(made.graph, "w", np.eye(64, dtype=np.float32)))
    for module in (stored, writing, travelling):
        monkeypatch.setattr(module, "LARGE", 1000)
    return made


def test_who_sees_the_files_of_this_process_gets_the_graph_alone(model):
    with ir.packed(model, same_files=True) as sent:
        assert len(sent.graph) < 1000
        back = ir.unpacked(sent)
        assert isinstance(back.graph.initializers["w"].const_value, ir.ExternalTensor)
        assert ir.checksum(back) == ir.checksum(model)


def test_a_model_is_sent_the_same_way_again(model):
    """As when a worker hands on what it got."""
    with ir.packed(model, same_files=True) as sent:
        back = ir.unpacked(sent)
        with ir.packed(back, same_files=True) as again:
            assert again == sent


def test_nothing_is_left_of_what_was_sent(model):
    with ir.packed(model, same_files=True) as sent:
        weight = ir.unpacked(sent).graph.initializers["w"].const_value
        assert Path(weight.path).is_file()
    gc.collect()
    assert not Path(weight.path).exists()


def test_who_sees_other_files_gets_all_of_it_as_bytes(model):
    with ir.packed(model, same_files=False) as sent:
        assert sent == ir.to_bytes(model)
        assert ir.checksum(ir.unpacked(sent)) == ir.checksum(model)


def test_what_bytes_cannot_hold_goes_through_a_folder(model, monkeypatch):
    monkeypatch.setattr(travelling, "needs_external_data", lambda _model: True)
    with ir.packed(model, same_files=False) as sent:
        assert ir.checksum(ir.unpacked(sent)) == ir.checksum(model)
    with pytest.raises(CalibrationError, match=r"does not see .*TMPDIR"):
        ir.unpacked(sent)
