//! The standard headers of C and POSIX.

/// Returns the standard header that a path or name leads to: `sys/types.h` for
/// `/usr/include/x86_64-linux-gnu/sys/types.h`.
pub(super) fn name(path: &str) -> Option<&str> {
    let name = match path.rsplit_once("/include/") {
        Some((_, name)) => match name.split_once('/') {
            // Debian has a directory for each architecture.
            Some((machine, inner)) if machine.contains('-') => inner,
            _ => name,
        },
        None => path,
    };
    let is_standard = match name.split_once('/') {
        Some((directory, _)) => matches!(directory, "arpa" | "net" | "netinet" | "sys"),
        None => name
            .strip_suffix(".h")
            .is_some_and(|stem| STEMS.binary_search(&stem).is_ok()),
    };
    is_standard.then_some(name)
}

/// The names without `.h`, sorted. Headers in directories are recognised by the name of the directory.
const STEMS: &[&str] = &[
    "aio",
    "assert",
    "complex",
    "cpio",
    "ctype",
    "dirent",
    "dlfcn",
    "errno",
    "fcntl",
    "fenv",
    "float",
    "fmtmsg",
    "fnmatch",
    "ftw",
    "glob",
    "grp",
    "iconv",
    "inttypes",
    "iso646",
    "langinfo",
    "libgen",
    "libintl",
    "limits",
    "locale",
    "math",
    "monetary",
    "mqueue",
    "ndbm",
    "netdb",
    "nl_types",
    "poll",
    "pthread",
    "pwd",
    "regex",
    "sched",
    "search",
    "semaphore",
    "setjmp",
    "signal",
    "spawn",
    "stdalign",
    "stdarg",
    "stdatomic",
    "stdbit",
    "stdbool",
    "stdckdint",
    "stddef",
    "stdint",
    "stdio",
    "stdlib",
    "stdnoreturn",
    "string",
    "strings",
    "stropts",
    "syslog",
    "tar",
    "termios",
    "tgmath",
    "threads",
    "time",
    "trace",
    "uchar",
    "ulimit",
    "unistd",
    "utime",
    "utmpx",
    "wchar",
    "wctype",
    "wordexp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_by_their_directory() {
        assert!(STEMS.is_sorted());
        for (path, expected) in [
            ("math.h", Some("math.h")),
            ("/usr/include/math.h", Some("math.h")),
            (
                "/usr/include/x86_64-linux-gnu/sys/types.h",
                Some("sys/types.h"),
            ),
            (
                "/usr/lib/gcc/x86_64-linux-gnu/12/include/stddef.h",
                Some("stddef.h"),
            ),
            ("/usr/include/x86_64-linux-gnu/bits/mathcalls.h", None),
            ("/usr/include/zlib.h", None),
            ("/usr/include/SDL2/time.h", None),
            ("/home/me/project/time.h", None),
            ("stdio", None),
            ("", None),
        ] {
            assert_eq!(name(path), expected, "{path}");
        }
    }
}
