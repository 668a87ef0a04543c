// Tiles in shared memory, and how values come there.
//
// A matrix product goes through its depth k in steps of DEPTH. For each step a block keeps a tile of the left matrix (rows x DEPTH)
// and one of the right matrix (columns x DEPTH; "rows" below stands for both). Each tile has one of two layouts, after the direction in
// which its source is contiguous in global memory, so that reads there are coalesced. In both, what the main loop does has no bank conflicts:
// a warp reads 8 rows x 4 neighbouring k at once, or 16-byte pieces.
#pragma once

constexpr int THREADS = 128; // of every block
constexpr int DEPTH = 16;

// Four neighbours in shared memory. Written out, as the compiler takes a float4 apart and does not always put it together again.
__device__ inline float4 load_four(const float* shared) {
    float4 four;
    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w)
                 : "r"((unsigned)__cvta_generic_to_shared(shared)));
    return four;
}

// The same the other way, and for two.
__device__ inline void store_four(float* shared, float a, float b, float c, float d) {
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"((unsigned)__cvta_generic_to_shared(shared)), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}

__device__ inline void store_two(float* shared, float a, float b) {
    asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"((unsigned)__cvta_generic_to_shared(shared)), "f"(a), "f"(b) : "memory");
}

// [row][k]. A row takes 16 words, half the banks; the four pieces of 16 bytes are permuted by the row's number, so that 8 rows' equal pieces
// lie in different banks.
template <int ROWS_>
struct KContiguous {
    static constexpr int ROWS = ROWS_;
    static constexpr int SIZE = ROWS * DEPTH;
    static constexpr int EIGHT = 8 * DEPTH; // from a row to the eighth one after it, whatever k
    static __device__ int at(int row, int k) { return row * DEPTH + ((k >> 2 ^ (row >> 1 & 3)) << 2) + (k & 3); }
    static __device__ float row_sum(const float* tile, int row) {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k < DEPTH; k += 4) {
            float4 four = load_four(tile + at(row, k));
            sum += four.x + four.y + (four.z + four.w);
        }
        return sum;
    }
};

// [k][row]. The pitch is 8 words more than a multiple of 32: 4 neighbouring k x 8 rows fill the banks once.
template <int ROWS_>
struct RowContiguous {
    static constexpr int ROWS = ROWS_;
    static constexpr int PITCH = ROWS + 8;
    static constexpr int SIZE = DEPTH * PITCH;
    static constexpr int EIGHT = 8;
    static __device__ int at(int row, int k) { return k * PITCH + row; }
    static __device__ float row_sum(const float* tile, int row) {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k < DEPTH; k++) sum += tile[at(row, k)];
        return sum;
    }
};

// The address itself: from here on the compiler adds to it, instead of working out every address from its parts.
__device__ inline const float* settled(const float* address) {
    asm("" : "+l"(address));
    return address;
}

// Copies that a thread has under way, at most N values. From sm_80 on the hardware writes them to shared memory by itself (cp.async);
// before, they wait in registers while the block computes, and `settle` writes them.
template <int N>
struct Copies {
#if __CUDA_ARCH__ >= 800
    // One value, or zero where it does not exist.
    __device__ void value(int, float* to, const float* from, bool exists) {
        unsigned address = __cvta_generic_to_shared(to);
        int bytes = exists ? 4 : 0;
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
    }

    // Four values, at an address that is a multiple of 16 bytes.
    __device__ void four(int, float* to, const float* from, bool exist) {
        unsigned address = __cvta_generic_to_shared(to);
        int bytes = exist ? 16 : 0;
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(bytes) : "memory");
    }

    __device__ void settle(int, float*) {}
#else
    float values[N];

    __device__ void value(int index, float*, const float* from, bool exists) { values[index] = exists ? __ldg(from) : 0.0f; }

    __device__ void settle(int index, float* to) { *to = values[index]; }
#endif
};

// Waits for this thread's copies, then for the other threads: afterwards every thread sees the tile.
__device__ inline void arrive() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncthreads();
}
