// Kernels in styles that the backend's own do not have: what the emulator is to run for anybody. tests/styles.rs launches
// them. Built by gpu/kernels/build like those.
typedef unsigned u32;
typedef unsigned long long u64;

// A grid-stride sum by shuffles, shared memory and one atomic a block.
extern "C" __global__ void reduce(const float* x, float* out, int n) {
    __shared__ float sums[32];
    float value = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) value += x[i];
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(~0u, value, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) {
        value = threadIdx.x < blockDim.x / 32 ? sums[threadIdx.x] : 0.0f;
        for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
        if (threadIdx.x == 0) atomicAdd(out, value);
    }
}

// Those that are a multiple of three, gathered with one atomic a warp; lanes that ask are not all.
extern "C" __global__ void compact(const int* x, int* out, int* count, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        if (x[i] % 3 != 0) continue;
        u32 members = __activemask(), lane = threadIdx.x % 32, leader = __ffs(members) - 1;
        int start;
        if (lane == leader) start = atomicAdd(count, __popc(members));
        start = __shfl_sync(members, start, leader);
        out[start + __popc(members & ((1u << lane) - 1))] = x[i];
    }
}

// A tile with a column of padding.
extern "C" __global__ void transpose(const float* from, float* to, int width, int height) {
    __shared__ float tile[32][33];
    int x = threadIdx.x % 32, y = threadIdx.x / 32;
    for (int j = y; j < 32; j += 8)
        if (x < width && j < height) tile[j][x] = from[j * width + x];
    __syncthreads();
    for (int j = y; j < 32; j += 8)
        if (x < height && j < width) to[j * height + x] = tile[x][j];
}

struct Pair {
    int sum;
    double half;
};

__device__ __noinline__ Pair pair(int a, int b) { return {a + b, 0.5 * (a - b)}; }

__device__ __noinline__ int fibonacci(int n) {
    int a = 0, b = 1;
    while (n-- > 0) {
        int next = a + b;
        a = b, b = next;
    }
    return a;
}

// Lanes part in a switch, in loops of different lengths and by early ends; an array is indexed by what is only known then.
extern "C" __global__ void branches(int* out, int n) {
    int t = threadIdx.x, result = 0, local[16];
    for (int i = 0; i < 16; i++) local[i] = i * t;
    switch (t % 8) {
        case 0: result = 5; break;
        case 1: result = t * t; break;
        case 2: result = fibonacci(t % 20); break;
        case 3:
            for (int i = 0; i < t; i++) {
                if (i == 7) continue;
                if (i > 20) break;
                result += i;
            }
            break;
        case 4: result = -1; // and on
        case 5: result += 10; break;
        case 6: return;
        default: result = local[(t * n) & 15];
    }
    Pair of = pair(result, t);
    out[t] = of.sum + (int)(2.0 * of.half);
}

// One word an operation.
extern "C" __global__ void integers(const u32* a, const u32* b, u32* out) {
    u32 x = a[threadIdx.x], y = b[threadIdx.x], *p = out + 16 * threadIdx.x;
    p[0] = __popc(x), p[1] = __clz(x), p[2] = __brev(x), p[3] = __byte_perm(x, y, 0x5140);
    p[4] = __funnelshift_l(x, y, y), p[5] = __ffs(x), p[6] = __umulhi(x, y), p[7] = __mulhi((int)x, (int)y);
    p[8] = x / (y | 1), p[9] = (int)x % (int)(y | 1), p[10] = (int)x >> (y & 31), p[11] = __vabsdiffu4(x, y);
    p[12] = __dp4a((int)x, (int)y, 7), p[13] = __usad(x, y, 3), p[14] = min((int)x, (int)y), p[15] = __fns(x, 3, 2);
}

extern "C" __global__ void wide(const u64* a, const u64* b, u64* out) {
    u64 x = a[threadIdx.x], y = b[threadIdx.x] | 1, *p = out + 8 * threadIdx.x;
    p[0] = x / y, p[1] = (long long)x % (long long)y, p[2] = __umul64hi(x, y), p[3] = x * y;
    p[4] = __popcll(x) + __clzll(x), p[5] = (long long)x >> (y & 63), p[6] = __double_as_longlong((double)x);
    p[7] = __double_as_longlong(sqrt((double)x) / (double)y);
}

// Functions of the mathematical library.
extern "C" __global__ void functions(const float* x, float* out, int n) {
    int t = threadIdx.x;
    float v = x[t];
    out[t] = expf(v), out[n + t] = logf(v), out[2 * n + t] = sinf(1000.0f * v), out[3 * n + t] = powf(v, 1.7f);
    out[4 * n + t] = sqrtf(v), out[5 * n + t] = 1.0f / v, out[6 * n + t] = tanhf(v), out[7 * n + t] = (float)exp((double)v);
}

// A lock, whose owner reads and writes what it guards.
__device__ int held, guarded;
extern "C" __global__ void locked() {
    while (atomicCAS(&held, 0, 1) != 0) {}
    __threadfence();
    *(volatile int*)&guarded = *(volatile int*)&guarded + blockIdx.x;
    __threadfence();
    atomicExch(&held, 0);
}

extern "C" __global__ void what_was_guarded(int* out) { *out = guarded; }

// Sorts 256 values.
extern "C" __global__ void sort(int* x) {
    __shared__ int s[256];
    int t = threadIdx.x;
    s[t] = x[t];
    __syncthreads();
    for (int k = 2; k <= 256; k *= 2)
        for (int j = k / 2; j > 0; j /= 2) {
            int other = t ^ j;
            if (other > t && (s[t] > s[other]) == ((t & k) == 0)) {
                int kept = s[t];
                s[t] = s[other], s[other] = kept;
            }
            __syncthreads();
        }
    x[t] = s[t];
}

#if __CUDA_ARCH__ >= 800
// A warp's product of halves (16 x 16) and (16 x 8, column by column), by copies in the background and ldmatrix.
extern "C" __global__ void product(const unsigned short* a, const unsigned short* b, float* c) {
    __shared__ __align__(16) unsigned short of_a[16][24], of_b[8][24];
    int lane = threadIdx.x, group = lane / 4, thread = lane % 4;
    auto copy = [](void* to, const void* from) {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from));
    };
    copy(&of_a[lane / 2][lane % 2 * 8], a + lane * 8);
    if (lane < 16) copy(&of_b[lane / 2][lane % 2 * 8], b + lane * 8);
    asm volatile("cp.async.commit_group; cp.async.wait_group 0;" ::: "memory");
    __syncwarp();
    u32 x[4], y[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3]) : "r"((u32)__cvta_generic_to_shared(&of_a[lane % 16][lane / 16 * 8])));
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(y[0]), "=r"(y[1]) : "r"((u32)__cvta_generic_to_shared(&of_b[lane % 8][lane / 8 % 2 * 8])));
    float d[4] = {};
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "r"(y[0]), "r"(y[1]));
    c[group * 8 + 2 * thread] = d[0], c[group * 8 + 2 * thread + 1] = d[1];
    c[(group + 8) * 8 + 2 * thread] = d[2], c[(group + 8) * 8 + 2 * thread + 1] = d[3];
}
#endif
