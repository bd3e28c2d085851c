/* All passes of one network, for a processor that tests have no Python for, and with a page behind each array that
   nobody may touch.

   Reads from the standard input the number of layers' sizes, the sizes, the rows, and then theta, direction, inputs,
   by_outputs and by_number; writes what `all_passes` of vectors.py finds. In float64 if there is an argument, else in
   float32. */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DECLARE(T, TYPE)                                                                                               \
    int64_t room_mlp_##TYPE(const int64_t *, int64_t);                                                                 \
    void mlp_forward_##TYPE(const int64_t *, int64_t, const T *, const T *, int64_t, T *const *, T *, T *);            \
    void mlp_along_##TYPE(                                                                                             \
        const int64_t *, int64_t, const T *, const T *, const T *, int64_t, T *const *, T *, T *);                     \
    void mlp_back_##TYPE(                                                                                              \
        const int64_t *, int64_t, const T *, const T *, int64_t, T *const *, const T *, double *, T *);                \
    void mlp_factors_##TYPE(const int64_t *, int64_t, const T *, int64_t, T *const *, T *const *, T *);                \
    void mlp_number_back_##TYPE(const int64_t *, int64_t, const T *, const T *, int64_t, T *const *, T *const *,       \
        const T *, double *, T *);                                                                                     \
    void mlp_number_product_##TYPE(const int64_t *, int64_t, const T *, const T *, const T *, int64_t, T *const *,     \
        T *const *, const T *, double *, T *);

static int64_t padded(int64_t units) { return (units + 15) / 16 * 16; }

static void *numbers(int64_t n, size_t size)
{
    const size_t page = sysconf(_SC_PAGESIZE), pages = (n * size + page - 1) / page;
    char *const room = mmap(0, (pages + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED || mprotect(room + pages * page, page, PROT_NONE)) exit(1);
    return room + pages * page - n * size;
}

static void *from_input(int64_t n, size_t size)
{
    void *read = numbers(n, size);
    if (fread(read, size, n, stdin) != (size_t)n) exit(2);
    return read;
}

static void to_output(const void *written, int64_t n, size_t size)
{
    if (fwrite(written, size, n, stdout) != (size_t)n) exit(3);
}

#define RUN(T, TYPE)                                                                                                   \
    static void run_##TYPE(const int64_t *sizes, int64_t n_layers, int64_t n)                                          \
    {                                                                                                                  \
        int64_t n_theta = 0, n_outputs = sizes[n_layers];                                                              \
        T **hidden = numbers(n_layers, sizeof(T *)), **factors = numbers(n_layers, sizeof(T *));                       \
        for (int64_t l = 0; l < n_layers; l++) {                                                                       \
            n_theta += (sizes[l] + 1) * sizes[l + 1];                                                                  \
            hidden[l] = numbers(n * padded(sizes[l + 1]), sizeof(T));                                                  \
            factors[l] = numbers(n * padded(sizes[l + 1]), sizeof(T));                                                 \
        }                                                                                                              \
        T *theta = from_input(n_theta, sizeof(T)), *direction = from_input(n_theta, sizeof(T));                        \
        T *inputs = from_input(n * sizes[0], sizeof(T)), *by_outputs = from_input(n * n_outputs, sizeof(T));           \
        T *by_number = from_input(n, sizeof(T)), *outputs = numbers(n * n_outputs, sizeof(T));                         \
        T *room = numbers(room_mlp_##TYPE(sizes, n_layers), sizeof(T));                                                \
        double *gradients = numbers(3 * n_theta, sizeof(double));                                                      \
        mlp_forward_##TYPE(sizes, n_layers, theta, inputs, n, hidden, outputs, room);                                  \
        to_output(outputs, n * n_outputs, sizeof(T));                                                                  \
        mlp_along_##TYPE(sizes, n_layers, theta, direction, inputs, n, hidden, outputs, room);                         \
        to_output(outputs, n * n_outputs, sizeof(T));                                                                  \
        mlp_back_##TYPE(sizes, n_layers, theta, inputs, n, hidden, by_outputs, gradients, room);                       \
        mlp_factors_##TYPE(sizes, n_layers, theta, n, hidden, factors, room);                                          \
        mlp_number_back_##TYPE(                                                                                        \
            sizes, n_layers, theta, inputs, n, hidden, factors, by_number, gradients + n_theta, room);                 \
        mlp_number_product_##TYPE(sizes, n_layers, theta, direction, inputs, n, hidden, factors, by_number,            \
            gradients + 2 * n_theta, room);                                                                            \
        to_output(gradients, 3 * n_theta, sizeof(double));                                                             \
    }

DECLARE(float, float32)
DECLARE(double, float64)
RUN(float, float32)
RUN(double, float64)

int main(int n_arguments, char **arguments)
{
    (void)arguments;
    int64_t *n_sizes = from_input(1, sizeof(int64_t)), *sizes = from_input(*n_sizes, sizeof(int64_t));
    int64_t *n = from_input(1, sizeof(int64_t));
    (n_arguments > 1 ? run_float64 : run_float32)(sizes, *n_sizes - 1, *n);
    return 0;
}
