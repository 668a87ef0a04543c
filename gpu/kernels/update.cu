// options: --fmad=false
// Everything that is done to all parameters at once, with the bits of core's plain loops: core/src/optimizer.rs and
// core/src/portable/parameters.rs.

enum Rule { SGD, MOMENTUM, NESTEROV, ADAM, ADAMW };

// The factor that clips a gradient of this norm to the limit; no limit is one below 0. See core's clip_factor.
__device__ float clipped(float scale, const double* norm, float limit) {
    if (limit < 0.0f) return scale;
    float factor = limit / ((float)*norm * scale + 1e-6f);
    return scale * (factor < 1.0f ? factor : 1.0f);
}

// One update of n weights by the stored gradient. `base` is the weights themselves, or their perturbed copy where the noise
// stays. `failed` begins with the number of the step that failed, or 0; after a failure nothing is changed.
// For Adam: b1, b2 its betas, step = rate * c1 and c2 its bias corrections; else b1 is the momentum.
extern "C" __global__ void __launch_bounds__(256)
update(const float* base, float* weights, const float* gradient, float* first, float* second, int n, int rule, float rate,
       float decay, float b1, float b2, float eps, float step, float c2, float scale, const double* norm, float limit,
       const int* failed) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= n || *failed) return;
    scale = clipped(scale, norm, limit);
    float w = base[i], g = gradient[i] * scale;
    if (rule == SGD) {
        weights[i] = w - rate * (g + decay * w);
    } else if (rule == MOMENTUM || rule == NESTEROV) {
        g = g + decay * w;
        float v = b1 * first[i] + g;
        first[i] = v;
        weights[i] = w - rate * (rule == NESTEROV ? g + b1 * v : v);
    } else {
        float apart = rule == ADAMW ? decay : 0.0f;
        g = g + (rule == ADAMW ? 0.0f : decay) * w;
        float m = first[i] + (1.0f - b1) * (g - first[i]);
        float v = b2 * second[i] + (1.0f - b2) * g * g;
        first[i] = m, second[i] = v;
        weights[i] = w * (1.0f - rate * apart) - step * m / (sqrtf(v) * c2 + eps);
    }
}

// average += share * (weights - average).
extern "C" __global__ void __launch_bounds__(256)
average(const float* weights, float* average, int n, float share, const int* failed) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n && !*failed) average[i] += share * (weights[i] - average[i]);
}

// to += weight * from.
extern "C" __global__ void __launch_bounds__(256) add_scaled(const float* from, float* to, int n, float weight) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) to[i] += weight * from[i];
}

// Sum over a block of 256 threads in a fixed order; thread 0 has it.
__device__ double block_sum(double value) {
    __shared__ double sums[8];
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(~0u, value, step);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0)
        for (int k = 1; k < 8; k++) value += sums[k];
    return value;
}

// Sum of the squares of each block's share of n values, in double as a sum in float could overflow.
extern "C" __global__ void __launch_bounds__(256) squares(const float* values, double* partial, int n) {
    double sum = 0.0;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += gridDim.x * 256) sum += (double)values[i] * values[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// The root of the sum of `count` partial sums. A norm that is not finite is noted in `failed` as a failure of step `number`;
// after a failure the norm stays.
extern "C" __global__ void __launch_bounds__(256)
gradient_norm(const double* partial, int count, double* norm, int number, int* failed) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < count; i += 256) sum += partial[i];
    sum = block_sum(sum);
    if (threadIdx.x != 0 || *failed) return;
    *norm = sqrt(sum);
    if (!isfinite((float)sqrt(sum))) failed[0] = number, failed[1] = -1;
}

// values = those from before, if step `number` failed.
extern "C" __global__ void __launch_bounds__(256)
restore(const float* before, float* values, int n, int number, const int* failed) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n && *failed == number) values[i] = before[i];
}
