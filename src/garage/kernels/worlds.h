/* What kernels of worlds have in common: lanes, which lie side by side, where their episodes start, and what a step of
   some of them gives.

   A world has two kernels, which take chosen lanes and actions that are known to be there: NAME_see writes what is seen
   as it is, and NAME_move moves the lanes and writes what came of it. */

#ifndef GARAGE_WORLDS_H
#define GARAGE_WORLDS_H

#include "kernels.h"

/* A function of NumPy's over an array: see numpy_loops.py. */
typedef void numpy_loop(char **arrays, const int64_t *lengths, const int64_t *strides, void *data);

#define ROOM_ROWS 32 /* numbers that a kernel may need for each lane */

/* The mirror of `_Lanes` in worlds.py. */
struct lanes {
    int64_t n;
    int64_t limit;         /* steps after which an episode is truncated */
    double *state;         /* [d, n], a column for each lane */
    int64_t *elapsed;      /* [n], steps taken */
    /* The world. */
    void (*see)(const struct lanes *, const int64_t *chosen, int64_t n_chosen);
    void (*move)(const struct lanes *, const int64_t *chosen, int64_t n_chosen, const void *actions);
    int64_t n_actions;     /* int64 from 0 on, or -1 if they are numbers */
    /* NumPy's functions, where gymnasium takes those: of float64, and of float32. */
    numpy_loop *cosine;
    numpy_loop *sine;
    numpy_loop *single_cosine;
    numpy_loop *single_sine;
    double *room;          /* [ROOM_ROWS, n] */
    /* Of the chosen lanes, one after the other. */
    float *observations;   /* [k, ...] */
    double *rewards;       /* [k] */
    uint8_t *terminated;   /* [k] */
    uint8_t *truncated;    /* [k] */
};

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

/* What was found wrong, before anything changed. */
enum { FINE, BAD_LANE, BAD_ACTION };

INLINE int has_all(int64_t n, const int64_t *chosen, int64_t n_chosen)
{
    uint64_t wrong = 0;
    for (int64_t i = 0; i < n_chosen; i++) wrong |= (uint64_t)chosen[i] >= (uint64_t)n;
    return !wrong;
}

/* A function of n numbers, one after the other; the results may take their place. */
INLINE void apply(numpy_loop *function, int64_t n, const double *numbers, double *results)
{
    char *arrays[] = {(char *)numbers, (char *)results};
    const int64_t strides[] = {sizeof *numbers, sizeof *results};
    function(arrays, &n, strides, 0);
}

INLINE void apply_single(numpy_loop *function, int64_t n, const float *numbers, float *results)
{
    char *arrays[] = {(char *)numbers, (char *)results};
    const int64_t strides[] = {sizeof *numbers, sizeof *results};
    function(arrays, &n, strides, 0);
}

/* The chosen ones of a row of the state. */
INLINE void gather(const double *row, const int64_t *chosen, int64_t n_chosen, double *to)
{
    for (int64_t i = 0; i < n_chosen; i++) to[i] = row[chosen[i]];
}

INLINE double clipped(double number, double lowest, double highest)
{
    return number < lowest ? lowest : number > highest ? highest : number;
}

INLINE void count_step(const struct lanes *lanes, int64_t lane, int64_t row)
{
    lanes->truncated[row] = ++lanes->elapsed[lane] >= lanes->limit;
}

#endif
