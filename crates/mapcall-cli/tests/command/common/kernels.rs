//! The shared library of the tests.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The C code: `saxpy`; `half`, which fails for odd numbers; `nap`, which takes a millisecond; `iota`, whose
/// array has no length in the prototype; `shorten`, which cuts the file `angles.npy` at its first call.
const SOURCE: &str = "
#define _DEFAULT_SOURCE
#include <stddef.h>
#include <unistd.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
int half(int x, int y[1]) { y[0] = x / 2; return x % 2; }
double nap(double x) { usleep(1000); return x; }
double shorten(double x) { static int calls; if (!calls++) return truncate(\"angles.npy\", 4096); return x; }
void iota(size_t n, double y[n]) { for (size_t i = 0; i < n; i++) y[i] = i; }
";

pub(crate) const SAXPY: &str =
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])";
pub(crate) const HALF: &str = "int half(int x, int y[1])";
pub(crate) const NAP: &str = "double nap(double x)";
pub(crate) const SHORTEN: &str = "double shorten(double x)";
pub(crate) const IOTA: &str = "void iota(size_t n, double y[n])";

/// Compiles the code as `libkernels.so`.
pub(crate) fn compile(directory: &Path) {
    fs::write(directory.join("kernels.c"), SOURCE).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o", "libkernels.so", "kernels.c"]);
    assert!(cc.current_dir(directory).status().unwrap().success());
}
