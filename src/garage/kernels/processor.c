/* Which of the libraries this processor can run, and what a library was made from. */

#include "kernels.h"

EXPORT const char *sources(void) { return SOURCES; }

#if defined(__x86_64__)
#include <cpuid.h>

/* 2, 3 or 4 as in x86-64-v2 to v4, the operating system's saving of wide registers included. */
EXPORT int64_t level(void)
{
    const uint32_t v3_of_1 = bit_FMA | bit_MOVBE | bit_OSXSAVE | bit_AVX | bit_F16C;
    const uint32_t v3_of_7 = bit_AVX2 | bit_BMI | bit_BMI2;
    const uint32_t v4_of_7 = bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL;
    uint32_t a, b, c, d, saved, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & v3_of_1) != v3_of_1) return 2;
    if (!__get_cpuid(0x80000001, &a, &b, &c, &d) || !(c & bit_LZCNT)) return 2;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 0x6) != 0x6) return 2;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & v3_of_7) != v3_of_7) return 2;
    return (b & v4_of_7) == v4_of_7 && (saved & 0xE6) == 0xE6 ? 4 : 3;
}
#endif
