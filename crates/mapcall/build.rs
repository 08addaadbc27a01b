//! Computes what the target has, once, as `cfg`s that the code and the tests name:
//!
//! | `cfg` | the target |
//! |---|---|
//! | `abi_system_v` | passes arguments by the System V ABI for x86-64 |
//! | `abi_aapcs64` | passes arguments by the procedure call standard of `AArch64` |
//! | `has_thunk_table` | lets a process map the pages of its own code once more, for the entries of closures |
//! | `has_register_entry` | has a thunk table, and an entry of closures that finds arguments without libffi |
//! | `has_jit` | runs calls that Cranelift compiles, and the feature `jit` is on |
//! | `x87_long_double` | has x87's 80-bit numbers as `long double` |
//! | `glibc` | has the GNU C library, on Linux |
#![allow(clippy::print_stdout, reason = "a build script prints to Cargo")]

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is =
        |key: &str, value: &str| env::var(format!("CARGO_CFG_{key}")).is_ok_and(|it| it == value);
    let has = |key: &str| env::var_os(format!("CARGO_{key}")).is_some();
    let is_linux = is("TARGET_OS", "linux");
    let is_64_bit = is("TARGET_POINTER_WIDTH", "64");
    let is_x86_64 = is("TARGET_ARCH", "x86_64");

    let abi_system_v = is_x86_64 && is_64_bit && has("CFG_UNIX");
    let abi_aapcs64 = is("TARGET_ARCH", "aarch64") && is_64_bit && !has("CFG_WINDOWS");
    // Cargo.toml repeats this for the dependencies on Cranelift.
    let has_own_code = is_linux && is("TARGET_ENDIAN", "little") && (abi_system_v || abi_aapcs64);
    let x87_long_double = (is_x86_64 || is("TARGET_ARCH", "x86"))
        && !has("CFG_WINDOWS")
        && !is("TARGET_OS", "android");
    for (name, is_set) in [
        ("abi_system_v", abi_system_v),
        ("abi_aapcs64", abi_aapcs64),
        ("has_thunk_table", has_own_code),
        ("has_register_entry", has_own_code && abi_system_v),
        ("has_jit", has_own_code && has("FEATURE_JIT")),
        ("x87_long_double", x87_long_double),
        ("glibc", is_linux && is("TARGET_ENV", "gnu")),
    ] {
        println!("cargo::rustc-check-cfg=cfg({name})");
        if is_set {
            println!("cargo::rustc-cfg={name}");
        }
    }
}
