//! Functions that `cust` can call and that the emulator does not have: each says so and fails.

use super::call;
use super::errors::NOT_SUPPORTED;
use crate::report::{Kind, say};

macro_rules! unsupported {
    ($($name:ident)+) => {
        $(
            /// Not supported; its arguments are not looked at.
            #[unsafe(no_mangle)]
            pub extern "C" fn $name() -> u32 {
                call(stringify!($name), |_| {
                    say(Kind::Unknown, concat!("driver function ", stringify!($name)));
                    Err(NOT_SUPPORTED)
                })
            }
        )+
    };
}

unsupported! {
    cuArrayDestroy
    cuArray3DCreate_v2
    cuArray3DGetDescriptor_v2
    cuCtxCreate_v2
    cuCtxDestroy_v2
    cuCtxGetCacheConfig
    cuCtxGetLimit
    cuCtxGetSharedMemConfig
    cuDestroyExternalMemory
    cuExternalMemoryGetMappedBuffer
    cuGraphAddKernelNode_v2
    cuGraphAddKernelNode
    cuGraphCreate
    cuGraphDebugDotPrint
    cuGraphDestroy
    cuGraphGetEdges
    cuGraphGetNodes
    cuGraphKernelNodeGetParams
    cuGraphNodeGetType
    cuImportExternalMemory
    cuLaunchCooperativeKernel
    cuLinkAddData_v2
    cuLinkComplete
    cuLinkCreate_v2
    cuLinkDestroy
    cuMemAdvise
    cuMemAllocManaged
    cuMemAllocPitch_v2
    cuMemAllocPitch
    cuMemPrefetchAsync
    cuMemcpy2D_v2
    cuMemcpyAtoH_v2
    cuMemcpyHtoA_v2
    cuModuleLoad
    cuModuleLoadFatBinary
    cuOccupancyAvailableDynamicSMemPerBlock
    cuStreamBeginCapture_v2
    cuStreamEndCapture
    cuSurfObjectCreate
    cuSurfObjectDestroy
    cuSurfObjectGetResourceDesc
    cuTexObjectCreate
    cuTexObjectDestroy
    cuTexObjectGetResourceDesc
    cuTexObjectGetResourceViewDesc
    cuGraphInstantiate_v2
    cuGraphLaunch
    cuGraphExecDestroy
    cuGetProcAddress
    cuGetProcAddress_v2
}
