// Dropout of activations with core's mask bits (core/src/dropout_mask.rs). One thread a generator of 128 elements of an
// image, 32 of which a warp writes side by side.
#include "random.cuh"

constexpr int TILE = 33;

// to = from * (0 or scale), for images of `len` values; both may be the same. The mask of image i of ghost batch g has the
// key h(h(h(base ^ draw) ^ layer) ^ i), with draw = first + g * step.
extern "C" __global__ void __launch_bounds__(128)
dropout(const float* from, float* to, int images, int len, int size, u64 base, int first, int step, int layer,
        int threshold, float scale) {
    __shared__ u32 tiles[4][32][TILE];
    int blocks = (len + BLOCK - 1) / BLOCK, lane = threadIdx.x % 32;
    int mine = blockIdx.x * 128 + threadIdx.x, image = mine / blocks;
    u32(*tile)[TILE] = tiles[threadIdx.x / 32];
    u64 key = hash(hash(base ^ (u64)(u32)(first + image / size * step)) ^ (u64)(u32)layer);
    Generator generator(hash(key ^ (u64)(u32)(image % size)) + (u64)(mine % blocks));
    for (int part = 0; part < BLOCK; part += 32) {
#pragma unroll 4
        for (int i = 0; i < 32; i += 2) {
            u32 word = generator.next();
            tile[lane][i] = word & 0xffff, tile[lane][i + 1] = word >> 16;
        }
        __syncwarp();
#pragma unroll 1
        for (int row = 0; row < 32; row++) {
            int number = mine - lane + row, at = number % blocks * BLOCK + part + lane;
            if (number / blocks < images && at < len) {
                int i = number / blocks * len + at;
                to[i] = from[i] * (tile[row][lane] < (u32)threshold ? 0.0f : scale);
            }
        }
        __syncwarp();
    }
}
