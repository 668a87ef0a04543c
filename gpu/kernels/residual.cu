// The sum of two outputs, where no batch norm takes it along.

extern "C" __global__ void __launch_bounds__(256) sum(const float* x, const float* other, float* y, int n) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < n) y[i] = x[i] + other[i];
}
