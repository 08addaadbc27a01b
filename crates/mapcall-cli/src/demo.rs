//! `mapcall demo`: runs libm's `cos` and its vector variant over a file, on one thread and on all cores, and compares the
//! time with that of a `memcpy` of the same bytes.

#![allow(unsafe_code)]

use std::hint::black_box;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use bytesize::ByteSize;
use clap::Args;
use mapcall::array::layout::Order;
use mapcall::array::{Array, DType, MapOptions, Mode, NewFile};
use mapcall::batch::Simd;
use mapcall::{Arg, CallError, Function, Library};
use serde::Serialize;

use crate::bar::Bar;
use crate::call::FunctionError;
use crate::interrupt::Interrupts;
use crate::units::{counted, per_second, rate, readable};
use crate::{Failure, output};

/// The number of elements in a chunk that is written, copied or checked.
const CHUNK: usize = 1 << 19;

/// The number of elements of the buffer for copies: larger than the caches, and smaller than memory.
const COPY: usize = 32 << 20;

/// Run libm over a file of 1 GiB, on one thread and on all cores, and check the results
///
/// The runs marked "simd" call the vector variant of the function that the C library has in libmvec.
///
/// The file and the results are created in the temporary folder (TMPDIR), and removed. For comparison, the
/// rate of copying the same bytes in memory is measured in the same run.
#[derive(Args)]
#[expect(clippy::doc_markdown, reason = "--help shows it as it stands")]
pub(crate) struct Arguments {
    /// The size of the file; the result has the same size
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    size: ByteSize,
    /// Write one JSON object on one line: {"bytes", "memcpy", "runs", "checked", "ulps"}
    ///
    /// "memcpy" is an object {"seconds", "bytes_per_second"}; those in "runs" also have "threads", "simd" and "ulps".
    /// "checked" is the number of results of each run that were compared with Rust's own cosine, and "ulps" the largest
    /// difference, in units in the last place: of the run, and of all runs without "simd".
    #[arg(long)]
    json: bool,
}

/// The reason why the demonstration fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(
        "expected a size from 8 bytes on that memory can address, got {size}; give --size 1GiB"
    )]
    Size { size: u64 },
    #[error("can't make a folder in {}: {source}; set TMPDIR to another", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "expected {} of free disk space in {}, got {}; give a smaller --size, or set TMPDIR to a \
         folder on another disk",
        readable(*needed),
        path.display(),
        readable(*free)
    )]
    Space {
        path: PathBuf,
        needed: usize,
        free: usize,
    },
    #[error(
        "expected cos({x:?}) = {expected:?}, got {found:?} by {library}; report it with the machine's name"
    )]
    Differs {
        library: &'static str,
        x: f64,
        expected: f64,
        found: f64,
    },
}

/// The time of one run over the file.
#[derive(Serialize)]
struct Run {
    #[serde(flatten)]
    calls: Option<Calls>,
    seconds: f64,
    bytes_per_second: usize,
}

/// How the calls of a run were made.
#[derive(Clone, Copy, Serialize)]
struct Calls {
    threads: usize,
    /// Whether a vector variant made them.
    simd: bool,
    /// The largest error, in units in the last place.
    ulps: u64,
}

impl Calls {
    /// Returns the largest error that is no defect: the GNU C library promises 4 ULP for its vector variants.
    fn max_ulps(self) -> u64 {
        if self.simd { 4 } else { 1 }
    }
}

#[derive(Serialize)]
struct Facts {
    bytes: usize,
    memcpy: Run,
    runs: Vec<Run>,
    checked: usize,
    ulps: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let size = arguments.size.as_u64();
    let count = usize::try_from(size / 8).ok();
    let count = count.filter(|&count| count > 0 && count < isize::MAX as usize / 32);
    let count = count.ok_or(DemoError::Size { size })?;
    let bytes = count * 8;

    // The guard is made before the folder, so that it is dropped after the folder has been removed.
    let interrupts = Interrupts::watch()?;
    let parent = std::env::temp_dir();
    let directory = tempfile::Builder::new()
        .prefix("mapcall-demo-")
        .tempdir()
        .map_err(|source| DemoError::Folder {
            path: parent.clone(),
            source,
        })?;
    check_space(directory.path(), &parent, bytes)?;
    let demo = Demo {
        directory: directory.path(),
        count,
        interrupts: &interrupts,
        is_json: arguments.json,
    };
    let done = demo.run();
    // An interrupted sync returns another error than `CallError::Interrupted`, so the flag is tested.
    if done.is_err()
        && let Some(signal) = interrupts.signal()
    {
        return Err(Demo::interrupted(signal));
    }
    done
}

/// Checks that the disk has space for the file and for the result.
fn check_space(directory: &Path, parent: &Path, bytes: usize) -> Result<(), DemoError> {
    const HEADERS: usize = 1 << 20;
    let needed = bytes.saturating_mul(2).saturating_add(HEADERS);
    match free_space(directory) {
        Some(free) if free < needed => Err(DemoError::Space {
            path: parent.to_owned(),
            needed,
            free,
        }),
        // If the system doesn't tell the free space, the allocation fails on a full disk.
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free_space(directory: &Path) -> Option<usize> {
    let system = rustix::fs::statvfs(directory).ok()?;
    usize::try_from(system.f_bavail.saturating_mul(system.f_frsize)).ok()
}

#[cfg(not(unix))]
fn free_space(_: &Path) -> Option<usize> {
    None
}

struct Demo<'a> {
    directory: &'a Path,
    /// The number of elements of the file.
    count: usize,
    interrupts: &'a Interrupts,
    is_json: bool,
}

impl Demo<'_> {
    fn run(&self) -> Result<(), Failure> {
        let bytes = self.count * 8;
        // SAFETY: libm's initialisers and terminators may run on any thread, and its file is not written.
        let libm = unsafe { Library::open("m")? };
        // SAFETY: the prototype is that of `cos`, which any number of threads may call at once.
        let cos = unsafe { libm.function("double cos(double x)") };
        let cos = cos.map_err(FunctionError::from)?;

        let path = self.directory.join("x.npy");
        self.say(|output| {
            let (size, doubles) = (readable(bytes), counted(self.count, "double"));
            writeln!(output, "{}: {size}, {doubles}", path.display())
        })?;
        self.make(&path)?;
        // SAFETY: no other code writes or shortens the files in the temporary folder.
        let x = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };

        self.say(|output| writeln!(output, "{:22}{:>9}{:>14}", "", "seconds", "rate"))?;
        let memcpy = self.copy(&x)?;
        self.line("memcpy", &memcpy, &memcpy)?;
        let mut facts = Facts {
            bytes,
            memcpy,
            runs: Vec::new(),
            checked: self.count,
            ulps: 0,
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let variants = libm.vector_variants()?;
        let has_variant = variants
            .iter()
            .any(|name| name.function() == "cos" && name.isa().is_available());
        let mut simd_ulps = 0;
        for (simd, threads) in [(false, 1), (false, cores), (true, 1), (true, cores)] {
            let is_measured = |run: &Run| {
                let calls = run.calls.as_ref();
                calls.is_some_and(|calls| (calls.simd, calls.threads) == (simd, threads))
            };
            if (simd && !has_variant) || facts.runs.iter().any(is_measured) {
                continue;
            }
            let calls = Calls {
                threads,
                simd,
                ulps: 0,
            };
            let run = self.cosines(&cos, &x, calls)?;
            let label = if simd { "cos, simd" } else { "cos" };
            let label = format!("{label}, {}", counted(threads, "thread"));
            self.line(&label, &run, &facts.memcpy)?;
            let max = if simd {
                &mut simd_ulps
            } else {
                &mut facts.ulps
            };
            *max = run.calls.map_or(0, |calls| calls.ulps).max(*max);
            facts.runs.push(run);
        }
        if self.is_json {
            output::write(|output| output::json_line(output, &facts))?;
        }
        self.say(|output| {
            let ulps = match facts.ulps {
                0 => "equal, bit for bit, to",
                _ => "within 1 unit in the last place of",
            };
            if has_variant {
                writeln!(
                    output,
                    "simd: by a vector variant, whose results are within {}.",
                    counted(usize::try_from(simd_ulps).unwrap_or(usize::MAX), "unit")
                )?;
            }
            writeln!(output, "Every other result is {ulps} Rust's own cosine.")
        })?;
        Ok(())
    }

    fn say(
        &self,
        write: impl FnOnce(&mut output::Output) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.is_json {
            return Ok(());
        }
        Ok(output::write(write)?)
    }

    fn line(&self, label: &str, run: &Run, memcpy: &Run) -> Result<(), Failure> {
        let share = 100.0 * memcpy.seconds / run.seconds.max(1e-9);
        let rate = rate(self.count * 8, run.seconds);
        let beside = match run.calls {
            None => String::new(),
            Some(_) => format!("  {share:.0}% of memcpy"),
        };
        self.say(|output| writeln!(output, "{label:22}{:9.2}{rate:>14}{beside}", run.seconds))
    }

    /// Returns an error if the process has received a signal.
    fn watch(&self) -> Result<(), Failure> {
        match self.interrupts.signal() {
            Some(signal) => Err(Self::interrupted(signal)),
            None => Ok(()),
        }
    }

    fn interrupted(signal: u8) -> Failure {
        Failure::Interrupted {
            signal,
            left: "demo: interrupted; nothing is left behind".to_owned(),
        }
    }

    /// Creates the file of angles.
    #[expect(clippy::cast_precision_loss, reason = "any angles will do")]
    fn make(&self, path: &Path) -> Result<(), Failure> {
        let file = NewFile::create(path, DType::F64, &[self.count], Order::C)?;
        for start in (0..self.count).step_by(CHUNK) {
            self.watch()?;
            let end = self.count.min(start + CHUNK);
            let angles = (start..end).flat_map(|index| (index as f64 * 1e-3).to_ne_bytes());
            file.write(start * 8, &angles.collect::<Vec<u8>>())?;
        }
        file.persist()?;
        Ok(())
    }

    /// Measures copying the bytes of the file, after they have been read into memory.
    fn copy(&self, x: &Array) -> Result<Run, Failure> {
        let view = x.view::<f64>()?;
        let source = view.as_slice().unwrap_or_default();
        let mut target = vec![1.0; COPY.min(source.len())];
        let mut best = f64::INFINITY;
        for _ in 0..2 {
            let start = Instant::now();
            for part in source.chunks(target.len().max(1)) {
                self.watch()?;
                if let Some(target) = target.get_mut(..part.len()) {
                    target.copy_from_slice(part);
                    black_box(target);
                }
            }
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok(self.took(None, best))
    }

    fn took(&self, calls: Option<Calls>, seconds: f64) -> Run {
        Run {
            calls,
            seconds,
            bytes_per_second: per_second(self.count * 8, seconds),
        }
    }

    /// Writes the cosines of all angles to a new file; returns the time and the largest error.
    fn cosines(&self, cos: &Function, x: &Array, calls: Calls) -> Result<Run, Failure> {
        let path = self.directory.join("cos.npy");
        let mut bar = Bar::new("cos", self.count * 16, !self.is_json);
        let start = Instant::now();
        let done = cos
            .map(&[Arg::from(x)], &mut [Arg::from(&*path)])
            .threads(calls.threads)
            .simd(if calls.simd {
                Simd::Required
            } else {
                Simd::Off
            })
            .progress(|done, calls| {
                bar.update(done, calls);
                match self.interrupts.signal() {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            })
            .run();
        let seconds = start.elapsed().as_secs_f64();
        drop(bar);
        if let Err(CallError::Interrupted { .. }) = done {
            self.watch()?;
        }
        done?;
        // SAFETY: no other code writes or shortens the files in the temporary folder.
        let y = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
        let ulps = self.check(x, &y, calls)?;
        drop(y);
        // The space is freed for the next run. If this fails, the file is removed with the folder.
        let _ = std::fs::remove_file(&path);
        Ok(self.took(Some(Calls { ulps, ..calls }), seconds))
    }

    /// Returns the largest difference from Rust's cosine in units in the last place; it is an error if that is too
    /// large for such calls.
    fn check(&self, x: &Array, y: &Array, calls: Calls) -> Result<u64, Failure> {
        let (x, y) = (x.view::<f64>()?, y.view::<f64>()?);
        let (x, y) = (
            x.as_slice().unwrap_or_default(),
            y.as_slice().unwrap_or_default(),
        );
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = x.len().div_ceil(threads).max(1);
        let parts = x.chunks(share).zip(y.chunks(share));
        thread::scope(|scope| {
            let workers: Vec<_> = parts
                .map(|(x, y)| scope.spawn(move || self.check_part(x, y, calls)))
                .collect();
            let mut max_ulps = 0;
            for worker in workers {
                max_ulps = max_ulps.max(
                    worker
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
                );
            }
            Ok(max_ulps)
        })
    }

    fn check_part(&self, x: &[f64], y: &[f64], calls: Calls) -> Result<u64, Failure> {
        let mut max_ulps = 0;
        for (x, y) in x.chunks(CHUNK).zip(y.chunks(CHUNK)) {
            self.watch()?;
            for (&x, &found) in x.iter().zip(y) {
                let expected = x.cos();
                let ulps = expected.to_bits().abs_diff(found.to_bits());
                if ulps > calls.max_ulps() {
                    let library = if calls.simd { "libmvec" } else { "libm" };
                    return Err(DemoError::Differs {
                        library,
                        x,
                        expected,
                        found,
                    }
                    .into());
                }
                max_ulps = max_ulps.max(ulps);
            }
        }
        Ok(max_ulps)
    }
}
