"""The gate to ONNX: the only package that imports `onnx` and `onnx_ir`.

Callers write `from amct_lite import ir` and find here the graph classes of onnx-ir and the functions of this package.
A `Model` is edited in place; who wants to keep the original takes a `clone` first.
"""

from onnx_ir import (
    Attr,
    AttributeType,
    DataType,
    ExternalTensor,
    Function,
    Graph,
    Model,
    Node,
    OperatorIdentifier,
    Shape,
    SymbolicDim,
    Tensor,
    TensorProtocol,
    TensorType,
    Value,
)

from amct_lite.ir.attributes import attribute, set_attribute
from amct_lite.ir.bodies import bodies
from amct_lite.ir.casts import name_cast_types
from amct_lite.ir.checksum import checksum
from amct_lite.ir.edit import (
    Usage,
    add_initializer,
    constant_of,
    copy_node,
    graph_of,
    insert_after,
    insert_before,
    new_input,
    new_node,
    producer_of,
    remove_initializer,
    remove_node,
    remove_unused,
    replace_constant,
    uses,
)
from amct_lite.ir.extract import extract, reads
from amct_lite.ir.functions import add_function
from amct_lite.ir.inlining import inline_calls
from amct_lite.ir.io import LoadedModel, clone, from_text, load, load_bytes
from amct_lite.ir.naming import name_nodes, unique_name
from amct_lite.ir.older import give_axes_as_attribute, later_operators, older_opset, reads_axes, state_least_opset
from amct_lite.ir.opset import opset, raise_opset
from amct_lite.ir.rewire import merge_constants, redirect, replace_input, replace_node, replace_output
from amct_lite.ir.shapes import (
    Dims,
    dims_of,
    fix_input_shapes,
    infer_shapes,
    inferred_shapes,
    shape_fits,
    sizes_of,
    unknown_dims,
)
from amct_lite.ir.signature import Signature, signature
from amct_lite.ir.sizes import parameter_count, weight_bytes
from amct_lite.ir.stored import tensor_of
from amct_lite.ir.travelling import Sent, packed, require_seen, unpacked
from amct_lite.ir.unwrapping import unwrap
from amct_lite.ir.writing import attached, save, to_bytes

__all__ = [
    "Attr",
    "AttributeType",
    "DataType",
    "Dims",
    "ExternalTensor",
    "Function",
    "Graph",
    "LoadedModel",
    "Model",
    "Node",
    "OperatorIdentifier",
    "Sent",
    "Shape",
    "Signature",
    "SymbolicDim",
    "Tensor",
    "TensorProtocol",
    "TensorType",
    "Usage",
    "Value",
    "add_function",
    "add_initializer",
    "attached",
    "attribute",
    "bodies",
    "checksum",
    "clone",
    "constant_of",
    "copy_node",
    "dims_of",
    "extract",
    "fix_input_shapes",
    "from_text",
    "give_axes_as_attribute",
    "graph_of",
    "infer_shapes",
    "inferred_shapes",
    "inline_calls",
    "insert_after",
    "insert_before",
    "later_operators",
    "load",
    "load_bytes",
    "merge_constants",
    "name_cast_types",
    "name_nodes",
    "new_input",
    "new_node",
    "older_opset",
    "opset",
    "packed",
    "parameter_count",
    "producer_of",
    "raise_opset",
    "reads",
    "reads_axes",
    "redirect",
    "remove_initializer",
    "remove_node",
    "remove_unused",
    "replace_constant",
    "replace_input",
    "replace_node",
    "replace_output",
    "require_seen",
    "save",
    "set_attribute",
    "shape_fits",
    "signature",
    "sizes_of",
    "state_least_opset",
    "tensor_of",
    "to_bytes",
    "unique_name",
    "unknown_dims",
    "unpacked",
    "unwrap",
    "uses",
    "weight_bytes",
]
