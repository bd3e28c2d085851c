/* A policy acts in the lanes of a world, step after step, and episodes follow one another in them: what
   garage.sampler.rollout does for any policy and any world, here for those that are kernels, with the same results to
   the bit. Episodes and their noise are drawn outside; a run stops where it needs more, and is called again. */

#define _POSIX_C_SOURCE 199309L /* for clock_gettime */

#include <string.h>
#include <time.h>

#include "worlds.h"

/* The mirror of `_Rollout` in rollout.py. */
struct rollout {
    /* The world. */
    const struct lanes *lanes;
    const struct starts *starts;
    int64_t n_seen;
    /* The policy: a network in numbers of T, and stds [n_outputs] unless it chooses among its outputs. */
    int64_t is_double;
    const void *network;
    int64_t n_outputs;
    const void *stds;
    void *wider_inputs;        /* [n, n_seen], room */
    float *single_actions;     /* [n, n_outputs], room */
    /* The quota: about so many steps, or so many episodes; negative where it is not the one that counts. */
    int64_t most_steps;
    int64_t most_episodes;
    double mean_length;
    int64_t fragments;         /* whether to stop in mid-episode */
    /* The lanes [n]. */
    int64_t n_active;
    int64_t *active;           /* lanes with an episode, ascending */
    int64_t n_free;
    int64_t *free;             /* lanes that may start one now, ascending */
    int64_t *episode;          /* its number, or -1 */
    const char **noise;        /* of the step to come */
    int64_t *n_noise;          /* steps that it lasts for */
    float *observations;       /* [n, n_seen] */
    /* Episodes by number: those that were carried, those that started since, those that may start next. */
    int64_t n_carried;
    int64_t n_started;         /* carried ones are among them */
    int64_t n_drawn;
    int64_t n_wanted;          /* how many must be drawn before the run can go on */
    int64_t noise_steps;       /* that an episode's first noise lasts for */
    const uint64_t *seeds;
    const char **first_noise;
    int64_t *lengths;
    int8_t *ends;              /* CUT until an episode ends */
    float *last_observations;  /* [.., n_seen] */
    /* What happened, a row for each step of a lane. */
    int64_t n_rows;
    int64_t room;
    float *seen;               /* [.., n_seen] */
    void *actions;
    void *outputs;             /* [.., n_outputs] */
    double *rewards;
    int64_t *row_episode;
    int64_t *row_step;         /* since the segment began */
    /* Wall-clock seconds spent so far. */
    double world_seconds;
    double policy_seconds;
};

/* Why a run stopped. */
enum { DONE, NEEDS_EPISODES, NEEDS_NOISE, NEEDS_ROOM };

/* Values of garage.core.types.End. */
enum { TERMINATED, TRUNCATED };

void mlp_outputs_float32(const void *network, const float *inputs, int64_t n, float *outputs);
void mlp_outputs_float64(const void *network, const double *inputs, int64_t n, double *outputs);

#define T float
#define NAME(f) f##_float32
#include "acting_of_type.h"
#undef T
#undef NAME
#define T double
#define NAME(f) f##_float64
#include "acting_of_type.h"

INLINE double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

INLINE int is_met(const struct rollout *rollout)
{
    return rollout->most_steps >= 0 && rollout->n_rows >= rollout->most_steps;
}

/* How many episodes start in the free lanes: as long as the quota is open. */
static int64_t count_starting(const struct rollout *rollout)
{
    const int64_t n_free = rollout->n_free;
    if (rollout->fragments) return is_met(rollout) ? 0 : n_free;
    if (rollout->most_steps < 0) {
        const int64_t n_left = rollout->most_episodes - (rollout->n_started - rollout->n_carried);
        return n_left < n_free ? n_left : n_free;
    }
    const double n_steps = (double)rollout->n_rows, quota = (double)rollout->most_steps;
    int64_t n = 0;
    while (n < n_free && n_steps + (double)(rollout->n_active + n) * rollout->mean_length < quota) n++;
    return n;
}

static void find_active(struct rollout *rollout)
{
    rollout->n_active = 0;
    for (int64_t lane = 0; lane < rollout->lanes->n; lane++)
        if (rollout->episode[lane] >= 0) rollout->active[rollout->n_active++] = lane;
}

/* Starts n episodes in the first of the free lanes, which have been drawn. */
static void start(struct rollout *rollout, int64_t n)
{
    const int64_t first = rollout->n_started, n_seen = rollout->n_seen;
    start_known(rollout->starts, rollout->free, n, rollout->seeds + first);
    rollout->lanes->see(rollout->lanes, rollout->free, n);
    for (int64_t i = 0; i < n; i++) {
        const int64_t lane = rollout->free[i];
        rollout->episode[lane] = first + i;
        rollout->noise[lane] = rollout->first_noise[first + i];
        rollout->n_noise[lane] = rollout->noise_steps;
        memcpy(rollout->observations + lane * n_seen, rollout->lanes->observations + i * n_seen, n_seen * sizeof(float));
    }
    rollout->n_started += n;
    rollout->n_free = 0;
    find_active(rollout);
}

INLINE int lacks_noise(const struct rollout *rollout)
{
    for (int64_t i = 0; i < rollout->n_active; i++)
        if (!rollout->n_noise[rollout->active[i]]) return 1;
    return 0;
}

/* Logs a step of the active lanes, which have moved, and finishes the episodes that ended; their lanes are free then. */
static void log_step(struct rollout *rollout)
{
    const struct lanes *lanes = rollout->lanes;
    const int64_t n = rollout->n_active, n_seen = rollout->n_seen;
    memcpy(rollout->rewards + rollout->n_rows, lanes->rewards, n * sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        const int64_t lane = rollout->active[i], episode = rollout->episode[lane], row = rollout->n_rows + i;
        const float *const seen = lanes->observations + i * n_seen;
        memcpy(rollout->observations + lane * n_seen, seen, n_seen * sizeof(float));
        rollout->row_episode[row] = episode;
        rollout->row_step[row] = rollout->lengths[episode]++;
        rollout->n_noise[lane]--;
        if (!(lanes->terminated[i] | lanes->truncated[i])) continue;
        rollout->ends[episode] = lanes->terminated[i] ? TERMINATED : TRUNCATED;
        memcpy(rollout->last_observations + episode * n_seen, seen, n_seen * sizeof(float));
        rollout->episode[lane] = -1;
        rollout->free[rollout->n_free++] = lane;
    }
    rollout->n_rows += n;
    if (rollout->n_free) find_active(rollout);
}

EXPORT int rollout_run(struct rollout *rollout)
{
    const int64_t n_seen = rollout->n_seen;
    for (;;) {
        const int64_t n_starting = count_starting(rollout);
        if (rollout->n_started + n_starting > rollout->n_drawn) {
            rollout->n_wanted = rollout->n_started + n_starting - rollout->n_drawn;
            return NEEDS_EPISODES;
        }
        if (rollout->n_free) start(rollout, n_starting);
        if (!rollout->n_active || (rollout->fragments && is_met(rollout))) return DONE;
        if (lacks_noise(rollout)) return NEEDS_NOISE;
        if (rollout->n_rows + rollout->n_active > rollout->room) return NEEDS_ROOM;
        float *const seen = rollout->seen + rollout->n_rows * n_seen;
        for (int64_t i = 0; i < rollout->n_active; i++)
            memcpy(seen + i * n_seen, rollout->observations + rollout->active[i] * n_seen, n_seen * sizeof(float));
        const double before = seconds_now();
        const void *const actions = rollout->is_double ? act_float64(rollout, seen) : act_float32(rollout, seen);
        const double acted = seconds_now();
        rollout->lanes->move(rollout->lanes, rollout->active, rollout->n_active, actions);
        rollout->world_seconds += seconds_now() - acted;
        rollout->policy_seconds += acted - before;
        log_step(rollout);
    }
}
