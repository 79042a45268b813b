"""Facts about quantizable operators, one file a family; a new operator is one new file here."""

from amct_lite.ops.base import OPS, WEIGHTED, Layer, OpSpec, bind
from amct_lite.ops.unasked import bodies_behind, readers_behind, weights_behind

__all__ = ["OPS", "WEIGHTED", "Layer", "OpSpec", "bind", "bodies_behind", "readers_behind", "weights_behind"]
