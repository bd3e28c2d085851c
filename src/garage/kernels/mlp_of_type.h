/* The kernels of mlp.c for one type of number; included once for each.

   Matrices are in C order. `theta` holds, layer after layer, weights [inputs, outputs] and then biases [outputs].
   Rows go through all layers in tiles that stay in the first-level cache. `room` is scratch of `room_mlp` numbers. */

#define VECTOR NAME(vector)
#define INTEGERS NAME(integers)
#define WIDTH ((int64_t)(VECTOR_BYTES / sizeof(T)))
#define TILE_ROWS 64
#define ROWS_AT_ONCE (VECTOR_BYTES == 64 ? 8 : 4) /* as many sums as registers hold */
#define PARTS 16 /* of a sum along a row: that of every sixteenth product, part of the format */
#define BLOCK_ROWS 1024 /* summed in T before they are added in float64, part of the format */

typedef T VECTOR __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T))));
typedef BITS INTEGERS __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T))));

/* A number in all places. Less zero, and not plus: that changes no number, not even -0, so nothing is computed. */
INLINE VECTOR NAME(all)(T number) { return number - (VECTOR){0}; }

/* How many columns are computed of a matrix whose rows are filled up with zeros, to whole vectors of any variant. */
INLINE int64_t NAME(padded)(int64_t columns) { return (columns + PARTS - 1) / PARTS * PARTS; }

/* How far apart its rows are: an odd number of parts, since rows whose distance is a power of two share few lines of
   the cache. */
INLINE int64_t NAME(stride)(int64_t columns) { return ((columns + PARTS - 1) / PARTS | 1) * PARTS; }

/* The next numbers of a row of which `left` are left, and zeros; and back. */
INLINE VECTOR NAME(load)(const T *from, int64_t left)
{
    if (left >= WIDTH) return *(const VECTOR *)from;
    VECTOR numbers = {0};
    for (int64_t j = 0; j < left; j++) numbers[j] = from[j];
    return numbers;
}

INLINE void NAME(store)(T *to, int64_t left, VECTOR numbers)
{
    if (left >= WIDTH) *(VECTOR *)to = numbers;
    else
        for (int64_t j = 0; j < left; j++) to[j] = numbers[j];
}

/* Of each number, `yes` where the condition holds (all bits 1), else `no`. */
INLINE VECTOR NAME(choose)(INTEGERS condition, VECTOR yes, VECTOR no)
{
    return (VECTOR)((condition & (INTEGERS)yes) | (~condition & (INTEGERS)no));
}

/* tanh x = e / (e + 2) with e = exp(2|x|) - 1, the sign put back; NaN stays NaN. With 2|x| = k ln 2 + r, exp(r) - 1 by
   its Taylor series, accurate to one or two units in the last place. */
INLINE VECTOR NAME(tanh)(VECTOR x)
{
    static const T coefficients[] = {1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0, 1.0 / 87178291200.0};
    VECTOR size = __builtin_elementwise_abs(x);
    size = NAME(choose)(size < TANH_IS_ONE, size, NAME(all)((T)TANH_IS_ONE));
    VECTOR twice = size + size;
    VECTOR shifted = __builtin_elementwise_fma(twice, NAME(all)((T)LOG2_E), NAME(all)((T)ROUNDING));
    VECTOR k = shifted - (T)ROUNDING;
    VECTOR r = __builtin_elementwise_fma(-k, NAME(all)((T)LN2_HIGH), twice);
    r = __builtin_elementwise_fma(-k, NAME(all)((T)LN2_LOW), r);
    VECTOR series = NAME(all)(coefficients[DEGREE - 2]);
    UNROLL for (int i = DEGREE - 3; i >= 0; i--) series = __builtin_elementwise_fma(series, r, NAME(all)(coefficients[i]));
    series = __builtin_elementwise_fma(r * r, series, r);
    VECTOR power = (VECTOR)(((INTEGERS)shifted << MANTISSA_BITS) + (BITS)ONE_BITS);
    VECTOR e = __builtin_elementwise_fma(power, series, power - 1);
    VECTOR result = __builtin_elementwise_copysign(e / (e + 2), x);
    return NAME(choose)(x == x, result, x);
}

/* m x w vectors of c = start + a b, for a(row, k) = a[row * by_row + k * by_k] and rows of b and c of whole vectors. */
INLINE void NAME(block)(int m, int w, int64_t n_k, const T *a, int64_t by_row, int64_t by_k, const T *b, int64_t b_row,
    const T *start, int64_t start_row, T *c, int64_t c_row)
{
    VECTOR sums[8][2];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < w; j++) sums[i][j] = *(const VECTOR *)(start + i * start_row + j * WIDTH);
    for (int64_t k = 0; k < n_k; k++) {
        VECTOR factors[2];
        UNROLL for (int j = 0; j < w; j++) factors[j] = *(const VECTOR *)(b + k * b_row + j * WIDTH);
        UNROLL for (int i = 0; i < m; i++) {
            const VECTOR repeated = NAME(all)(a[i * by_row + k * by_k]);
            UNROLL for (int j = 0; j < w; j++) sums[i][j] = __builtin_elementwise_fma(repeated, factors[j], sums[i][j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < w; j++) *(VECTOR *)(c + i * c_row + j * WIDTH) = sums[i][j];
}

INLINE void NAME(columns)(int w, int64_t n_rows, int64_t n_k, const T *a, int64_t by_row, int64_t by_k, const T *b,
    int64_t b_row, const T *start, int64_t start_row, T *c, int64_t c_row)
{
    int64_t i = 0;
    for (; i + ROWS_AT_ONCE <= n_rows; i += ROWS_AT_ONCE)
        NAME(block)(ROWS_AT_ONCE, w, n_k, a + i * by_row, by_row, by_k, b, b_row, start + i * start_row, start_row,
            c + i * c_row, c_row);
    for (; i + 4 <= n_rows; i += 4)
        NAME(block)(4, w, n_k, a + i * by_row, by_row, by_k, b, b_row, start + i * start_row, start_row, c + i * c_row,
            c_row);
    for (; i + 2 <= n_rows; i += 2)
        NAME(block)(2, w, n_k, a + i * by_row, by_row, by_k, b, b_row, start + i * start_row, start_row, c + i * c_row,
            c_row);
    if (i < n_rows)
        NAME(block)(1, w, n_k, a + i * by_row, by_row, by_k, b, b_row, start + i * start_row, start_row, c + i * c_row,
            c_row);
}

/* c [n_rows, n_columns] = start + a b, with rows of b and c a stride apart; `start_row` 0 repeats one row, and start may
   be c. */
static void NAME(product)(int64_t n_rows, int64_t n_columns, int64_t n_k, const T *a, int64_t by_row, int64_t by_k,
    const T *b, const T *start, int64_t start_row, T *c)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    int64_t j = 0;
    for (; j + 2 * WIDTH <= width; j += 2 * WIDTH)
        NAME(columns)(2, n_rows, n_k, a, by_row, by_k, b + j, row, start + j, start_row, c + j, row);
    if (j < width) NAME(columns)(1, n_rows, n_k, a, by_row, by_k, b + j, row, start + j, start_row, c + j, row);
}

/* Rows of a matrix, filled up with zeros and a stride apart. */
static void NAME(pad)(int64_t n_rows, int64_t n_columns, const T *from, T *to)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < width; j += WIDTH)
            *(VECTOR *)(to + i * row + j) = NAME(load)(from + i * n_columns + j, n_columns - j);
}

static void NAME(pad_transposed)(int64_t n_rows, int64_t n_columns, const T *from, T *to)
{
    const int64_t row = NAME(stride)(n_rows), width = NAME(padded)(n_rows);
    for (int64_t j = 0; j < n_columns; j++)
        for (int64_t i = 0; i < width; i++) to[j * row + i] = i < n_rows ? from[i * n_columns + j] : 0;
}

static void NAME(unpad)(int64_t n_rows, int64_t n_columns, const T *from, T *to)
{
    const int64_t row = NAME(stride)(n_columns);
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < n_columns; j += WIDTH)
            NAME(store)(to + i * n_columns + j, n_columns - j, *(const VECTOR *)(from + i * row + j));
}

/* to[j, i] = from[i, j] for a tile whose rows are padded; rows of `to` are `to_row` apart. */
static void NAME(turn)(int64_t n_rows, int64_t n_columns, const T *from, T *to, int64_t to_row)
{
    const int64_t row = NAME(stride)(n_columns);
    for (int64_t j = 0; j < n_columns; j++)
        for (int64_t i = 0; i < n_rows; i++) to[j * to_row + i] = from[i * row + j];
}

/* tanh of all of a tile. */
static void NAME(all_tanh)(int64_t n_rows, int64_t n_columns, T *values)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < width; j += WIDTH) {
            VECTOR *const value = (VECTOR *)(values + i * row + j);
            *value = NAME(tanh)(*value);
        }
}

/* A tile's values times the slope 1 - h^2 of tanh at activations h, whose rows are not padded. */
static void NAME(times_slopes)(int64_t n_rows, int64_t n_columns, const T *h, T *values)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < width; j += WIDTH) {
            const VECTOR value = NAME(load)(h + i * n_columns + j, n_columns - j);
            *(VECTOR *)(values + i * row + j) *= 1 - value * value;
        }
}

/* Adds x[i, j] y[i, j] to part j % PARTS of row i; rows of x are padded and `x_row` apart, 0 repeats one row. */
static void NAME(add_products)(int64_t n_rows, int64_t n_columns, const T *x, int64_t x_row, const T *y, int64_t y_row,
    T *parts)
{
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < n_columns; j += WIDTH) {
            VECTOR *const part = (VECTOR *)(parts + i * PARTS + j % PARTS);
            *part = __builtin_elementwise_fma(
                *(const VECTOR *)(x + i * x_row + j), NAME(load)(y + i * y_row + j, n_columns - j), *part);
        }
}

INLINE int64_t NAME(widest)(const int64_t *sizes, int64_t n_layers)
{
    int64_t widest = 0;
    for (int64_t i = 0; i <= n_layers; i++) widest = sizes[i] > widest ? sizes[i] : widest;
    return NAME(stride)(widest);
}

/* How many numbers of room the kernels below want. */
EXPORT int64_t NAME(room_mlp)(const int64_t *sizes, int64_t n_layers)
{
    int64_t matrices = 0;
    for (int64_t l = 0; l < n_layers; l++)
        matrices += (sizes[l] + 1) * NAME(stride)(sizes[l + 1]) + sizes[l + 1] * NAME(stride)(sizes[l]);
    return 2 * matrices + (3 * TILE_ROWS + 6) * (NAME(widest)(sizes, n_layers) + PARTS);
}

/* All layers with padded rows, one after the other; returns what comes behind them. */
static T *NAME(pad_layers)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    for (int64_t l = 0; l < n_layers; l++) {
        NAME(pad)(sizes[l] + 1, sizes[l + 1], theta, to);
        theta += (sizes[l] + 1) * sizes[l + 1];
        to += (sizes[l] + 1) * NAME(stride)(sizes[l + 1]);
    }
    return to;
}

/* Activations `hidden[l]` [n, sizes[l + 1]] of the hidden layers, unless null, and `outputs` [K, n], or [n, K] if not
   `turned`. */
EXPORT void NAME(mlp_forward)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, T *outputs, int64_t turned, T *room)
{
    T *tiles = NAME(pad_layers)(sizes, n_layers, theta, room);
    const int64_t widest = NAME(widest)(sizes, n_layers);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *layer = room;
        int64_t values_row = sizes[0];
        T *here = tiles, *before = tiles + TILE_ROWS * widest;
        for (int64_t l = 0; l < n_layers; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out);
            NAME(product)(rows, out, in, values, values_row, 1, layer, layer + in * row, 0, here);
            if (l == n_layers - 1) break;
            NAME(all_tanh)(rows, out, here);
            if (hidden) NAME(unpad)(rows, out, here, hidden[l] + first * out);
            layer += (in + 1) * row;
            values = here;
            values_row = row;
            T *const swapped = here;
            here = before;
            before = swapped;
        }
        if (turned) NAME(turn)(rows, sizes[n_layers], here, outputs + first, n);
        else NAME(unpad)(rows, sizes[n_layers], here, outputs + first * sizes[n_layers]);
    }
}

/* How the outputs change, `change` [K, n], when theta moves along `direction`. */
EXPORT void NAME(mlp_along)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *direction, const T *inputs,
    int64_t n, T *const *hidden, T *change, T *room)
{
    T *directions = NAME(pad_layers)(sizes, n_layers, theta, room);
    T *tiles = NAME(pad_layers)(sizes, n_layers, direction, directions);
    const int64_t widest = NAME(widest)(sizes, n_layers);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *layer = room, *along = directions;
        T *here = tiles, *before = tiles + TILE_ROWS * widest;
        for (int64_t l = 0; l < n_layers; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out);
            NAME(product)(rows, out, in, values, in, 1, along, along + in * row, 0, here);
            if (l) NAME(product)(rows, out, in, before, NAME(stride)(in), 1, layer, here, row, here);
            if (l == n_layers - 1) break;
            values = hidden[l] + first * out;
            NAME(times_slopes)(rows, out, values, here);
            layer += (in + 1) * row;
            along += (in + 1) * row;
            T *const swapped = here;
            here = before;
            before = swapped;
        }
        NAME(turn)(rows, sizes[n_layers], here, change + first, n);
    }
}

/* Weights of all layers but the first, outputs in rows; returns what comes behind them. */
static T *NAME(turn_layers)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    for (int64_t l = 0; l < n_layers; l++) {
        if (l) {
            NAME(pad_transposed)(sizes[l], sizes[l + 1], theta, to);
            to += sizes[l + 1] * NAME(stride)(sizes[l]);
        }
        theta += (sizes[l] + 1) * sizes[l + 1];
    }
    return to;
}

INLINE int64_t NAME(n_padded)(const int64_t *sizes, int64_t n_layers)
{
    int64_t n = 0;
    for (int64_t l = 0; l < n_layers; l++) n += (sizes[l] + 1) * NAME(stride)(sizes[l + 1]);
    return n;
}

/* Adds sums over a block's rows, whose own rows are padded, to `gradient`, and begins them anew. */
static void NAME(settle)(const int64_t *sizes, int64_t n_layers, T *sums, double *gradient)
{
    for (int64_t l = 0; l < n_layers; l++) {
        const int64_t row = NAME(stride)(sizes[l + 1]);
        for (int64_t i = 0; i <= sizes[l]; i++, sums += row)
            for (int64_t j = 0; j < sizes[l + 1]; j++, gradient++) {
                *gradient += sums[j];
                sums[j] = 0;
            }
    }
}

/* Adds a tile's rows to the sums of a layer: [values, 1]^T by_outputs. */
static void NAME(add_outer)(int64_t rows, int64_t in, int64_t out, const T *values, const T *by_outputs, T *sums)
{
    const int64_t row = NAME(stride)(out), width = NAME(padded)(out);
    NAME(product)(in, out, rows, values, 1, in, by_outputs, sums, row, sums);
    T *const biases = sums + in * row;
    int64_t j = 0;
    for (; j + 2 * WIDTH <= width; j += 2 * WIDTH) {
        VECTOR sum = *(const VECTOR *)(biases + j), next = *(const VECTOR *)(biases + j + WIDTH);
        for (int64_t i = 0; i < rows; i++) {
            sum += *(const VECTOR *)(by_outputs + i * row + j);
            next += *(const VECTOR *)(by_outputs + i * row + j + WIDTH);
        }
        *(VECTOR *)(biases + j) = sum;
        *(VECTOR *)(biases + j + WIDTH) = next;
    }
    for (; j < width; j += WIDTH)
        for (int64_t i = 0; i < rows; i++)
            *(VECTOR *)(biases + j) += *(const VECTOR *)(by_outputs + i * row + j);
}

/* Adds to `gradient` (of theta's layout, float64) what `by_outputs` [K, n] means for theta. */
EXPORT void NAME(mlp_back)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, const T *by_outputs, double *gradient, T *room)
{
    T *sums = NAME(turn_layers)(sizes, n_layers, theta, room);
    const int64_t n_sums = NAME(n_padded)(sizes, n_layers), widest = NAME(widest)(sizes, n_layers);
    const int64_t n_outputs = sizes[n_layers], outputs_row = NAME(stride)(n_outputs);
    T *zeros = sums + n_sums, *tiles = zeros + widest;
    for (T *each = sums; each < tiles; each++) *each = 0;
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        T *here = tiles, *before = tiles + TILE_ROWS * widest, *sum = zeros, *turned = sums;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < outputs_row; j++)
                here[i * outputs_row + j] = j < n_outputs ? by_outputs[j * n + first + i] : 0;
        for (int64_t l = n_layers - 1; l >= 0; l--) {
            const int64_t in = sizes[l], out = sizes[l + 1];
            const T *values = (l ? hidden[l - 1] : inputs) + first * in;
            sum -= (in + 1) * NAME(stride)(out);
            NAME(add_outer)(rows, in, out, values, here, sum);
            if (!l) break;
            turned -= out * NAME(stride)(in);
            NAME(product)(rows, in, out, here, NAME(stride)(out), 1, turned, zeros, 0, before);
            NAME(times_slopes)(rows, in, values, before);
            T *const swapped = here;
            here = before;
            before = swapped;
        }
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n) NAME(settle)(sizes, n_layers, sums, gradient);
    }
}

/* What follows is for outputs of which one number matters, the last less the first, or the only one. Its derivative by a
   layer is the outer product of the layer's inputs and of factors: for the last hidden layer the number's weights times
   the slopes, which are computed when they are wanted, for those before it `factors[l]` [n, sizes[l + 1]]. */

/* The output layer's part in the number, [inputs, 1]. */
static void NAME(of_number)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    const int64_t in = sizes[n_layers - 1], out = sizes[n_layers];
    for (int64_t l = 0; l < n_layers - 1; l++) theta += (sizes[l] + 1) * sizes[l + 1];
    for (int64_t i = 0; i <= in; i++) to[i] = theta[i * out + out - 1] - (out > 1 ? theta[i * out] : 0);
    for (int64_t i = in + 1; i < NAME(stride)(in + 1); i++) to[i] = 0;
}

/* A tile of the last hidden layer's factors. */
static void NAME(last_factors)(int64_t rows, int64_t n_columns, const T *number, const T *h, T *tile)
{
    const int64_t row = NAME(stride)(n_columns);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n_columns; j += WIDTH) {
            const VECTOR value = NAME(load)(h + i * n_columns + j, n_columns - j);
            *(VECTOR *)(tile + i * row + j) = *(const VECTOR *)(number + j) * (1 - value * value);
        }
}

EXPORT void NAME(mlp_factors)(const int64_t *sizes, int64_t n_layers, const T *theta, int64_t n, T *const *hidden,
    T *const *factors, T *room)
{
    T *number = NAME(turn_layers)(sizes, n_layers, theta, room);
    const int64_t widest = NAME(widest)(sizes, n_layers), last = n_layers - 1;
    T *zeros = number + widest + PARTS, *tiles = zeros + widest;
    NAME(of_number)(sizes, n_layers, theta, number);
    for (int64_t j = 0; j < widest; j++) zeros[j] = 0;
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *turned = number - sizes[n_layers] * NAME(stride)(sizes[last]);
        T *here = tiles, *before = tiles + TILE_ROWS * widest;
        if (last > 1) NAME(last_factors)(rows, sizes[last], number, hidden[last - 1] + first * sizes[last], here);
        for (int64_t l = last - 1; l > 0; l--) {
            const int64_t in = sizes[l], out = sizes[l + 1];
            turned -= out * NAME(stride)(in);
            NAME(product)(rows, in, out, here, NAME(stride)(out), 1, turned, zeros, 0, before);
            NAME(times_slopes)(rows, in, hidden[l - 1] + first * in, before);
            NAME(unpad)(rows, in, before, factors[l - 1] + first * in);
            T *const swapped = here;
            here = before;
            before = swapped;
        }
    }
}

/* Adds [the inputs of each layer, 1]^T (by_number * factors), over a tile's rows from `first` on, to the sums; `tile`
   holds the last hidden layer's factors, and room for the others'. */
static void NAME(add_number)(const int64_t *sizes, int64_t n_layers, const T *inputs, int64_t first, int64_t rows,
    T *const *hidden, T *const *factors, const T *by_number, T *sums, T *tile)
{
    const int64_t last = n_layers - 1, n_last = sizes[last];
    const T *values = inputs + first * sizes[0];
    for (int64_t l = 0; l < last; l++) {
        const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out);
        T *weighted = tile;
        if (l < last - 1) {
            weighted += TILE_ROWS * NAME(stride)(n_last);
            NAME(pad)(rows, out, factors[l] + first * out, weighted);
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < out; j += WIDTH) *(VECTOR *)(weighted + i * row + j) *= by_number[i];
        NAME(add_outer)(rows, in, out, values, weighted, sums);
        sums += (in + 1) * row;
        values = hidden[l] + first * out;
    }
    for (int64_t j = 0; j < n_last; j += 2 * WIDTH) {
        VECTOR sum = *(const VECTOR *)(sums + j), next = *(const VECTOR *)(sums + j + WIDTH);
        for (int64_t i = 0; i < rows; i++) {
            const T *const from = values + i * n_last + j;
            sum = __builtin_elementwise_fma(NAME(all)(by_number[i]), NAME(load)(from, n_last - j), sum);
            next = __builtin_elementwise_fma(NAME(all)(by_number[i]), NAME(load)(from + WIDTH, n_last - j - WIDTH), next);
        }
        NAME(store)(sums + j, n_last - j, sum);
        NAME(store)(sums + j + WIDTH, n_last - j - WIDTH, next);
    }
    for (int64_t i = 0; i < rows; i++) sums[n_last] += by_number[i];
}

/* As `settle`, for the sums of `add_number`. */
static void NAME(settle_number)(const int64_t *sizes, int64_t n_layers, T *sums, double *gradient)
{
    const int64_t last = n_layers - 1, n_outputs = sizes[n_layers];
    NAME(settle)(sizes, last, sums, gradient);
    sums += NAME(n_padded)(sizes, last);
    for (int64_t l = 0; l < last; l++) gradient += (sizes[l] + 1) * sizes[l + 1];
    for (int64_t j = 0; j <= sizes[last]; j++, gradient += n_outputs) {
        gradient[n_outputs - 1] += sums[j];
        if (n_outputs > 1) gradient[0] -= sums[j];
        sums[j] = 0;
    }
}

/* Adds to `gradient` what `by_number` [n] means for theta. */
EXPORT void NAME(mlp_number_back)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, T *const *factors, const T *by_number, double *gradient, T *room)
{
    const int64_t widest = NAME(widest)(sizes, n_layers), n_last = sizes[n_layers - 1];
    T *number = room, *sums = number + widest + PARTS;
    T *tile = sums + NAME(n_padded)(sizes, n_layers - 1) + widest + PARTS;
    NAME(of_number)(sizes, n_layers, theta, number);
    for (T *each = sums; each < tile; each++) *each = 0;
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        if (n_layers > 1)
            NAME(last_factors)(rows, n_last, number, hidden[n_layers - 2] + first * n_last, tile);
        NAME(add_number)(sizes, n_layers, inputs, first, rows, hidden, factors, by_number + first, sums, tile);
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n)
            NAME(settle_number)(sizes, n_layers, sums, gradient);
    }
}

/* Adds J^T (weights * J direction) to `gradient`, with J the number's Jacobian [n, P] and `weights` [n]. */
EXPORT void NAME(mlp_number_product)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *direction,
    const T *inputs, int64_t n, T *const *hidden, T *const *factors, const T *weights, double *gradient, T *room)
{
    const int64_t widest = NAME(widest)(sizes, n_layers), last = n_layers - 1;
    T *number = NAME(pad_layers)(sizes, n_layers, direction, room), *number_along = number + widest + PARTS;
    T *by_number = number_along + widest + PARTS, *sums = by_number + TILE_ROWS;
    T *parts = sums + NAME(n_padded)(sizes, last) + widest + PARTS;
    T *last_tile = parts + TILE_ROWS * PARTS, *tile = last_tile + TILE_ROWS * NAME(stride)(sizes[last]);
    NAME(of_number)(sizes, n_layers, theta, number);
    NAME(of_number)(sizes, n_layers, direction, number_along);
    for (T *each = sums; each < parts; each++) *each = 0;
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *along = room;
        for (int64_t i = 0; i < rows * PARTS; i++) parts[i] = 0;
        for (int64_t l = 0; l < last; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out);
            NAME(product)(rows, out, in, values, in, 1, along, along + in * row, 0, tile);
            if (l < last - 1) NAME(add_products)(rows, out, tile, row, factors[l] + first * out, out, parts);
            else {
                NAME(last_factors)(rows, out, number, hidden[l] + first * out, last_tile);
                NAME(add_products)(rows, out, tile, row, last_tile, row, parts);
            }
            along += (in + 1) * row;
            values = hidden[l] + first * out;
        }
        NAME(add_products)(rows, sizes[last], number_along, 0, values, sizes[last], parts);
        for (int64_t i = 0; i < rows; i++) {
            T *const part = parts + i * PARTS;
            UNROLL for (int w = PARTS / 2; w; w /= 2)
                UNROLL for (int j = 0; j < w; j++) part[j] += part[j + w];
            by_number[i] = (part[0] + number_along[sizes[last]]) * weights[first + i];
        }
        NAME(add_number)(sizes, n_layers, inputs, first, rows, hidden, factors, by_number, sums, last_tile);
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n)
            NAME(settle_number)(sizes, n_layers, sums, gradient);
    }
}

#undef VECTOR
#undef INTEGERS
#undef WIDTH
#undef TILE_ROWS
#undef ROWS_AT_ONCE
#undef PARTS
#undef BLOCK_ROWS
