// Sums that were made in parts, so that enough blocks have work: added in the order of the parts, always the same.
constexpr int THREADS = 256;

__device__ float sum(const float* parts, int count, int pitch) {
    float sum = 0.0f;
#pragma unroll 8
    for (int part = 0; part < count; part++) sum += parts[(long long)part * pitch];
    return sum;
}

// Gradient of a weight and, after it in the parts, of a bias: `weights` and `pitch - weights` values. In the parts a filter's weights lie (taps, channels), where
// they go (channels, taps); for linear layers there is one tap, and the inputs are the channels.
extern "C" __global__ void __launch_bounds__(THREADS)
add_gradient_parts(const float* __restrict__ parts, int count, int pitch, int weights, int channels, int taps, float* __restrict__ dweight, float* __restrict__ dbias,
                   float scale, int accumulate) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= pitch) return;
    int row = i / channels, filter = row / taps;
    float* out = i < weights ? dweight + (filter * channels + i % channels) * taps + row % taps : dbias + (i - weights);
    *out = scale * sum(parts + i, count, pitch) + (accumulate ? *out : 0.0f);
}

// Outputs (rows, columns), with a bias for each column where there is one; the rows from `draw_rows * d` on have that which lies `bias_pitch * d` further.
extern "C" __global__ void __launch_bounds__(THREADS)
add_output_parts(const float* __restrict__ parts, int count, int pitch, float* __restrict__ out, int columns, const float* __restrict__ bias, int draw_rows, int bias_pitch,
                 int relu, int accumulate) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= pitch) return;
    float value = sum(parts + i, count, pitch);
    if (bias) value += bias[(long long)(i / columns / draw_rows) * bias_pitch + i % columns];
    if (relu) value = fmaxf(value, 0.0f);
    out[i] = value + (accumulate ? out[i] : 0.0f);
}
