//! A context with a module on the emulated driver, and scenarios that run in a process of their own.
#![allow(dead_code, missing_docs)]

use cuda_emulator::driver::{context::*, device::*, errors::*, launch::*, memory::*, modules::*};
use std::ffi::{CString, c_void};
use std::process::Command;

pub const PTX: &str = ".version 7.0 .target sm_75 .address_size 64
.global .align 4 .u32 counter = 5;
.visible .entry fill(.param .u64 a, .param .u32 n, .param .f32 x) {
  .reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %d<4>; .reg .f32 %f<2>;
  ld.param.u64 %d1, [a]; ld.param.u32 %r1, [n]; ld.param.f32 %f1, [x];
  mov.u32 %r2, %tid.x; mov.u32 %r3, %ctaid.x; mov.u32 %r4, %ntid.x; mad.lo.u32 %r5, %r3, %r4, %r2;
  setp.ge.u32 %p1, %r5, %r1; @%p1 bra E;
  mul.wide.u32 %d2, %r5, 4; add.u64 %d3, %d1, %d2; st.global.f32 [%d3], %f1;
E: ret; }
.visible .entry bounded() .maxntid 64, 1, 1 { ret; }
.visible .entry big() { .reg .b32 %r<2>; .shared .align 4 .b8 s[40960]; mov.u32 %r1, s; ret; }";

pub fn ok(code: u32) {
    assert_eq!(code, 0, "{}", name(code));
}

/// A context and the module above.
pub struct Session {
    pub module: usize,
}

// SAFETY for all of this file: every pointer is to a live local of the right type.
impl Session {
    pub fn new() -> Self {
        let (mut context, mut module) = (0, 0);
        let text = CString::new(PTX).unwrap();
        // SAFETY: see above.
        unsafe {
            ok(cuInit(0));
            ok(cuDevicePrimaryCtxRetain(&mut context, 0));
            ok(cuCtxSetCurrent(context));
            ok(cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 0, std::ptr::null_mut(), std::ptr::null_mut()));
        }
        Session { module }
    }

    pub fn kernel(&self, name: &str) -> usize {
        let (mut kernel, name) = (0, CString::new(name).unwrap());
        // SAFETY: see above.
        ok(unsafe { cuModuleGetFunction(&mut kernel, self.module, name.as_ptr()) });
        kernel
    }

    pub fn allocate(&self, bytes: usize) -> u64 {
        let mut address = 0;
        // SAFETY: see above.
        ok(unsafe { cuMemAlloc_v2(&mut address, bytes) });
        address
    }

    pub fn fill(&self, address: u64, n: u32, threads: u32) -> u32 {
        let (mut address, mut n, mut x) = (address, n, 1.5f32);
        let mut arguments: [*mut c_void; 3] =
            [(&raw mut address).cast(), (&raw mut n).cast(), (&raw mut x).cast()];
        self.run("fill", n.div_ceil(threads), threads, 0, &mut arguments)
    }

    pub fn run(&self, name: &str, grid: u32, block: u32, dynamic: u32, arguments: &mut [*mut c_void]) -> u32 {
        let none = std::ptr::null_mut();
        // SAFETY: see above.
        unsafe { cuLaunchKernel(self.kernel(name), grid, 1, 1, block, 1, 1, dynamic, 0, arguments.as_mut_ptr(), none) }
    }

    pub fn end(self) {
        // SAFETY: see above.
        unsafe {
            ok(cuModuleUnload(self.module));
            ok(cuDevicePrimaryCtxRelease_v2(0));
        }
    }
}

/// Runs a scenario with settings; gives what it logged. It must pass.
pub fn scenario(name: &str, settings: &[(&str, &str)]) -> Vec<String> {
    let log = std::env::temp_dir().join(format!("cuda-emulator-{}-{name}", std::process::id()));
    let _ = std::fs::remove_file(&log);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", name, "--nocapture"]).env("CUDA_EMULATOR_LOG", &log);
    settings.iter().for_each(|(variable, value)| {
        command.env(format!("CUDA_EMULATOR_{variable}"), value);
    });
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {text}");
    let lines = std::fs::read_to_string(&log).unwrap_or_default().lines().map(String::from).collect();
    let _ = std::fs::remove_file(&log);
    lines
}
