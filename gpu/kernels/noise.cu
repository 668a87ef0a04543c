// options: --fmad=false
// What writes perturbed copies of the parameters, where the layers read them. The noise has the bits of core's contract
// (core/src/noise): perturb writes base + theta, after filter_scale where the noise is scaled to each filter's norm. One
// launch makes the copies of all draws that go through the network together. ascend is SAM's. Every operation is rounded by
// itself: no contraction.
#include "random.cuh"

// A parameter tensor. Blocks of 128 elements and filters are numbered through all tensors. `packed`: where a convolution's
// weights lie among the packed ones, or -1 for all else; `taps`: weights of a filter for one channel.
struct __align__(16) Tensor {
    int offset, len, row_len, index, role, first_block, first_filter, packed, taps, unused[3];
};

// Where a launch writes: draw y's copy begins at to + y * to_pitch. Weights of convolutions go to `packed` in their kernels'
// order, (O, taps, C), rounded to tf32 where the products want that; also to the copy if `both`. Without `packed`, all goes
// to the copy.
struct Copy {
    float *to, *packed;
    int tf32, both;

    __device__ Copy(float* to, int to_pitch, float* packed, int packed_pitch, int tf32, int both)
        : to(to + (long long)blockIdx.y * to_pitch),
          packed(packed ? packed + (long long)blockIdx.y * packed_pitch : nullptr), tf32(tf32), both(both) {}

    __device__ void write(const Tensor& tensor, int element, float value) const {
        bool packs = packed && tensor.packed >= 0;
        if (packs) {
            int at = element;
            if (tensor.taps > 1) {
                int within = element % tensor.row_len, channels = tensor.row_len / tensor.taps;
                at += within % tensor.taps * channels + within / tensor.taps - within;
            }
            packed[tensor.packed + at] = tf32 ? rounded(value) : value;
        }
        if (!packs || both) to[tensor.offset + element] = value;
    }

    // What cvt.rna.tf32 gives, which compute_75 has not: to nearest, away from zero from the middle.
    __device__ static float rounded(float value) {
        u32 bits = __float_as_uint(value);
        return (bits & 0x7f800000) == 0x7f800000 ? value : __uint_as_float((bits + 0x1000) & ~0x1fff);
    }
};

// Draw y of a launch: number first + y of those of a step, of which a ghost batch has `many`; with `pairs`, two in a row
// have the noise of one number, the second one's taken away.
struct Draw {
    u64 key;
    bool negative;

    __device__ Draw(u64 step, u32 first, u32 many, int pairs, int negative) : negative(negative) {
        u32 number = first + blockIdx.y;
        if (pairs) {
            u32 of_ghost = number % many;
            this->negative ^= of_ghost & 1;
            number -= of_ghost - of_ghost / 2;
        }
        key = hash(step ^ (u64)number);
    }
};

enum Distribution { UNIFORM, GAUSSIAN, DROPOUT };
enum Scaling { CONSTANT, PER_WEIGHT, PER_FILTER };

constexpr float UNIT = 1.0f / 65536.0f;
constexpr float NORM_EPS = 1e-6f;

// The last tensor whose first block (or filter) is not after `at`.
__device__ int tensor_of(const Tensor* tensors, int count, int at, bool filter) {
    int low = 0, high = count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        int first = filter ? tensors[middle].first_filter : tensors[middle].first_block;
        if (first <= at) low = middle;
        else high = middle - 1;
    }
    return low;
}

// The odd integer 2k + 1 of sixteen random bits.
__device__ int odd(u32 half) { return 2 * (int)(short)half + 1; }

__device__ float rational(float a3, float a2, float a1, float a0, float b3, float b2, float b1, float r) {
    float above = ((a3 * r + a2) * r + a1) * r + a0;
    float below = ((b3 * r + b2) * r + b1) * r + 1.0f;
    return above / below;
}

// -ln(odd / 2^33).
__device__ float minus_ln(u32 odd) {
    int bits = __float_as_int((float)odd);
    int exponent = (bits - 0x3f3504f3) >> 23;
    float mantissa = __int_as_float(bits - (exponent << 23));
    float t = (mantissa - 1.0f) / (mantissa + 1.0f);
    float s = t * t;
    float series = 1.0f + s * (0.33333334f + s * (0.2f + s * (0.14285715f + s * 0.11111111f)));
    return (float)(33 - exponent) * 0.6931471805599453f - 2.0f * t * series;
}

// The standard normal deviate of a draw: core's noise::gaussian.
__device__ float gaussian(u32 draw) {
    u32 m = draw & 0x7fffffff;
    float q = (float)(0xffffffff - 2 * m) * (1.0f / 8589934592.0f);
    float z;
    if (q <= 0.425f) {
        float r = 0.180625f - q * q;
        z = q * rational(59.109374720f, 159.29113202f, 50.434271938f, 3.3871327179f,  //
                         67.187563600f, 78.757757664f, 17.895169469f, r);
    } else {
        float r = sqrtf(minus_ln(2 * m + 1)) - 1.6f;
        z = rational(0.17023821103f, 1.3067284816f, 2.7568153900f, 1.4234372777f,  //
                     0.0f, 0.12021132975f, 0.73700164250f, r);
    }
    return draw >> 31 ? -z : z;
}

// Eight partial sums of squares in the contract's order, for values that come one by one.
struct Lanes {
    float sum[8] = {};

    __device__ float combined() const {
        return ((sum[0] + sum[4]) + (sum[2] + sum[6])) + ((sum[1] + sum[5]) + (sum[3] + sum[7]));
    }
};

// Norm of `len` values, by a warp that reads them side by side: eight lanes a chunk of 128.
__device__ float norm(const float* values, int len, int lane) {
    float total = 0.0f;
    for (int start = 0; start < len; start += 4 * 128) {
        int chunk = start + lane / 8 * 128;
        float sum = 0.0f;
        for (int i = chunk + lane % 8; i < chunk + 128 && i < len; i += 8) sum += values[i] * values[i];
        sum += __shfl_xor_sync(~0u, sum, 4);
        sum += __shfl_xor_sync(~0u, sum, 2);
        sum += __shfl_xor_sync(~0u, sum, 1);
        for (int k = 0; k < 4; k++) {
            float of_chunk = __shfl_sync(~0u, sum, 8 * k);
            if (start + 128 * k < len) total += of_chunk;
        }
    }
    return sqrtf(total);
}

// r * a, where the unit noise of a filter has this norm.
__device__ float ratio(float of_weights, float of_noise, float strength) {
    return of_weights / (of_noise + NORM_EPS) * strength;
}

// Scale of every filter of the selected tensors, for noise that is scaled to the filter's norm. One warp a filter; the
// filters of one value each are left to perturb. base: parameters; scales: one a filter, for each draw.
extern "C" __global__ void __launch_bounds__(128)
filter_scale(const float* base, float* scales, const Tensor* tensors, int count, int filters, u64 step, u32 first_draw,
             u32 many, int pairs, int distribution, float strength, int threshold, int negative, int selection) {
    Draw draw(step, first_draw, many, pairs, negative);
    scales += (long long)blockIdx.y * filters;
    int filter = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (filter >= filters) return;
    Tensor tensor = tensors[tensor_of(tensors, count, filter, true)];
    if (tensor.row_len == 1 || !(selection >> tensor.role & 1)) return;
    int len = tensor.row_len, start = (filter - tensor.first_filter) * len;
    const float* clean = base + tensor.offset + start;
    float of_weights = norm(clean, len, lane), total = 0.0f;
    u64 key = hash(draw.key ^ (u64)(u32)tensor.index), squares = 0;
    int share = distribution == GAUSSIAN ? 1 : 2;
    for (int first = 0; first < len; first += 32 * 128) {
        // Each lane makes the noise of one chunk of 128 values, from up to two generators.
        int chunk = first + lane * 128, end = min(chunk + 128, len);
        Lanes lanes;
        if (chunk < len) {
            Generator generator(key + (u64)((start + chunk) / BLOCK));
            for (int skip = (start + chunk) % BLOCK / share; skip > 0; skip--) generator.next();
            u32 word = (start + chunk) % share ? generator.next() : 0;
            for (int eight = chunk; eight < end; eight += 8) {
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    int i = eight + j, element = start + i;
                    if (i < end) {
                        if (element % BLOCK == 0 && i > chunk) generator = Generator(key + (u64)(element / BLOCK));
                        float unit;
                        if (distribution == GAUSSIAN) {
                            unit = gaussian(generator.next());
                        } else {
                            if (element % 2 == 0) word = generator.next();
                            else word >>= 16;
                            u32 half = word & 0xffff;
                            if (distribution == UNIFORM) {
                                u32 magnitude = (u32)abs(odd(half));
                                squares += (u64)magnitude * magnitude;
                                unit = 0.0f;
                            } else {
                                unit = half < (u32)threshold ? -clean[i] : 0.0f;
                            }
                        }
                        lanes.sum[j] += unit * unit;
                    }
                }
            }
        }
        float sum = lanes.combined();
#pragma unroll 4
        for (int k = 0; k < 32; k++) {
            float of_chunk = __shfl_sync(~0u, sum, k);
            if (first + 128 * k < len) total += of_chunk;
        }
    }
    float scale;
    if (distribution == UNIFORM) {
        for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(~0u, squares, step);
        scale = ratio(of_weights, sqrtf((float)squares) * UNIT, strength) * UNIT;
    } else {
        scale = ratio(of_weights, sqrtf(total), strength);
    }
    if (lane == 0) scales[filter] = draw.negative ? -scale : scale;
}

// A row of a warp's tile is 32 elements of one generator; one more keeps columns in different banks.
constexpr int TILE = 33;

// to = base + theta for the selected tensors, to = base for the others. One thread a generator of 128 elements, 32 of
// which a warp writes side by side. base and to may be the same.
extern "C" __global__ void __launch_bounds__(128)
perturb(const float* base, float* to, int to_pitch, float* packed, int packed_pitch, int tf32, int both,
        const float* scales, const Tensor* tensors, int count, int blocks, int filters, u64 step, u32 first_draw, u32 many,
        int pairs, int distribution, int scaling, float strength, int threshold, int negative, int selection) {
    __shared__ float tiles[4][32][TILE];
    int block = blockIdx.x * 128 + threadIdx.x, lane = threadIdx.x % 32;
    float(*tile)[TILE] = tiles[threadIdx.x / 32];
    Copy copy(to, to_pitch, packed, packed_pitch, tf32, both);
    Draw draw(step, first_draw, many, pairs, negative);
    scales += (long long)blockIdx.y * filters;
    int mine = block < blocks ? tensor_of(tensors, count, block, false) : -1;
    bool selected = mine >= 0 && (selection >> tensors[max(mine, 0)].role & 1);
    Generator generator(selected ? hash(draw.key ^ (u64)(u32)tensors[mine].index) + (u64)(block - tensors[mine].first_block)
                                 : 0);
    float same = distribution == UNIFORM ? strength * UNIT : distribution == GAUSSIAN ? strength : 1.0f;
    if (draw.negative) same = -same;
#pragma unroll 1
    for (int part = 0; part < BLOCK; part += 32) {
        if (selected && distribution == GAUSSIAN) {
#pragma unroll 1
            for (int i = 0; i < 32; i++) tile[lane][i] = gaussian(generator.next());
        } else if (selected) {
#pragma unroll 4
            for (int i = 0; i < 32; i += 2) {
                u32 word = generator.next();
                tile[lane][i] = (float)odd(word & 0xffff);
                tile[lane][i + 1] = (float)odd(word >> 16);
            }
        }
        __syncwarp();
#pragma unroll 1
        for (int row = 0; row < 32; row++) {
            int number = __shfl_sync(~0u, mine, row), at = __shfl_sync(~0u, block, row);
            if (number < 0) break;
            Tensor tensor = tensors[number];
            int element = (at - tensor.first_block) * BLOCK + part + lane;
            if (element >= tensor.len) continue;
            float w = base[tensor.offset + element];
            if (selection >> tensor.role & 1) {
                float unit = tile[row][lane], scale = same, magnitude = fabsf(unit);
                if (distribution == DROPOUT) {
                    u32 half = (u32)(((int)unit - 1) / 2) & 0xffff;
                    unit = half < (u32)threshold ? -w : 0.0f;
                }
                if (scaling == PER_FILTER && tensor.row_len > 1) {
                    scale = scales[tensor.first_filter + element / tensor.row_len];
                } else if (scaling == PER_FILTER) {
                    float of_noise = distribution == UNIFORM
                        ? sqrtf((float)((u32)magnitude * (u32)magnitude)) * UNIT
                        : sqrtf(unit * unit);
                    scale = ratio(sqrtf(w * w), of_noise, strength);
                    if (distribution == UNIFORM) scale = scale * UNIT;
                    if (draw.negative) scale = -scale;
                } else if (scaling == PER_WEIGHT && distribution != DROPOUT) {
                    scale = same * fabsf(w);
                }
                w = w + unit * scale;
            }
            copy.write(tensor, element, w);
        }
        __syncwarp();
    }
}

// to = weights + scale / norm * gradient: SAM. A warp a block of 128 elements.
extern "C" __global__ void __launch_bounds__(128)
ascend(const float* weights, const float* gradient, float* to, float* packed, int tf32, const Tensor* tensors, int count,
       int blocks, float scale, const double* norm) {
    int block = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (block >= blocks) return;
    Tensor tensor = tensors[tensor_of(tensors, count, block, false)];
    Copy copy(to, 0, packed, 0, tf32, false);
    float factor = scale / ((float)*norm + 1e-12f);
    for (int part = 0; part < BLOCK; part += 32) {
        int element = (block - tensor.first_block) * BLOCK + part + lane;
        if (element >= tensor.len) return;
        int i = tensor.offset + element;
        copy.write(tensor, element, weights[i] + factor * gradient[i]);
    }
}
