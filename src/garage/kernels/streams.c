/* Uniforms of streams, as docs/streams-format.md says them: Philox4x64-10 of Salmon et al. 2011, "Parallel random
   numbers: as easy as 1, 2, 3", in counter mode from counter 1 on, and the upper 53 bits of each raw number. */

#include <string.h>

#include "kernels.h"

#define PER_BLOCK 4
#define ROUNDS 10

typedef unsigned __int128 product;

/* The block of raw numbers of one counter. */
INLINE void philox(uint64_t k0, uint64_t k1, uint64_t counter, uint64_t *block)
{
    uint64_t c0 = counter, c1 = 0, c2 = 0, c3 = 0;
    UNROLL for (int i = 0; i < ROUNDS; i++) {
        const product x = (product)c0 * 0xD2E7470EE14C6C93, y = (product)c2 * 0xCA5A826395121157;
        c0 = (uint64_t)(y >> 64) ^ c1 ^ k0;
        c1 = (uint64_t)y;
        c2 = (uint64_t)(x >> 64) ^ c3 ^ k1;
        c3 = (uint64_t)x;
        k0 += 0x9E3779B97F4A7C15;
        k1 += 0xBB67AE8584CAA73B;
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
}

/* The first n uniforms of each of `n_keys` keys of 16 bytes, one key after the other. */
EXPORT void stream_uniforms(const unsigned char *keys, int64_t n_keys, int64_t n, double *uniforms)
{
    for (int64_t i = 0; i < n_keys; i++) {
        uint64_t key[2], block[PER_BLOCK];
        memcpy(key, keys + i * (int64_t)sizeof key, sizeof key);
        for (int64_t j = 0; j < n; j += PER_BLOCK) {
            philox(key[0], key[1], (uint64_t)(j / PER_BLOCK + 1), block);
            for (int64_t k = 0; k < PER_BLOCK && j + k < n; k++)
                *uniforms++ = (double)(int64_t)(block[k] >> 11) * 0x1p-53;
        }
    }
}
