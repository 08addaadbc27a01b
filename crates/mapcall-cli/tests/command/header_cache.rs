//! The cache of preprocessed headers: an entry is used while nothing has changed, and is never trusted.

#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::common::{mapcall, succeeded};
use tempfile::TempDir;

/// A directory with headers, a cache and a compiler that counts its runs.
struct Setup {
    directory: TempDir,
}

/// What `k.h` gives.
const FUNCTIONS: &str = "int f(int a, float b);\nint g(struct inner *p);\n";
const CONSTANTS: &str = "TWO = 2\nSIZE = 8\nNAME = \"k1\"\n";

impl Setup {
    fn new() -> Self {
        let setup = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(setup.path("include/late")).unwrap();
        fs::create_dir(setup.path("early")).unwrap();
        setup.write(
            "include/k.h",
            "#include <late/inner.h>\n#ifndef REAL\n#define REAL float\n#endif\nenum { TWO = 2 };\n\
             #define SIZE sizeof(struct inner)\n#define NAME \"k1\"\nint f(int a, REAL b);\n\
             int g(struct inner *p);\n",
        );
        setup.write("include/late/inner.h", "struct inner { int x, y; };\n");
        setup.compiler("cc1");
        setup
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, at a time before now, as files that change while the compiler runs are not cached.
    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Creates a compiler that adds a line to the file `runs` whenever it is run.
    fn compiler(&self, name: &str) {
        let path = self.path(name);
        let runs = self.path("runs");
        let text = format!(
            "#!/bin/sh\necho run >> '{}'\nexec cc \"$@\"\n",
            runs.display()
        );
        // Another process writes the script: a child that this process forks meanwhile would keep it open
        // for writing, and the kernel runs no such file.
        let mut shell = Command::new("sh");
        shell.args(["-c", "printf '%s' \"$2\" > \"$1\" && chmod +x \"$1\"", "sh"]);
        assert!(shell.arg(&path).arg(text).status().unwrap().success());
    }

    fn command(&self, subcommand: &str) -> Command {
        let mut command = mapcall([subcommand, "k.h"]);
        command
            .env("MAPCALL_HEADER_CACHE", "1")
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("CC", self.path("cc1"))
            .arg("-I")
            .arg(self.path("early"))
            .arg("-I")
            .arg(self.path("include"));
        command
    }

    /// Returns how often the compiler is run by what a closure does.
    fn runs(&self, work: impl FnOnce()) -> usize {
        let count = || {
            let runs = fs::read_to_string(self.path("runs"));
            runs.map_or(0, |runs| runs.lines().count())
        };
        let before = count();
        work();
        count() - before
    }

    fn read(&self) {
        assert_eq!(succeeded(&mut self.command("prototypes")), FUNCTIONS);
    }

    fn evaluate(&self) {
        assert_eq!(succeeded(&mut self.command("constants")), CONSTANTS);
    }

    /// Returns the files in the cache.
    fn entries(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.path("cache/mapcall")) else {
            return Vec::new();
        };
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn a_header_is_read_once() {
    let setup = Setup::new();
    assert_eq!(setup.runs(|| setup.read()), 1);
    assert_eq!(setup.runs(|| setup.read()), 0);
    // The constants are evaluated once.
    assert_eq!(setup.runs(|| setup.evaluate()), 1);
    assert_eq!(setup.runs(|| setup.evaluate()), 0);
    assert_eq!(setup.runs(|| setup.read()), 0);
    assert_eq!(setup.entries().len(), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&setup.path("cache/mapcall")), 0o700);
    assert_eq!(mode(&setup.entries()[0]), 0o600);
    // It can be turned off.
    for _ in 0..2 {
        let mut command = setup.command("prototypes");
        command.env("MAPCALL_HEADER_CACHE", "0");
        let read = || assert_eq!(succeeded(&mut command), FUNCTIONS);
        assert_eq!(setup.runs(read), 1);
    }
}

#[test]
fn a_change_is_noticed() {
    let setup = Setup::new();
    setup.read();
    // A macro, another compiler, an environment variable of compilers.
    let mut command = setup.command("prototypes");
    command.arg("-DREAL=double");
    assert!(succeeded(&mut command).contains("double b"));
    setup.compiler("cc2");
    let mut command = setup.command("prototypes");
    command.env("CC", setup.path("cc2"));
    assert_eq!(
        setup.runs(|| assert_eq!(succeeded(&mut command), FUNCTIONS)),
        1
    );
    let mut command = setup.command("prototypes");
    command.env("CPATH", setup.path("early"));
    assert_eq!(
        setup.runs(|| assert_eq!(succeeded(&mut command), FUNCTIONS)),
        1
    );
    assert_eq!(setup.runs(|| setup.read()), 0);

    // The header that is included, with the same size and time.
    let inner = setup.path("include/late/inner.h");
    let time = fs::metadata(&inner).unwrap().modified().unwrap();
    setup.write("include/late/inner.h", "struct inner { int x, z; };\n");
    File::options()
        .write(true)
        .open(&inner)
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    assert_eq!(setup.runs(|| setup.read()), 0);

    // The header itself.
    let text = fs::read_to_string(setup.path("include/k.h")).unwrap();
    setup.write("include/k.h", &text.replace("k1", "k2"));
    let constants = succeeded(&mut setup.command("constants"));
    assert_eq!(constants, CONSTANTS.replace("k1", "k2"));
    setup.write("include/k.h", &text);
    setup.evaluate();

    // A header that the compiler finds before the one that it has read.
    assert_eq!(setup.runs(|| setup.read()), 0);
    fs::create_dir(setup.path("early/late")).unwrap();
    setup.write("early/late/inner.h", "struct inner { char c[3]; };\n");
    let constants = succeeded(&mut setup.command("constants"));
    assert_eq!(constants, CONSTANTS.replace("SIZE = 8", "SIZE = 3"));
    // It is gone again.
    fs::remove_dir_all(setup.path("early/late")).unwrap();
    setup.evaluate();
    fs::remove_file(inner).unwrap();
    let output = setup.command("prototypes").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_damaged_entry_is_replaced() {
    let setup = Setup::new();
    setup.evaluate();
    let entry = setup.entries().remove(0);
    let whole = fs::read(&entry).unwrap();
    let mut damaged = Vec::new();
    let positions = (0..96)
        .step_by(7)
        .chain((96..whole.len()).step_by(whole.len() / 16));
    for position in positions {
        let mut bytes = whole.clone();
        bytes[position] ^= 0x20;
        damaged.push(bytes);
    }
    for length in [0, 1, 16, 48, 80, 88, whole.len() / 2, whole.len() - 1] {
        damaged.push(whole[..length].to_vec());
    }
    damaged.push([&whole[..], b"x"].concat());
    for bytes in damaged {
        fs::write(&entry, &bytes).unwrap();
        assert_eq!(setup.runs(|| setup.read()), 1);
        assert_ne!(fs::read(&entry).unwrap(), bytes);
    }
    // An entry of another request, under this one's name.
    let mut command = setup.command("prototypes");
    command.arg("-DREAL=double");
    succeeded(&mut command);
    let other = setup.entries().into_iter().find(|path| *path != entry);
    fs::copy(other.unwrap(), &entry).unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    // A directory, and a link, under its name.
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    fs::remove_dir(&entry).unwrap();
    fs::write(setup.path("elsewhere"), &whole).unwrap();
    symlink(setup.path("elsewhere"), &entry).unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    assert_eq!(fs::read(setup.path("elsewhere")).unwrap(), whole);
}

#[test]
fn a_folder_that_is_not_private_is_not_used() {
    let setup = Setup::new();
    let folder = setup.path("cache/mapcall");
    fs::create_dir_all(&folder).unwrap();
    for mode in [0o777, 0o750, 0o701] {
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        for _ in 0..2 {
            assert_eq!(setup.runs(|| setup.read()), 1);
        }
        assert!(setup.entries().is_empty());
    }
    fs::remove_dir(&folder).unwrap();
    fs::create_dir(setup.path("target")).unwrap();
    fs::set_permissions(setup.path("target"), Permissions::from_mode(0o700)).unwrap();
    symlink(setup.path("target"), &folder).unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    fs::remove_file(&folder).unwrap();
    fs::write(&folder, "a file").unwrap();
    assert_eq!(setup.runs(|| setup.read()), 1);
    // No folder can be made there.
    let mut command = setup.command("prototypes");
    command.env("XDG_CACHE_HOME", setup.path("runs/x"));
    assert_eq!(
        setup.runs(|| assert_eq!(succeeded(&mut command), FUNCTIONS)),
        1
    );
    // A relative path is none (XDG Base Directory Specification).
    let mut command = setup.command("prototypes");
    command
        .env("XDG_CACHE_HOME", "relative")
        .env("HOME", setup.path("home"));
    assert_eq!(succeeded(&mut command), FUNCTIONS);
    assert!(!Path::new("relative").exists());
    assert!(setup.path("home/.cache/mapcall").is_dir());
}

#[test]
fn processes_share_the_folder_and_its_size_is_bounded() {
    let setup = Setup::new();
    fs::create_dir_all(setup.path("cache/mapcall")).unwrap();
    let folder = setup.path("cache/mapcall");
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    let old = File::create(folder.join("old")).unwrap();
    old.set_len(64 << 20).unwrap();
    old.set_modified(SystemTime::now() - Duration::from_hours(1))
        .unwrap();
    let children: Vec<_> = (0..4)
        .map(|_| {
            setup
                .command("constants")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), CONSTANTS);
    }
    assert_eq!(setup.entries().len(), 1, "{:?}", setup.entries());
    assert_eq!(setup.runs(|| setup.evaluate()), 0);
}
