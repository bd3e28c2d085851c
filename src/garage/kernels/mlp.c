/* An MLP with tanh hidden layers and a linear output: forwards, along a direction of its parameters, and back.

   The order of every operation is part of the format of runs, and nothing here depends on the processor or the
   compiler: each number is made by additions, divisions and fused multiply-adds of IEEE 754 in a fixed order. A sum
   of products runs over its index upwards, each product added by one fused multiply-add. Vectors run across outputs,
   never along a sum, so that their width changes nothing, and neither does the number of rows computed at once. */

#include "kernels.h"

#define T float
#define BITS int32_t
#define NAME(f) f##_float32
#define MANTISSA_BITS 23
#define ONE_BITS 0x3F800000
#define ROUNDING 0x1.8p23f
#define TANH_IS_ONE 9.5f
#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f
#define LN2_LOW 0x1.7f7d1cp-20f
#define DEGREE 8
#include "mlp_of_type.h"

#undef T
#undef BITS
#undef NAME
#undef MANTISSA_BITS
#undef ONE_BITS
#undef ROUNDING
#undef TANH_IS_ONE
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
#undef DEGREE

#define T double
#define BITS int64_t
#define NAME(f) f##_float64
#define MANTISSA_BITS 52
#define ONE_BITS 0x3FF0000000000000
#define ROUNDING 0x1.8p52
#define TANH_IS_ONE 20.0
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define DEGREE 14
#include "mlp_of_type.h"
