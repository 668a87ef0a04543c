// Batch norm with the sum and the ReLU behind it (core/src/layers/batch_norm.rs). x, y (N, C, pixels). A pass holds ghost
// batches of `size` images, the last one perhaps fewer, each with statistics of its own: `statistics` holds, for each
// ghost batch, `stride` values, of which C means and C biased variances are this layer's. Scales and shifts of a ghost
// batch lie `pitch` values after those of the one before, or are the same for all with a pitch of 0.
//
// Sums over a channel of a ghost batch are split among blocks and added up in a fixed order. Images that are vectors have
// neighbouring channels side by side: there a warp takes 32 channels (`columns`), elsewhere a block takes one (`planes`).

// Number of values, their mean, and the sum of their squared distances from it (Welford; merged as Chan et al. 1979).
struct Moments {
    float count, mean, squares;

    __device__ void merge(float n, float m, float s) {
        if (n == 0.0f) return;
        float total = count + n, delta = m - mean, share = n / total;
        mean += delta * share;
        squares += s + delta * delta * count * share;
        count = total;
    }

    __device__ Moments shuffled(int step) const {
        return {__shfl_xor_sync(~0u, count, step), __shfl_xor_sync(~0u, mean, step), __shfl_xor_sync(~0u, squares, step)};
    }
};

// The share of block `split` of `splits` in `count` values, rounded to whole vectors.
struct Share {
    int begin, end;

    __device__ Share(int count, int split, int splits) {
        int per = ((count + splits - 1) / splits + 3) / 4 * 4;
        begin = min(split * per, count), end = min(begin + per, count);
    }
};

// Images of ghost batch g.
__device__ int images_of(int g, int images, int size) { return min(size, images - g * size); }

template <int WIDTH>
__device__ void load(const float* from, float* to) {
    if constexpr (WIDTH == 4) {
        float4 v = *(const float4*)from;
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
        to[0] = *from;
    }
}

template <int WIDTH>
__device__ void store(const float* from, float* to) {
    if constexpr (WIDTH == 4) *(float4*)to = make_float4(from[0], from[1], from[2], from[3]);
    else *to = from[0];
}

template <int WIDTH>
__device__ Moments plane_moments(const float* x, int channels, int pixels, int c, int first, Share share) {
    Moments moments = {0.0f, 0.0f, 0.0f};
    for (int i = share.begin + threadIdx.x * WIDTH; i < share.end; i += 256 * WIDTH) {
        float v[WIDTH];
        load<WIDTH>(x + ((first + i / pixels) * channels + c) * pixels + i % pixels, v);
        if constexpr (WIDTH == 4) {
            float mean = ((v[0] + v[1]) + (v[2] + v[3])) * 0.25f;
            float a = v[0] - mean, b = v[1] - mean, d = v[2] - mean, e = v[3] - mean;
            moments.merge(4.0f, mean, (a * a + b * b) + (d * d + e * e));
        } else {
            moments.merge(1.0f, v[0], 0.0f);
        }
    }
    return moments;
}

// Mean and squares of every block's share. partial: (ghosts, C, splits, 2). Grid (splits, C, ghosts).
extern "C" __global__ void __launch_bounds__(256)
batch_norm_planes(const float* x, float* partial, int images, int channels, int pixels, int size) {
    __shared__ Moments warps[8];
    int c = blockIdx.y, g = blockIdx.z, first = g * size;
    Share share(images_of(g, images, size) * pixels, blockIdx.x, gridDim.x);
    Moments moments = pixels % 4 == 0 ? plane_moments<4>(x, channels, pixels, c, first, share)
                                      : plane_moments<1>(x, channels, pixels, c, first, share);
    for (int step = 16; step > 0; step /= 2) {
        Moments other = moments.shuffled(step);
        // The lower lane's comes first, so that both lanes work out the same.
        if (threadIdx.x & step) {
            Moments mine = moments;
            moments = other;
            moments.merge(mine.count, mine.mean, mine.squares);
        } else {
            moments.merge(other.count, other.mean, other.squares);
        }
    }
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = moments;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int k = 1; k < 8; k++) moments.merge(warps[k].count, warps[k].mean, warps[k].squares);
        float* to = partial + ((g * channels + c) * gridDim.x + blockIdx.x) * 2;
        to[0] = moments.mean, to[1] = moments.squares;
    }
}

// The same for vectors: x (N, C). Grid (splits, groups of 32 channels, ghosts).
extern "C" __global__ void __launch_bounds__(256)
batch_norm_columns(const float* x, float* partial, int images, int channels, int size) {
    __shared__ Moments warps[8][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.y * 32 + lane, g = blockIdx.z;
    Share share(images_of(g, images, size), blockIdx.x, gridDim.x);
    Moments moments = {0.0f, 0.0f, 0.0f};
    if (c < channels)
        for (int i = share.begin + warp; i < share.end; i += 8) moments.merge(1.0f, x[(g * size + i) * channels + c], 0.0f);
    warps[warp][lane] = moments;
    __syncthreads();
    if (warp == 0 && c < channels) {
        for (int k = 1; k < 8; k++) moments.merge(warps[k][lane].count, warps[k][lane].mean, warps[k][lane].squares);
        float* to = partial + ((g * channels + c) * gridDim.x + blockIdx.x) * 2;
        to[0] = moments.mean, to[1] = moments.squares;
    }
}

// Mean and biased variance of every channel and ghost batch from the shares'. One thread a channel and ghost batch.
extern "C" __global__ void __launch_bounds__(128)
batch_norm_statistics(const float* partial, float* statistics, int images, int channels, int pixels, int size,
                      int splits, int stride) {
    int c = blockIdx.x * 128 + threadIdx.x, g = blockIdx.y;
    if (c >= channels) return;
    int count = images_of(g, images, size) * pixels;
    Moments moments = {0.0f, 0.0f, 0.0f};
    for (int s = 0; s < splits; s++) {
        Share share(count, s, splits);
        const float* of = partial + ((g * channels + c) * splits + s) * 2;
        moments.merge((float)(share.end - share.begin), of[0], of[1]);
    }
    statistics[g * stride + c] = moments.mean;
    statistics[g * stride + channels + c] = moments.squares / (float)count;
}

// The running statistics move towards those of the ghost batches, one after the other, for all layers of a network at
// once. batch: (ghosts, count). momentum: one a value; pixels: those of a channel for a variance, 0 for a mean.
extern "C" __global__ void __launch_bounds__(128)
batch_norm_follow(const float* batch, float* running, const float* momentum, const int* pixels, int count, int images,
                  int size, int ghosts, const int* failed) {
    int i = blockIdx.x * 128 + threadIdx.x;
    if (i >= count || *failed) return;
    float value = running[i], share = momentum[i];
    for (int g = 0; g < ghosts; g++) {
        float of_batch = batch[g * count + i];
        if (pixels[i] > 0) {
            int values = images_of(g, images, size) * pixels[i];
            of_batch = of_batch * ((float)values / (float)max(values - 1, 1));
        }
        value = (1.0f - share) * value + share * of_batch;
    }
    running[i] = value;
}

// What is done to a channel of a ghost batch.
struct Channel {
    float mean, inverse, scale, shift;

    __device__ Channel(const float* statistics, int stride, int g, int channels, int c, float eps, const float* scales,
                       const float* shifts, int pitch) {
        const float* of = statistics + g * stride + c;
        mean = of[0];
        inverse = 1.0f / sqrtf(of[channels] + eps);
        scale = scales[(long long)g * pitch + c], shift = shifts[(long long)g * pitch + c];
    }

    __device__ float normal(float x) const { return __fmul_rn(x - mean, inverse); }

    // Rounded the same wherever it is worked out, as its sign is the ReLU's mask.
    __device__ float output(float x) const { return __fmaf_rn(normal(x), scale, shift); }
};

// Not a number stays one: it must reach the loss, where it is noticed.
__device__ float rectified(float x) { return x < 0.0f ? 0.0f : x; }

template <int WIDTH>
__device__ void apply(const float* x, const float* residual, float* y, const float* statistics, int stride,
                      const float* scales, const float* shifts, int pitch, int images, int channels, int pixels, int size, float eps,
                      int relu) {
    int i = (blockIdx.x * 256 + threadIdx.x) * WIDTH;
    if (i >= images * channels * pixels) return;
    int plane = i / pixels, n = plane / channels;
    Channel channel(statistics, stride, n / size, channels, plane % channels, eps, scales, shifts, pitch);
    float v[WIDTH], r[WIDTH];
    load<WIDTH>(x + i, v);
    if (residual) load<WIDTH>(residual + i, r);
    for (int k = 0; k < WIDTH; k++) {
        float out = channel.output(v[k]);
        if (residual) out = out + r[k];
        v[k] = relu ? rectified(out) : out;
    }
    store<WIDTH>(v, y + i);
}

// y = (x - mean) / sqrt(variance + eps) * scale + shift, plus the residual where there is one, rectified if asked for.
// In evaluation the statistics are the running ones, with a stride of 0.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_apply(const float* x, const float* residual, float* y, const float* statistics, int stride,
                 const float* scales, const float* shifts, int pitch, int images, int channels, int pixels, int size, float eps,
                 int relu) {
    if (pixels % 4 == 0)
        apply<4>(x, residual, y, statistics, stride, scales, shifts, pitch, images, channels, pixels, size, eps, relu);
    else
        apply<1>(x, residual, y, statistics, stride, scales, shifts, pitch, images, channels, pixels, size, eps, relu);
}

// What reaches the norm of an output's gradient: with a sum, y tells what the ReLU let through, without one x does.
__device__ float let_through(float dy, float x, const float* y, int i, const Channel& channel, int relu) {
    if (!relu) return dy;
    float out = y ? y[i] : channel.output(x);
    return out > 0.0f ? dy : 0.0f;
}

__device__ float warp_sum(float value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    return value;
}

// Sums of dy and of dy times the normalised x over each block's share, dy behind the ReLU. y is null unless there is a
// sum. partial: (ghosts, C, splits, 2). Grid (splits, C, ghosts).
extern "C" __global__ void __launch_bounds__(256)
batch_norm_plane_sums(const float* x, const float* y, const float* dy, const float* statistics, int stride,
                      const float* scales, const float* shifts, int pitch, float* partial, int images, int channels, int pixels,
                      int size, float eps, int relu) {
    __shared__ float warps[2][8];
    int c = blockIdx.y, g = blockIdx.z;
    Channel channel(statistics, stride, g, channels, c, eps, scales, shifts, pitch);
    Share share(images_of(g, images, size) * pixels, blockIdx.x, gridDim.x);
    float sum = 0.0f, product = 0.0f;
    for (int i = share.begin + threadIdx.x; i < share.end; i += 256) {
        int at = ((g * size + i / pixels) * channels + c) * pixels + i % pixels;
        float v = x[at], d = let_through(dy[at], v, y, at, channel, relu);
        sum += d;
        product += d * channel.normal(v);
    }
    sum = warp_sum(sum), product = warp_sum(product);
    if (threadIdx.x % 32 == 0) warps[0][threadIdx.x / 32] = sum, warps[1][threadIdx.x / 32] = product;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int k = 1; k < 8; k++) sum += warps[0][k], product += warps[1][k];
        float* to = partial + ((g * channels + c) * gridDim.x + blockIdx.x) * 2;
        to[0] = sum, to[1] = product;
    }
}

// The same for vectors. Grid (splits, groups of 32 channels, ghosts).
extern "C" __global__ void __launch_bounds__(256)
batch_norm_column_sums(const float* x, const float* y, const float* dy, const float* statistics, int stride,
                       const float* scales, const float* shifts, int pitch, float* partial, int images, int channels, int size,
                       float eps, int relu) {
    __shared__ float warps[2][8][32];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = blockIdx.y * 32 + lane, g = blockIdx.z;
    Channel channel(statistics, stride, g, channels, min(c, channels - 1), eps, scales, shifts, pitch);
    Share share(images_of(g, images, size), blockIdx.x, gridDim.x);
    float sum = 0.0f, product = 0.0f;
    if (c < channels) {
        for (int i = share.begin + warp; i < share.end; i += 8) {
            int at = (g * size + i) * channels + c;
            float v = x[at], d = let_through(dy[at], v, y, at, channel, relu);
            sum += d;
            product += d * channel.normal(v);
        }
    }
    warps[0][warp][lane] = sum, warps[1][warp][lane] = product;
    __syncthreads();
    if (warp == 0 && c < channels) {
        for (int k = 1; k < 8; k++) sum += warps[0][k][lane], product += warps[1][k][lane];
        float* to = partial + ((g * channels + c) * gridDim.x + blockIdx.x) * 2;
        to[0] = sum, to[1] = product;
    }
}

// sums: (ghosts, 2, C), the shares added up. The gradients of shift and scale, added up over the ghost batches, are
// delivered: stored = weight * gradient, plus what was stored if it accumulates. One thread a channel.
extern "C" __global__ void __launch_bounds__(128)
batch_norm_sums(const float* partial, float* sums, float* dscale, float* dshift, int channels, int splits, int ghosts,
                float weight, int accumulate) {
    int c = blockIdx.x * 128 + threadIdx.x;
    if (c >= channels) return;
    float all = 0.0f, all_products = 0.0f;
    for (int g = 0; g < ghosts; g++) {
        float sum = 0.0f, product = 0.0f;
        const float* of = partial + (g * channels + c) * splits * 2;
        for (int s = 0; s < splits; s++) sum += of[2 * s], product += of[2 * s + 1];
        sums[2 * g * channels + c] = sum, sums[(2 * g + 1) * channels + c] = product;
        all += sum, all_products += product;
    }
    dshift[c] = (accumulate ? dshift[c] : 0.0f) + weight * all;
    dscale[c] = (accumulate ? dscale[c] : 0.0f) + weight * all_products;
}

template <int WIDTH>
__device__ void backward(const float* x, const float* y, float* dy, float* addend, const float* statistics, int stride,
                         const float* scales, const float* shifts, int pitch, const float* sums, int images, int channels, int pixels,
                         int size, float eps, int relu, int train, int add) {
    int i = (blockIdx.x * 256 + threadIdx.x) * WIDTH;
    if (i >= images * channels * pixels) return;
    int plane = i / pixels, n = plane / channels, c = plane % channels, g = n / size;
    Channel channel(statistics, stride, g, channels, c, eps, scales, shifts, pitch);
    float factor = channel.scale * channel.inverse, of_sum = 0.0f, of_product = 0.0f;
    if (train) {
        float count = (float)(images_of(g, images, size) * pixels);
        of_sum = sums[2 * g * channels + c] / count, of_product = sums[(2 * g + 1) * channels + c] / count;
    }
    float v[WIDTH], d[WIDTH], r[WIDTH];
    load<WIDTH>(x + i, v);
    load<WIDTH>(dy + i, d);
    if (addend && add) load<WIDTH>(addend + i, r);
    for (int k = 0; k < WIDTH; k++) {
        d[k] = let_through(d[k], v[k], y, i + k, channel, relu);
        r[k] = add ? r[k] + d[k] : d[k];
    }
    if (addend) store<WIDTH>(r, addend + i);
    for (int k = 0; k < WIDTH; k++) d[k] = factor * (d[k] - of_sum - channel.normal(v[k]) * of_product);
    store<WIDTH>(d, dy + i);
}

// dy becomes the gradient of x; the one that a sum's other input gets is stored in, or added to, `addend`.
extern "C" __global__ void __launch_bounds__(256)
batch_norm_backward(const float* x, const float* y, float* dy, float* addend, const float* statistics, int stride,
                    const float* scales, const float* shifts, int pitch, const float* sums, int images, int channels, int pixels,
                    int size, float eps, int relu, int train, int add) {
    if (pixels % 4 == 0)
        backward<4>(x, y, dy, addend, statistics, stride, scales, shifts, pitch, sums, images, channels, pixels, size, eps, relu,
                    train, add);
    else
        backward<1>(x, y, dy, addend, statistics, stride, scales, shifts, pitch, sums, images, channels, pixels, size, eps, relu,
                    train, add);
}
