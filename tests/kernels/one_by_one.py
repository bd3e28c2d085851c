"""The passes of `garage.kernels.mlp` as they are defined, one number at a time: the test's own reading of the format.

Additions, multiplications and divisions are those of NumPy's scalars, which IEEE 754 fixes. A fused multiply-add is
computed exactly, as a fraction, and then rounded.
"""

import itertools
import math
from fractions import Fraction

import numpy as np

PARTS, BLOCK_ROWS = 16, 1024
TANH_IS_ONE = {np.float32: 9.5, np.float64: 20.0}
LOG2_E = {np.float32: "0x1.715476p+0", np.float64: "0x1.71547652b82fep+0"}
LN2_HIGH = {np.float32: "0x1.62e4p-1", np.float64: "0x1.62e42feep-1"}
LN2_LOW = {np.float32: "0x1.7f7d1cp-20", np.float64: "0x1.a39ef35793c76p-33"}
DEGREE = {np.float32: 8, np.float64: 14}


def fma(a, b, c):
    """``a b + c``, rounded once; all three are finite."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:  # of two zeros with one sign, that one
        return c if a * b == 0 and math.copysign(1, a) * math.copysign(1, b) == math.copysign(1, c) else type(c)(0)
    return rounded(exact, type(c))


def rounded(exact, of_type):
    """The nearest number of a type; of two, the even one."""
    info = np.finfo(of_type)
    above = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    exponent = above if abs(exact) >= Fraction(2) ** above else above - 1
    unit = Fraction(2) ** (max(exponent, info.minexp) - info.nmant)
    nearest = abs(round(exact / unit) * unit)
    size = of_type(math.inf) if nearest > Fraction(float(info.max)) else of_type(float(nearest))
    return np.copysign(size, of_type(1 if exact > 0 else -1))


def tanh(x):
    """By ``e / (e + 2)`` with ``e = exp(2|x|) - 1``."""
    of_type = type(x)
    one = of_type(1)
    size = min(abs(x), of_type(TANH_IS_ONE[of_type]))
    log2_e, ln2_high, ln2_low = (of_type(float.fromhex(by_type[of_type])) for by_type in (LOG2_E, LN2_HIGH, LN2_LOW))
    twice = size + size
    to_integer = of_type(1.5 * 2.0 ** np.finfo(of_type).nmant)
    k = fma(twice, log2_e, to_integer) - to_integer
    r = fma(-k, ln2_low, fma(-k, ln2_high, twice))
    series = of_type(1 / math.factorial(DEGREE[of_type]))
    for i in range(DEGREE[of_type] - 1, 1, -1):
        series = fma(series, r, of_type(1 / math.factorial(i)))
    series = fma(r * r, series, r)
    power = of_type(2.0 ** int(k))
    e = fma(power, series, power - one)
    return np.copysign(e / (e + of_type(2)), x)


def products(start, pairs):
    """Added to ``start`` one after the other."""
    for a, b in pairs:
        start = fma(a, b, start)
    return start


def layers(sizes, theta):
    """Of each its weights ``[inputs, outputs]`` and its biases ``[outputs]``."""
    at = 0
    for n_inputs, n_outputs in itertools.pairwise(sizes):
        weights = theta[at : at + n_inputs * n_outputs].reshape(n_inputs, n_outputs)
        at += (n_inputs + 1) * n_outputs
        yield weights, theta[at - n_outputs : at]


def slope(h):
    return type(h)(1) - h * h


def forward(sizes, theta, row):
    """Inputs, activations of each hidden layer, outputs."""
    values = [list(row)]
    for index, (weights, biases) in enumerate(layers(sizes, theta)):
        sums = [
            products(bias, zip(values[-1], column, strict=True)) for bias, column in zip(biases, weights.T, strict=True)
        ]
        values.append(sums if index == len(sizes) - 2 else [tanh(each) for each in sums])
    return values


def along(sizes, theta, direction, values):
    """How the outputs of one row change; ``values`` are those of `forward`."""
    change = []
    for index, (here, moved) in enumerate(zip(layers(sizes, theta), layers(sizes, direction), strict=True)):
        sums = [
            products(bias, zip(values[index], column, strict=True))
            for bias, column in zip(moved[1], moved[0].T, strict=True)
        ]
        if index:
            sums = [
                products(each, zip(change, column, strict=True)) for each, column in zip(sums, here[0].T, strict=True)
            ]
        if index < len(sizes) - 2:
            sums = [each * slope(h) for each, h in zip(sums, values[index + 1], strict=True)]
        change = sums
    return change


def back(sizes, theta, rows, by_outputs):
    """The gradient, float64; ``rows`` are of `forward`, ``by_outputs`` ``[K, n]``."""
    weights = [weights for weights, _ in layers(sizes, theta)]
    gradient = np.zeros(len(theta))
    for first in range(0, len(rows), BLOCK_ROWS):
        sums = np.zeros_like(theta)
        summed = list(layers(sizes, sums))
        for n in range(first, min(first + BLOCK_ROWS, len(rows))):
            by = list(by_outputs[:, n])
            for index in range(len(weights) - 1, -1, -1):
                values = rows[n][index]
                add_outer(summed[index], values, by)
                if index == 0:
                    break
                zero = theta.dtype.type(0)
                by = [products(zero, zip(by, row, strict=True)) for row in weights[index]]
                by = [each * slope(h) for each, h in zip(by, values, strict=True)]
        gradient += sums
    return gradient


def add_outer(sums, values, by):
    for j, each in enumerate(by):
        for i, value in enumerate(values):
            sums[0][i, j] = fma(value, each, sums[0][i, j])
        sums[1][j] += each


def of_number(layer):
    """The output layer's part in the last output less the first, or in the only one: weights, bias."""
    last, first = layer[0][:, -1], layer[0][:, 0]
    return (last, layer[1][-1]) if layer[0].shape[1] == 1 else (last - first, layer[1][-1] - layer[1][0])


def factors(sizes, theta, values):
    """Of each hidden layer: the number's derivative by what goes into tanh."""
    every = list(layers(sizes, theta))
    by = of_number(every[-1])[0]
    found = []
    for index in range(len(sizes) - 2, 0, -1):
        if found:
            zero = theta.dtype.type(0)
            by = [products(zero, zip(found[0], row, strict=True)) for row in every[index][0]]
        found.insert(0, [each * slope(h) for each, h in zip(by, values[index], strict=True)])
    return found


def number_along(sizes, theta, direction, values):
    """How the number of one row changes."""
    *hidden, output = layers(sizes, direction)
    parts = [theta.dtype.type(0)] * PARTS

    def add(pairs):
        for j, (a, b) in enumerate(pairs):
            parts[j % PARTS] = fma(a, b, parts[j % PARTS])

    for index, (weights, biases) in enumerate(hidden):
        sums = [
            products(bias, zip(values[index], column, strict=True))
            for bias, column in zip(biases, weights.T, strict=True)
        ]
        add(zip(sums, factors(sizes, theta, values)[index], strict=True))
    weights, bias = of_number(output)
    add(zip(weights, values[-2], strict=True))
    summed = parts
    while len(summed) > 1:
        half = len(summed) // 2
        summed = [summed[j] + summed[j + half] for j in range(half)]
    return summed[0] + bias


def number_product(sizes, theta, direction, rows, weights):
    """How the number changes, times ``weights`` ``[n]``, as a gradient by the number; its gradient by theta."""
    by_number = [number_along(sizes, theta, direction, row) * by for row, by in zip(rows, weights, strict=True)]
    return number_back(sizes, theta, rows, by_number)


def number_back(sizes, theta, rows, by_number):
    """The gradient, float64, of what has the gradient ``[n]`` by the number."""
    gradient = np.zeros(len(theta))
    *_, (weights, biases) = layers(sizes, gradient)
    n_of_hidden = len(theta) - weights.size - biases.size
    for first in range(0, len(rows), BLOCK_ROWS):
        sums, of_weights, of_bias = np.zeros_like(theta), np.zeros(sizes[-2], theta.dtype), theta.dtype.type(0)
        summed = list(layers(sizes, sums))
        for n in range(first, min(first + BLOCK_ROWS, len(rows))):
            values, by = rows[n], by_number[n]
            for index, factor in enumerate(factors(sizes, theta, values)):
                add_outer(summed[index], values[index], [each * by for each in factor])
            for j, value in enumerate(values[-2]):
                of_weights[j] = fma(by, value, of_weights[j])
            of_bias += by
        gradient[:n_of_hidden] += sums[:n_of_hidden]
        for sum_, column in ((of_weights, weights), (of_bias, biases)):
            column[..., -1] += sum_
            if sizes[-1] > 1:
                column[..., 0] -= sum_
    return gradient
