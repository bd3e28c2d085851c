/* Where episodes start: what `Generator(PCG64(SeedSequence(seed))).uniform(low, high)` of NumPy draws first, to the bit,
   without making the generator.

   SeedSequence: O'Neill 2015, "Developing a seed_seq alternative", a pool of 4 words of 32 bits. PCG64: O'Neill 2014,
   "PCG: a family of simple fast space-efficient statistically good algorithms for random number generation", the
   variant XSL-RR with 128 bits of state. */

#include "worlds.h"

typedef unsigned __int128 uint128_t;

#define POOL 4
static const uint128_t multiplier = (uint128_t)0x2360ED051FC65DA4 << 64 | 0x4385DF649FCCF645;

INLINE uint32_t scrambled(uint32_t word, uint32_t *constant, uint32_t factor)
{
    word ^= *constant;
    *constant *= factor;
    word *= *constant;
    return word ^ word >> 16;
}

INLINE void fill_pool(uint64_t seed, uint32_t pool[POOL])
{
    uint32_t constant = 0x43B0D7E5;
    const uint32_t entropy[POOL] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (int i = 0; i < POOL; i++) pool[i] = scrambled(entropy[i], &constant, 0x931E8875);
    for (int from = 0; from < POOL; from++)
        for (int to = 0; to < POOL; to++) {
            if (from == to) continue;
            const uint32_t mixed = 0xCA01F9DD * pool[to] - 0x4973F715 * scrambled(pool[from], &constant, 0x931E8875);
            pool[to] = mixed ^ mixed >> 16;
        }
}

INLINE uint64_t next_of_pool(const uint32_t pool[POOL], int index, uint32_t *constant)
{
    const uint64_t low = scrambled(pool[2 * index % POOL], constant, 0x58F38DED);
    const uint64_t high = scrambled(pool[(2 * index + 1) % POOL], constant, 0x58F38DED);
    return high << 32 | low;
}

/* A generator's 128 bits, and what is added to them at each step. */
struct generator {
    uint128_t state, increment;
};

INLINE struct generator seeded(uint64_t seed)
{
    uint32_t pool[POOL], constant = 0x8B51F9DD;
    uint64_t words[4];
    fill_pool(seed, pool);
    for (int i = 0; i < 4; i++) words[i] = next_of_pool(pool, i, &constant);
    struct generator generator;
    generator.increment = ((uint128_t)words[2] << 64 | words[3]) << 1 | 1;
    generator.state = generator.increment + ((uint128_t)words[0] << 64 | words[1]);
    generator.state = generator.state * multiplier + generator.increment;
    return generator;
}

/* In [0, 1), by 53 bits. */
INLINE double next_uniform(struct generator *generator)
{
    generator->state = generator->state * multiplier + generator->increment;
    const uint64_t folded = (uint64_t)(generator->state >> 64) ^ (uint64_t)generator->state;
    const int turn = (int)(generator->state >> 122);
    const uint64_t word = folded >> turn | folded << (-turn & 63);
    return (double)(word >> 11) * 0x1p-53;
}

void start_known(const struct starts *starts, const int64_t *chosen, int64_t n_chosen, const uint64_t *seeds)
{
    for (int64_t i = 0; i < n_chosen; i++) {
        double *state = starts->state + chosen[i];
        struct generator generator = seeded(seeds[i]);
        for (int64_t row = 0; row < starts->n_rows; row++) state[row * starts->n] = 0;
        for (int64_t draw = 0; draw < starts->n_draws; draw++) {
            const double start = starts->lowest[draw] + starts->ranges[draw] * next_uniform(&generator);
            state[starts->rows[draw] * starts->n] = starts->is_single ? (float)start : start;
        }
        starts->elapsed[chosen[i]] = 0;
    }
}

EXPORT int start_episodes(
    const struct starts *starts, const int64_t *chosen, int64_t n_chosen, const uint64_t *seeds)
{
    if (!has_all(starts->n, chosen, n_chosen)) return BAD_LANE;
    start_known(starts, chosen, n_chosen, seeds);
    return FINE;
}
