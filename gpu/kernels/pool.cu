// Pooling (core/src/layers/pool.rs). x (planes, H, W), y (planes, OH, OW); backward every input gathers from the windows
// that hold it, in their order, so that nothing is added by two threads.

// First and end of the windows along one axis that hold position `at`.
__device__ void holding(int at, int kernel, int stride, int pad, int count, int& first, int& end) {
    int padded = at + pad;
    first = padded < kernel ? 0 : (padded - kernel) / stride + 1;
    end = min(padded / stride + 1, count);
}

// places: of each maximum, its number in its window, row by row; null in evaluation.
extern "C" __global__ void __launch_bounds__(256)
max_pool(const float* x, float* y, unsigned short* places, int planes, int height, int width, int out_height,
         int out_width, int kernel_height, int kernel_width, int stride_height, int stride_width, int pad_height,
         int pad_width) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= planes * out_height * out_width) return;
    int column = i % out_width, row = i / out_width % out_height;
    const float* plane = x + i / (out_width * out_height) * height * width;
    float largest = __int_as_float(0xff800000);
    // Where every value is minus infinity, the window's first one counts.
    int place = -1;
    for (int a = 0; a < kernel_height; a++) {
        int r = row * stride_height - pad_height + a;
        if (r < 0 || r >= height) continue;
        for (int b = 0; b < kernel_width; b++) {
            int c = column * stride_width - pad_width + b;
            if (c < 0 || c >= width) continue;
            float value = plane[r * width + c];
            bool larger = value > largest || (isnan(value) && !isnan(largest));
            if (larger || place < 0) place = a * kernel_width + b;
            if (larger) largest = value;
        }
    }
    y[i] = largest;
    if (places) places[i] = (unsigned short)place;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_backward(const float* dy, const unsigned short* places, float* dx, int planes, int height, int width,
                  int out_height, int out_width, int kernel_height, int kernel_width, int stride_height, int stride_width,
                  int pad_height, int pad_width, int add) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= planes * height * width) return;
    int column = i % width, row = i / width % height, plane = i / (width * height);
    int first_row, end_row, first, end;
    holding(row, kernel_height, stride_height, pad_height, out_height, first_row, end_row);
    holding(column, kernel_width, stride_width, pad_width, out_width, first, end);
    float sum = add ? dx[i] : 0.0f;
    for (int r = first_row; r < end_row; r++) {
        for (int c = first; c < end; c++) {
            int out = (plane * out_height + r) * out_width + c;
            int a = row + pad_height - r * stride_height, b = column + pad_width - c * stride_width;
            if (places[out] == a * kernel_width + b) sum += dy[out];
        }
    }
    dx[i] = sum;
}

// Padding counts as zeros that are part of the mean.
extern "C" __global__ void __launch_bounds__(256)
average_pool(const float* x, float* y, int planes, int height, int width, int out_height, int out_width,
             int kernel_height, int kernel_width, int stride_height, int stride_width, int pad_height, int pad_width) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= planes * out_height * out_width) return;
    int column = i % out_width, row = i / out_width % out_height;
    const float* plane = x + i / (out_width * out_height) * height * width;
    float share = 1.0f / (float)(kernel_height * kernel_width), sum = 0.0f;
    for (int a = 0; a < kernel_height; a++) {
        int r = row * stride_height - pad_height + a;
        if (r < 0 || r >= height) continue;
        for (int b = 0; b < kernel_width; b++) {
            int c = column * stride_width - pad_width + b;
            if (c >= 0 && c < width) sum += plane[r * width + c] * share;
        }
    }
    y[i] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
average_pool_backward(const float* dy, float* dx, int planes, int height, int width, int out_height, int out_width,
                      int kernel_height, int kernel_width, int stride_height, int stride_width, int pad_height,
                      int pad_width, int add) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= planes * height * width) return;
    int column = i % width, row = i / width % height, plane = i / (width * height);
    int first_row, end_row, first, end;
    holding(row, kernel_height, stride_height, pad_height, out_height, first_row, end_row);
    holding(column, kernel_width, stride_width, pad_width, out_width, first, end);
    float share = 1.0f / (float)(kernel_height * kernel_width), sum = add ? dx[i] : 0.0f;
    for (int r = first_row; r < end_row; r++)
        for (int c = first; c < end; c++) sum += dy[(plane * out_height + r) * out_width + c] * share;
    dx[i] = sum;
}

// y (planes): the mean of each plane of x (planes, pixels). One warp a plane.
extern "C" __global__ void __launch_bounds__(128) global_average_pool(const float* x, float* y, int planes, int pixels) {
    int plane = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (plane >= planes) return;
    float sum = 0.0f;
    for (int i = lane; i < pixels; i += 32) sum += x[plane * pixels + i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (lane == 0) y[plane] = sum / (float)pixels;
}

extern "C" __global__ void __launch_bounds__(256)
global_average_pool_backward(const float* dy, float* dx, int planes, int pixels, int add) {
    int i = blockIdx.x * 256 + threadIdx.x;
    if (i < planes * pixels) dx[i] = (add ? dx[i] : 0.0f) + dy[i / pixels] / (float)pixels;
}
