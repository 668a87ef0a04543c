// A block's product, from loaders to results.
//
// A loader fills the tiles of one operand, from the first k on: `load` starts the copies of the next tile and moves on, `settle` ends
// them (before sm_80; see tile.cuh). What does not exist, past the last row or k, is filled with zeros, so the main loop knows no edges.
#pragma once

#include "math.cuh"

// Tiles of k.
__device__ inline int steps(int depth) { return (depth + DEPTH - 1) / DEPTH; }

// Shared memory of a product: two tiles of each operand, and later a stripe of the results.
template <class A, class B>
struct Memory {
    static constexpr int STAGE = A::Tile::SIZE + B::Tile::SIZE;
    static constexpr int WORDS = 2 * STAGE > STRIPE * STRIPE_PITCH ? 2 * STAGE : STRIPE * STRIPE_PITCH;
};

// Adds the products of `count` tiles: while one is worked on, the next is copied.
template <class Math, class A, class B>
__device__ void multiply(Math& math, A& a, B& b, int count, float* memory) {
    constexpr int STAGE = Memory<A, B>::STAGE;
    for (int step = 0; step <= count; step++) {
        float* next = memory + step % 2 * STAGE;
        float* now = memory + (step + 1) % 2 * STAGE;
        // After this the last copies are there, and nobody reads any more what the next ones overwrite.
        arrive();
        if (step < count) a.load(next), b.load(next + A::Tile::SIZE);
        if (step > 0) math.step(now, now + A::Tile::SIZE);
        if (step < count) a.settle(next), b.settle(next + A::Tile::SIZE);
    }
}

// What becomes of the sums. Every thread has one column of the block, `out` is where its row 0 goes, null when the column does not exist.
struct Results {
    float* out;
    int row_stride;
    int rows;                 // that exist in this block
    const float* row_bias;    // of this block's rows, or null
    const float* column_bias; // of this thread's column, or null
    bool relu;
    float scale;     // of the results, last
    bool accumulate; // add to what is there
};

// One stripe of the results: registers, shared memory, then global memory row by row, so that a warp writes neighbours.
template <int FROM, class Block, class Math>
__device__ void write_stripe(const Math& math, int warp_row, const Results& to, float* memory) {
    __syncthreads();
    if (Block::row() == warp_row) math.template store<FROM>(memory);
    __syncthreads();
    if (!to.out) return;
    float column_bias = to.column_bias ? *to.column_bias : 0.0f;
#pragma unroll 4
    for (int r = 0; r < STRIPE; r++) {
        int row = warp_row + FROM + r;
        if (row >= to.rows) break;
        float value = memory[r * STRIPE_PITCH + threadIdx.x] + column_bias;
        if (to.row_bias) value += to.row_bias[row];
        if (to.relu) value = fmaxf(value, 0.0f);
        float* out = to.out + row * (long long)to.row_stride;
        *out = to.scale * value + (to.accumulate ? *out : 0.0f);
    }
}

template <class Block, class Math>
__device__ void write_results(const Math& math, const Results& to, float* memory) {
#pragma unroll
    for (int warp_row = 0; warp_row < Block::ROWS; warp_row += Block::WARP_ROWS) {
        write_stripe<0, Block>(math, warp_row, to, memory);
        if constexpr (Block::WARP_ROWS > STRIPE) write_stripe<STRIPE, Block>(math, warp_row, to, memory);
    }
}

// Sums over k of the left operand's rows: the gradient of a bias beside that of its weight.
template <class A>
__device__ void write_row_sums(A& a, int count, float* out, int rows, float scale, bool accumulate, float* memory) {
    float sum = 0.0f;
    for (int step = 0; step < count; step++) {
        __syncthreads();
        a.load(memory);
        a.settle(memory);
        arrive();
        if (threadIdx.x >= A::Tile::ROWS) continue;
        sum += A::Tile::row_sum(memory, threadIdx.x);
    }
    if (threadIdx.x >= A::Tile::ROWS || threadIdx.x >= rows) return;
    out += threadIdx.x;
    *out = scale * sum + (accumulate ? *out : 0.0f);
}
