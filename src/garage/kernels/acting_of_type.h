/* How a policy chooses actions in the type T, to the bit as garage.core.acting does. */

/* The first of the largest of outputs + noise, where a NaN is larger than all. */
INLINE int64_t NAME(likeliest)(int64_t n_outputs, const T *outputs, const T *noise)
{
    int64_t best = 0;
    T most = outputs[0] + noise[0];
    for (int64_t k = 1; k < n_outputs && most == most; k++) {
        const T value = outputs[k] + noise[k];
        if (value <= most) continue;
        most = value;
        best = k;
    }
    return best;
}

/* Acts in the active lanes by what they see, `seen` [k, n_seen], and gives what the world takes. */
static const void *NAME(act)(struct rollout *rollout, const float *seen)
{
    const int64_t n = rollout->n_active, k = rollout->n_outputs;
    T *const outputs = (T *)rollout->outputs + rollout->n_rows * k;
    const T *inputs = (const T *)seen;
    if (sizeof(T) != sizeof(float)) {
        T *const wider = rollout->wider_inputs;
        for (int64_t i = 0; i < n * rollout->n_seen; i++) wider[i] = seen[i];
        inputs = wider;
    }
    NAME(mlp_outputs)(rollout->network, inputs, n, outputs);
    if (!rollout->stds) {
        int64_t *const actions = (int64_t *)rollout->actions + rollout->n_rows;
        for (int64_t i = 0; i < n; i++) {
            const T **noise = (const T **)&rollout->noise[rollout->active[i]];
            actions[i] = NAME(likeliest)(k, outputs + i * k, *noise);
            *noise += k;
        }
        return actions;
    }
    T *const actions = (T *)rollout->actions + rollout->n_rows * k;
    const T *const stds = rollout->stds;
    for (int64_t i = 0; i < n; i++) {
        const T **noise = (const T **)&rollout->noise[rollout->active[i]];
        for (int64_t j = 0; j < k; j++) actions[i * k + j] = outputs[i * k + j] + stds[j] * (*noise)[j];
        *noise += k;
    }
    if (sizeof(T) == sizeof(float)) return actions;
    for (int64_t i = 0; i < n * k; i++) rollout->single_actions[i] = (float)actions[i];
    return rollout->single_actions;
}
