// What a warp does with two tiles: the products of its part of the block, in one of three precisions. Sums are f32 in all of them.
//
// A block's ROWS x COLUMNS outputs are cut into WARP_ROWS x WARP_COLUMNS, one part a warp.
#pragma once

#include "tile.cuh"

// How 4 warps share a block: 128 x 128 and 64 x 128 two by two, 32 x 128 side by side.
template <int ROWS_>
struct Block {
    static constexpr int ROWS = ROWS_;
    static constexpr int COLUMNS = THREADS; // in the epilogue every thread has one column
    static constexpr int DOWN = ROWS > 32 ? 2 : 1;
    static constexpr int WARP_ROWS = ROWS / DOWN;
    static constexpr int WARP_COLUMNS = COLUMNS * DOWN / 4;
    static __device__ int lane() { return threadIdx.x % 32; }
    static __device__ int row() { return threadIdx.x / 32 % DOWN * WARP_ROWS; }
    static __device__ int column() { return threadIdx.x / 32 / DOWN * WARP_COLUMNS; }
};

// Rows of the outputs that go through shared memory at once, and the pitch they have there; see `epilogue`.
constexpr int STRIPE = 32;
constexpr int STRIPE_PITCH = THREADS + 8;

// A and B are the loaders of the operands (see product.cuh), for their tiles' layouts. Warps without a row or a column that exists do nothing.

// N of a tile's rows for each of LANES lanes, four k at a time, read in pieces of 16 bytes.
template <class Tile, int LANES, int N>
struct Strip;

template <int ROWS, int LANES, int N>
struct Strip<KContiguous<ROWS>, LANES, N> {
    float values[4][N];
    static __device__ int row(int lane, int i) { return lane + LANES * i; }
    __device__ void load(const float* tile, int first, int lane, int k) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float4 four = load_four(tile + KContiguous<ROWS>::at(first + lane + LANES * i, k));
            values[0][i] = four.x, values[1][i] = four.y, values[2][i] = four.z, values[3][i] = four.w;
        }
    }
    // Writes what belongs to the rows, when they are columns of the results, to a row of those.
    static __device__ void store(float* to, int lane, const float (&results)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++) to[row(lane, i)] = results[i];
    }
};

template <int ROWS, int LANES, int N>
struct Strip<RowContiguous<ROWS>, LANES, N> {
    float values[4][N];
    static __device__ int row(int lane, int i) { return i / 4 * 4 * LANES + lane * 4 + i % 4; }
    __device__ void load(const float* tile, int first, int lane, int k) {
#pragma unroll
        for (int d = 0; d < 4; d++) {
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                float4 four = load_four(tile + RowContiguous<ROWS>::at(first + row(lane, i), k + d));
                values[d][i] = four.x, values[d][i + 1] = four.y, values[d][i + 2] = four.z, values[d][i + 3] = four.w;
            }
        }
    }
    static __device__ void store(float* to, int lane, const float (&results)[N]) {
#pragma unroll
        for (int i = 0; i < N; i += 4) store_four(to + row(lane, i), results[i], results[i + 1], results[i + 2], results[i + 3]);
    }
};

// f32 by fused multiply-add: 4 x 8 lanes, each with 8 rows and 4 or 8 columns.
template <class Block, class A, class B>
struct F32 {
    static constexpr int M = Block::WARP_ROWS / 4, N = Block::WARP_COLUMNS / 8;
    float sums[M][N] = {};
    bool idle;

    // `rows` and `columns` of the block exist.
    __device__ F32(int rows, int columns) : idle(Block::row() >= rows || Block::column() >= columns) {}

    __device__ void step(const float* a, const float* b) {
        if (idle) return;
        int lane = Block::lane();
#pragma unroll 1
        for (int k = 0; k < DEPTH; k += 4) {
            Strip<typename A::Tile, 4, M> left;
            Strip<typename B::Tile, 8, N> right;
            left.load(a, Block::row(), lane / 8, k);
            right.load(b, Block::column(), lane % 8, k);
#pragma unroll
            for (int d = 0; d < 4; d++)
#pragma unroll
                for (int i = 0; i < M; i++)
#pragma unroll
                    for (int j = 0; j < N; j++) sums[i][j] = fmaf(left.values[d][i], right.values[d][j], sums[i][j]);
        }
    }

    // Writes this warp's rows `from` to `from` + STRIPE.
    template <int FROM>
    __device__ void store(float* stripe) const {
        static_assert(FROM == 0 && Block::WARP_ROWS == STRIPE, "f32 has one stripe a warp");
        int lane = Block::lane();
#pragma unroll
        for (int i = 0; i < M; i++) {
            float* row = stripe + Strip<typename A::Tile, 4, M>::row(lane / 8, i) * STRIPE_PITCH;
            Strip<typename B::Tile, 8, N>::store(row + Block::column(), lane % 8, sums[i]);
        }
    }
};

#if __CUDA_ARCH__ >= 800
// Fragments of mma.sync (PTX, "Matrix Fragments for mma.m16n8k8"): of A a lane has rows lane / 4 and that + 8, of B column lane / 4, and
// k lane % 4 and that + 4; of the sums rows lane / 4 and that + 8, columns 2 (lane % 4) and that + 1.
template <class Block, class A, class B>
struct Fragments {
    static constexpr int M = Block::WARP_ROWS / 16, N = Block::WARP_COLUMNS / 8;
    float sums[M][N][4] = {};
    bool idle;
    int rows; // of this warp that exist

    __device__ Fragments(int rows, int columns) : idle(Block::row() >= rows || Block::column() >= columns), rows(rows - Block::row()) {}

    // Whether no row of fragment number `i` exists. Only narrow blocks ask: layers with few channels leave much of them empty.
    __device__ bool empty(int i) const { return Block::ROWS == 32 && 16 * i >= rows; }

    // The four values of A's 16 x 8 fragment number `i`: (row, k), (row + 8, k), (row, k + 4), (row + 8, k + 4).
    static __device__ void left(const float* a, int i, int k, float (&values)[4]) {
        int lane = Block::lane(), row = Block::row() + lane / 4;
#pragma unroll
        for (int v = 0; v < 4; v++) values[v] = a[A::Tile::at(row, k + v / 2 * 4 + lane % 4) + (2 * i + v % 2) * A::Tile::EIGHT];
    }

    // The two values of B's 8 x 8 fragment number `j`: (k, column), (k + 4, column).
    static __device__ void right(const float* b, int j, int k, float (&values)[2]) {
        int lane = Block::lane(), column = Block::column() + lane / 4;
#pragma unroll
        for (int v = 0; v < 2; v++) values[v] = b[B::Tile::at(column, k + v * 4 + lane % 4) + j * B::Tile::EIGHT];
    }

    template <int FROM>
    __device__ void store(float* stripe) const {
        int lane = Block::lane();
#pragma unroll
        for (int i = 0; i < STRIPE / 16; i++)
#pragma unroll
            for (int j = 0; j < N; j++) {
                float* to = stripe + (16 * i + lane / 4) * STRIPE_PITCH + Block::column() + 8 * j + lane % 4 * 2;
                const float(&four)[4] = sums[FROM / 16 + i][j];
                store_two(to, four[0], four[1]);
                store_two(to + 8 * STRIPE_PITCH, four[2], four[3]);
            }
    }
};

__device__ inline unsigned to_tf32(float value) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

// An operand of Loader's; packed weights are rounded already.
template <class Loader>
__device__ unsigned operand(float value) {
    if constexpr (Loader::ROUNDED) return __float_as_uint(value);
    else return to_tf32(value);
}

// Two values as bf16, the first in the lower half.
__device__ inline unsigned to_bf16(float low, float high) {
    unsigned bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// Operands rounded to tf32 (10 bits of mantissa, nearest, ties away from zero).
template <class Block, class A, class B>
struct Tf32 : Fragments<Block, A, B> {
    using Base = Fragments<Block, A, B>;
    using Base::Base;

    __device__ void step(const float* a, const float* b) {
        if (this->idle) return;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 8) {
            unsigned left[Base::M][4], right[Base::N][2];
#pragma unroll
            for (int i = 0; i < Base::M; i++) {
                if (this->empty(i)) break;
                float values[4];
                Base::left(a, i, k, values);
#pragma unroll
                for (int v = 0; v < 4; v++) left[i][v] = operand<A>(values[v]);
            }
#pragma unroll
            for (int j = 0; j < Base::N; j++) {
                float values[2];
                Base::right(b, j, k, values);
                right[j][0] = operand<B>(values[0]), right[j][1] = operand<B>(values[1]);
            }
#pragma unroll
            for (int i = 0; i < Base::M; i++) {
                if (this->empty(i)) break;
#pragma unroll
                for (int j = 0; j < Base::N; j++) {
                    float(&c)[4] = this->sums[i][j];
                    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                        : "r"(left[i][0]), "r"(left[i][1]), "r"(left[i][2]), "r"(left[i][3]), "r"(right[j][0]), "r"(right[j][1]));
                }
            }
        }
    }
};

// Operands rounded to bf16 (7 bits of mantissa, nearest, ties to even). mma.m16n8k16 wants neighbouring k in one register; as a sum over k may go in any
// order, k and k + 4 are given out as neighbours, the same way in A and B, and both precisions read shared memory alike.
template <class Block, class A, class B>
struct Bf16 : Fragments<Block, A, B> {
    using Base = Fragments<Block, A, B>;
    using Base::Base;

    __device__ void step(const float* a, const float* b) {
        if (this->idle) return;
        unsigned left[Base::M][4], right[Base::N][2];
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int i = 0; i < Base::M; i++) {
                if (this->empty(i)) break;
                float values[4];
                Base::left(a, i, 8 * half, values);
                left[i][2 * half] = to_bf16(values[0], values[2]), left[i][2 * half + 1] = to_bf16(values[1], values[3]);
            }
#pragma unroll
            for (int j = 0; j < Base::N; j++) {
                float values[2];
                Base::right(b, j, 8 * half, values);
                right[j][half] = to_bf16(values[0], values[1]);
            }
        }
#pragma unroll
        for (int i = 0; i < Base::M; i++) {
            if (this->empty(i)) break;
#pragma unroll
            for (int j = 0; j < Base::N; j++) {
                float(&c)[4] = this->sums[i][j];
                asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                    : "r"(left[i][0]), "r"(left[i][1]), "r"(left[i][2]), "r"(left[i][3]), "r"(right[j][0]), "r"(right[j][1]));
            }
        }
    }
};
#endif
