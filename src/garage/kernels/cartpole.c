/* CartPole-v1. Barto, Sutton and Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
   problems", as corrected by Florian 2007, "Correct equations for the dynamics of the cart-pole system", eqs. 23 and 24
   without friction; integrated by Euler's method. Every operation is one of gymnasium's, in its order. */

#include "worlds.h"

static const double gravity = 9.8, mass_pole = 0.1, total_mass = 0.1 + 1.0, half_length = 0.5;
static const double pole_mass_length = 0.1 * 0.5, force = 10.0, seconds = 0.02;
static const double track = 2.4, tilt = 12 * 2 * 3.141592653589793 / 360;

/* Rows of the state are position, angle and their velocities; an observation has each velocity after its place. */
INLINE void observe(const struct lanes *lanes, int64_t lane, int64_t row)
{
    const double *state = lanes->state + lane;
    float *observation = lanes->observations + 4 * row;
    observation[0] = (float)state[0];
    observation[1] = (float)state[2 * lanes->n];
    observation[2] = (float)state[lanes->n];
    observation[3] = (float)state[3 * lanes->n];
}

EXPORT void cart_poles_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    for (int64_t i = 0; i < n_chosen; i++) observe(lanes, chosen[i], i);
}

EXPORT void cart_poles_move(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *taken)
{
    const int64_t *const actions = taken;
    const int64_t n = lanes->n;
    double *const angles = lanes->room, *const cosines = angles + n_chosen, *const sines = cosines + n_chosen;
    gather(lanes->state + n, chosen, n_chosen, angles);
    apply(lanes->cosine, n_chosen, angles, cosines);
    apply(lanes->sine, n_chosen, angles, sines);
    for (int64_t i = 0; i < n_chosen; i++) {
        const int64_t lane = chosen[i];
        double *position = lanes->state + lane, *angle = position + n, *speed = angle + n, *turning = speed + n;
        const double cosine = cosines[i], sine = sines[i];
        const double push = actions[i] ? force : -force;
        const double thrust = (push + pole_mass_length * (*turning * *turning) * sine) / total_mass;
        const double inertia = half_length * (4.0 / 3.0 - mass_pole * (cosine * cosine) / total_mass);
        const double turning_rate = (gravity * sine - cosine * thrust) / inertia;
        const double speed_rate = thrust - pole_mass_length * turning_rate * cosine / total_mass;
        *position += seconds * *speed;
        *angle += seconds * *turning;
        *speed += seconds * speed_rate;
        *turning += seconds * turning_rate;
        observe(lanes, lane, i);
        lanes->rewards[i] = 1;
        lanes->terminated[i] = *position < -track || *position > track || *angle < -tilt || *angle > tilt;
        count_step(lanes, lane, i);
    }
}
