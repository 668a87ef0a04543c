//! A device: chosen, opened, with its kernels loaded.

use crate::driver;
use crate::error::{GpuError, Result, check};
use crate::kernels::Kernels;
use crate::pointer::Pointer;
use crate::precision::Precision;
use cust::CudaFlags;
use cust::context::{Context, CurrentContext};
use cust::device::{Device, DeviceAttribute};
use cust::error::CudaError;
use cust::stream::{Stream, StreamFlags};
use cust::sys::CUuuid;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Which device: `0`, `1`, ... or a UUID as nvidia-smi prints it, `GPU-` and 32 hexadecimal digits in groups, or the
/// beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its number.
    Number(u32),
    /// By the beginning of its UUID, in lower case, without dashes.
    Uuid(String),
}

impl Default for Selector {
    /// The first one.
    fn default() -> Self {
        Self::Number(0)
    }
}

impl FromStr for Selector {
    type Err = GpuError;

    fn from_str(value: &str) -> Result<Self> {
        let wrong = || GpuError::Selector { value: value.into() };
        let Some(uuid) = value.strip_prefix("GPU-") else {
            return value.parse().map(Self::Number).map_err(|_| wrong());
        };
        let digits: String = uuid.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).collect();
        let hexadecimal = digits.chars().all(|c| c.is_ascii_hexdigit());
        if digits.is_empty() || digits.len() > 32 || !hexadecimal { Err(wrong()) } else { Ok(Self::Uuid(digits)) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Uuid(digits) => write!(f, "GPU-{digits}"),
        }
    }
}

/// An open device with its kernels and one stream, in whose order everything happens.
///
/// The device's primary context is shared with whoever else uses it in this process, and given back when this and
/// all its buffers are dropped.
#[derive(Debug)]
pub struct Gpu {
    // In the order in which they are given back.
    pub(crate) kernels: Kernels,
    pub(crate) stream: Stream,
    pub(crate) context: Arc<Context>,
    number: u32,
    name: String,
    uuid: String,
    capability: [u32; 2],
}

impl Gpu {
    /// Opens the device and loads the kernels.
    ///
    /// # Errors
    /// No driver, no such device, a device that is too old, or another of the driver's.
    pub fn open(selector: &Selector) -> Result<Self> {
        driver::open().map_err(|reason| GpuError::NoDriver { reason: reason.into() })?;
        cust::init(CudaFlags::empty()).map_err(|error| match error {
            CudaError::NoDevice => GpuError::NoDevice,
            other => other.into(),
        })?;
        let count = Device::num_devices()?;
        if count == 0 {
            return Err(GpuError::NoDevice);
        }
        let (number, device, uuid) = choose(selector, count)?;
        let attribute = |which| Ok::<_, GpuError>(device.get_attribute(which)?.unsigned_abs());
        let capability = [
            attribute(DeviceAttribute::ComputeCapabilityMajor)?,
            attribute(DeviceAttribute::ComputeCapabilityMinor)?,
        ];
        let name = device.name()?;
        if capability < [7, 5] {
            return Err(GpuError::TooOld { name, capability });
        }
        let context = Arc::new(Context::new(device)?);
        CurrentContext::set_current(&*context)?;
        // Modules and stream go before the context, also when the stream fails.
        let kernels = Kernels::load(capability)?;
        let stream = Stream::new(StreamFlags::DEFAULT, None)?;
        Ok(Self { kernels, stream, context, number, name, uuid, capability })
    }

    /// The device as somebody in this process has it open, or else opened now: several networks on one device then share its
    /// stream and its kernels.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn shared(selector: &Selector) -> Result<Arc<Self>> {
        static OPEN: Mutex<Vec<Weak<Gpu>>> = Mutex::new(Vec::new());
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|gpu| gpu.strong_count() > 0);
        let same = |gpu: &Arc<Gpu>| match selector {
            Selector::Number(number) => gpu.number == *number,
            Selector::Uuid(digits) => gpu.uuid.replace('-', "").trim_start_matches("GPU").starts_with(digits.as_str()),
        };
        if let Some(gpu) = open.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(gpu);
        }
        let gpu = Arc::new(Self::open(selector)?);
        open.push(Arc::downgrade(&gpu));
        Ok(gpu)
    }

    /// Its number.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its UUID, as nvidia-smi prints it.
    pub fn uuid(&self) -> &str {
        &self.uuid
    }

    /// The most useful precision that it has: tf32, or f32 before Ampere.
    pub fn best_precision(&self) -> Precision {
        if self.capability >= [8, 0] { Precision::Tf32 } else { Precision::F32 }
    }

    /// Its compute capability, major and minor.
    pub const fn capability(&self) -> [u32; 2] {
        self.capability
    }

    /// Makes the device this thread's: before any call of the driver, as a thread may have had another one since.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn enter(&self) -> Result<()> {
        Ok(CurrentContext::set_current(&*self.context)?)
    }

    /// Waits for everything that was launched.
    ///
    /// # Errors
    /// The driver's, also of kernels that were launched before.
    pub fn synchronize(&self) -> Result<()> {
        Ok(self.stream.synchronize()?)
    }

    /// Bytes that are free, and all.
    ///
    /// # Errors
    /// The driver's.
    pub fn memory(&self) -> Result<[u64; 2]> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: two places to write to.
        check(unsafe { driver::cuMemGetInfo_v2(&mut free, &mut total) })?;
        Ok([free as u64, total as u64])
    }

    /// Sets bytes to 0 in the stream's order.
    pub(crate) fn fill_zero(&self, at: Pointer, bytes: usize) -> Result<()> {
        if bytes > 0 {
            // SAFETY: the callers' buffers are as long.
            check(unsafe { driver::cuMemsetD8Async(at.address(), 0, bytes, self.stream.as_inner()) })?;
        }
        Ok(())
    }

    /// Copies 32-bit values on the device, in the stream's order; the two places do not overlap.
    pub(crate) fn copy(&self, from: Pointer, to: Pointer, values: usize) -> Result<()> {
        if values > 0 {
            // SAFETY: the callers' buffers are as long.
            check(unsafe {
                driver::cuMemcpyDtoDAsync_v2(to.address(), from.address(), 4 * values, self.stream.as_inner())
            })?;
        }
        Ok(())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // Modules and stream are given back on this thread, which may have had another device since.
        let _ = self.enter();
    }
}

/// The device, its number and its UUID as nvidia-smi prints it.
fn choose(selector: &Selector, count: u32) -> Result<(u32, Device, String)> {
    let mut present = Vec::new();
    for number in 0..count {
        let device = Device::get_device(number)?;
        let digits = uuid(device)?;
        let uuid = format!(
            "GPU-{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        );
        let chosen = match selector {
            Selector::Number(wanted) => *wanted == number,
            Selector::Uuid(wanted) => digits.starts_with(wanted.as_str()),
        };
        if chosen {
            return Ok((number, device, uuid));
        }
        present.push(format!("cuda:{number} ({uuid}, {})", device.name()?));
    }
    Err(GpuError::NotFound { selector: selector.to_string(), present })
}

/// The UUID's 32 digits.
fn uuid(device: Device) -> Result<String> {
    let mut uuid = CUuuid { bytes: [0; 16] };
    // SAFETY: a place to write to.
    check(unsafe { driver::cuDeviceGetUuid(&mut uuid, device.as_raw()) })?;
    Ok(uuid.bytes.iter().map(|byte| format!("{:02x}", byte.cast_unsigned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_numbers_or_uuids() {
        assert_eq!("1".parse(), Ok(Selector::Number(1)));
        assert_eq!("GPU-1A2b-3c".parse(), Ok(Selector::Uuid("1a2b3c".into())));
        for value in ["", "x", "-1", "GPU-", "GPU-xyz", "1.5"] {
            assert_eq!(value.parse::<Selector>(), Err(GpuError::Selector { value: value.into() }));
        }
    }
}
