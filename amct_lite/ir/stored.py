"""Weights that stay on the disk: mapped while somebody reads them, never held.

A model may be larger than the memory. So what lies in a file stays there, and large arrays that are made on the way (folded,
rounded, quantized weights) go to a file at once and are a tensor there. Who reads one gets an array that maps the
file; when it is dropped, so are its pages.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from onnx_ir import DataType, ExternalTensor, Shape, Tensor, TensorProtocol

from amct_lite import scratch
from amct_lite.scratch import LARGE
from amct_lite.types import AnyArray


class StoredTensor(ExternalTensor):
    """A tensor in a file, which does not keep what it maps."""

    _copy: TensorProtocol | None = None

    def numpy(self) -> AnyArray:
        """Read-only; mapped until the array is dropped."""
        return self._mapped().numpy()

    def __array__(self, dtype: Any = None) -> AnyArray:
        return self._mapped().__array__(dtype)

    def tobytes(self) -> bytes:
        return self._mapped().tobytes()

    def aligned(self) -> StoredTensor:
        """The same numbers at a multiple of their size, where kernels can read them in place; copied once, if need be."""
        if self._copy is None and (self.offset or 0) % max(1, self.dtype.bitwidth // 8):
            self._copy = tensor_of(self.numpy(), self.dtype, self.name)
        return self._copy if isinstance(self._copy, StoredTensor) else self

    def _mapped(self) -> ExternalTensor:
        """One that lives as long as this reading."""
        return ExternalTensor(
            self.location, self.offset, self.length, self.dtype, shape=self.shape, name=self.name, base_dir=self.base_dir
        )


def stored(tensor: ExternalTensor) -> StoredTensor:
    """The same tensor in the same file."""
    return StoredTensor(
        tensor.location,
        tensor.offset,
        tensor.length,
        tensor.dtype,
        shape=tensor.shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        base_dir=tensor.base_dir,
    )


def tensor_of(array: AnyArray, dtype: DataType | None = None, name: str | None = None) -> TensorProtocol:
    """A tensor of numbers with the values of `array`: kept, not copied, if it is small, else written to a file that goes with
    the tensor. dtype : as which it is stored; None for the array's own.

    Raises ExportError when there is no room on the disk.
    """
    array = np.asarray(array, order="C")
    if dtype is not None:
        array = array.astype(dtype.numpy(), copy=False)
    kind = DataType.from_numpy(array.dtype) if dtype is None else dtype
    if array.nbytes < LARGE or kind.bitwidth < 8 or array.dtype.byteorder == ">":
        return Tensor(array, dtype=dtype, name=name)
    path = scratch.write_array(array)
    shape = Shape(array.shape)
    tensor = StoredTensor(path.name, 0, array.nbytes, kind, shape=shape, name=name or "", base_dir=str(path.parent))
    scratch.remove_with(tensor, path)
    return tensor


def file_of(tensor: ExternalTensor) -> Path:
    """Absolute."""
    return Path(os.path.abspath(tensor.path))
