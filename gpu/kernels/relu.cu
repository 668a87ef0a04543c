// max(x, 0) (core/src/layers/relu.rs) of n values, in place backward.

// Not a number stays one: it must reach the loss, where it is noticed.
extern "C" __global__ void __launch_bounds__(256) relu(const float* x, float* y, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

// dy = dy where the output y is positive, else 0.
extern "C" __global__ void __launch_bounds__(256) relu_backward(const float* y, float* dy, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n && !(y[i] > 0.0f)) dy[i] = 0.0f;
}
