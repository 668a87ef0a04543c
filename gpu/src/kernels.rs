//! The kernels: embedded PTX, loaded by the driver when a device is opened.

use crate::driver::cuLaunchKernel;
use crate::error::{GpuError, Result, check};
use crate::pointer::Pointer;
use cust::module::{Module, ModuleJitOption};
use cust::stream::Stream;
use cust::sys::CUfunction;
use std::collections::HashMap;
use std::ffi::c_void;
use std::fmt;

/// PTX of one file of `kernels/`, for Turing and, where that differs, for Ampere and later.
struct Source {
    turing: &'static str,
    ampere: Option<&'static str>,
}

macro_rules! source {
    ($name:literal) => {
        Source { turing: include_str!(concat!("../ptx/", $name, ".sm75.ptx")), ampere: None }
    };
    ($name:literal, ampere) => {
        Source {
            turing: include_str!(concat!("../ptx/", $name, ".sm75.ptx")),
            ampere: Some(include_str!(concat!("../ptx/", $name, ".sm80.ptx"))),
        }
    };
}

const SOURCES: &[Source] = &[
    source!("batch_norm"),
    source!("conv", ampere),
    source!("data"),
    source!("dropout"),
    source!("linear", ampere),
    source!("loss"),
    source!("noise"),
    source!("parts"),
    source!("pool"),
    source!("relu"),
    source!("residual"),
    source!("update"),
];

/// A kernel and the sizes of its parameters.
struct Kernel {
    function: CUfunction,
    parameters: Vec<usize>,
}

/// All kernels, by name.
pub(crate) struct Kernels {
    kernels: HashMap<String, Kernel>,
    /// What the functions are part of.
    _modules: Vec<Module>,
}

// SAFETY: the driver's handles may be used by any thread whose current context is theirs.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kernels.keys()).finish()
    }
}

impl Kernels {
    /// Loads all kernels for a device of this compute capability.
    ///
    /// # Errors
    /// The driver's, which compiles the PTX.
    pub(crate) fn load(capability: [u32; 2]) -> Result<Self> {
        let mut all = Self { kernels: HashMap::new(), _modules: Vec::new() };
        for source in SOURCES {
            let ampere = source.ampere.filter(|_| capability >= [8, 0]);
            all.add(ampere.unwrap_or(source.turing))?;
        }
        Ok(all)
    }

    fn add(&mut self, ptx: &str) -> Result<()> {
        let none: &[ModuleJitOption] = &[];
        let module = Module::from_ptx(ptx, none)?;
        for (name, parameters) in entries(ptx) {
            let function = module.get_function(name)?.to_raw();
            self.kernels.insert(name.to_string(), Kernel { function, parameters });
        }
        self._modules.push(module);
        Ok(())
    }

    /// Launches a kernel on the stream, after everything that was launched there before.
    ///
    /// # Errors
    /// The driver's, or arguments of other sizes than the kernel's parameters.
    ///
    /// # Safety
    /// The kernel may read and write what its arguments say it does, until the stream comes past it.
    pub(crate) unsafe fn launch(
        &self,
        stream: &Stream,
        name: &'static str,
        [grid, block]: [[u32; 3]; 2],
        shared: u32,
        arguments: &[Argument],
    ) -> Result<()> {
        let kernel = self.kernels.get(name).ok_or(GpuError::Kernel { kernel: name })?;
        if !arguments.iter().map(|a| a.size).eq(kernel.parameters.iter().copied()) {
            let given = arguments.iter().map(|a| a.size).collect();
            return Err(GpuError::Arguments { kernel: name, expected: kernel.parameters.clone(), given });
        }
        let mut pointers = [std::ptr::null_mut(); MOST_ARGUMENTS];
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = (&raw const argument.bits).cast_mut().cast::<c_void>();
        }
        // SAFETY: there is a pointer to a value of its size for every parameter; the rest is the caller's promise.
        check(unsafe {
            cuLaunchKernel(
                kernel.function,
                grid[0],
                grid[1],
                grid[2],
                block[0],
                block[1],
                block[2],
                shared,
                stream.as_inner(),
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        })
    }
}

/// Most parameters of a kernel.
const MOST_ARGUMENTS: usize = 40;

/// Names of the kernels of a PTX file, each with the sizes of its parameters in bytes.
fn entries(ptx: &str) -> impl Iterator<Item = (&str, Vec<usize>)> {
    ptx.split(".entry ").skip(1).filter_map(|entry| {
        let (name, rest) = entry.split_once('(')?;
        let (parameters, _) = rest.split_once(')')?;
        let sizes = parameters.split(".param ").skip(1).map(|parameter| {
            let wide = parameter.split_whitespace().find(|word| word.starts_with('.') && word.ends_with("64"));
            if wide.is_some() { 8 } else { 4 }
        });
        Some((name.trim(), sizes.collect()))
    })
}

/// A value for a kernel's parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Argument {
    /// The value's bytes, then zeros.
    bits: u64,
    size: usize,
}

macro_rules! argument {
    ($($type:ty, $value:ident => $bits:expr;)*) => {
        $(impl From<$type> for Argument {
            fn from($value: $type) -> Self {
                Self { bits: u64::from($bits).to_le(), size: size_of::<$type>() }
            }
        })*
    };
}

argument! {
    u32, value => value;
    i32, value => value.cast_unsigned();
    f32, value => value.to_bits();
    u64, value => value;
    Pointer, pointer => pointer.address();
}

/// Launches a kernel of a [`Gpu`](crate::Gpu): `launch!(gpu, name, [grid, block], shared bytes, arguments...)`.
/// A safety comment above it says why the arguments are right.
macro_rules! launch {
    ($gpu:expr, $name:ident, $shape:expr, $shared:expr $(, $argument:expr)* $(,)?) => {
        $gpu.kernels.launch(&$gpu.stream, stringify!($name), $shape, $shared, &[$($argument.into()),*])
    };
}
pub(crate) use launch;

/// Grid and block for one thread an item, `threads` in a block.
pub(crate) fn over(items: usize, threads: u32) -> Result<[[u32; 3]; 2]> {
    let blocks = items.div_ceil(threads as usize);
    let blocks = i32::try_from(blocks).map_err(|_| GpuError::TooMany { what: "blocks", value: blocks })?;
    Ok([[blocks.cast_unsigned(), 1, 1], [threads, 1, 1]])
}

/// Grid and block of 128 threads for one warp an item.
pub(crate) fn warps(items: usize) -> Result<[[u32; 3]; 2]> {
    let [grid, _] = over(items, 4)?;
    Ok([grid, [128, 1, 1]])
}

/// A count as kernels take it.
pub(crate) fn int(what: &'static str, value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|_| GpuError::TooMany { what, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_tell_their_parameters_sizes() {
        let ptx = "\n.visible .entry add(\n\t.param .u64 .ptr .align 1 add_param_0,\n\t.param .u32 add_param_1\n)\n{}\n\
                   .visible .entry none()\n{}";
        let found: Vec<_> = entries(ptx).collect();
        assert_eq!(found, [("add", vec![8, 4]), ("none", vec![])]);
    }

    #[test]
    fn no_kernel_has_more_parameters_than_a_launch_has_room_for() {
        let all = SOURCES.iter().flat_map(|s| [Some(s.turing), s.ampere]).flatten();
        for (name, parameters) in all.flat_map(entries) {
            assert!(parameters.len() <= MOST_ARGUMENTS, "{name}");
        }
    }
}
