// Loaders of convolutions: the windows of an image are never written out, values are fetched from where they lie.
#pragma once

#include "tile.cuh"

// Three digits of a number, `high`, `middle` and `low`, whose lower two count to `middles` and `lows`: what k stands for, found
// by division once and by addition from then on.
struct Digits {
    int high, middle, low;
    int middles, lows;

    __device__ Digits(int number, int middles, int lows) : middles(middles), lows(lows) {
        low = number % lows;
        middle = number / lows % middles;
        high = number / lows / middles;
    }

    __device__ void add(const Digits& step) {
        low += step.low;
        middle += step.middle;
        high += step.high;
        if (low >= lows) low -= lows, middle++;
        if (middle >= middles) middle -= middles, high++;
    }
};

// Sizes of what a loader reads: planes of height x width, `channels` of them of an image's `image_channels`.
struct Planes {
    int channels, height, width;
};

// The right operand of a forward pass (SIGN 1) and of a data gradient (SIGN -1): k is (tap row, tap column, channel), a row of the tile is a pixel.
// Pixel and tap meet at row + SIGN * tap row, column + SIGN * tap column. Every thread has one pixel and all 16 k, the same in every thread.
template <int SIGN>
struct Windows {
    using Tile = RowContiguous<THREADS>;
    static constexpr bool ROUNDED = false;
    Planes planes;
    int taps_down, taps_across;
    // Where this thread's pixel meets tap (0, 0), and what lies there in channel 0; for a pixel that does not exist, far outside.
    int row, column;
    const float* from;
    int down = 0, across = 0, channel = 0;
    Copies<DEPTH> copies = {};

    static constexpr int OUTSIDE = -(1 << 30);

    __device__ Windows(const float* image, Planes planes, int taps_down, int taps_across, int row, int column)
        : planes(planes), taps_down(taps_down), taps_across(taps_across), row(row), column(column),
          from(row == OUTSIDE ? image : image + row * planes.width + column) {}

    __device__ void load(float* tile) {
        const float* at = tap();
        bool exists = met();
        long long plane = planes.height * planes.width;
        // Usually all 16 k are channels of one tap.
        if (planes.channels % DEPTH == 0) {
#pragma unroll
            for (int k = 0; k < DEPTH; k++, at += plane) copies.value(k, tile + Tile::at(threadIdx.x, k), at, exists);
            if ((channel += DEPTH) == planes.channels) next_tap();
            return;
        }
#pragma unroll
        for (int k = 0; k < DEPTH; k++, at += plane) {
            copies.value(k, tile + Tile::at(threadIdx.x, k), at, exists);
            if (++channel == planes.channels) next_tap(), at = tap() - plane, exists = met();
        }
    }

    __device__ void settle(float* tile) {
#pragma unroll
        for (int k = 0; k < DEPTH; k++) copies.settle(k, tile + Tile::at(threadIdx.x, k));
    }

    __device__ const float* tap() const { return settled(from + (channel * planes.height + SIGN * down) * planes.width + SIGN * across); }

    __device__ bool met() const {
        return unsigned(row + SIGN * down) < unsigned(planes.height) && unsigned(column + SIGN * across) < unsigned(planes.width) && down < taps_down;
    }

    __device__ void next_tap() {
        channel = 0;
        if (++across == taps_across) across = 0, down++;
    }
};

// The left operand of a data gradient: a row is an input channel, k is (tap row, tap column, filter) where the taps are those that meet
// the pixels of one phase: every stride-th from the first on. Weights are packed: (filter, tap row, tap column, channel).
template <int ROWS>
struct Taps {
    using Tile = RowContiguous<ROWS>;
    static constexpr bool ROUNDED = true;
    static constexpr int EACH = ROWS / 8;
    const float* from; // filter 0, the first tap, the tile's first channel
    int rows, filters, taps_down, taps_across;
    int filter_size, row_size, column_size; // weights from one filter, tap row or tap column to the next
    bool fours;                             // `from` and all sizes are multiples of 16 bytes, and so are the rows
    int down = 0, across = 0, filter = 0;
    Copies<EACH> copies = {};

    __device__ Taps(const float* from, int rows, int filters, int taps_down, int taps_across, int filter_size, int row_size, int column_size, bool fours)
        : from(from), rows(rows), filters(filters), taps_down(taps_down), taps_across(taps_across), filter_size(filter_size), row_size(row_size),
          column_size(column_size), fours(fours) {}

    // The weight of k `d` further on for row 0, null past the last one.
    __device__ const float* weight(int d) const {
        int f = filter + d, i = down, j = across;
        if (filters % DEPTH != 0) {
            j += f / filters, f %= filters;
            i += j / taps_across, j %= taps_across;
        }
        return i < taps_down ? from + f * filter_size + i * row_size + j * column_size : nullptr;
    }

    __device__ void load(float* tile) {
#if __CUDA_ARCH__ >= 800
        if (fours) {
            constexpr int PIECES = ROWS / 4;
            int row = threadIdx.x % PIECES * 4;
#pragma unroll
            for (int m = 0; m < EACH / 4; m++) {
                int d = threadIdx.x / PIECES + THREADS / PIECES * m;
                const float* at = weight(d);
                copies.four(m, tile + Tile::at(row, d), at + row, row < rows && at);
            }
            next();
            return;
        }
#endif
#pragma unroll
        for (int m = 0; m < EACH; m++) {
            int row = threadIdx.x % ROWS, d = threadIdx.x / ROWS + THREADS / ROWS * m;
            const float* at = weight(d);
            copies.value(m, tile + Tile::at(row, d), at + row, row < rows && at);
        }
        next();
    }

    __device__ void next() {
        filter += DEPTH;
        while (filter >= filters) {
            filter -= filters;
            if (++across == taps_across) across = 0, down++;
        }
    }

    __device__ void settle(float* tile) {
#pragma unroll
        for (int m = 0; m < EACH; m++)
            copies.settle(m, tile + Tile::at(threadIdx.x % ROWS, threadIdx.x / ROWS + THREADS / ROWS * m));
    }
};

// Loaders whose 16 neighbouring threads have a k each: a thread has one k and every eighth row of the tile.
template <int ROWS>
struct AlongK {
    using Tile = KContiguous<ROWS>;
    static constexpr bool ROUNDED = false;
    static constexpr int EACH = ROWS / 8;
    Copies<EACH> copies = {};

    static __device__ int row(int m) { return threadIdx.x / DEPTH + 8 * m; }
    static __device__ int place(int m) { return Tile::at(row(0), threadIdx.x % DEPTH) + m * Tile::EIGHT; }

    __device__ void settle(float* tile) {
#pragma unroll
        for (int m = 0; m < EACH; m++) copies.settle(m, tile + place(m));
    }
};

// The left operand of a weight gradient: a row is a filter, k is (image, output row, output column) from `begin` to `end`.
template <int ROWS>
struct OutputPixels : AlongK<ROWS> {
    using Base = AlongK<ROWS>;
    const float* from; // gradient of image 0, the tile's first filter
    int rows, plane, image_size, end, number;
    Digits k, step;

    __device__ OutputPixels(const float* from, int rows, int plane, int image_size, int begin, int end)
        : from(from), rows(rows), plane(plane), image_size(image_size), end(end), number(begin + threadIdx.x % DEPTH),
          k(number, 1, plane), step(DEPTH, 1, plane) {}

    __device__ void load(float* tile) {
        const float* at = settled(from + k.high * image_size + k.low + Base::row(0) * plane);
        long long eight = 8 * plane;
#pragma unroll
        for (int m = 0; m < Base::EACH; m++, at += eight)
            this->copies.value(m, tile + Base::place(m), at, Base::row(m) < rows && number < end);
        k.add(step);
        number += DEPTH;
    }
};

// The right operand of a weight gradient: a row is (tap row, tap column, channel), k as above. Warps have WARP_ROWS rows each; what none of a block's
// warps with rows that exist reads is not written.
template <int WARP_ROWS>
struct InputPixels : AlongK<THREADS> {
    using Base = AlongK<THREADS>;
    struct alignas(16) Row {
        int offset, down, across;
        int none; // rows are read whole, all 16 bytes
    };
    const float* from; // image 0, the group's channel 0
    Planes planes;
    int image_size, stride_down, stride_across, pad_down, pad_across, end, number;
    Digits k, step;
    int rows, taps_down, taps_across;
    Digits first; // (tap row, tap column, channel) of the block's first row
    const Row* table;

    // `table` are THREADS rows of shared memory; `begin_row` is the block's first row, `rows` how many there are from there on.
    __device__ InputPixels(const float* from, Planes planes, int image_size, const int (&stride)[2], const int (&pad)[2], const int (&output)[2], int begin, int end,
                           int begin_row, int rows, int taps_down, int taps_across, Row* table)
        : from(from), planes(planes), image_size(image_size), stride_down(stride[0]), stride_across(stride[1]), pad_down(pad[0]), pad_across(pad[1]), end(end),
          number(begin + threadIdx.x % DEPTH), k(number, output[0], output[1]), step(DEPTH, output[0], output[1]), rows(rows), taps_down(taps_down),
          taps_across(taps_across), first(begin_row, taps_across, planes.channels), table(table) {
        Digits mine(begin_row + threadIdx.x, taps_across, planes.channels);
        Row row = {(mine.low * planes.height + mine.high) * planes.width + mine.middle, mine.high, mine.middle, 0};
        // A row that does not exist lies outside of every image.
        if (mine.high >= taps_down) row.down = 1 << 30;
        table[threadIdx.x] = row;
        __syncthreads();
    }

    __device__ void load(float* tile) {
        int top = k.middle * stride_down - pad_down, left = k.low * stride_across - pad_across;
        const float* at = settled(from + k.high * image_size + top * planes.width + left);
        if (planes.channels % 8 == 0) load_eights(tile, at, top, left);
        else load_each(tile, at, top, left);
        k.add(step);
        number += DEPTH;
    }

    // Eight neighbouring rows are channels of one tap, which is the same in all threads.
    __device__ void load_eights(float* tile, const float* corner, int top, int left) {
        int channel = first.low, down = first.high, across = first.middle;
        long long plane = planes.height * planes.width, eight = 8 * plane;
        const float* at = settled(corner + (channel + Base::row(0)) * plane + down * planes.width + across);
        bool exists = met(top + down, left + across, down);
#pragma unroll
        for (int m = 0; m < EACH; m++, at += eight) {
            if (m % (WARP_ROWS / 8) == 0 && 8 * m >= rows) break;
            copies.value(m, tile + place(m), at, exists);
            if ((channel += 8) < planes.channels) continue;
            channel = 0;
            if (++across == taps_across) across = 0, down++;
            at = settled(corner + Base::row(0) * plane - eight + down * planes.width + across);
            exists = met(top + down, left + across, down);
        }
    }

    // What the rows stand for comes from shared memory, as every thread has 16 of them.
    __device__ void load_each(float* tile, const float* corner, int top, int left) {
#pragma unroll
        for (int m = 0; m < EACH; m++) {
            Row row = table[Base::row(m)];
            copies.value(m, tile + place(m), corner + row.offset, met(top + row.down, left + row.across, 0));
        }
    }

    __device__ bool met(int row, int column, int tap_row) const {
        return unsigned(row) < unsigned(planes.height) && unsigned(column) < unsigned(planes.width) && tap_row < taps_down && number < end;
    }
};
