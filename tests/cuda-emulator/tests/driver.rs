//! The driver API as programs see it. Settings come from the environment, so each scenario is a process of its own:
//! a test below starts this program again with one of the ignored tests, and looks at what was logged.
// SAFETY for all of this file: every pointer is to a live local of the right type.
#![allow(missing_docs)]

#[path = "support/session.rs"]
mod session;

use cuda_emulator::driver::{context::*, device::*, errors::*, events::*, memory::*, modules::*};
use session::{PTX, Session, ok, scenario};
use std::ffi::CString;
use std::path::PathBuf;

#[test]
#[ignore = "started by a_whole_program"]
fn whole_program() {
    let session = Session::new();
    let address = session.allocate(400);
    let (mut stream, mut start, mut end) = (0, 0, 0);
    let mut back = [0f32; 100];
    let (mut milliseconds, mut pinned, mut free, mut total) = (-1.0, std::ptr::null_mut(), 0, 0);
    ok(session.fill(address, 100, 32));
    // SAFETY: see above.
    unsafe {
        ok(cuStreamCreateWithPriority(&mut stream, 1, 0));
        ok(cuEventCreate(&mut start, 0));
        ok(cuEventCreate(&mut end, 0));
        ok(cuEventRecord(start, stream));
        ok(cuMemsetD32Async(address, 2f32.to_bits(), 10, stream));
        ok(cuEventRecord(end, stream));
        ok(cuStreamWaitEvent(stream, end, 0));
        ok(cuMemcpyDtoHAsync_v2(back.as_mut_ptr().cast(), address, 400, stream));
        ok(cuStreamSynchronize(stream));
        ok(cuEventElapsedTime(&mut milliseconds, start, end));
        assert_eq!((back[0], back[9], back[10], back[99]), (2.0, 2.0, 1.5, 1.5));
        assert!(milliseconds >= 0.0);
        ok(cuMemAllocHost_v2(&mut pinned, 64));
        ok(cuMemFreeHost(pinned));
        assert_eq!(cuMemFreeHost(pinned), INVALID_VALUE);
        ok(cuMemGetInfo_v2(&mut free, &mut total));
        assert!(free < total);
        let (mut global, mut bytes) = (0, 0);
        ok(cuModuleGetGlobal_v2(&mut global, &mut bytes, session.module, c"counter".as_ptr()));
        let mut counter = 0u32;
        ok(cuMemcpyDtoH_v2((&raw mut counter).cast(), global, bytes));
        assert_eq!((counter, bytes), (5, 4));
        for (attribute, wanted) in [(0, 64), (1, 0), (5, 70)] {
            let mut value = 0;
            ok(cuFuncGetAttribute(&mut value, attribute, session.kernel("bounded")));
            assert_eq!(value, wanted, "attribute {attribute}");
        }
        let (mut blocks, mut grid, mut block) = (0, 0, 0);
        ok(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, session.kernel("big"), 128, 0));
        assert_eq!(blocks, 4, "164 KB of shared memory hold four times 40 KB and what the system takes");
        ok(cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, session.kernel("fill"), None, 0, 0));
        assert_eq!((grid, block), (216, 1024));
        ok(cuEventDestroy_v2(start));
        assert_eq!(cuEventDestroy_v2(start), INVALID_HANDLE);
        ok(cuEventDestroy_v2(end));
        ok(cuStreamDestroy_v2(stream));
        assert_eq!(cuStreamSynchronize(stream), INVALID_HANDLE, "used after its end");
        ok(cuMemFree_v2(address));
    }
    session.end();
}

#[test]
fn a_whole_program() {
    let log = scenario("whole_program", &[]);
    assert!(log.iter().all(|line| line.starts_with("error: ")), "{log:?}");
    assert_eq!(log.len(), 3, "{log:?}");
    assert_eq!(scenario("whole_program", &[("STREAMS", "late")]).len(), 3);
}

#[test]
#[ignore = "started by devices_and_capabilities"]
fn devices() {
    // SAFETY: see above.
    unsafe {
        let (mut count, mut device, mut major, mut minor, mut uuid) = (0, 0, 0, 0, [[0u8; 16]; 2]);
        ok(cuInit(0));
        ok(cuDeviceGetCount(&mut count));
        assert_eq!(count, 2);
        assert_eq!(cuDeviceGet(&mut device, 2), INVALID_DEVICE);
        ok(cuDeviceGetAttribute(&mut major, 75, 1));
        ok(cuDeviceGetAttribute(&mut minor, 76, 1));
        assert_eq!((major, minor), (7, 5));
        ok(cuDeviceGetUuid(&mut uuid[0], 0));
        ok(cuDeviceGetUuid_v2(&mut uuid[1], 1));
        assert_ne!(uuid[0], uuid[1]);
        let mut text = [0i8; 64];
        ok(cuDeviceGetName(text.as_mut_ptr().cast(), 64, 1));
        let mut total = 0;
        ok(cuDeviceTotalMem_v2(&mut total, 1));
        assert_eq!(total, 1 << 20);
        // Buffers of one device are nothing to the other.
        let (mut contexts, mut address) = ([0; 2], 0);
        ok(cuDevicePrimaryCtxRetain(&mut contexts[0], 0));
        ok(cuDevicePrimaryCtxRetain(&mut contexts[1], 1));
        ok(cuCtxSetCurrent(contexts[1]));
        ok(cuMemAlloc_v2(&mut address, 64));
        ok(cuMemsetD8_v2(address, 0, 64));
        ok(cuCtxPushCurrent_v2(contexts[0]));
        assert_eq!(cuMemsetD8_v2(address, 0, 64), INVALID_VALUE);
        ok(cuCtxPopCurrent_v2(std::ptr::null_mut()));
        ok(cuMemFree_v2(address));
        let text = CString::new(PTX.replace("sm_75", "sm_80")).unwrap();
        let mut module = 0;
        assert_eq!(cuModuleLoadData(&mut module, text.as_ptr().cast()), NO_BINARY_FOR_GPU);
        ok(cuDevicePrimaryCtxRelease_v2(0));
        ok(cuDevicePrimaryCtxRelease_v2(1));
        assert_eq!(cuMemAlloc_v2(&mut address, 64), INVALID_CONTEXT);
    }
}

#[test]
fn devices_and_capabilities() {
    let log = scenario("devices", &[("DEVICES", "2"), ("CAPABILITY", "7.5"), ("MEMORY", "1048576")]);
    assert!(!log.iter().any(|line| line.starts_with("leak")), "{log:?}");
}

#[test]
#[ignore = "started by no_device_is_an_error"]
fn without_device() {
    // SAFETY: see above.
    assert_eq!(unsafe { cuInit(0) }, NO_DEVICE);
}

#[test]
fn no_device_is_an_error() {
    scenario("without_device", &[("DEVICES", "0")]);
}

#[test]
#[ignore = "started by memory_runs_out"]
fn out_of_memory() {
    let session = Session::new();
    let (first, mut second) = (session.allocate(600_000), 0);
    // SAFETY: see above.
    unsafe {
        assert_eq!(cuMemAlloc_v2(&mut second, 600_000), OUT_OF_MEMORY);
        ok(cuMemFree_v2(first));
        ok(cuMemAlloc_v2(&mut second, 600_000));
        ok(cuMemFree_v2(second));
        assert_eq!(cuMemAlloc_v2(&mut second, 0), INVALID_VALUE);
        assert_eq!(cuMemAlloc_v2(&mut second, usize::MAX), OUT_OF_MEMORY);
    }
    session.end();
}

#[test]
fn memory_runs_out() {
    let log = scenario("out_of_memory", &[("MEMORY", "1000000")]);
    assert!(log[0].contains("cuMemAlloc_v2") && log[0].contains("CUDA_ERROR_OUT_OF_MEMORY"), "{log:?}");
}

#[test]
#[ignore = "started by leaks_are_named"]
fn leaking() {
    let session = Session::new();
    session.allocate(100);
    session.allocate(200);
    let (mut stream, mut event, mut pinned) = (0, 0, std::ptr::null_mut());
    // SAFETY: see above.
    unsafe {
        ok(cuStreamCreate(&mut stream, 0));
        ok(cuEventCreate(&mut event, 0));
        ok(cuMemAllocHost_v2(&mut pinned, 50));
        ok(cuDevicePrimaryCtxRelease_v2(0));
    }
}

#[test]
#[ignore = "started by leaks_are_named"]
fn leaking_at_exit() {
    Session::new().allocate(100);
}

#[test]
fn leaks_are_named() {
    let log = scenario("leaking", &[]);
    for what in ["of 100 bytes", "of 200 bytes", "1 stream", "1 event", "1 module", "50 bytes of page-locked"] {
        assert!(log.iter().any(|line| line.starts_with("leak: ") && line.contains(what)), "{what}: {log:?}");
    }
    let log = scenario("leaking_at_exit", &[]);
    assert!(log.iter().any(|line| line.contains("of 100 bytes")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("primary context")), "{log:?}");
}

#[test]
#[ignore = "started by planned_failures"]
fn failing() {
    // SAFETY: see above.
    unsafe {
        ok(cuInit(0));
        let (mut count, mut version) = (0, 0);
        assert_eq!(cuDeviceGetCount(&mut count), 999);
        ok(cuDeviceGetCount(&mut count));
        ok(cuDriverGetVersion(&mut version));
    }
}

#[test]
#[ignore = "started by planned_failures"]
fn failing_by_name() {
    let session = Session::new();
    let mut address = 0;
    let first = session.allocate(8);
    // SAFETY: see above.
    unsafe {
        assert_eq!(cuMemAlloc_v2(&mut address, 8), OUT_OF_MEMORY);
        ok(cuMemFree_v2(first));
    }
    session.end();
}

#[test]
fn planned_failures() {
    let log = scenario("failing", &[("FAIL", "2:999")]);
    assert!(log[0].contains("cuDeviceGetCount (call 2)"), "{log:?}");
    scenario("failing_by_name", &[("FAIL", "cuMemAlloc_v2:2:2")]);
}

#[test]
#[ignore = "started by faults_break_the_context"]
fn fault_in_kernel() {
    let session = Session::new();
    let address = session.allocate(96);
    ok(session.fill(address, 24, 32));
    assert_eq!(session.fill(address, 25, 32), 700);
    // SAFETY: see above.
    unsafe {
        assert_eq!(cuCtxSynchronize(), 700, "as on a device, the context is lost");
        assert_eq!(cuMemFree_v2(address), 700);
        ok(cuDevicePrimaryCtxRelease_v2(0));
        let mut context = 0;
        ok(cuDevicePrimaryCtxRetain(&mut context, 0));
        ok(cuCtxSynchronize());
        ok(cuDevicePrimaryCtxRelease_v2(0));
    }
}

#[test]
fn faults_break_the_context() {
    let log = scenario("fault_in_kernel", &[]);
    assert!(log[0].starts_with("fault: out of bounds: write of 4 bytes at Global address"), "{log:?}");
    assert!(log[0].contains("in kernel fill, block (0, 0, 0), thread (24, 0, 0), PTX line 8:"), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("leak")), "{log:?}");
}

#[test]
#[ignore = "started by wrong_calls_are_refused"]
fn wrong_calls() {
    let session = Session::new();
    let address = session.allocate(64);
    let mut host = [0u8; 64];
    let wrong = |code| assert_eq!(code, INVALID_VALUE);
    // SAFETY: see above.
    unsafe {
        wrong(cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), address, 64)); // never written
        ok(cuMemcpyHtoD_v2(address, host.as_ptr().cast(), 64));
        wrong(cuMemcpyHtoD_v2(address + 1, host.as_ptr().cast(), 64)); // one past the end
        wrong(cuMemcpyDtoD_v2(address, address + 64, 4));
        wrong(cuMemsetD32_v2(address + 2, 0, 1)); // misaligned
        wrong(cuMemFree_v2(address + 4));
        ok(cuMemFree_v2(address));
        wrong(cuMemFree_v2(address)); // twice
        wrong(cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), address, 1)); // freed
        wrong(session.run("bounded", 1, 65, 0, &mut []));
        ok(session.run("bounded", 1, 64, 0, &mut []));
        wrong(session.run("bounded", 0, 64, 0, &mut []));
        wrong(session.run("big", 1, 1025, 0, &mut []));
        wrong(session.run("big", 1, 32, 8193, &mut []));
        ok(session.run("big", 1, 32, 8192, &mut []));
        ok(cuFuncSetAttribute(session.kernel("big"), 8, 20_000));
        ok(session.run("big", 1, 32, 20_000, &mut []));
        wrong(cuFuncSetAttribute(session.kernel("big"), 8, 200_000));
        wrong(session.run("fill", 1, 32, 0, &mut [std::ptr::null_mut(); 3]));
        let (mut kernel, mut module) = (0, 0);
        assert_eq!(cuModuleGetFunction(&mut kernel, session.module, c"nothing".as_ptr()), NOT_FOUND);
        let bad = CString::new(PTX.replace("st.global.f32", "st.global.f33")).unwrap();
        assert_eq!(cuModuleLoadData(&mut module, bad.as_ptr().cast()), INVALID_PTX);
        assert_eq!(cuda_emulator::driver::unsupported::cuGraphCreate(), NOT_SUPPORTED);
        assert_eq!(cuStreamSynchronize(12345), INVALID_HANDLE);
    }
    session.end();
}

#[test]
fn wrong_calls_are_refused() {
    let log = scenario("wrong_calls", &[]);
    let find = |what: &str| assert!(log.iter().any(|line| line.contains(what)), "{what}: {log:#?}");
    find("which was never written");
    find("0 bytes past the end of buffer");
    find("which was freed");
    find("where no live buffer starts");
    find("but the kernel is compiled for [64, 1, 1]");
    find("PTX line 8: unknown instruction st.global.f33");
    find("unknown: driver function cuGraphCreate");
    assert!(!log.iter().any(|line| line.starts_with("leak")), "{log:?}");
}

#[test]
#[ignore = "started by counts_are_written"]
fn counted() {
    let session = Session::new();
    let address = session.allocate(400);
    ok(session.fill(address, 100, 32));
    // SAFETY: see above.
    ok(unsafe { cuMemFree_v2(address) });
    session.end();
}

#[test]
fn counts_are_written() {
    let path: PathBuf = std::env::temp_dir().join(format!("cuda-emulator-counts-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    scenario("counted", &[("COUNTS", path.to_str().unwrap())]);
    let text = std::fs::read_to_string(&path).unwrap();
    let _ = std::fs::remove_file(&path);
    assert_eq!(text.lines().count(), 1);
    for part in [
        r#""kernel":"fill","grid":[4, 1, 1],"block":[32, 1, 1]"#,
        r#""global_store":{"requests":4,"bytes":400,"sectors":13,"sector_bytes":416,"distinct_bytes":400}"#,
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn calls_before_init_fail() {
    let mut count = 0;
    // No test of this process initialises the driver: the scenarios are processes of their own.
    // SAFETY: see above.
    assert_eq!(unsafe { cuDeviceGetCount(&mut count) }, NOT_INITIALIZED);
}
