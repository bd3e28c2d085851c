/* Worlds for everybody: whatever lanes and actions come, and what is wrong with them is said before anything moves. */

#include "worlds.h"

EXPORT int lanes_see(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen)
{
    if (!has_all(lanes->n, chosen, n_chosen)) return BAD_LANE;
    lanes->see(lanes, chosen, n_chosen);
    return FINE;
}

EXPORT int lanes_step(const struct lanes *lanes, const int64_t *chosen, int64_t n_chosen, const void *actions)
{
    if (!has_all(lanes->n, chosen, n_chosen)) return BAD_LANE;
    if (lanes->n_actions >= 0 && !has_all(lanes->n_actions, actions, n_chosen)) return BAD_ACTION;
    lanes->move(lanes, chosen, n_chosen, actions);
    return FINE;
}
