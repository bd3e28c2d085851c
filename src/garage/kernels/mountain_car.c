/* MountainCar-v0 and MountainCarContinuous-v0: an underpowered car in the valley sin(3 x). Moore 1990, "Efficient
   memory-based learning for robot control", ch. 4: v' = v + push - 0.0025 cos(3 x), x' = x + v', both clipped, and the
   left wall stops the car. With discrete actions the push is -0.001, 0 or 0.001 and everything is float64. With
   continuous ones it is 0.0015 times the force; there gymnasium rounds position and velocity to float32 at the end of
   every step, so from the second step on everything but the cosine is float32. A sum of float32 numbers that is computed
   in float64 and then rounded has the same bits. Cosines are the C library's, as gymnasium's are here. */

#include <math.h>

#include "worlds.h"

static const double gravity = 0.0025, force = 0.001, top_speed = 0.07, left_wall = -1.2, right_end = 0.6, goal = 0.5;
static const float power = 0.0015f, most_force = 1, single_top_speed = 0.07f, single_left_wall = -1.2f;
static const float single_right_end = 0.6f, single_goal = 0.45f;
static const double prize = 100, effort_cost = 0.1;

EXPORT void mountain_cars_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    for (int64_t i = 0; i < n_chosen; i++) {
        lanes->observations[2 * i] = (float)lanes->state[chosen[i]];
        lanes->observations[2 * i + 1] = (float)lanes->state[lanes->n + chosen[i]];
    }
}

EXPORT void mountain_cars_move(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *taken)
{
    const int64_t *const actions = taken;
    for (int64_t i = 0; i < n_chosen; i++) {
        double *const position = lanes->state + chosen[i], *const speed = position + lanes->n;
        const double push = (double)(actions[i] - 1) * force;
        *speed = clipped(*speed + (push - cos(3 * *position) * gravity), -top_speed, top_speed);
        *position = clipped(*position + *speed, left_wall, right_end);
        if (*position == left_wall && *speed < 0) *speed = 0;
        lanes->rewards[i] = -1;
        lanes->terminated[i] = *position >= goal && *speed >= 0;
        count_step(lanes, chosen[i], i);
    }
    mountain_cars_see(lanes, chosen, n_chosen);
}

EXPORT void continuous_mountain_cars_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    mountain_cars_see(lanes, chosen, n_chosen);
}

EXPORT void continuous_mountain_cars_move(
    const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *taken)
{
    const float *const forces = taken;
    for (int64_t i = 0; i < n_chosen; i++) {
        double *const position = lanes->state + chosen[i], *const speed = position + lanes->n;
        const float push = (float)clipped(forces[i], -most_force, most_force);
        /* A start is not rounded to float32 before the first step, and nor is three times it. */
        const double angle = lanes->elapsed[chosen[i]] ? (float)(3 * *position) : 3 * *position;
        const float acceleration = push * power - (float)(cos(angle) * gravity);
        float faster = (float)clipped((float)(*speed + acceleration), -single_top_speed, single_top_speed);
        const float place = (float)clipped((float)(*position + faster), single_left_wall, single_right_end);
        if (place == single_left_wall && faster < 0) faster = 0;
        *position = place;
        *speed = faster;
        lanes->terminated[i] = place >= single_goal && faster >= 0;
        lanes->rewards[i] = (lanes->terminated[i] ? prize : 0) - (double)push * push * effort_cost;
        count_step(lanes, chosen[i], i);
    }
    mountain_cars_see(lanes, chosen, n_chosen);
}
