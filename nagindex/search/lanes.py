# mypy: disable-error-code="untyped-decorator, misc"
"""Eight sums in registers, for compiled loops: LLVM does not vectorize the addition of so short rows at arbitrary addresses."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 8
"""Sums in registers, and numbers in a row of a table."""


class _Sums(types.Type):
    """`LANES` signed integers of 32 or 64 bits in registers."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__(f"nagindex.Sums({bits})")


def _vector(bits: int) -> ir.VectorType:
    return ir.VectorType(ir.IntType(bits), LANES)


register_model(_Sums)(lambda manager, kind: models.PrimitiveModel(manager, kind, _vector(kind.bits)))


def _row(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return the pointer to a row of a flat array; `arguments` begin with the array and the row."""
    array, row, *_ = arguments
    start = context.make_array(signature.args[0])(context, builder, array).data
    return builder.gep(builder.bitcast(start, _vector(start.type.pointee.width).as_pointer()), [row])


@intrinsic
def zeros_like(typing: Any, array: Any) -> Any:
    """Return sums of zero, of the type of a flat array of int32 or int64."""
    sums = _Sums(array.dtype.bitwidth)
    return sums(array), lambda *_: ir.Constant(_vector(sums.bits), None)


@intrinsic
def plus_row(typing: Any, table: Any, row: Any, sums: Any) -> Any:
    """Return sums plus a row, uint64, of a flat array of integers that have at most as many bits. Bounds are not checked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own = builder.load(_row(context, builder, signature, arguments), align=table.dtype.bitwidth // 8)
        widen = builder.sext if table.dtype.signed else builder.zext
        return builder.add(arguments[2], widen(own, _vector(sums.bits)))

    return sums(table, types.uint64, sums), emit


@intrinsic
def store(typing: Any, array: Any, row: Any, sums: Any) -> Any:
    """Store sums as a row, uint64, of a flat array of their type."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _row(context, builder, signature, arguments), align=sums.bits // 8)
        return context.get_dummy_value()

    return types.void(array, types.uint64, sums), emit
