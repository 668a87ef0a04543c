//! What a device may do and mostly does not: work as late as possible, approximations as wrong as possible. As in
//! `driver.rs`, each scenario is a process of its own.
// SAFETY for all of this file: every pointer is to a live local of the right type.
#![allow(missing_docs)]

#[path = "support/session.rs"]
mod session;

use cuda_emulator::driver::{context::*, errors::*, events::*, launch::*, memory::*, modules::*};
use session::{Session, ok, scenario};
use std::ffi::{CString, c_void};

/// Values of x, then of 2^x, 1/x and sin x as the device has them.
fn approximations() -> Vec<[f32; 4]> {
    let text = CString::new(
        ".version 7.0 .target sm_75 .address_size 64 .visible .entry approx(.param .u64 o) { .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .f32 %f<6>;
         ld.param.u64 %d1, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 16; add.u64 %d3, %d1, %d2; cvt.rn.f32.u32 %f1, %r1; fma.rn.f32 %f1, %f1, 0f3DCCCCCD, 0f3DCCCCCD;
         ex2.approx.f32 %f2, %f1; rcp.approx.f32 %f3, %f1; sin.approx.f32 %f4, %f1; st.global.v4.f32 [%d3], {%f1, %f2, %f3, %f4}; ret; }",
    )
    .unwrap();
    let session = Session::new();
    let mut address = session.allocate(32 * 16);
    let mut back = vec![[0f32; 4]; 32];
    let (mut module, mut kernel, none) = (0, 0, std::ptr::null_mut());
    // SAFETY: see above.
    unsafe {
        ok(cuModuleLoadData(&mut module, text.as_ptr().cast()));
        ok(cuModuleGetFunction(&mut kernel, module, c"approx".as_ptr()));
        let mut arguments: [*mut c_void; 1] = [(&raw mut address).cast()];
        ok(cuLaunchKernel(kernel, 1, 1, 1, 32, 1, 1, 0, 0, arguments.as_mut_ptr(), none));
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), address, 32 * 16));
        ok(cuMemFree_v2(address));
        ok(cuModuleUnload(module));
    }
    session.end();
    back
}

#[test]
#[ignore = "started by approximations_can_be_as_wrong_as_allowed"]
fn worst_approximations() {
    let (mut wrong, mut up) = (0, 0);
    for [x, exp, inverse, sine] in approximations() {
        let x = f64::from(x);
        for (got, exact, bound) in [
            (exp, x.exp2(), x.exp2() * 2f64.powi(-22)),
            (inverse, 1.0 / x, 2f64.powi(-23) / x),
            (sine, x.sin(), 2f64.powi(-20)),
        ] {
            let error = f64::from(got) - exact;
            assert!(error.abs() <= bound, "{got} is not near {exact}");
            wrong += u32::from(got != exact as f32);
            up += u32::from(error > 0.0);
        }
    }
    assert!(wrong > 64 && (20..76).contains(&up), "{wrong} of 96 wrong, {up} too large");
}

#[test]
#[ignore = "started by approximations_can_be_as_wrong_as_allowed"]
fn near_approximations() {
    assert!(approximations().iter().all(|&[x, exp, _, _]| exp == f64::from(x).exp2() as f32));
}

#[test]
fn approximations_can_be_as_wrong_as_allowed() {
    scenario("near_approximations", &[]);
    scenario("worst_approximations", &[("APPROX", "worst")]);
}

/// What a stream's work has done when nobody has waited for it yet, and when somebody has.
#[test]
#[ignore = "started by work_is_done_late"]
fn late() {
    let session = Session::new();
    let (address, copy) = (session.allocate(4), session.allocate(4));
    let (mut stream, mut other, mut event, mut pinned) = (0, 0, 0, std::ptr::null_mut());
    // SAFETY: see above.
    unsafe {
        ok(cuStreamCreate(&mut stream, 1));
        ok(cuStreamCreate(&mut other, 1));
        ok(cuEventCreate(&mut event, 0));
        ok(cuMemAllocHost_v2(&mut pinned, 8));
        let words = pinned.cast::<u32>();
        // The result is not there before the stream was waited for.
        words.write(1);
        ok(cuMemsetD32Async(address, 7, 1, stream));
        ok(cuMemcpyDtoHAsync_v2(pinned, address, 4, stream));
        assert_eq!(words.read(), 1);
        assert_eq!(cuStreamQuery(stream), NOT_READY);
        ok(cuStreamSynchronize(stream));
        assert_eq!(words.read(), 7);
        // A page-locked source is read late, a pageable one at once.
        let mut pageable = 20u32;
        words.write(10);
        ok(cuMemcpyHtoDAsync_v2(address, pinned, 4, stream));
        ok(cuMemcpyHtoDAsync_v2(copy, (&raw const pageable).cast(), 4, stream));
        words.write(11);
        pageable = 21;
        ok(cuStreamSynchronize(stream));
        let mut back = [0u32; 2];
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), address, 4));
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().add(1).cast(), copy, 4));
        assert_eq!((back, pageable), ([11, 20], 21));
        // Another stream sees the old value, unless it waits for an event.
        ok(cuMemsetD32Async(address, 30, 1, stream));
        ok(cuMemcpyDtoDAsync_v2(copy, address, 4, other));
        ok(cuStreamSynchronize(other));
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), copy, 4));
        assert_eq!(back[0], 11);
        ok(cuEventRecord(event, stream));
        assert_eq!(cuEventQuery(event), NOT_READY);
        ok(cuMemsetD32Async(address, 40, 1, stream));
        ok(cuStreamWaitEvent(other, event, 0));
        ok(cuMemcpyDtoDAsync_v2(copy, address, 4, other));
        ok(cuStreamSynchronize(other));
        ok(cuMemcpyDtoH_v2(back.as_mut_ptr().cast(), copy, 4));
        assert_eq!(back[0], 30, "no more than the event's record was waited for");
        ok(cuEventSynchronize(event));
        // To pageable memory a copy is over when the call returns; freeing waits, too.
        ok(cuMemcpyDtoHAsync_v2(back.as_mut_ptr().cast(), address, 4, stream));
        assert_eq!(back[0], 40);
        ok(cuMemsetD32Async(address, 50, 1, stream));
        ok(cuMemFree_v2(address));
        ok(cuEventDestroy_v2(event));
        ok(cuStreamDestroy_v2(other));
        // An error comes to light where the work is waited for.
        ok(cuMemsetD32Async(address, 60, 1, stream));
        assert_eq!(cuStreamSynchronize(stream), INVALID_VALUE);
        assert_eq!(cuCtxSynchronize(), INVALID_VALUE);
    }
}

#[test]
fn work_is_done_late() {
    let log = scenario("late", &[("STREAMS", "late")]);
    assert!(log.iter().any(|line| line.contains("cuMemsetD32Async") && line.contains("which was freed")), "{log:?}");
}
