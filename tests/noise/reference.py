#!/usr/bin/env python3
"""The noise contract written down a second time, from its text, with Python's standard library alone.

Compares every bit with core/src/noise/vectors/theta.txt; prints the number of values compared, or fails.
"""
import math
import pathlib
import struct
import sys

M64, M32 = 2**64 - 1, 2**32 - 1


def f32(x):
    """x rounded to the nearest f32. Sums, products, quotients and roots of two f32 in f64, rounded again, are
    correctly rounded: f64 has more than twice the digits."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def splitmix(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) & M64
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        yield z ^ (z >> 31)


def h(x):
    return next(splitmix(x))


def xoshiro(seed):
    mix = splitmix(seed)
    a, b = next(mix), next(mix)
    s = [a & M32, a >> 32, b & M32, b >> 32]
    rotl = lambda x, k: ((x << k) | (x >> (32 - k))) & M32
    while True:
        yield (rotl((s[0] + s[3]) & M32, 7) + s[0]) & M32
        t = (s[1] << 9) & M32
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotl(s[3], 11)


def words(key, count):
    out = []
    for block in range(-(-count // 128)):
        generator = xoshiro((key + block) & M64)
        out += [next(generator) for _ in range(128)]
    return out[:count]


def halves(key, count):
    out = []
    for block in range(-(-count // 128)):
        generator = xoshiro((key + block) & M64)
        for _ in range(64):
            word = next(generator)
            out += [word & 0xFFFF, word >> 16]
    return out[:count]


def norm(values):
    total = 0.0
    for start in range(0, len(values), 128):
        lanes = [0.0] * 8
        for i, v in enumerate(values[start:start + 128]):
            lanes[i % 8] = f32(lanes[i % 8] + f32(v * v))
        left = f32(f32(lanes[0] + lanes[4]) + f32(lanes[2] + lanes[6]))
        right = f32(f32(lanes[1] + lanes[5]) + f32(lanes[3] + lanes[7]))
        total = f32(total + f32(left + right))
    return f32(math.sqrt(total))


def polynomial(c, r):
    y = c[-1]
    for k in reversed(c[:-1]):
        y = f32(f32(y * r) + k)
    return y


CENTRE = [3.3871327179, 50.434271938, 159.29113202, 59.109374720], [1.0, 17.895169469, 78.757757664, 67.187563600]
TAIL = [1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103], [1.0, 0.73700164250, 0.12021132975, 0.0]
CENTRE, TAIL = ([[f32(k) for k in row] for row in table] for table in (CENTRE, TAIL))


def gaussian(draw):
    m = draw & 0x7FFFFFFF
    q = f32(f32(0xFFFFFFFF - 2 * m) * 2.0**-33)
    if q <= f32(0.425):
        r = f32(f32(0.180625) - f32(q * q))
        z = f32(q * f32(polynomial(CENTRE[0], r) / polynomial(CENTRE[1], r)))
    else:
        odd = f32(2 * m + 1)
        mantissa, exponent = math.frexp(odd)
        if mantissa < math.sqrt(0.5):
            mantissa, exponent = mantissa * 2, exponent - 1
        t = f32(f32(mantissa - 1) / f32(mantissa + 1))
        s = f32(t * t)
        series = polynomial([f32(1 / k) for k in (1, 3, 5, 7, 9)], s)
        minus_ln = f32(f32(float(33 - exponent) * f32(math.log(2))) - f32(f32(2 * t) * series))
        r = f32(f32(math.sqrt(minus_ln)) - f32(1.6))
        z = f32(polynomial(TAIL[0], r) / polynomial(TAIL[1], r))
    return -z if draw >> 31 else z


def theta(distribution, scaling, a, key, rows, row_len, w):
    count = rows * row_len
    if distribution == "Gaussian":
        unit, factor = [gaussian(x) for x in words(key, count)], 1.0
    elif distribution == "Uniform":
        unit = [2 * (k - 65536 if k >= 32768 else k) + 1 for k in halves(key, count)]
        factor = 2.0**-16
    else:
        limit = int(a * 65536 + 0.5)
        unit = [-w[i] if k < limit else 0.0 for i, k in enumerate(halves(key, count))]
        factor = 1.0
    out = []
    for row in range(rows):
        part = slice(row * row_len, (row + 1) * row_len)
        n, c = unit[part], w[part]
        if scaling == "PerFilter":
            if distribution == "Uniform":
                of_noise = f32(f32(math.sqrt(f32(sum(k * k for k in n)))) * factor)
            else:
                of_noise = norm(n)
            r = f32(norm(c) / f32(of_noise + f32(1e-6)))
            scales = [f32(f32(r * a) * factor)] * row_len
        elif distribution == "Dropout":
            scales = [1.0] * row_len
        elif scaling == "PerWeight":
            scales = [f32(f32(a * factor) * abs(x)) for x in c]
        else:
            scales = [f32(a * factor)] * row_len
        out += [f32(u * s) for u, s in zip(n, scales)]
    return out


def main():
    path = pathlib.Path(__file__).resolve().parents[2] / "core/src/noise/vectors/theta.txt"
    lines = [l for l in path.read_text().splitlines() if not l.startswith("#")]
    draw_key = h(h(h(1234567890123456789) ^ 42) ^ 3)
    compared = 0
    while lines:
        distribution, scaling, tensor, rows, row_len = lines.pop(0).split()
        tensor, rows, row_len = int(tensor), int(rows), int(row_len)
        want = []
        while len(want) < rows * row_len:
            want += lines.pop(0).split()
        s, w = 12345, []
        for _ in range(rows * row_len):
            s = (s * 1664525 + 1013904223) & M32
            w.append((s >> 8) / 2**24 - 0.5)
        got = theta(distribution, scaling, f32(0.15), h(draw_key ^ tensor), rows, row_len, w)
        for i, (g, x) in enumerate(zip(got, want)):
            bits = struct.pack(">f", g).hex()
            if bits != x:
                sys.exit(f"{distribution} {scaling} tensor {tensor} element {i}: {bits}, committed {x}")
        compared += len(want)
    print(f"{compared} values agree to the bit")


if __name__ == "__main__":
    main()
