// Softmax cross-entropy (core/src/layers/loss.rs). logits (N, classes); a pass holds ghost batches of `size` images, the
// last one perhaps fewer.

// Loss and hit (0 or 1) of every image, and the gradient (softmax - one-hot) / (images of the ghost batch) unless it is
// null. One warp an image.
extern "C" __global__ void __launch_bounds__(128)
softmax_cross_entropy(const float* logits, const int* labels, float* losses, int* hits, float* gradient, int images,
                      int classes, int size) {
    int image = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (image >= images) return;
    const float* z = logits + image * classes;
    int label = labels[image], best = classes;
    float largest = __int_as_float(0xff800000);
    for (int i = lane; i < classes; i += 32)
        if (z[i] > largest) largest = z[i], best = i;
    for (int step = 16; step > 0; step /= 2) {
        float other = __shfl_xor_sync(~0u, largest, step);
        int place = __shfl_xor_sync(~0u, best, step);
        if (other > largest || (other == largest && place < best)) largest = other, best = place;
    }
    float sum = 0.0f;
    for (int i = lane; i < classes; i += 32) sum += expf(z[i] - largest);
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0) {
        losses[image] = logf(sum) + (largest - z[label]);
        // Where no logit is larger than minus infinity, the first class counts as the best.
        hits[image] = (best == classes ? 0 : best) == label;
    }
    if (!gradient) return;
    float count = (float)min(size, images - image / size * size);
    for (int i = lane; i < classes; i += 32) {
        float target = i == label ? 1.0f : 0.0f;
        gradient[image * classes + i] = (expf(z[i] - largest) / sum - target) / count;
    }
}

// Mean loss and hits of every ghost batch: results (ghosts, 2). One block a ghost batch.
extern "C" __global__ void __launch_bounds__(256)
mean_loss(const float* losses, const int* hits, double* results, int images, int size) {
    __shared__ double sums[8];
    __shared__ int counts[8];
    int first = blockIdx.x * size, end = min(first + size, images);
    double sum = 0.0;
    int count = 0;
    for (int i = first + threadIdx.x; i < end; i += 256) sum += (double)losses[i], count += hits[i];
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_down_sync(~0u, sum, step);
        count += __shfl_down_sync(~0u, count, step);
    }
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum, counts[threadIdx.x / 32] = count;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int k = 1; k < 8; k++) sum += sums[k], count += counts[k];
    results[2 * blockIdx.x] = sum / (double)(end - first);
    results[2 * blockIdx.x + 1] = (double)count;
}

// Adds the results of a pass to the record of step `number`: `share` of every mean loss, and the hits. The first loss that
// is not finite is noted in `failed`: the step, and its ghost batch, which is (first + its number in the pass) / draws.
extern "C" __global__ void __launch_bounds__(32)
record_losses(const double* results, double* record, int ghosts, int first, int draws, float share, int number, int* failed) {
    if (threadIdx.x != 0) return;
    for (int g = 0; g < ghosts; g++) {
        record[0] += share * results[2 * g];
        record[1] += results[2 * g + 1];
        if (*failed == 0 && !isfinite((float)results[2 * g])) failed[0] = number, failed[1] = (first + g) / draws;
    }
}
