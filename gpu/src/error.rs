use crate::driver;
use cust::error::CudaError;

/// What can go wrong on a GPU.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// There is no driver to open.
    #[error("no NVIDIA driver was found: {reason}")]
    NoDriver {
        /// What the system's loader says.
        reason: String,
    },
    /// The driver sees no GPU.
    #[error("the NVIDIA driver finds no GPU in this machine")]
    NoDevice,
    /// The device asked for does not exist.
    #[error("there is no device cuda:{selector}; this machine has {}", present.join(", "))]
    NotFound {
        /// The number or the UUID asked for.
        selector: String,
        /// Number, UUID and name of every device.
        present: Vec<String>,
    },
    /// What was given for a device is neither a number nor a UUID.
    #[error("{value:?} is neither the number nor the UUID of a device")]
    Selector {
        /// The text given.
        value: String,
    },
    /// The device is older than the kernels are for.
    #[error("{name} has compute capability {}.{}; at least 7.5 (Turing) is needed", capability[0], capability[1])]
    TooOld {
        /// The device.
        name: String,
        /// Its compute capability, major and minor.
        capability: [u32; 2],
    },
    /// The device does not have this precision.
    #[error("{name} has compute capability {}.{}; {precision:?} needs 8.0 (Ampere)", capability[0], capability[1])]
    Precision {
        /// The device.
        name: String,
        /// Its compute capability, major and minor.
        capability: [u32; 2],
        /// What was asked for.
        precision: crate::precision::Precision,
    },
    /// A driver call failed.
    #[error("the driver's {call} failed: {message} (error {code})")]
    Driver {
        /// The call's name.
        call: &'static str,
        /// The driver's number of the error, a `CUresult`.
        code: u32,
        /// What the driver says of it.
        message: String,
    },
    /// The network does not fit the memory that is free on the device.
    #[error(
        "a batch of {batch} needs {needed} bytes on the device, where {free} are free; {}",
        if *largest == 0 { "not even one image fits".to_string() } else { format!("the largest batch that fits is {largest}") }
    )]
    Memory {
        /// Images of a pass.
        batch: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Images of the largest pass that fits; 0 when none does.
        largest: usize,
    },
    /// A kernel was to be launched with other arguments than it has.
    #[error("kernel {kernel} takes {expected:?} bytes of arguments, {given:?} were given")]
    Arguments {
        /// The kernel.
        kernel: &'static str,
        /// Size of each of its parameters.
        expected: Vec<usize>,
        /// Size of each argument.
        given: Vec<usize>,
    },
    /// A kernel is in none of the modules.
    #[error("there is no kernel {kernel}")]
    Kernel {
        /// Its name.
        kernel: &'static str,
    },
    /// A number does not fit the 32 bits that kernels count with.
    #[error("{what} of {value} are more than kernels can count")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// The number.
        value: usize,
    },
    /// A slice has the wrong length.
    #[error("{given} values of {what}, {needed} are needed")]
    Length {
        /// What it holds.
        what: &'static str,
        /// Values needed.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// Something was asked for that these parameters have no memory for.
    #[error("{what} is not kept on the device")]
    NotKept {
        /// What was asked for.
        what: &'static str,
    },
    /// A label is not a class.
    #[error("{0}")]
    Label(smoothout::layers::Label),
}

impl From<CudaError> for GpuError {
    /// The error of the driver call that this thread made last.
    fn from(error: CudaError) -> Self {
        Self::driver(error as u32)
    }
}

impl GpuError {
    /// Error `code` of the driver call that this thread made last.
    fn driver(code: u32) -> Self {
        Self::Driver { call: driver::failed_call(), code, message: driver::describe(code) }
    }
}

/// What a driver call returned, as a result.
pub(crate) fn check(code: u32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(GpuError::driver(code)) }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, GpuError>;
