// Loaders of plain matrices: rows side by side, or columns.
#pragma once

#include "tile.cuh"

// A matrix in which k is contiguous: (row, k) lies at row * pitch + k.
template <int ROWS, bool ROUNDED_ = false>
struct DenseAlongK {
    using Tile = KContiguous<ROWS>;
    static constexpr bool ROUNDED = ROUNDED_;
    static constexpr int EACH = ROWS / 8; // values of a thread
    const float* from;
    int pitch, rows, depth;
    bool fours; // `from` and the pitch are multiples of 16 bytes, and so is the depth
    int k = 0;
    Copies<EACH> copies = {};

    __device__ DenseAlongK(const float* from, int pitch, int rows, int depth, bool fours)
        : from(from), pitch(pitch), rows(rows), depth(depth), fours(fours) {}

    __device__ void load(float* tile) {
#if __CUDA_ARCH__ >= 800
        if (fours) {
            int piece = threadIdx.x % 4 * 4;
#pragma unroll
            for (int m = 0; m < EACH / 4; m++) {
                int row = threadIdx.x / 4 + 32 * m;
                float* to = tile + Tile::at(threadIdx.x / 4, piece) + 4 * m * Tile::EIGHT;
                copies.four(m, to, from + row * pitch + k + piece, row < rows && k + piece < depth);
            }
            k += DEPTH;
            return;
        }
#endif
        int mine = k + threadIdx.x % DEPTH;
#pragma unroll
        for (int m = 0; m < EACH; m++) {
            int row = threadIdx.x / DEPTH + 8 * m;
            copies.value(m, tile + place(m), from + row * pitch + mine, row < rows && mine < depth);
        }
        k += DEPTH;
    }

    __device__ void settle(float* tile) {
#pragma unroll
        for (int m = 0; m < EACH; m++) copies.settle(m, tile + place(m));
    }

    static __device__ int place(int m) { return Tile::at(threadIdx.x / DEPTH, threadIdx.x % DEPTH) + m * Tile::EIGHT; }
};

// A matrix in which rows are contiguous: (row, k) lies at k * pitch + row.
template <int ROWS>
struct DenseAlongRows {
    using Tile = RowContiguous<ROWS>;
    static constexpr bool ROUNDED = false;
    static constexpr int EACH = ROWS / 8;
    const float* from;
    int pitch, rows, depth;
    bool fours; // `from` and the pitch are multiples of 16 bytes, and so are the rows
    int k = 0;
    Copies<EACH> copies = {};

    __device__ DenseAlongRows(const float* from, int pitch, int rows, int depth, bool fours)
        : from(from), pitch(pitch), rows(rows), depth(depth), fours(fours) {}

    __device__ void load(float* tile) {
#if __CUDA_ARCH__ >= 800
        if (fours) {
            constexpr int PIECES = ROWS / 4;
            int row = threadIdx.x % PIECES * 4;
#pragma unroll
            for (int m = 0; m < EACH / 4; m++) {
                int d = threadIdx.x / PIECES + THREADS / PIECES * m;
                copies.four(m, tile + Tile::at(row, d), from + (k + d) * pitch + row, row < rows && k + d < depth);
            }
            k += DEPTH;
            return;
        }
#endif
#pragma unroll
        for (int m = 0; m < EACH; m++) {
            int row = threadIdx.x % ROWS, d = threadIdx.x / ROWS + THREADS / ROWS * m;
            copies.value(m, tile + Tile::at(row, d), from + (k + d) * pitch + row, row < rows && k + d < depth);
        }
        k += DEPTH;
    }

    __device__ void settle(float* tile) {
#pragma unroll
        for (int m = 0; m < EACH; m++)
            copies.settle(m, tile + Tile::at(threadIdx.x % ROWS, threadIdx.x / ROWS + THREADS / ROWS * m));
    }
};
