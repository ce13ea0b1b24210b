//! Whether AMX int8 is there, permitted, and right.

use super::super::scalar::Scalar;
use super::super::{PANEL, TernaryKernel};
use super::tiles::{self, Operands, Program};
use super::{Layout, Panel, TILE_BYTES, TILE_K, TILE_ROWS, multiply};
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Whether the processor has AMX int8, the system lets this process use it, and its products are those of the scalar
/// kernel; looked up once.
pub(super) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    // SAFETY: run only if the instructions are there and permitted; `multiply` gives operands that fit.
    let run = |program, operands: &Operands| unsafe { tiles::run(program, operands) };
    *USABLE.get_or_init(|| has_instructions() && is_permitted() && agrees_with_scalar(run))
}

/// AMX-TILE and AMX-INT8 with tiles of 16 rows of 64 bytes, and registers that the system keeps for each thread.
fn has_instructions() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    const TILE_CONFIG_AND_DATA: u64 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 0x1d || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    // SAFETY: OSXSAVE says that `xgetbv` is there.
    let kept = unsafe { kept_registers() };
    let palette = __cpuid_count(0x1d, 1);
    __cpuid_count(7, 0).edx & TILE_AND_INT8 == TILE_AND_INT8
        && kept & TILE_CONFIG_AND_DATA == TILE_CONFIG_AND_DATA
        && __cpuid_count(0x1d, 0).eax >= 1
        && palette.eax >> 16 == TILE_BYTES as u32
        && palette.ebx & 0xffff == TILE_K as u32
        && palette.ebx >> 16 >= 8
        && palette.ecx & 0xffff == TILE_ROWS as u32
}

/// Register XCR0.
///
/// # Safety
/// The processor has `xgetbv`, and the system has enabled it.
#[target_feature(enable = "xsave")]
unsafe fn kept_registers() -> u64 {
    // SAFETY: the caller's promise.
    unsafe { _xgetbv(0) }
}

/// Asks Linux to let all threads of this process use the tile registers: `arch_prctl(ARCH_REQ_XCOMP_PERM, 18)`.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const REQUEST_PERMISSION: usize = 0x1023;
    const TILE_DATA: usize = 18;
    let error: isize;
    // SAFETY: the call changes no memory of ours; it clobbers rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => error,
            in("rdi") REQUEST_PERMISSION,
            in("rsi") TILE_DATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    error == 0
}

/// How other systems grant the tile registers was not tried.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Compares both programs with the scalar kernel, at sizes that leave rests of rows and of k.
pub(super) fn agrees_with_scalar(execute: impl Fn(Program, &Operands)) -> bool {
    const K: usize = 2 * TILE_K + 9;
    let mut state = 1u32;
    let mut draw = |_| {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    };
    let packed: Vec<u8> = (0..Layout::Steps.panel_len(K)).map(&mut draw).collect();
    [TILE_ROWS - 3, 2 * TILE_ROWS - 3].into_iter().all(|rows| {
        let q: Vec<i8> = (0..rows * K).map(|i| draw(i) as i8).collect();
        let mut expected = vec![[7; PANEL]; rows];
        let mut sums = expected.clone();
        Scalar.panel(&packed, K, &q, &mut expected);
        multiply(&execute, Panel { packed: &packed, layout: Layout::Steps, k: K }, &q, &mut sums);
        sums == expected
    })
}
