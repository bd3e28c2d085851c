/* The kernels of mlp.c for one type of number; included once for each.

   Matrices are in C order. `theta` holds, layer after layer, weights [inputs, outputs] and then biases [outputs]. Rows go
   through all layers in tiles that stay in the first-level cache. Columns are filled up with zeros to `padded` ones, in
   activations [n, padded(units)] as well. `room` is scratch of `room_mlp` numbers.

   A unit's sum begins with its bias and goes through the inputs upwards. A number's change begins with 16 zeros; they
   take up the products of each hidden layer's changes and factors, then those of the output layer's direction and
   inputs; then they are added up, and the bias's direction last. */

#define VECTOR NAME(vector)
#define INTEGERS NAME(integers)
#define PARTIAL NAME(partial)
#define WIDTH ((int64_t)(VECTOR_BYTES / sizeof(T)))
#define TILE_ROWS 32
#define ROWS_AT_ONCE (VECTOR_BYTES == 64 ? 8 : 4) /* as many sums as registers hold */
#define PARTS 16 /* of a sum along a row: that of every sixteenth product, part of the format */
#define BLOCK_ROWS 1024 /* summed in T before they are added in float64, part of the format */

typedef T VECTOR __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T))));
typedef BITS INTEGERS __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(T))));
typedef T PARTIAL __attribute__((vector_size(PARTS * sizeof(T)), aligned(sizeof(T))));

/* A number in all places. Less zero, and not plus: that changes no number, not even -0, so nothing is computed. */
INLINE VECTOR NAME(all)(T number) { return number - (VECTOR){0}; }

/* How many columns are computed: whole vectors of any variant. */
INLINE int64_t NAME(padded)(int64_t columns) { return (columns + PARTS - 1) / PARTS * PARTS; }

/* How far apart the rows of scratch are: an odd number of parts, since rows whose distance is a power of two share few
   lines of the cache. */
INLINE int64_t NAME(stride)(int64_t columns) { return (NAME(padded)(columns) / PARTS | 1) * PARTS; }

/* Of each number, `yes` where the condition holds (all bits 1), else `no`. */
INLINE VECTOR NAME(choose)(INTEGERS condition, VECTOR yes, VECTOR no)
{
    return (VECTOR)((condition & (INTEGERS)yes) | (~condition & (INTEGERS)no));
}

/* tanh x = e / (e + 2) with e = exp(2|x|) - 1, the sign put back; NaN stays NaN. With 2|x| = k ln 2 + r, exp(r) - 1 by
   its Taylor series; within 2.5 units in the last place. */
INLINE VECTOR NAME(tanh)(VECTOR x)
{
    static const T coefficients[] = {1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,
        1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0, 1.0 / 87178291200.0};
    VECTOR size = __builtin_elementwise_abs(x);
    size = NAME(choose)(size < TANH_IS_ONE, size, NAME(all)((T)TANH_IS_ONE));
    const VECTOR twice = size + size;
    const VECTOR shifted = __builtin_elementwise_fma(twice, NAME(all)((T)LOG2_E), NAME(all)((T)ROUNDING));
    const VECTOR k = shifted - (T)ROUNDING;
    VECTOR r = __builtin_elementwise_fma(-k, NAME(all)((T)LN2_HIGH), twice);
    r = __builtin_elementwise_fma(-k, NAME(all)((T)LN2_LOW), r);
    VECTOR series = NAME(all)(coefficients[DEGREE - 2]);
    UNROLL for (int i = DEGREE - 3; i >= 0; i--)
        series = __builtin_elementwise_fma(series, r, NAME(all)(coefficients[i]));
    series = __builtin_elementwise_fma(r * r, series, r);
    const VECTOR power = (VECTOR)(((INTEGERS)shifted << MANTISSA_BITS) + (BITS)ONE_BITS);
    const VECTOR e = __builtin_elementwise_fma(power, series, power - 1);
    const VECTOR result = __builtin_elementwise_copysign(e / (e + 2), x);
    return NAME(choose)(x == x, result, x);
}

/* A sum's parts added: those eight apart first, then four, two, one. */
INLINE T NAME(total)(PARTIAL parts)
{
    typedef T EIGHT __attribute__((vector_size(8 * sizeof(T))));
    typedef T FOUR __attribute__((vector_size(4 * sizeof(T))));
    const EIGHT eight = __builtin_shufflevector(parts, parts, 0, 1, 2, 3, 4, 5, 6, 7)
        + __builtin_shufflevector(parts, parts, 8, 9, 10, 11, 12, 13, 14, 15);
    const FOUR four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3)
        + __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/* m x w vectors of start + a b, for a(i, k) = a[i * by_row + k * by_k]; they become c, or if there are `factors`, their
   products with these are added to c, the parts of each row's sum. */
INLINE void NAME(block)(int m, int w, int64_t n_k, const T *a, int64_t by_row, int64_t by_k, const T *b, int64_t b_row,
    const T *start, int64_t start_row, const T *factors, int64_t factors_row, T *c, int64_t c_row)
{
    VECTOR sums[8][2];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < w; j++) sums[i][j] = *(const VECTOR *)(start + i * start_row + j * WIDTH);
    for (int64_t k = 0; k < n_k; k++) {
        VECTOR row[2];
        UNROLL for (int j = 0; j < w; j++) row[j] = *(const VECTOR *)(b + k * b_row + j * WIDTH);
        UNROLL for (int i = 0; i < m; i++) {
            const VECTOR repeated = NAME(all)(a[i * by_row + k * by_k]);
            UNROLL for (int j = 0; j < w; j++) sums[i][j] = __builtin_elementwise_fma(repeated, row[j], sums[i][j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < w; j++) {
            VECTOR *const to = (VECTOR *)(c + i * c_row + (factors ? j * WIDTH % PARTS : j * WIDTH));
            *to = factors
                ? __builtin_elementwise_fma(sums[i][j], *(const VECTOR *)(factors + i * factors_row + j * WIDTH), *to)
                : sums[i][j];
        }
}

INLINE void NAME(columns)(int w, int64_t n_rows, int64_t n_k, const T *a, int64_t by_row, int64_t by_k, const T *b,
    int64_t b_row, const T *start, int64_t start_row, const T *factors, int64_t factors_row, T *c, int64_t c_row)
{
#define ROWS(m)                                                                                                        \
    for (; i + m <= n_rows; i += m)                                                                                    \
    NAME(block)(m, w, n_k, a + i * by_row, by_row, by_k, b, b_row, start + i * start_row, start_row,                   \
        factors ? factors + i * factors_row : 0, factors_row, c + i * c_row, c_row)
    int64_t i = 0;
    ROWS(ROWS_AT_ONCE);
    ROWS(4);
    ROWS(2);
    ROWS(1);
#undef ROWS
}

/* c [n_rows, padded] = start + a b. The rows of b are a stride apart; `start_row` 0 repeats one row, and start may be
   c. Each sum begins with `start` and goes upwards through k. */
static void NAME(product)(int64_t n_rows, int64_t n_columns, int64_t n_k, const T *a, int64_t by_row, int64_t by_k,
    const T *b, const T *start, int64_t start_row, T *c, int64_t c_row)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    int64_t j = 0;
    for (; j + 2 * WIDTH <= width; j += 2 * WIDTH)
        NAME(columns)(2, n_rows, n_k, a, by_row, by_k, b + j, row, start + j, start_row, 0, 0, c + j, c_row);
    if (j < width)
        NAME(columns)(1, n_rows, n_k, a, by_row, by_k, b + j, row, start + j, start_row, 0, 0, c + j, c_row);
}

/* Adds (start + a b) * factors to `parts` [n_rows, PARTS], each with every sixteenth product of a row. */
static void NAME(add_products)(int64_t n_rows, int64_t n_columns, int64_t n_k, const T *a, int64_t a_row, const T *b,
    const T *start, const T *factors, int64_t f_row, T *parts)
{
    const int64_t row = NAME(stride)(n_columns), width = NAME(padded)(n_columns);
    int64_t j = 0;
    for (; j + 2 * WIDTH <= width; j += 2 * WIDTH)
        NAME(columns)(
            2, n_rows, n_k, a, a_row, 1, b + j, row, start + j, 0, factors + j, f_row, parts + j % PARTS, PARTS);
    if (j < width)
        NAME(columns)(
            1, n_rows, n_k, a, a_row, 1, b + j, row, start + j, 0, factors + j, f_row, parts + j % PARTS, PARTS);
}

/* tanh in place. */
static void NAME(all_tanh)(int64_t n_rows, int64_t width, T *values, int64_t row)
{
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < width; j += WIDTH) {
            VECTOR *const value = (VECTOR *)(values + i * row + j);
            *value = NAME(tanh)(*value);
        }
}

/* to = (1 - h^2) from, rows of h padded and of the others so far apart; `from` may be `to`, and its row 0 repeats one. */
static void NAME(times_slopes)(
    int64_t n_rows, int64_t width, const T *h, const T *from, int64_t from_row, T *to, int64_t to_row)
{
    for (int64_t i = 0; i < n_rows; i++)
        for (int64_t j = 0; j < width; j += WIDTH) {
            const VECTOR value = *(const VECTOR *)(h + i * width + j);
            *(VECTOR *)(to + i * to_row + j) = *(const VECTOR *)(from + i * from_row + j) * (1 - value * value);
        }
}

/* Numbers of all layers with their rows a stride apart. */
INLINE int64_t NAME(n_strided)(const int64_t *sizes, int64_t n_layers)
{
    int64_t n = 0;
    for (int64_t l = 0; l < n_layers; l++) n += (sizes[l] + 1) * NAME(stride)(sizes[l + 1]);
    return n;
}

INLINE int64_t NAME(widest)(const int64_t *sizes, int64_t n_layers)
{
    int64_t widest = 0;
    for (int64_t i = 0; i <= n_layers; i++) widest = sizes[i] > widest ? sizes[i] : widest;
    return NAME(stride)(widest + 1);
}

/* Room from the next line of the cache on: a vector that lies in two lines takes twice as long. */
INLINE T *NAME(aligned)(T *room) { return (T *)(((uintptr_t)room + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES); }

/* How many numbers of room the kernels below want. */
EXPORT int64_t NAME(room_mlp)(const int64_t *sizes, int64_t n_layers)
{
    int64_t turned = 0;
    for (int64_t l = 0; l < n_layers; l++) turned += sizes[l + 1] * NAME(stride)(sizes[l]);
    return 2 * NAME(n_strided)(sizes, n_layers) + turned
        + (2 * TILE_ROWS + 8) * NAME(widest)(sizes, n_layers) + LINE_BYTES / sizeof(T);
}

INLINE T *NAME(zero)(T *from, const T *to)
{
    for (T *each = from; each < to; each++) *each = 0;
    return from;
}

/* All layers, rows filled up with zeros and a stride apart; returns what comes behind them. */
static T *NAME(pad_layers)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    for (int64_t l = 0; l < n_layers; l++)
        for (int64_t i = 0; i <= sizes[l]; i++) {
            for (int64_t j = 0; j < sizes[l + 1]; j++) to[j] = *theta++;
            NAME(zero)(to + sizes[l + 1], to + NAME(padded)(sizes[l + 1]));
            to += NAME(stride)(sizes[l + 1]);
        }
    return to;
}

/* Weights of all layers but the first, outputs in rows; returns what comes behind them. */
static T *NAME(turn_layers)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    theta += (sizes[0] + 1) * sizes[1];
    for (int64_t l = 1; l < n_layers; l++) {
        const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(in);
        for (int64_t j = 0; j < out; j++, to += row) {
            for (int64_t i = 0; i < in; i++) to[i] = theta[i * out + j];
            NAME(zero)(to + in, to + NAME(padded)(in));
        }
        theta += (in + 1) * out;
    }
    return to;
}

/* Activations `hidden[l]` of the hidden layers, unless null, and `outputs` [K, n], or [n, K] if not `turned`; `layers`
   are padded. */
static void NAME(forward)(const int64_t *sizes, int64_t n_layers, const T *layers, const T *inputs, int64_t n,
    T *const *hidden, T *outputs, int64_t turned, T *tiles)
{
    const int64_t widest = NAME(widest)(sizes, n_layers), n_outputs = sizes[n_layers];
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *layer = layers;
        int64_t values_row = sizes[0];
        for (int64_t l = 0; l < n_layers; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], width = NAME(padded)(out);
            const int keep = hidden && l < n_layers - 1;
            T *const here = keep ? hidden[l] + first * width : tiles + l % 2 * TILE_ROWS * widest;
            const int64_t row = keep ? width : NAME(stride)(out);
            NAME(product)(rows, out, in, values, values_row, 1, layer, layer + in * NAME(stride)(out), 0, here, row);
            if (l < n_layers - 1) NAME(all_tanh)(rows, width, here, row);
            layer += (in + 1) * NAME(stride)(out);
            values = here;
            values_row = row;
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n_outputs; j++)
                outputs[turned ? j * n + first + i : (first + i) * n_outputs + j] = values[i * values_row + j];
    }
}

EXPORT void NAME(mlp_forward)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, T *outputs, T *room)
{
    room = NAME(aligned)(room);
    T *const tiles = NAME(pad_layers)(sizes, n_layers, theta, room);
    NAME(forward)(sizes, n_layers, room, inputs, n, hidden, outputs, 1, tiles);
}

/* A network that is asked again and again at the same theta: its padded layers, and scratch. */
struct NAME(network) {
    const int64_t *sizes;
    int64_t n_layers;
    const T *layers;
    T *tiles;
};

EXPORT void NAME(mlp_prepare)(
    struct NAME(network) *network, const int64_t *sizes, int64_t n_layers, const T *theta, T *room)
{
    room = NAME(aligned)(room);
    *network = (struct NAME(network)){sizes, n_layers, room, NAME(pad_layers)(sizes, n_layers, theta, room)};
}

/* `outputs` [n, K]. */
EXPORT void NAME(mlp_outputs)(const struct NAME(network) *network, const T *inputs, int64_t n, T *outputs)
{
    NAME(forward)(network->sizes, network->n_layers, network->layers, inputs, n, 0, outputs, 0, network->tiles);
}

/* How the outputs change, `change` [K, n], when theta moves along `direction`. */
EXPORT void NAME(mlp_along)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *direction, const T *inputs,
    int64_t n, T *const *hidden, T *change, T *room)
{
    room = NAME(aligned)(room);
    const int64_t widest = NAME(widest)(sizes, n_layers), n_outputs = sizes[n_layers];
    T *const directions = NAME(pad_layers)(sizes, n_layers, theta, room);
    T *const tiles = NAME(pad_layers)(sizes, n_layers, direction, directions);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *layer = room, *along = directions, *before = tiles;
        int64_t values_row = sizes[0];
        for (int64_t l = 0; l < n_layers; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], width = NAME(padded)(out), row = NAME(stride)(out);
            T *const here = tiles + l % 2 * TILE_ROWS * widest;
            NAME(product)(rows, out, in, values, values_row, 1, along, along + in * row, 0, here, row);
            if (l) NAME(product)(rows, out, in, before, NAME(stride)(in), 1, layer, here, row, here, row);
            before = here;
            layer += (in + 1) * row;
            along += (in + 1) * row;
            if (l == n_layers - 1) break;
            values = hidden[l] + first * width;
            values_row = width;
            NAME(times_slopes)(rows, width, values, here, row, here, row);
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n_outputs; j++)
                change[j * n + first + i] = before[i * NAME(stride)(n_outputs) + j];
    }
}

/* Adds a tile's rows to the sums of a layer, [values, 1]^T by_outputs, row after row. */
static void NAME(add_outer)(
    int64_t rows, int64_t in, int64_t out, const T *values, int64_t values_row, const T *by_outputs, T *sums)
{
    const int64_t row = NAME(stride)(out), width = NAME(padded)(out);
    NAME(product)(in, out, rows, values, 1, values_row, by_outputs, sums, row, sums, row);
    static const T one = 1;
    NAME(product)(1, out, rows, &one, 0, 0, by_outputs, sums + in * row, width, sums + in * row, width);
}

/* Adds the sums over a block's rows to `gradient`, and begins them anew. */
static void NAME(settle)(const int64_t *sizes, int64_t n_layers, T *sums, double *gradient)
{
    for (int64_t l = 0; l < n_layers; l++)
        for (int64_t i = 0; i <= sizes[l]; i++, sums += NAME(stride)(sizes[l + 1]))
            for (int64_t j = 0; j < sizes[l + 1]; j++) {
                *gradient++ += sums[j];
                sums[j] = 0;
            }
}

/* Adds to `gradient` (of theta's layout, float64) what `by_outputs` [K, n] means for theta. */
EXPORT void NAME(mlp_back)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, const T *by_outputs, double *gradient, T *room)
{
    room = NAME(aligned)(room);
    const int64_t widest = NAME(widest)(sizes, n_layers), n_outputs = sizes[n_layers];
    T *const sums = NAME(turn_layers)(sizes, n_layers, theta, room);
    T *const zeros = sums + NAME(n_strided)(sizes, n_layers), *const tiles = zeros + widest;
    NAME(zero)(sums, tiles + 2 * TILE_ROWS * widest);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        T *here = tiles, *sum = zeros, *turned = sums;
        for (int64_t i = 0; i < rows; i++) {
            for (int64_t j = 0; j < n_outputs; j++)
                here[i * NAME(stride)(n_outputs) + j] = by_outputs[j * n + first + i];
            NAME(zero)(here + i * NAME(stride)(n_outputs) + n_outputs,
                here + i * NAME(stride)(n_outputs) + NAME(padded)(n_outputs));
        }
        for (int64_t l = n_layers - 1; l >= 0; l--) {
            const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(in), width = NAME(padded)(in);
            const int64_t values_row = l ? width : in;
            const T *const values = (l ? hidden[l - 1] : inputs) + first * values_row;
            sum -= (in + 1) * NAME(stride)(out);
            NAME(add_outer)(rows, in, out, values, values_row, here, sum);
            if (!l) break;
            T *const before = here == tiles ? tiles + TILE_ROWS * widest : tiles;
            turned -= out * row;
            NAME(product)(rows, in, out, here, NAME(stride)(out), 1, turned, zeros, 0, before, row);
            NAME(times_slopes)(rows, width, values, before, row, before, row);
            here = before;
        }
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n) NAME(settle)(sizes, n_layers, sums, gradient);
    }
}

/* What follows is for outputs of which one number matters, the last less the first, or the only one. Its derivative by a
   layer is the outer product of the layer's inputs and of factors: for the last hidden layer the number's weights times
   the slopes, which are computed when they are wanted, for those before it `factors[l]` [n, padded(sizes[l + 1])]. */

/* The output layer's part in the number, [inputs, 1]; returns what comes behind it. */
static T *NAME(of_number)(const int64_t *sizes, int64_t n_layers, const T *theta, T *to)
{
    const int64_t in = sizes[n_layers - 1], out = sizes[n_layers];
    for (int64_t l = 0; l < n_layers - 1; l++) theta += (sizes[l] + 1) * sizes[l + 1];
    for (int64_t i = 0; i <= in; i++) to[i] = theta[i * out + out - 1] - (out > 1 ? theta[i * out] : 0);
    T *const behind = to + NAME(widest)(sizes, n_layers);
    NAME(zero)(to + in + 1, behind);
    return behind;
}

EXPORT void NAME(mlp_factors)(const int64_t *sizes, int64_t n_layers, const T *theta, int64_t n, T *const *hidden,
    T *const *factors, T *room)
{
    room = NAME(aligned)(room);
    const int64_t widest = NAME(widest)(sizes, n_layers), last = n_layers - 1;
    if (last < 2) return;
    T *const number = NAME(turn_layers)(sizes, n_layers, theta, room);
    T *const zeros = NAME(of_number)(sizes, n_layers, theta, number), *const tile = zeros + widest;
    NAME(zero)(zeros, tile);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *turned = number - sizes[n_layers] * NAME(stride)(sizes[last]), *after = tile;
        int64_t after_row = NAME(stride)(sizes[last]);
        NAME(times_slopes)(rows, NAME(padded)(sizes[last]), hidden[last - 1] + first * NAME(padded)(sizes[last]), number, 0,
            tile, after_row);
        for (int64_t l = last - 1; l > 0; l--) {
            const int64_t in = sizes[l], out = sizes[l + 1], width = NAME(padded)(in);
            T *const here = factors[l - 1] + first * width;
            turned -= out * NAME(stride)(in);
            NAME(product)(rows, in, out, after, after_row, 1, turned, zeros, 0, here, width);
            NAME(times_slopes)(rows, width, hidden[l - 1] + first * width, here, width, here, width);
            after = here;
            after_row = width;
        }
    }
}

/* w vectors of to = by_number * from, a number a row; adds them to `sums` as well, row after row. */
INLINE void NAME(scale)(
    int w, int64_t n_rows, const T *from, int64_t from_row, const T *by_number, T *to, int64_t to_row, T *sums)
{
    VECTOR sum[2];
    UNROLL for (int j = 0; j < w; j++) sum[j] = *(const VECTOR *)(sums + j * WIDTH);
    for (int64_t i = 0; i < n_rows; i++)
        UNROLL for (int j = 0; j < w; j++) {
            const VECTOR value = *(const VECTOR *)(from + i * from_row + j * WIDTH) * by_number[i];
            *(VECTOR *)(to + i * to_row + j * WIDTH) = value;
            sum[j] += value;
        }
    UNROLL for (int j = 0; j < w; j++) *(VECTOR *)(sums + j * WIDTH) = sum[j];
}

/* Adds [the inputs of each layer, 1]^T (by_number * factors), over a tile's rows, to the sums. */
static void NAME(add_number)(const int64_t *sizes, int64_t n_layers, const T *inputs, int64_t first, int64_t rows,
    T *const *hidden, T *const *factors, const T *last_factors, const T *by_number, T *sums, T *tile)
{
    const int64_t last = n_layers - 1, n_last = NAME(padded)(sizes[last]);
    const T *values = inputs + first * sizes[0];
    int64_t values_row = sizes[0];
    for (int64_t l = 0; l < last; l++) {
        const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out), width = NAME(padded)(out);
        const T *const from = l == last - 1 ? last_factors : factors[l] + first * width;
        const int64_t from_row = l == last - 1 ? row : width;
        int64_t j = 0;
        for (; j + 2 * WIDTH <= width; j += 2 * WIDTH)
            NAME(scale)(2, rows, from + j, from_row, by_number, tile + j, row, sums + in * row + j);
        if (j < width) NAME(scale)(1, rows, from + j, from_row, by_number, tile + j, row, sums + in * row + j);
        NAME(product)(in, out, rows, values, 1, values_row, tile, sums, row, sums, row);
        sums += (in + 1) * row;
        values = hidden[l] + first * width;
        values_row = width;
    }
    if (last) /* their rows are whole vectors, the inputs' are not */
        for (int64_t j = 0; j < n_last; j += WIDTH) {
            VECTOR sum = *(const VECTOR *)(sums + j);
            for (int64_t i = 0; i < rows; i++)
                sum = __builtin_elementwise_fma(
                    NAME(all)(by_number[i]), *(const VECTOR *)(values + i * n_last + j), sum);
            *(VECTOR *)(sums + j) = sum;
        }
    else
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < sizes[0]; j++)
                sums[j] = __builtin_elementwise_fma(by_number[i], values[i * sizes[0] + j], sums[j]);
    for (int64_t i = 0; i < rows; i++) sums[n_last] += by_number[i];
}

/* As `settle`, for the sums of `add_number`. */
static void NAME(settle_number)(const int64_t *sizes, int64_t n_layers, T *sums, double *gradient)
{
    const int64_t last = n_layers - 1, n_outputs = sizes[n_layers];
    NAME(settle)(sizes, last, sums, gradient);
    sums += NAME(n_strided)(sizes, last);
    for (int64_t l = 0; l < last; l++) gradient += (sizes[l] + 1) * sizes[l + 1];
    for (int64_t j = 0; j <= sizes[last]; j++, gradient += n_outputs) {
        const double sum = sums[j < sizes[last] ? j : NAME(padded)(sizes[last])];
        gradient[n_outputs - 1] += sum;
        if (n_outputs > 1) gradient[0] -= sum;
    }
    NAME(zero)(sums, sums + NAME(padded)(sizes[last]) + 1);
}

/* Adds to `gradient` what `by_number` [n] means for theta. */
EXPORT void NAME(mlp_number_back)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *inputs, int64_t n,
    T *const *hidden, T *const *factors, const T *by_number, double *gradient, T *room)
{
    room = NAME(aligned)(room);
    const int64_t widest = NAME(widest)(sizes, n_layers), last = n_layers - 1, n_last = NAME(padded)(sizes[last]);
    T *const sums = NAME(of_number)(sizes, n_layers, theta, room);
    T *const last_factors = sums + NAME(n_strided)(sizes, last) + widest + PARTS;
    NAME(zero)(sums, last_factors);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        if (last)
            NAME(times_slopes)(
                rows, n_last, hidden[last - 1] + first * n_last, room, 0, last_factors, NAME(stride)(sizes[last]));
        NAME(add_number)(sizes, n_layers, inputs, first, rows, hidden, factors, last_factors, by_number + first, sums,
            last_factors + TILE_ROWS * widest);
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n)
            NAME(settle_number)(sizes, n_layers, sums, gradient);
    }
}

/* Adds J^T (weights * J direction) to `gradient`, with J the number's Jacobian [n, P] and `weights` [n]. */
EXPORT void NAME(mlp_number_product)(const int64_t *sizes, int64_t n_layers, const T *theta, const T *direction,
    const T *inputs, int64_t n, T *const *hidden, T *const *factors, const T *weights, double *gradient, T *room)
{
    room = NAME(aligned)(room);
    const int64_t widest = NAME(widest)(sizes, n_layers), last = n_layers - 1, n_last = NAME(padded)(sizes[last]);
    T *const number = NAME(pad_layers)(sizes, n_layers, direction, room);
    T *const number_along = NAME(of_number)(sizes, n_layers, theta, number);
    T *const sums = NAME(of_number)(sizes, n_layers, direction, number_along);
    const T bias_along = number_along[sizes[last]];
    number_along[sizes[last]] = 0; /* its row is multiplied with padded rows */
    T *const last_factors = sums + NAME(n_strided)(sizes, last) + widest + PARTS;
    T by_number[TILE_ROWS];
    _Alignas(LINE_BYTES) T parts[TILE_ROWS * PARTS];
    NAME(zero)(sums, last_factors);
    for (int64_t first = 0; first < n; first += TILE_ROWS) {
        const int64_t rows = n - first < TILE_ROWS ? n - first : TILE_ROWS;
        const T *values = inputs + first * sizes[0], *along = room;
        int64_t values_row = sizes[0];
        NAME(zero)(parts, parts + rows * PARTS);
        for (int64_t l = 0; l < last; l++) {
            const int64_t in = sizes[l], out = sizes[l + 1], row = NAME(stride)(out), width = NAME(padded)(out);
            const T *const here = hidden[l] + first * width;
            const T *const from = l == last - 1 ? last_factors : factors[l] + first * width;
            if (l == last - 1) NAME(times_slopes)(rows, width, here, number, 0, last_factors, row);
            NAME(add_products)(rows, out, in, values, values_row, along, along + in * row, from,
                l == last - 1 ? row : width, parts);
            along += (in + 1) * row;
            values = here;
            values_row = width;
        }
        for (int64_t i = 0; i < rows; i++) {
            PARTIAL sum = *(const PARTIAL *)(parts + i * PARTS);
            if (last)
                for (int64_t j = 0; j < n_last; j += PARTS)
                    sum = __builtin_elementwise_fma(
                        *(const PARTIAL *)(number_along + j), *(const PARTIAL *)(values + i * n_last + j), sum);
            else
                for (int64_t j = 0; j < sizes[0]; j++)
                    sum[j % PARTS] = __builtin_elementwise_fma(number_along[j], values[i * sizes[0] + j], sum[j % PARTS]);
            by_number[i] = (NAME(total)(sum) + bias_along) * weights[first + i];
        }
        NAME(add_number)(sizes, n_layers, inputs, first, rows, hidden, factors, last_factors, by_number, sums,
            last_factors + TILE_ROWS * widest);
        if ((first + rows) % BLOCK_ROWS == 0 || first + rows == n)
            NAME(settle_number)(sizes, n_layers, sums, gradient);
    }
}

#undef VECTOR
#undef INTEGERS
#undef PARTIAL
#undef WIDTH
#undef TILE_ROWS
#undef ROWS_AT_ONCE
#undef PARTS
#undef BLOCK_ROWS
