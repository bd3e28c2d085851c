/* What kernels of worlds have in common: lanes, which lie side by side, and what a step of some of them gives. */

#ifndef GARAGE_WORLDS_H
#define GARAGE_WORLDS_H

#include "kernels.h"

/* A function of NumPy's over an array: see numpy_loops.py. */
typedef void numpy_loop(char **arrays, const int64_t *lengths, const int64_t *strides, void *data);

/* The mirror of `_Lanes` in worlds.py. */
struct lanes {
    int64_t n;
    int64_t limit;         /* steps after which an episode is truncated */
    double *state;         /* [d, n], a column for each lane */
    int64_t *elapsed;      /* [n], steps taken */
    numpy_loop *cosine;    /* NumPy's, as gymnasium's are */
    numpy_loop *sine;
    double *cosines;       /* [n], room for those of the lanes' angles */
    double *sines;
    /* Of the chosen lanes, one after the other. */
    float *observations;   /* [k, ...] */
    double *rewards;       /* [k] */
    uint8_t *terminated;   /* [k] */
    uint8_t *truncated;    /* [k] */
};

/* Each world has three kernels, which take the chosen lanes:
   NAME_see writes their observations as they are; NAME_move moves them and writes what came of it; the lanes and the
   actions of both are known to be there. NAME_seen and NAME_step are those for everybody, and say what is wrong. */

/* The mirror of `_Starts` in worlds.py. */
struct starts {
    int64_t n;
    int64_t n_rows;
    double *state;         /* [n_rows, n], a column for each lane */
    int64_t *elapsed;      /* [n], steps taken */
    int64_t n_draws;
    const double *lowest;  /* [n_draws] */
    const double *ranges;  /* [n_draws], from the lowest to the highest */
    const int64_t *rows;   /* [n_draws], of the state; the others start at zero */
    int64_t is_single;     /* whether a start is rounded to float32 */
};

/* Starts an episode in each of the chosen lanes, which are there; see seeding.c. */
void start_known(const struct starts *starts, const int64_t *chosen, int64_t n_chosen, const uint64_t *seeds);

/* What a kernel found wrong, before it changed anything. */
enum { FINE, BAD_LANE, BAD_ACTION };

INLINE int has_all(int64_t n, const int64_t *chosen, int64_t n_chosen)
{
    uint64_t wrong = 0;
    for (int64_t i = 0; i < n_chosen; i++) wrong |= (uint64_t)chosen[i] >= (uint64_t)n;
    return !wrong;
}

/* A function of all lanes' angles: for the processor's vectors they are no more work than some. */
INLINE void take_all(const struct lanes *lanes, numpy_loop *function, const double *angles, double *results)
{
    char *const arrays[] = {(char *)angles, (char *)results};
    const int64_t strides[] = {sizeof(double), sizeof(double)};
    function((char **)arrays, &lanes->n, strides, 0);
}

INLINE void count_step(const struct lanes *lanes, int64_t lane, int64_t row)
{
    lanes->truncated[row] = ++lanes->elapsed[lane] >= lanes->limit;
}

#endif
