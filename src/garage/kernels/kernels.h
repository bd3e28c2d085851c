/* What all kernels have in common. */

#ifndef GARAGE_KERNELS_H
#define GARAGE_KERNELS_H

#include <stdint.h>

#ifdef __FAST_MATH__
#error "the order of operations is part of the format"
#endif
#pragma STDC FP_CONTRACT OFF

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

/* Bytes of the widest vector that this variant computes with. */
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define LINE_BYTES 64 /* of the cache */

#endif
