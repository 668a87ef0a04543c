// Linear layers: forward, data gradient, weight and bias gradient, on the convolution's tiles.
//
// x (N, I), weight (O, I), y (N, O). A pass may have several draws: images `draw_images * d` and following see weights and bias that lie `draw_pitch` values further for
// each d. A sum over k may be cut: part p has `part` of k from p * part on, and its results go `part_pitch` values further, to be added by parts.cu.
//
// Blocks: x counts tiles, rows first; y is the draw; z the part.
#include "product.cuh"
#include "dense.cuh"

struct Shape {
    int images, inputs, outputs;
};

// Which operands can be read in pieces of 16 bytes.
constexpr int LEFT = 1, RIGHT = 2;

// Where a block works.
struct Place {
    int first_row, rows, column;
    int first_image; // of the draw
    int begin, depth;

    // Rows are images.
    static __device__ Place images(const Shape& s, int tile, int draw_images, int part, int depth) {
        int first_image = blockIdx.y * draw_images, here = min(draw_images, s.images - first_image);
        return Place(tile, draw_images, here, first_image, part, depth);
    }

    __device__ Place(int tile, int most_rows, int all_rows, int first_image, int part, int all_depth) : first_image(first_image) {
        int row_tiles = (most_rows + tile - 1) / tile;
        first_row = blockIdx.x % row_tiles * tile;
        rows = all_rows - first_row;
        column = blockIdx.x / row_tiles * THREADS;
        begin = blockIdx.z * part;
        depth = min(part, all_depth - begin);
    }
};

template <class Part, template <class, class, class> class Math, class A, class B>
__device__ void product(A& a, B& b, const Place& at, float* out, int columns, const float* bias, bool relu, float scale, bool accumulate, float* memory) {
    Math<Part, A, B> math(at.rows, columns - at.column);
    multiply(math, a, b, steps(at.depth), memory);
    int column = at.column + threadIdx.x;
    bool exists = column < columns;
    write_results<Part>(math, {exists ? out + column : nullptr, columns, at.rows, nullptr, bias && exists ? bias + column : nullptr, relu, scale, accumulate}, memory);
}

// Rows are images, columns outputs, k inputs.
template <template <class, class, class> class Math, int ROWS>
__device__ void forward(const float* x, const float* weight, const float* bias, float* y, int draw_images, int draw_pitch, int part, int part_pitch, bool relu, int fours, const Shape& s) {
    using A = DenseAlongK<ROWS>;
    using B = DenseAlongK<THREADS>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    Place at = Place::images(s, ROWS, draw_images, part, s.inputs);
    if (at.rows <= 0) return;
    int image = at.first_image + at.first_row;
    long long draw = (long long)blockIdx.y * draw_pitch;
    A a(x + image * s.inputs + at.begin, s.inputs, at.rows, at.depth, fours & LEFT);
    B b(weight + draw + at.column * s.inputs + at.begin, s.inputs, s.outputs - at.column, at.depth, fours & RIGHT);
    float* out = y + (long long)blockIdx.z * part_pitch + image * s.outputs;
    product<Block<ROWS>, Math>(a, b, at, out, s.outputs, bias ? bias + draw : nullptr, relu, 1.0f, false, memory);
}

// Rows are images, columns inputs, k outputs.
template <template <class, class, class> class Math, int ROWS>
__device__ void input_gradient(const float* dy, const float* weight, float* dx, int draw_images, int draw_pitch, int part, int part_pitch, bool accumulate, int fours, const Shape& s) {
    using A = DenseAlongK<ROWS>;
    using B = DenseAlongRows<THREADS>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    Place at = Place::images(s, ROWS, draw_images, part, s.outputs);
    if (at.rows <= 0) return;
    int image = at.first_image + at.first_row;
    A a(dy + image * s.outputs + at.begin, s.outputs, at.rows, at.depth, fours & LEFT);
    B b(weight + (long long)blockIdx.y * draw_pitch + at.begin * s.inputs + at.column, s.inputs, s.inputs - at.column, at.depth, fours & RIGHT);
    float* out = dx + (long long)blockIdx.z * part_pitch + image * s.inputs;
    product<Block<ROWS>, Math>(a, b, at, out, s.inputs, nullptr, false, 1.0f, accumulate, memory);
}

// Rows are outputs, columns inputs, k images. Where there is a bias, one more column of blocks makes its gradient.
template <template <class, class, class> class Math, int ROWS>
__device__ void weight_gradient(const float* x, const float* dy, float* dweight, float* dbias, int part, int part_pitch, float scale, bool accumulate, int fours, const Shape& s) {
    using A = DenseAlongRows<ROWS>;
    using B = DenseAlongRows<THREADS>;
    __shared__ __align__(16) float memory[Memory<A, B>::WORDS];
    Place at(ROWS, s.outputs, s.outputs, 0, part, s.images);
    long long shift = (long long)blockIdx.z * part_pitch;
    A a(dy + at.begin * s.outputs + at.first_row, s.outputs, at.rows, at.depth, fours & LEFT);
    if (at.column >= s.inputs) {
        write_row_sums(a, steps(at.depth), dbias + shift + at.first_row, at.rows, scale, accumulate, memory);
        return;
    }
    B b(x + at.begin * s.inputs + at.column, s.inputs, s.inputs - at.column, at.depth, fours & RIGHT);
    product<Block<ROWS>, Math>(a, b, at, dweight + shift + at.first_row * s.inputs, s.inputs, nullptr, false, scale, accumulate, memory);
}

#define KERNELS(MATH, NAME, ROWS)                                                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) linear_forward_##NAME##_##ROWS(                                       \
        const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, float* __restrict__ y,   \
        int draw_images, int draw_pitch, int part, int part_pitch, int relu, int fours, int images, int inputs, int outputs) {  \
        forward<MATH, ROWS>(x, weight, bias, y, draw_images, draw_pitch, part, part_pitch, relu, fours, {images, inputs, outputs}); \
    }                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) linear_input_gradient_##NAME##_##ROWS(                                \
        const float* __restrict__ dy, const float* __restrict__ weight, float* __restrict__ dx, int draw_images,                \
        int draw_pitch, int part, int part_pitch, int accumulate, int fours, int images, int inputs, int outputs) {             \
        input_gradient<MATH, ROWS>(dy, weight, dx, draw_images, draw_pitch, part, part_pitch, accumulate, fours, {images, inputs, outputs}); \
    }                                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS, 2) linear_weight_gradient_##NAME##_##ROWS(                               \
        const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ dweight, float* __restrict__ dbias,      \
        int part, int part_pitch, float scale, int accumulate, int fours, int images, int inputs, int outputs) {                \
        weight_gradient<MATH, ROWS>(x, dy, dweight, dbias, part, part_pitch, scale, accumulate, fours, {images, inputs, outputs}); \
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
