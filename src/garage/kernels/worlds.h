/* What kernels of worlds have in common: lanes, which lie side by side, and what a step of some of them gives. */

#ifndef GARAGE_WORLDS_H
#define GARAGE_WORLDS_H

#include "kernels.h"

/* The mirror of `_Lanes` in worlds.py. */
struct lanes {
    int64_t n;
    int64_t limit;          /* steps after which an episode is truncated */
    double *state;          /* [d, n], a column for each lane */
    int64_t *elapsed;       /* [n], steps taken */
    const double *cosines;  /* [n], and sines, of the angles as they are: NumPy's, as gymnasium's are */
    const double *sines;
    /* Of the chosen lanes, one after the other. */
    float *observations;    /* [k, ...] */
    double *rewards;        /* [k] */
    uint8_t *terminated;    /* [k] */
    uint8_t *truncated;     /* [k] */
};

/* What a kernel found wrong, before it changed anything. */
enum { FINE, BAD_LANE, BAD_ACTION };

INLINE int has_all(int64_t n, const int64_t *chosen, int64_t n_chosen)
{
    uint64_t wrong = 0;
    for (int64_t i = 0; i < n_chosen; i++) wrong |= (uint64_t)chosen[i] >= (uint64_t)n;
    return !wrong;
}

INLINE void count_step(const struct lanes *lanes, int64_t lane, int64_t row)
{
    lanes->truncated[row] = ++lanes->elapsed[lane] >= lanes->limit;
}

#endif
