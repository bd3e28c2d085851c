/* Acrobot-v1: two links of 1 m and 1 kg, their centres of mass in the middle, a moment of inertia of 1 kg m² each, a
   torque at the joint between them. Sutton and Barto 1998, "Reinforcement learning: an introduction", section 11.3,
   integrated by one step of the classical Runge-Kutta method. Everything is float64, but a start, which is rounded to
   float32, and what is seen of it, which is computed from that. Every operation is one of gymnasium's, in its order or
   in one that rounds alike: factors of 1 are left out, and signs and powers of two are moved, which rounds nothing. */

#include <math.h>

#include "worlds.h"

static const double pi = 3.141592653589793, seconds = 0.2, gravity = 9.8;
static const double top_speed_1 = 4 * 3.141592653589793, top_speed_2 = 9 * 3.141592653589793;

/* A square of gymnasium's is the C library's `pow`, which now and then rounds to the neighbour of x * x. A compiler that
   knows the exponent makes a product of it. */
static const volatile double two = 2;

enum { ANGLE_1, ANGLE_2, SPEED_1, SPEED_2, N_ROWS };

/* How k pairs of links at a place [4, k] change, `rates` [4, k]; d1, d2, phi1 and phi2 are the book's. */
static void find_rates(
    const struct lanes *lanes, int64_t k, const double *place, const int64_t *actions, double *rates, double *room)
{
    const double *const angles_1 = place + ANGLE_1 * k, *const angles_2 = place + ANGLE_2 * k;
    const double *const speeds_1 = place + SPEED_1 * k, *const speeds_2 = place + SPEED_2 * k;
    double *const cosines_of_sum = room, *const cosines_1 = room + k, *const cosines_2 = room + 2 * k;
    double *const sines_2 = room + 3 * k;
    const double exponent = two;
    for (int64_t i = 0; i < k; i++) {
        cosines_of_sum[i] = angles_1[i] + angles_2[i] - pi / 2;
        cosines_1[i] = angles_1[i] - pi / 2;
        cosines_2[i] = angles_2[i];
    }
    apply(lanes->cosine, 3 * k, room, room);
    apply(lanes->sine, k, angles_2, sines_2);
    for (int64_t i = 0; i < k; i++) {
        const double torque = (double)(actions[i] - 1), speed_1 = speeds_1[i], speed_2 = speeds_2[i];
        const double phi_2 = cosines_of_sum[i] * (0.5 * gravity), weight = cosines_1[i] * (1.5 * gravity);
        const double d1 = cosines_2[i] + 1.25 + 0.25 + 1 + 1, d2 = cosines_2[i] * 0.5 + 0.25 + 1;
        const double from_speed_1 = pow(speed_1, exponent) * 0.5 * sines_2[i];
        const double from_speed_2 = pow(speed_2, exponent) * 0.5 * sines_2[i];
        const double phi_1 = weight - (from_speed_2 + speed_2 * speed_1 * sines_2[i]) + phi_2;
        const double acceleration_2 =
            (d2 / d1 * phi_1 + torque - from_speed_1 - phi_2) / (1.25 - pow(d2, exponent) / d1);
        rates[ANGLE_1 * k + i] = speed_1;
        rates[ANGLE_2 * k + i] = speed_2;
        rates[SPEED_1 * k + i] = -((d2 * acceleration_2 + phi_1) / d1);
        rates[SPEED_2 * k + i] = acceleration_2;
    }
}

/* In [-pi, pi]. Whole turns are taken off one by one, because each of them rounds. */
INLINE double within_a_turn(double angle)
{
    while (angle > pi) angle -= 2 * pi;
    while (angle < -pi) angle += 2 * pi;
    return angle;
}

/* What is seen of k places [4, k] by cosines and sines [2, k] of their angles. */
static void observe(int64_t k, const double *places, const double *cosines, const double *sines, float *observations)
{
    for (int64_t i = 0; i < k; i++) {
        float *const observation = observations + 6 * i;
        observation[0] = (float)cosines[i];
        observation[1] = (float)sines[i];
        observation[2] = (float)cosines[k + i];
        observation[3] = (float)sines[k + i];
        observation[4] = (float)places[SPEED_1 * k + i];
        observation[5] = (float)places[SPEED_2 * k + i];
    }
}

EXPORT void acrobots_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    for (int64_t i = 0; i < n_chosen; i++) {
        double place[N_ROWS], cosines[2], sines[2];
        for (int64_t row = 0; row < N_ROWS; row++) place[row] = lanes->state[row * lanes->n + chosen[i]];
        if (lanes->elapsed[chosen[i]]) {
            apply(lanes->cosine, 2, place, cosines);
            apply(lanes->sine, 2, place, sines);
        } else { /* gymnasium holds a start in float32, so its cosines and sines are another function's */
            const float angles[] = {(float)place[ANGLE_1], (float)place[ANGLE_2]};
            float single_cosines[2], single_sines[2];
            apply_single(lanes->single_cosine, 2, angles, single_cosines);
            apply_single(lanes->single_sine, 2, angles, single_sines);
            for (int j = 0; j < 2; j++) {
                cosines[j] = single_cosines[j];
                sines[j] = single_sines[j];
            }
        }
        observe(1, place, cosines, sines, lanes->observations + 6 * i);
    }
}

EXPORT void acrobots_move(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *taken)
{
    const int64_t *const actions = taken;
    const int64_t n = lanes->n, k = n_chosen, size = N_ROWS * k;
    double *const from = lanes->room, *const place = from + size, *const rates = place + size, *const moved = rates + size;
    double *const room = moved + size, *const heights = room + size;
    for (int64_t row = 0; row < N_ROWS; row++) gather(lanes->state + row * n, chosen, k, from + row * k);
    /* The classical Runge-Kutta method: y + h / 6 (k1 + 2 k2 + 2 k3 + k4). */
    find_rates(lanes, k, from, actions, moved, room);
    const double *last = moved;
    for (int stage = 0; stage < 3; stage++) {
        const double ahead = stage < 2 ? seconds / 2 : seconds, weight = stage < 2 ? 2 : 1;
        for (int64_t i = 0; i < size; i++) place[i] = from[i] + last[i] * ahead;
        find_rates(lanes, k, place, actions, rates, room);
        for (int64_t i = 0; i < size; i++) moved[i] += rates[i] * weight;
        last = rates;
    }
    for (int64_t i = 0; i < size; i++) moved[i] = from[i] + moved[i] * (seconds / 6);
    for (int64_t i = 0; i < k; i++) {
        double *const angle_1 = moved + i, *const angle_2 = angle_1 + k, *const speed_1 = angle_2 + k;
        double *const speed_2 = speed_1 + k;
        *angle_1 = within_a_turn(*angle_1);
        *angle_2 = within_a_turn(*angle_2);
        *speed_1 = clipped(*speed_1, -top_speed_1, top_speed_1);
        *speed_2 = clipped(*speed_2, -top_speed_2, top_speed_2);
        heights[i] = *angle_2 + *angle_1;
        for (int64_t row = 0; row < N_ROWS; row++) lanes->state[row * n + chosen[i]] = moved[row * k + i];
        count_step(lanes, chosen[i], i);
    }
    double *const cosines = room, *const sines = rates;
    apply(lanes->cosine, 2 * k, moved, cosines);
    apply(lanes->sine, 2 * k, moved, sines);
    apply(lanes->cosine, k, heights, heights);
    observe(k, moved, cosines, sines, lanes->observations);
    for (int64_t i = 0; i < k; i++) {
        lanes->terminated[i] = cosines[i] + heights[i] < -1; /* the free end is above the line */
        lanes->rewards[i] = lanes->terminated[i] ? 0 : -1;
    }
}
