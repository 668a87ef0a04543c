// Images of a data set that lies on the device as bytes, chosen, augmented and normalised: the values that the host's data
// gives (host/src/data: augment.rs, memory.rs, normalize.rs).
#include "random.cuh"

// out (count, C, H, W): image i is the set's image `chosen[i]`. table (C, 256): a byte's value. In training (train != 0)
// an image lies at a random place of itself padded by `pad` with the byte `fill`, and is mirrored half of the time, if
// `crop` and `flip` say so; `base` is the address of the seed and the epoch. One block an image.
extern "C" __global__ void __launch_bounds__(256)
gather(const unsigned char* pixels, const unsigned char* labels, const int* chosen, const float* table, float* out,
       int* out_labels, int count, int channels, int height, int width, int train, int crop, int flip, int pad, int fill,
       u64 base) {
    int image = blockIdx.x, index = chosen[image];
    int row = pad, column = pad, mirrored = 0;
    if (train) {
        WideGenerator generator(hash(base ^ (u64)(u32)index));
        int r = (int)generator.below(2 * pad + 1), c = (int)generator.below(2 * pad + 1);
        mirrored = flip && generator.next() >> 63;
        if (crop) row = r, column = c;
    }
    if (threadIdx.x == 0) out_labels[image] = labels[index];
    int len = channels * height * width;
    const unsigned char* source = pixels + (u64)index * len;
    for (int i = threadIdx.x; i < len; i += 256) {
        int x = i % width, y = i / width % height, c = i / (width * height);
        if (mirrored) x = width - 1 - x;
        x += column - pad, y += row - pad;
        bool inside = x >= 0 && x < width && y >= 0 && y < height;
        int byte = inside ? source[(c * height + y) * width + x] : fill;
        out[(u64)image * len + i] = table[c * 256 + byte];
    }
}

// Images of `len` values and labels for passes that see each ghost batch of `size` images `draws` times, the first one less
// `first` times: image i of pass k is image i of ghost batch (first + k) / draws. One block an image.
extern "C" __global__ void __launch_bounds__(256)
repeat(const float* images, const int* labels, float* out, int* out_labels, int len, int size, int first, int draws) {
    int image = blockIdx.x, from = (first + image / size) / draws * size + image % size;
    if (threadIdx.x == 0) out_labels[image] = labels[from];
    const float* source = images + (u64)from * len;
    for (int i = threadIdx.x; i < len; i += 256) out[(u64)image * len + i] = source[i];
}
