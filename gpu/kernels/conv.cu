// 2-D convolution: forward, data gradient, weight and bias gradient, as matrix products whose windows are read from where they lie.
//
// x (N, C, H, W), y (N, O, OH, OW). Forward pass and data gradient read packed weights (O, KH, KW, C/groups), which conv_pack makes once a pass
// of the plan's (O, C/groups, KH, KW): with channels innermost, the 16 k of a step are channels of one tap, and both passes read weights side by side.
// A pass may have several draws: images `draw_images * d` and following see packed weights `weight_pitch` and a bias `bias_pitch` values further for each d.
//
// Blocks: x counts tiles, rows first, so that neighbours read the same images and the weights stay in the cache; y is the draw;
// z the group, with the phase or the part of the sum beside it.
#include "product.cuh"
#include "dense.cuh"
#include "window.cuh"

// The sizes of a convolution, in the order of the kernels' arguments.
struct Shape {
    int images, channels, height, width;
    int filters, out_height, out_width;
    int taps_down, taps_across;
    int stride_down, stride_across;
    int pad_down, pad_across;
    int groups;

    __device__ int group_channels() const { return channels / groups; }
    __device__ int group_filters() const { return filters / groups; }
    __device__ int taps() const { return taps_down * taps_across; }
    __device__ int depth() const { return group_channels() * taps(); } // weights of a filter
};

#define SHAPE_PARAMETERS                                                                                                        \
    int images, int channels, int height, int width, int filters, int out_height, int out_width, int taps_down, int taps_across, \
        int stride_down, int stride_across, int pad_down, int pad_across, int groups
#define SHAPE                                                                                                                   \
    Shape {                                                                                                                     \
        images, channels, height, width, filters, out_height, out_width, taps_down, taps_across, stride_down, stride_across,     \
            pad_down, pad_across, groups                                                                                        \
    }

// Images of this block's draw: the first and how many.
struct Draw {
    int first, images;
    __device__ Draw(int images, int draw_images) : first(blockIdx.y * draw_images), images(min(draw_images, images - first)) {}
};

// Rows are filters, columns pixels of the output, k (tap row, tap column, channel).
template <template <class, class, class> class Math, int ROWS>
__device__ void forward(const float* x, const float* weight, const float* bias, float* y, int draw_images, int weight_pitch, int bias_pitch, bool relu, bool fours, const Shape& s) {
    using Part = Block<ROWS>;
    using A = DenseAlongK<ROWS, true>;
    using B = Windows<1>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    Draw draw(s.images, draw_images);
    int group = blockIdx.z, row_tiles = (s.group_filters() + ROWS - 1) / ROWS;
    int first = blockIdx.x % row_tiles * ROWS, rows = s.group_filters() - first;
    int filter = group * s.group_filters() + first;
    int column = blockIdx.x / row_tiles * THREADS;
    Digits pixel(column + threadIdx.x, s.out_height, s.out_width);
    bool exists = pixel.high < draw.images;
    int image = draw.first + pixel.high;
    weight += (long long)blockIdx.y * weight_pitch;

    A a(weight + filter * s.depth(), s.depth(), rows, s.depth(), fours);
    int row = exists ? pixel.middle * s.stride_down - s.pad_down : B::OUTSIDE;
    B b(x + (exists ? (image * s.channels + group * s.group_channels()) * s.height * s.width : 0), {s.group_channels(), s.height, s.width}, s.taps_down,
        s.taps_across, row, pixel.low * s.stride_across - s.pad_across);
    Math<Part, A, B> math(rows, draw.images * s.out_height * s.out_width - column);
    multiply(math, a, b, steps(s.depth()), memory);

    int plane = s.out_height * s.out_width;
    float* out = exists ? y + (image * s.filters + filter) * plane + pixel.middle * s.out_width + pixel.low : nullptr;
    const float* row_bias = bias ? bias + (long long)blockIdx.y * bias_pitch + filter : nullptr;
    write_results<Part>(math, {out, plane, rows, row_bias, nullptr, relu, 1.0f, false}, memory);
}

// Pixels of one axis that are `phase` modulo the stride after padding, and the taps that reach them.
struct Phase {
    int taps;  // phase, phase + stride, ...
    int first; // output that meets the first pixel at the first tap
    int pixels;
    int start; // the first pixel; the next ones follow at the stride

    __device__ Phase(int phase, int size, int kernel, int stride, int pad) {
        taps = (kernel - phase + stride - 1) / stride;
        taps = max(taps, 0);
        first = max((pad - phase + stride - 1) / stride, 0);
        start = first * stride + phase - pad;
        pixels = max((size - start + stride - 1) / stride, 0);
    }
};

// Rows are input channels, columns the input's pixels of one phase, k (tap row, tap column, filter). With a stride, a pixel is reached by every
// stride-th tap alone; pixels that are reached by the same taps are a phase, so that no product with zero is made.
template <template <class, class, class> class Math, int ROWS>
__device__ void input_gradient(const float* dy, const float* weight, float* dx, int draw_images, int weight_pitch, bool accumulate, bool fours, const Shape& s) {
    using Part = Block<ROWS>;
    using A = Taps<ROWS>;
    using B = Windows<-1>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    Draw draw(s.images, draw_images);
    int phases = s.stride_down * s.stride_across, phase = blockIdx.z % phases, group = blockIdx.z / phases;
    int phase_down = phase / s.stride_across, phase_across = phase % s.stride_across;
    Phase down(phase_down, s.height, s.taps_down, s.stride_down, s.pad_down);
    Phase across(phase_across, s.width, s.taps_across, s.stride_across, s.pad_across);
    int row_tiles = (s.group_channels() + ROWS - 1) / ROWS;
    int first = blockIdx.x % row_tiles * ROWS, rows = s.group_channels() - first;
    int column = blockIdx.x / row_tiles * THREADS;
    // The grid is made for the largest phase.
    int columns = draw.images * down.pixels * across.pixels - column;
    if (columns <= 0) return;
    Digits pixel(column + threadIdx.x, down.pixels, across.pixels);
    bool exists = pixel.high < draw.images;
    int image = draw.first + pixel.high, filter = group * s.group_filters();
    weight += (long long)blockIdx.y * weight_pitch;

    int tap = s.group_channels(); // weights from a tap to the next
    A a(weight + filter * s.depth() + (phase_down * s.taps_across + phase_across) * tap + first, rows, s.group_filters(), down.taps, across.taps, s.depth(),
        s.stride_down * s.taps_across * tap, s.stride_across * tap, fours);
    int plane = s.out_height * s.out_width;
    B b(dy + (exists ? (image * s.filters + filter) * plane : 0), {s.group_filters(), s.out_height, s.out_width}, down.taps, across.taps,
        exists ? down.first + pixel.middle : B::OUTSIDE, across.first + pixel.low);
    Math<Part, A, B> math(rows, columns);
    multiply(math, a, b, steps(s.group_filters() * down.taps * across.taps), memory);

    int at = (down.start + pixel.middle * s.stride_down) * s.width + across.start + pixel.low * s.stride_across;
    int channel = group * s.group_channels() + first;
    float* out = exists ? dx + (image * s.channels + channel) * s.height * s.width + at : nullptr;
    write_results<Part>(math, {out, s.height * s.width, rows, nullptr, nullptr, false, 1.0f, accumulate}, memory);
}

// Rows are filters, columns (tap row, tap column, channel), k (image, output row, output column), of which part p of the sum has `part` from p * part on;
// the parts lie `part_pitch` values apart, in this order. A pitch of 0 says that there is but one part, which goes where the gradients lie, in the plan's order. Where there is a bias, one more column of blocks makes its gradient.
template <template <class, class, class> class Math, int ROWS>
__device__ void weight_gradient(const float* x, const float* dy, float* dweight, float* dbias, int part, int part_pitch, float scale, bool accumulate, const Shape& s) {
    using Part = Block<ROWS>;
    using A = OutputPixels<ROWS>;
    using B = InputPixels<Part::WARP_COLUMNS>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    __shared__ typename B::Row table[THREADS];
    int group = blockIdx.z, row_tiles = (s.group_filters() + ROWS - 1) / ROWS;
    int first = blockIdx.x % row_tiles * ROWS, rows = s.group_filters() - first;
    int filter = group * s.group_filters() + first, column = blockIdx.x / row_tiles * THREADS;
    int plane = s.out_height * s.out_width;
    int begin = blockIdx.y * part, end = min(begin + part, s.images * plane);
    long long shift = (long long)blockIdx.y * part_pitch;

    A a(dy + filter * plane, rows, plane, s.filters * plane, begin, end);
    if (column >= s.depth()) {
        write_row_sums(a, steps(end - begin), dbias + shift + filter, rows, scale, accumulate, memory);
        return;
    }
    B b(x + group * s.group_channels() * s.height * s.width, {s.group_channels(), s.height, s.width}, s.channels * s.height * s.width,
        {s.stride_down, s.stride_across}, {s.pad_down, s.pad_across}, {s.out_height, s.out_width}, begin, end, column, s.depth() - column, s.taps_down, s.taps_across, table);
    Math<Part, A, B> math(rows, s.depth() - column);
    multiply(math, a, b, steps(end - begin), memory);

    int mine = column + threadIdx.x;
    int place = part_pitch ? mine : mine % s.group_channels() * s.taps() + mine / s.group_channels();
    float* out = mine < s.depth() ? dweight + shift + filter * s.depth() + place : nullptr;
    write_results<Part>(math, {out, s.depth(), rows, nullptr, nullptr, false, scale, accumulate}, memory);
}

// Packs the weights of convolutions: (O, C, taps) to (O, taps, C), rounded to tf32 where the products want that, so that they need not. `table` has five
// numbers a convolution: its first block, where its weights lie in `from` and in `to`, C and taps; a block packs 32 channels of a filter.
// `count` convolutions; block y is the draw.
constexpr int PACK = 32;
extern "C" __global__ void __launch_bounds__(THREADS)
conv_pack(const float* __restrict__ from, float* __restrict__ to, const int* __restrict__ table, int count, int from_pitch, int to_pitch, int tf32) {
    __shared__ float tile[PACK * (PACK + 1)];
    int mine = 0;
    while (mine + 1 < count && table[5 * mine + 5] <= blockIdx.x) mine++;
    table += 5 * mine;
    int channels = table[3], taps = table[4];
    int parts = (channels + PACK - 1) / PACK, block = blockIdx.x - table[0];
    int first = block % parts * PACK, here = min(PACK, channels - first);
    int filter = block / parts * channels * taps;
    from += (long long)blockIdx.y * from_pitch + table[1] + filter + first * taps;
    to += (long long)blockIdx.y * to_pitch + table[2] + filter + first;
    for (int tap = 0; tap < taps; tap += PACK) {
        int now = min(PACK, taps - tap), pitch = now | 1; // odd: equal taps of 32 channels lie in different banks
        __syncthreads();
        for (int i = threadIdx.x; i < here * now; i += THREADS) tile[i / now * pitch + i % now] = from[i / now * taps + tap + i % now];
        __syncthreads();
        for (int i = threadIdx.x; i < here * now; i += THREADS) {
            float value = tile[i % here * pitch + i / here];
#if __CUDA_ARCH__ >= 800
            if (tf32) value = __uint_as_float(to_tf32(value));
#endif
            to[(tap + i / here) * channels + i % here] = value;
        }
    }
}

#define KERNELS(MATH, NAME, ROWS)                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) conv_forward_##NAME##_##ROWS(                                         \
        const float* __restrict__ x, const float* __restrict__ packed, const float* __restrict__ bias, float* __restrict__ y,   \
        int draw_images, int weight_pitch, int bias_pitch, int relu, int fours, SHAPE_PARAMETERS) {                             \
        forward<MATH, ROWS>(x, packed, bias, y, draw_images, weight_pitch, bias_pitch, relu, fours, SHAPE);                     \
    }                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) conv_input_gradient_##NAME##_##ROWS(                                  \
        const float* __restrict__ dy, const float* __restrict__ packed, float* __restrict__ dx, int draw_images,                \
        int weight_pitch, int accumulate, int fours, SHAPE_PARAMETERS) {                                                        \
        input_gradient<MATH, ROWS>(dy, packed, dx, draw_images, weight_pitch, accumulate, fours, SHAPE);                        \
    }                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) conv_weight_gradient_##NAME##_##ROWS(                                 \
        const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dweight, float* __restrict__ dbias,      \
        int part, int part_pitch, float scale, int accumulate, SHAPE_PARAMETERS) {                                              \
        weight_gradient<MATH, ROWS>(x, dy, dweight, dbias, part, part_pitch, scale, accumulate, SHAPE);                         \
    }

KERNELS(F32, f32, 32)
KERNELS(F32, f32, 64)
#if __CUDA_ARCH__ >= 800
KERNELS(Tf32, tf32, 32)
KERNELS(Tf32, tf32, 64)
KERNELS(Tf32, tf32, 128)
KERNELS(Bf16, bf16, 32)
KERNELS(Bf16, bf16, 64)
KERNELS(Bf16, bf16, 128)
#endif
