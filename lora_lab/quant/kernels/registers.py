"""Sixteen look-ups by one instruction, which no loop can say: for CPUs with AVX-512, whose registers hold 16 float32.

The levels of a 4-bit codebook fill one register, sixteen codes another, and `vpermps` takes the level of each code.
"""

import numba
from numba import types
from numba.core.cgutils import ir  # llvmlite's, which comes with Numba
from numba.core.registry import cpu_target
from numba.extending import intrinsic

_FEATURES = cpu_target.target_context.codegen().magic_tuple()[2].split(",")

AVAILABLE = "+avx512f" in _FEATURES and "-evex512" not in _FEATURES and not numba.config.DISABLE_JIT
"""Whether Numba compiles, and for a CPU that has them."""

_BYTES, _EIGHT, _SIXTEEN = (ir.VectorType(ir.IntType(bits), count) for bits, count in ((8, 8), (32, 8), (32, 16)))
_LEVELS = ir.VectorType(ir.FloatType(), 16)
_IN_TURN = ir.Constant(_SIXTEEN, [half // 2 + half % 2 * 8 for half in range(16)])  # high, low, high, low, …


@intrinsic
def look_up_16(typing, levels, packed, byte, values, at):
    """values[at : at + 16] = levels[code] for the codes of packed[byte : byte + 8], high halves first.

    levels: float32 [16]; packed: uint8; values: float32; all contiguous. No place is checked: all eight bytes must be
    there, and all sixteen values.
    """

    def generate(context, builder, signature, given):
        def address(array, index, vector):
            """Of some neighbours in an array, taken for a vector."""
            kind, value = signature.args[array], given[array]
            first = builder.gep(context.make_array(kind)(context, builder, value).data, [index])
            return builder.bitcast(first, vector.as_pointer())

        def each(number):
            return ir.Constant(_EIGHT, [number] * 8)

        eight = builder.zext(builder.load(address(1, given[2], _BYTES), align=1), _EIGHT)
        codes = builder.shuffle_vector(builder.lshr(eight, each(4)), builder.and_(eight, each(15)), _IN_TURN)
        table = builder.load(address(0, context.get_constant(types.intp, 0), _LEVELS), align=4)
        permute = builder.module.declare_intrinsic(
            "llvm.x86.avx512.permvar.sf.512", fnty=ir.FunctionType(_LEVELS, [_LEVELS, _SIXTEEN])
        )
        builder.store(builder.call(permute, [table, codes]), address(3, given[4], _LEVELS), align=4)
        return context.get_dummy_value()

    return types.void(levels, packed, types.intp, values, types.intp), generate
