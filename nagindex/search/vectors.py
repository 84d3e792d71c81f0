# mypy: disable-error-code="untyped-decorator, misc"
"""Integers in registers, for compiled loops: LLVM does not vectorize work on so short rows at arbitrary addresses.

`Vector` and the functions on pointers are for kernels that have operations of their own; the sums of eight are here.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

LANES = 8
"""Sums in registers, and numbers in a row of a table."""


class Vector(types.Type):
    """`lanes` integers of `bits` bits in registers."""

    def __init__(self, bits: int, lanes: int) -> None:
        self.bits, self.lanes = bits, lanes
        super().__init__(f"nagindex.Vector({bits} x {lanes})")

    @property
    def registers(self) -> ir.VectorType:
        """The type in LLVM."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)


register_model(Vector)(lambda manager, kind: models.PrimitiveModel(manager, kind, kind.registers))


def pointer(site: Any, of: ir.Type) -> Any:
    """Return the pointer of some type to an item of a flat array.

    Args:
        site: of an intrinsic: context, builder, signature, and the arguments, which begin with the array and the index.
        of: the type in LLVM.
    """
    context, builder, signature, (array, index, *_) = site
    start = context.make_array(signature.args[0])(context, builder, array).data
    return builder.bitcast(builder.gep(start, [index]), of.as_pointer())


def load(site: Any, of: Vector) -> Any:
    """Load the vector at an index of a flat array; `site` as for `pointer`."""
    return site[1].load(pointer(site, of.registers), align=of.bits // 8)


@intrinsic
def store(typing: Any, array: Any, index: Any, vector: Any) -> Any:
    """Store a vector at an index of a flat array of its type. Bounds are not checked."""

    def emit(*site: Any) -> Any:
        context, builder, _, arguments = site
        builder.store(arguments[2], pointer(site, vector.registers), align=vector.bits // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), emit


@intrinsic
def zeros_like(typing: Any, array: Any) -> Any:
    """Return `LANES` sums of zero, of the type of a flat array of int32 or int64."""
    sums = Vector(array.dtype.bitwidth, LANES)
    return sums(array), lambda *_: ir.Constant(sums.registers, None)


@intrinsic
def plus_row(typing: Any, table: Any, row: Any, sums: Any) -> Any:
    """Return sums plus row number uint64 of a flat array of integers that have at most as many bits. Bounds are not checked."""
    own = Vector(table.dtype.bitwidth, LANES)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        table_value, row_value, total = arguments
        first = builder.mul(row_value, row_value.type(LANES))
        numbers = load((context, builder, signature, (table_value, first)), own)
        widen = builder.sext if table.dtype.signed else builder.zext
        return builder.add(total, widen(numbers, sums.registers))

    return sums(table, types.uint64, sums), emit
