//! Vectors of f32 lanes, one trait over three instruction sets.
//!
//! A kernel is written once, generic over [`Simd`], and run by [`Isa::run`], which compiles it
//! under the instruction set's `target_feature`. Everything between `Isa::run` and the
//! intrinsics has to be `#[inline(always)]`; a function that is not inlined there would be
//! compiled for the baseline processor.
//!
//! A value of a type that implements [`Simd`] is the proof that the processor has the
//! instructions: [`Isa`] makes them only after asking the processor. So the arithmetic is safe;
//! only loads and stores, which take pointers, are not.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
pub(crate) mod transpose;

/// Operations on a vector of [`Simd::LANES`] lanes.
///
/// Integer lanes are 32 bits and wrap. All float operations are rounded once, with
/// [`Simd::mul_add`] the one exception.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Lanes of a vector: 16 or 8.
    const LANES: usize;
    /// Vectors that the processor's registers hold.
    const REGISTERS: usize;
    /// f32 lanes.
    type F: Copy;
    /// 32-bit integer lanes, signed or unsigned as the operation says.
    type I: Copy;
    /// The outcome of a comparison, lane by lane.
    type M: Copy;
    /// Vectors of 8 lanes on the same processor.
    type Eight: Simd;

    /// The vectors of 8 lanes.
    fn eight(self) -> Self::Eight;

    /// Loads lanes from `p`; any alignment.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` floats.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// Stores lanes to `p`; any alignment.
    ///
    /// # Safety
    /// `p` is valid for writes of `LANES` floats.
    unsafe fn store(self, p: *mut f32, a: Self::F);
    /// Loads the first `n` lanes from `p`, and zeros into the others.
    ///
    /// # Safety
    /// `n` is at most `LANES`, and `p` is valid for reads of `n` floats.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F;
    /// Stores the first `n` lanes to `p`.
    ///
    /// # Safety
    /// `n` is at most `LANES`, and `p` is valid for writes of `n` floats.
    unsafe fn store_first(self, p: *mut f32, n: usize, a: Self::F);
    /// Loads integer lanes from `p`; any alignment.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` integers.
    unsafe fn load_i(self, p: *const u32) -> Self::I;
    /// Stores integer lanes to `p`; any alignment.
    ///
    /// # Safety
    /// `p` is valid for writes of `LANES` integers.
    unsafe fn store_i(self, p: *mut u32, a: Self::I);

    /// Loads `LANES` signed 16-bit integers from `p` into the lanes.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` 16-bit integers.
    unsafe fn load_halves(self, p: *const i16) -> Self::I;
    /// Loads `LANES` bytes from `p` into the lanes of integers.
    ///
    /// # Safety
    /// `p` is valid for reads of `LANES` bytes.
    unsafe fn load_bytes(self, p: *const u8) -> Self::I;
    /// Stores the lowest byte of each lane to `p`.
    ///
    /// # Safety
    /// `p` is valid for writes of `LANES` bytes.
    unsafe fn store_bytes(self, p: *mut u8, a: Self::I);

    /// Asks for the cache line of `p`, which need not be valid, to be brought into the L2 cache.
    #[inline(always)]
    fn prefetch(self, _p: *const f32) {}

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// All lanes `x`.
    fn splat_i(self, x: u32) -> Self::I;

    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `a * b + c`: rounded once where the processor has a fused operation, twice elsewhere.
    /// Not for results that have to be the same bits on every machine.
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a > b ? a : b`; where either is not a number, `b`.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// |a|: the sign bit cleared.
    fn abs(self, a: Self::F) -> Self::F;
    /// The sum of all lanes: lane j is added to lane j + LANES/2, and so on by halves.
    fn sum(self, a: Self::F) -> f32;

    /// `a > b`; false where either is not a number.
    fn gt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `m ? a : b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// `m ? a : b`.
    fn select_i(self, m: Self::M, a: Self::I, b: Self::I) -> Self::I;

    /// `a + b`.
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b`.
    fn sub_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a & b`.
    fn and_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a | b`.
    fn or_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a ^ b`.
    fn xor_i(self, a: Self::I, b: Self::I) -> Self::I;
    /// `a == b`.
    fn eq_i(self, a: Self::I, b: Self::I) -> Self::M;
    /// `a > b`, signed.
    fn gt_i(self, a: Self::I, b: Self::I) -> Self::M;
    /// `a << N`.
    fn shl<const N: u32>(self, a: Self::I) -> Self::I;
    /// `a >> N`, zeros shifted in.
    fn shr<const N: u32>(self, a: Self::I) -> Self::I;
    /// `a >> N`, the sign shifted in.
    fn sar<const N: u32>(self, a: Self::I) -> Self::I;
    /// `a` rotated left by `N`; `M` is `32 - N`.
    #[inline(always)]
    fn rotl<const N: u32, const M: u32>(self, a: Self::I) -> Self::I {
        self.or_i(self.shl::<N>(a), self.shr::<M>(a))
    }
    /// Product of the low halves plus product of the high halves, all signed 16-bit numbers.
    fn dot_halves(self, a: Self::I, b: Self::I) -> Self::I;
    /// The signed integer as a float, rounded to nearest even.
    fn to_float(self, a: Self::I) -> Self::F;
    /// The same bits as integers.
    fn bits(self, a: Self::F) -> Self::I;
    /// The same bits as floats.
    fn with_bits(self, a: Self::I) -> Self::F;

    /// Transposes a tile of 16 x 16 values of 32 bits:
    /// `target[j * target_stride + i] = source[i * source_stride + j]`.
    ///
    /// # Safety
    /// 16 rows of 16 floats are valid for reads at `source` and for writes at `target`, at their
    /// strides, and do not overlap.
    unsafe fn transpose(
        self,
        source: *const f32,
        source_stride: usize,
        target: *mut f32,
        target_stride: usize,
    );
}

/// A kernel: a closure that is generic over the instruction set.
pub(crate) trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The kernel's body. Has to be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Isa {
    /// Plain Rust, for every processor.
    pub const PORTABLE: Self = Self(Level::Portable);

    /// All instruction sets that this processor has, the fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        let mut all = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(avx512::Avx512::detect().map(|token| Self(Level::Avx512(token))));
            all.extend(avx2::Avx2::detect().map(|token| Self(Level::Avx2(token))));
        }
        all.push(Self::PORTABLE);
        all
    }

    /// The instruction set named by the environment variable `SMOOTHOUT_ISA` (`avx512`, `avx2` or
    /// `portable`) where this processor has it, else the fastest one.
    #[must_use]
    pub fn detect() -> Self {
        let wanted = std::env::var("SMOOTHOUT_ISA").unwrap_or_default();
        let all = Self::available();
        let named = all.iter().find(|isa| isa.name() == wanted);
        *named.unwrap_or(&all[0])
    }

    /// `avx512`, `avx2` or `portable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Level::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(_) => "avx512",
        }
    }

    /// Runs a kernel compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Level::Portable => kernel.run(portable::Portable),
            // SAFETY: the token proves that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2(token) => unsafe { run_avx2(token, kernel) },
            // SAFETY: the token proves that the processor has these instructions.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512(token) => unsafe { run_avx512(token, kernel) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(token: avx2::Avx2, kernel: K) -> K::Output {
    kernel.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<K: Kernel>(token: avx512::Avx512, kernel: K) -> K::Output {
    kernel.run(token)
}

/// The methods of [`Simd`] that are one expression of intrinsics. The expressions are unsafe only
/// because the intrinsics need the processor's feature.
#[cfg(target_arch = "x86_64")]
macro_rules! intrinsics {
    ($($name:ident ( $($arg:ident : $kind:ty),* ) -> $ret:ty = $body:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $ret {
            // SAFETY: `self` exists, so the processor has the instructions.
            unsafe { $body }
        })*
    };
}

/// As [`intrinsics`], for the methods that take a pointer.
#[cfg(target_arch = "x86_64")]
macro_rules! pointer_intrinsics {
    ($($name:ident ( $($arg:ident : $kind:ty),* ) $(-> $ret:ty)? = $body:expr;)*) => {
        $(#[inline(always)]
        unsafe fn $name(self, $($arg: $kind),*) $(-> $ret)? {
            // SAFETY: `self` exists, so the processor has the instructions; the pointer is the
            // caller's promise.
            unsafe { $body }
        })*
    };
}

/// As [`intrinsics`], for shifts by a constant.
#[cfg(target_arch = "x86_64")]
macro_rules! shifts {
    ($kind:ty; $($name:ident = $f:ident;)*) => {
        $(#[inline(always)]
        fn $name<const N: u32>(self, a: $kind) -> $kind {
            // SAFETY: `self` exists, so the processor has the instructions.
            unsafe { $f(a, _mm_cvtsi32_si128(N as i32)) }
        })*
    };
}

#[cfg(target_arch = "x86_64")]
use {intrinsics, pointer_intrinsics, shifts};

#[cfg(test)]
mod tests;
