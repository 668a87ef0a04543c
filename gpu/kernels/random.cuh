// The generators of core's noise contract (core/src/noise, core/src/dropout_mask.rs) and of the host's data.
#pragma once

typedef unsigned int u32;
typedef unsigned long long u64;

// The next output of SplitMix64.
__device__ inline u64 splitmix(u64& state) {
    state += 0x9E3779B97F4A7C15ull;
    u64 z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// First output of SplitMix64 seeded with x.
__device__ inline u64 hash(u64 x) { return splitmix(x); }

__device__ inline u32 rotate(u32 x, int k) { return __funnelshift_l(x, x, k); }

// Elements whose bits come from one generator.
constexpr int BLOCK = 128;

// xoshiro128++.
struct Generator {
    u32 s0, s1, s2, s3;

    __device__ explicit Generator(u64 seed) {
        u64 a = splitmix(seed), b = splitmix(seed);
        s0 = (u32)a, s1 = (u32)(a >> 32), s2 = (u32)b, s3 = (u32)(b >> 32);
    }

    __device__ u32 next() {
        u32 result = rotate(s0 + s3, 7) + s0, t = s1 << 9;
        s2 ^= s0, s3 ^= s1, s1 ^= s2, s0 ^= s3;
        s2 ^= t;
        s3 = rotate(s3, 11);
        return result;
    }
};

// xoshiro256++, of which the data's placements are drawn.
struct WideGenerator {
    u64 s0, s1, s2, s3;

    __device__ explicit WideGenerator(u64 seed) {
        s0 = splitmix(seed), s1 = splitmix(seed), s2 = splitmix(seed), s3 = splitmix(seed);
    }

    __device__ u64 next() {
        u64 sum = s0 + s3, result = ((sum << 23) | (sum >> 41)) + s0, t = s1 << 17;
        s2 ^= s0, s3 ^= s1, s1 ^= s2, s0 ^= s3;
        s2 ^= t;
        s3 = (s3 << 45) | (s3 >> 19);
        return result;
    }

    // A whole number below n.
    __device__ u64 below(u64 n) { return __umul64hi(next(), n); }
};
