/* Pendulum-v1: a pole of length l = 1 m and mass m = 1 kg under gravity g = 10 m/s² and a torque u:
   thdot' = thdot + (3 g / (2 l) sin th + 3 / (m l²) u) dt, th' = th + thdot' dt, and the reward is
   -(norm(th)² + 0.1 thdot² + 0.001 u²) of the state before the step. Angles and speeds are float64; the torque and its
   terms stay float32 until they are added to a float64. Every operation is one of gymnasium's, in its order. */

#include <math.h>

#include "worlds.h"

static const double gravity_term = 15.0, seconds = 0.05, top_speed = 8.0, pi = 3.141592653589793;
static const float most_torque = 2, torque_term = 3;

/* A square of gymnasium's is the C library's `pow`, which now and then (8 times in 10,000) rounds to the neighbour of
   x * x. A compiler that knows the exponent makes a product of it. */
static const volatile double two = 2;

/* In [-pi, pi), by Python's remainder. */
INLINE double within_a_turn(double angle)
{
    double rest = fmod(angle + pi, 2 * pi);
    if (rest < 0) rest += 2 * pi;
    return (rest == 0 ? 0 : rest) - pi;
}

EXPORT void pendulums_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    double *const angles = lanes->room, *const cosines = angles + n_chosen, *const sines = cosines + n_chosen;
    gather(lanes->state, chosen, n_chosen, angles);
    apply(lanes->cosine, n_chosen, angles, cosines);
    apply(lanes->sine, n_chosen, angles, sines);
    for (int64_t i = 0; i < n_chosen; i++) {
        lanes->observations[3 * i] = (float)cosines[i];
        lanes->observations[3 * i + 1] = (float)sines[i];
        lanes->observations[3 * i + 2] = (float)lanes->state[lanes->n + chosen[i]];
    }
}

EXPORT void pendulums_move(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *taken)
{
    const float *const torques = taken;
    const double exponent = two;
    double *const sines = lanes->room;
    gather(lanes->state, chosen, n_chosen, sines);
    apply(lanes->sine, n_chosen, sines, sines);
    for (int64_t i = 0; i < n_chosen; i++) {
        const int64_t lane = chosen[i];
        double *angle = lanes->state + lane, *speed = angle + lanes->n;
        const float given = torques[i];
        const float torque = given < -most_torque ? -most_torque : given > most_torque ? most_torque : given;
        const float torque_cost = 0.001f * powf(torque, (float)exponent);
        const double cost = pow(within_a_turn(*angle), exponent) + 0.1 * pow(*speed, exponent);
        lanes->rewards[i] = -(cost + torque_cost);
        const double faster = *speed + (gravity_term * sines[i] + torque_term * torque) * seconds;
        *speed = faster < -top_speed ? -top_speed : faster > top_speed ? top_speed : faster;
        *angle += *speed * seconds;
        lanes->terminated[i] = 0;
        count_step(lanes, lane, i);
    }
    pendulums_see(lanes, chosen, n_chosen);
}
