//! A cache of preprocessed headers and compiled libraries in the user's cache folder.
//!
//! An entry is a file whose name is the digest of the request. It is used if its own digest is right, the
//! files that the compiler read are the same, and none has appeared that the compiler would find before them.
//! Any other entry is ignored and replaced. A failure of the cache is never an error.
//!
//! A library is a file of its own, whose name is the digest of its content; the entry has that digest.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{OWN_HEADER, behind_dot};
use crate::declarations::{Constant, ConstantValue, Program};
use crate::parse::MAX_TEXT;
use crate::sys::PrivateDirectory;

/// The environment variable that turns the cache off, with the value 0.
const VARIABLE: &str = "MAPCALL_HEADER_CACHE";

/// The first bytes of an entry, with the version of its format.
const MAGIC: &[u8; 16] = b"mapcall header 2";

/// The maximum size of an entry: that of the text, with as much for the names of files and constants.
const MAX_ENTRY: u64 = 2 * MAX_TEXT as u64;

/// The maximum size of all entries together, in bytes.
const MAX_TOTAL: u64 = 64 << 20;

/// The environment variables that compilers read (GCC manual, "Environment Variables"; Clang manual).
const ENVIRONMENT: [&str; 11] = [
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "LIBRARY_PATH",
    "LD_RUN_PATH",
    "GCC_EXEC_PREFIX",
    "COMPILER_PATH",
    "SOURCE_DATE_EPOCH",
    "SDKROOT",
    "CCC_OVERRIDE_OPTIONS",
    "NIX_CFLAGS_COMPILE",
];

/// The maximum size of a compiled library in bytes.
const MAX_LIBRARY: u64 = 256 << 20;

type Digest = [u8; 32];

/// What the output of a compiler depends on, beside the compiler itself and the files that it reads.
pub(crate) struct Question<'a> {
    /// The compilers, each a program and its first arguments, of which the first that exists is asked.
    pub(crate) commands: Vec<Vec<OsString>>,
    pub(crate) arguments: &'a [OsString],
    /// The text on the standard input.
    pub(crate) input: &'a str,
    /// Anything else that makes a difference.
    pub(crate) facts: &'a [&'a [u8]],
    /// Whether the files that are read depend on the current directory.
    pub(crate) is_relative: bool,
    /// The directories that are searched for headers before those of the system.
    pub(crate) directories: &'a [PathBuf],
}

/// The output of a compiler.
pub(crate) struct Entry {
    /// The preprocessed text.
    pub(crate) output: String,
    /// The command of the compiler.
    pub(crate) argv: Vec<OsString>,
    pub(crate) library: Option<StoredLibrary>,
}

/// A compiled library in the cache.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct StoredLibrary {
    digest: Digest,
    /// The files that it was linked from, with their sizes and times of modification in nanoseconds.
    linked: Vec<(PathBuf, Option<(u64, u128)>)>,
    /// The warnings of the compiler, as it has written them.
    pub(crate) messages: String,
}

/// The request of a compiler's output, by which its entry is found.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    path: PathBuf,
    directory: Arc<PrivateDirectory>,
    key: Digest,
    /// The compiler that is asked first.
    argv: Vec<OsString>,
    include: Vec<PathBuf>,
}

/// What an entry says beside the text.
#[derive(Default, Serialize, Deserialize)]
struct Facts {
    /// The files that the compiler read, with their digests.
    files: Vec<(String, Digest)>,
    /// The files that the compiler would have found before one of those.
    absent: Vec<PathBuf>,
    /// The digest of a program, and the constants that it gave.
    constants: Option<(Digest, Vec<(String, Stored)>)>,
    library: Option<StoredLibrary>,
}

/// A value of a constant.
#[derive(Serialize, Deserialize)]
enum Stored {
    Integer(i128),
    /// The bits of a float.
    Float(u64),
    Text(Vec<u8>),
}

impl Request {
    /// Returns the request of an output; `None` if there is no cache for it.
    pub(crate) fn new(question: Question<'_>) -> Option<Self> {
        if env::var_os(VARIABLE).is_some_and(|value| value == "0") {
            return None;
        }
        let mut found = question.commands.into_iter().filter_map(|argv| {
            let program = find_program(argv.first()?)?;
            Some((argv, program))
        });
        let (argv, program) = found.next()?;
        let stat = fs::metadata(&program).ok()?;
        let mut key = blake3::Hasher::new();
        let mut add = |field: &[u8]| {
            key.update(&field.len().to_le_bytes());
            key.update(field);
        };
        add(MAGIC);
        add(crate::MAPCALL_H.as_bytes());
        add(program.as_os_str().as_encoded_bytes());
        add(&stat.len().to_le_bytes());
        let changed = stat.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        add(&changed.as_nanos().to_le_bytes());
        let mut is_native = false;
        for argument in argv.iter().chain(question.arguments) {
            add(argument.as_encoded_bytes());
            is_native |= argument.to_string_lossy().ends_with("=native");
        }
        if is_native {
            add(processor()?.as_bytes());
        }
        add(b"input");
        add(question.input.as_bytes());
        for fact in question.facts {
            add(fact);
        }
        add(&question.facts.len().to_le_bytes());
        let mut has_environment = false;
        for name in ENVIRONMENT {
            let value = env::var_os(name);
            has_environment |= value.is_some();
            add(value.unwrap_or_default().as_encoded_bytes());
        }
        if has_environment || argv.len() > 1 || question.is_relative {
            add(env::current_dir().ok()?.as_os_str().as_encoded_bytes());
        }
        let key = *key.finalize().as_bytes();
        let path = folder()?;
        let directory = Arc::new(PrivateDirectory::open(&path).ok()?);
        let directories = question.directories.iter();
        Some(Self {
            path,
            directory,
            key,
            argv,
            include: directories.map(|path| behind_dot(path)).collect(),
        })
    }

    fn name(&self) -> String {
        blake3::Hash::from_bytes(self.key).to_hex().to_string()
    }

    /// Returns the output of the compiler that has been stored, if it is still right.
    pub(crate) fn load(&self) -> Option<Entry> {
        let (facts, output) = self.read()?;
        let is_same =
            |(path, digest): &(String, Digest)| digest_of(Path::new(path)) == Some(*digest);
        let exists = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
        if !facts.files.iter().all(is_same) || facts.absent.iter().any(exists) {
            return None;
        }
        // The entries that were used least recently are removed first.
        let _ = self.directory.touch(&self.name());
        Some(Entry {
            output,
            argv: self.argv.clone(),
            library: facts.library,
        })
    }

    /// Returns the path and the content of a library that has been stored, if it is still right.
    pub(crate) fn library(&self, library: &StoredLibrary) -> Option<(PathBuf, Vec<u8>)> {
        let is_same = |(path, stamp): &(PathBuf, _)| stamp_of(path) == *stamp;
        if !library.linked.iter().all(is_same) {
            return None;
        }
        let name = name_of_library(library.digest);
        let bytes = self.directory.read(&name, MAX_LIBRARY).ok()?;
        if *blake3::hash(&bytes).as_bytes() != library.digest {
            return None;
        }
        let _ = self.directory.touch(&name);
        Some((self.path.join(name), bytes))
    }

    /// Stores a library, which was linked from files; returns what its entry says, and its path.
    pub(crate) fn store_library(
        &self,
        bytes: &[u8],
        linked: Vec<PathBuf>,
        messages: String,
    ) -> Option<(StoredLibrary, PathBuf)> {
        if u64::try_from(bytes.len()).ok()? > MAX_LIBRARY {
            return None;
        }
        let digest = *blake3::hash(bytes).as_bytes();
        let name = name_of_library(digest);
        self.replace(&name, &[bytes])?;
        let linked = linked.into_iter().map(|path| {
            let stamp = stamp_of(&path);
            (path, stamp)
        });
        let library = StoredLibrary {
            digest,
            linked: linked.collect(),
            messages,
        };
        Some((library, self.path.join(name)))
    }

    /// Stores the output of the compiler, which was started at `start`, and has read these files and searched
    /// these directories.
    pub(crate) fn store(
        &self,
        entry: &Entry,
        searched: &[PathBuf],
        files: &[(Arc<str>, Arc<str>)],
        start: SystemTime,
    ) {
        if entry.argv != self.argv {
            return;
        }
        let mut facts = Facts {
            library: entry.library.clone(),
            ..Facts::default()
        };
        let mut directories = self.include.clone();
        let more = searched.iter();
        directories.extend(more.filter(|path| !self.include.contains(path)).cloned());
        for (file, includer) in files {
            if file.is_empty() || facts.files.iter().any(|(known, _)| **known == **file) {
                continue;
            }
            let path = Path::new(&**file);
            // The compiler has found mapcall's own header in a temporary directory; the key has its text.
            if path.file_name() == Some(OWN_HEADER.as_ref()) && !path.exists() {
                continue;
            }
            // A file that has changed meanwhile may not be the one that the compiler read.
            let Some(digest) = digest_of(path).filter(|_| !has_changed_since(path, start)) else {
                return;
            };
            facts.files.push((file.to_string(), digest));
            facts
                .absent
                .extend(candidates(path, Path::new(&**includer), &directories));
        }
        facts.absent.sort_unstable();
        facts.absent.dedup();
        facts
            .absent
            .retain(|path| fs::symlink_metadata(path).is_err());
        self.write(&facts, &entry.output);
    }

    /// Returns the constants of a program that have been stored.
    pub(crate) fn constants(&self, program: &Program) -> Option<Vec<Constant>> {
        let (facts, _) = self.read()?;
        let (digest, constants) = facts.constants?;
        let constants = constants.into_iter().map(|(name, value)| Constant {
            name,
            value: match value {
                Stored::Integer(value) => ConstantValue::Integer(value),
                Stored::Float(bits) => ConstantValue::Float(f64::from_bits(bits)),
                Stored::Text(bytes) => ConstantValue::Text(bytes),
            },
        });
        (digest == digest_of_program(program)).then(|| constants.collect())
    }

    /// Stores the constants that a program has given.
    pub(crate) fn store_constants(&self, program: &Program, constants: &[Constant]) {
        let Some((mut facts, output)) = self.read() else {
            return;
        };
        let stored = constants.iter().map(|constant| {
            let value = match &constant.value {
                ConstantValue::Integer(value) => Stored::Integer(*value),
                ConstantValue::Float(value) => Stored::Float(value.to_bits()),
                ConstantValue::Text(bytes) => Stored::Text(bytes.clone()),
            };
            (constant.name.clone(), value)
        });
        facts.constants = Some((digest_of_program(program), stored.collect()));
        self.write(&facts, &output);
    }

    /// Returns the facts and the text of the entry, if it is a whole one of this request.
    fn read(&self) -> Option<(Facts, String)> {
        let mut bytes = self.directory.read(&self.name(), MAX_ENTRY).ok()?;
        let rest = bytes.strip_prefix(MAGIC)?;
        let (digest, rest) = rest.split_first_chunk::<32>()?;
        if blake3::hash(rest).as_bytes() != digest {
            return None;
        }
        let (key, rest) = rest.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (facts, output) = rest.split_at_checked(length)?;
        if *key != self.key || output.len() > MAX_TEXT {
            return None;
        }
        let facts = serde_json::from_slice(facts).ok()?;
        let start = bytes.len() - output.len();
        let output = String::from_utf8(bytes.split_off(start)).ok()?;
        Some((facts, output))
    }

    fn write(&self, facts: &Facts, output: &str) {
        let Ok(facts) = serde_json::to_vec(facts) else {
            return;
        };
        let length = u64::try_from(facts.len()).unwrap_or(u64::MAX).to_le_bytes();
        let mut digest = blake3::Hasher::new();
        let parts: [&[u8]; 4] = [&self.key, &length, &facts, output.as_bytes()];
        for part in parts {
            digest.update(part);
        }
        let digest = digest.finalize();
        let [key, length, facts, output] = parts;
        let parts = [MAGIC, &digest.as_bytes()[..], key, length, facts, output];
        if self.replace(&self.name(), &parts).is_some() {
            self.remove_oldest();
        }
    }

    /// Replaces a file in one step.
    fn replace(&self, name: &str, parts: &[&[u8]]) -> Option<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let temporary = format!(
            "{name}.{}.{}.{}",
            std::process::id(),
            now.unwrap_or_default().as_nanos(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        self.directory.replace(name, &temporary, parts).ok()
    }

    /// Removes the entries that were used least recently, so that all together are not too large.
    fn remove_oldest(&self) {
        let Ok(mut files) = self.directory.files() else {
            return;
        };
        files.sort_unstable_by_key(|file| std::cmp::Reverse(file.modified));
        let mut total = 0;
        for file in files {
            total += file.size;
            if let Some(name) = file.name.to_str().filter(|_| total > MAX_TOTAL) {
                let _ = self.directory.remove(name);
            }
        }
    }
}

/// Returns the name of the file of a library.
fn name_of_library(digest: Digest) -> String {
    format!("{}.so", blake3::Hash::from_bytes(digest).to_hex())
}

/// Returns the size of a file and its time of modification; `None` if there is none.
fn stamp_of(path: &Path) -> Option<(u64, u128)> {
    let stat = fs::metadata(path).ok()?;
    let modified = stat.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((stat.len(), modified.as_nanos()))
}

/// Returns what compilers find out of the processor for `-march=native`, as Linux describes it.
fn processor() -> Option<String> {
    /// The fields of `/proc/cpuinfo` that differ between cores, or from time to time.
    const CHANGING: [&str; 7] = [
        "processor",
        "cpu MHz",
        "bogomips",
        "BogoMIPS",
        "core id",
        "apicid",
        "initial apicid",
    ];
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let lines = text.lines().take_while(|line| !line.is_empty());
    let lines = lines.filter(|line| {
        let name = line.split(':').next().unwrap_or_default().trim();
        !CHANGING.contains(&name)
    });
    Some(lines.collect::<Vec<_>>().join("\n"))
}

/// Returns the folder of the cache (XDG Base Directory Specification).
fn folder() -> Option<PathBuf> {
    let home = || Some(env::home_dir()?.join(".cache"));
    let given = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = given.filter(|path| path.is_absolute()).or_else(home)?;
    base.is_absolute().then(|| base.join("mapcall"))
}

/// Returns the file that the system runs for a command.
fn find_program(command: &OsStr) -> Option<PathBuf> {
    let path = Path::new(command);
    if path.components().count() > 1 {
        return fs::canonicalize(path).ok();
    }
    let directories = env::var_os("PATH")?;
    let mut candidates = env::split_paths(&directories).map(|directory| directory.join(path));
    let program = candidates.find(|path| path.is_file())?;
    fs::canonicalize(program).ok()
}

fn digest_of(path: &Path) -> Option<Digest> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_TEXT).ok()?;
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= MAX_TEXT).then(|| *blake3::hash(&bytes).as_bytes())
}

fn digest_of_program(program: &Program) -> Digest {
    let mut digest = blake3::Hasher::new();
    for part in program
        .names
        .iter()
        .chain([&program.declarations, &program.macros])
    {
        let _ = digest.write_all(&part.len().to_le_bytes());
        let _ = digest.write_all(part.as_bytes());
    }
    *digest.finalize().as_bytes()
}

/// Returns whether a file has been written, or has got its name, since a time.
fn has_changed_since(path: &Path, start: SystemTime) -> bool {
    let Ok(metadata) = fs::metadata(path) else {
        return true;
    };
    let is_later = metadata.modified().is_ok_and(|time| time >= start);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let start = start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(start.as_secs()).unwrap_or(i64::MAX);
        let start = (seconds, i64::from(start.subsec_nanos()));
        is_later || (metadata.ctime(), metadata.ctime_nsec()) >= start
    }
    #[cfg(not(unix))]
    is_later
}

/// Returns the files that the compiler would find before this one.
fn candidates(path: &Path, includer: &Path, directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    for (position, directory) in directories.iter().enumerate() {
        let Ok(name) = path.strip_prefix(directory) else {
            continue;
        };
        // `#include "..."` begins with the directory of the file that it is in.
        candidates.extend(includer.parent().map(|parent| parent.join(name)));
        let before = directories.iter().take(position);
        candidates.extend(before.map(|directory| directory.join(name)));
    }
    candidates
}
