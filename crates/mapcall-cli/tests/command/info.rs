//! `mapcall info`, on NumPy's files, on hostile ones, and on the page cache.

#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and says what it skips"
)]

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::{json_lines, mapcall, numpy, refused, succeeded};
use rustix::fs::{Advice, fadvise};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Creates a directory with files that NumPy has written.
fn files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    numpy(
        directory.path(),
        "np.save('x.npy', np.arange(24, dtype='f8').reshape(2, 3, 4))
np.save('turned.npy', np.zeros((3, 5), dtype='>i4', order='F'))
np.save('empty.npy', np.zeros((0, 3)))
np.save('one.npy', np.float32(1))
np.save('ticks.npy', np.zeros(1000, dtype=[('symbol', 'S4'), (('usd', 'price'), '<f8'),
    ('place', [('x', '<f4'), ('y', '>f4', (2,))], (3,))]))
np.savez('two.npz', a=np.arange(5, dtype='u2'), **{'b[0]': np.zeros((2, 2)), 'c:d': np.ones(1)})
np.savez_compressed('packed.npz', a=np.arange(5))
np.arange(12, dtype='f4').tofile('raw.bin')
np.arange(3, dtype='u1').tofile('colon:f4[0].bin')",
    );
    directory
}

fn info(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = mapcall(["info"]);
    command.args(arguments).current_dir(directory);
    command
}

fn json_of(directory: &TempDir, file: &str) -> Value {
    let mut lines = json_lines(&succeeded(&mut info(directory, &["--json", file])));
    assert_eq!(lines.len(), 1, "{file}");
    lines.remove(0)
}

#[test]
fn the_facts_are_numpys() {
    let directory = files();
    let mut x = json_of(&directory, "x.npy");
    let cache = x["cache"].take();
    assert_eq!(
        (&cache["pages"], cache["parts"].as_array().unwrap().len()),
        (&json!(1), 1)
    );
    assert_eq!(
        x,
        json!({
            "file": "x.npy", "member": null, "format": "npy", "version": "1.0", "dtype": "<f8",
            "fields": null, "itemsize": 8, "byte_order": "little", "shape": [2, 3, 4],
            "strides": [96, 32, 8], "order": "C", "offset": 128, "alignment": 8, "aligned": true,
            "size": 24, "nbytes": 192, "file_size": 320, "cache": null, "crc32": null,
            "unsupported": null,
        })
    );
    let turned = json_of(&directory, "turned.npy");
    assert_eq!(turned["byte_order"], "big");
    assert_eq!(
        (&turned["order"], &turned["strides"]),
        (&json!("F"), &json!([4, 12]))
    );
    let empty = json_of(&directory, "empty.npy");
    assert_eq!(
        (&empty["size"], &empty["cache"]["pages"]),
        (&json!(0), &json!(0))
    );
    let one = json_of(&directory, "one.npy");
    assert_eq!((&one["shape"], &one["strides"]), (&json!([]), &json!([])));
    let raw = json_of(&directory, "raw.bin:f4:3x4");
    assert_eq!(
        (&raw["format"], &raw["shape"], &raw["offset"]),
        (&json!("raw"), &json!([3, 4]), &json!(0))
    );
}

#[test]
fn ranges_are_numpys() {
    let directory = files();
    for (file, shape, strides, offset) in [
        ("x.npy[1]", json!([3, 4]), json!([32, 8]), 224),
        ("x.npy[::2, 1, -1]", json!([1]), json!([192]), 184),
        (
            "x.npy[..., ::-1]",
            json!([2, 3, 4]),
            json!([96, 32, -8]),
            152,
        ),
        ("x.npy[0:1000]", json!([2, 3, 4]), json!([96, 32, 8]), 128),
        ("x.npy[1, 2, 3]", json!([]), json!([]), 312),
        ("raw.bin:f4[2:4]", json!([2]), json!([4]), 8),
        ("raw.bin:<i2:2x3[1]", json!([3]), json!([2]), 6),
        ("raw.bin:M8[ns]", json!([6]), json!([8]), 0),
        ("raw.bin:M8[25s][3:]", json!([3]), json!([8]), 24),
        ("colon:f4[0].bin:u1[1:]", json!([2]), json!([1]), 1),
    ] {
        let facts = json_of(&directory, file);
        let found = (&facts["shape"], &facts["strides"], &facts["offset"]);
        assert_eq!(found, (&shape, &strides, &json!(offset)), "{file}");
    }
}

#[test]
fn members_of_archives() {
    let directory = files();
    let all = json_lines(&succeeded(&mut info(&directory, &["--json", "two.npz"])));
    let names: Vec<_> = all
        .iter()
        .map(|facts| facts["member"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["a", "b[0]", "c:d"]);
    for (file, member, shape) in [
        ("two.npz:a", "a", json!([5])),
        ("two.npz:a.npy", "a", json!([5])),
        ("two.npz:a[1:3]", "a", json!([2])),
        ("two.npz:b[0]", "b[0]", json!([2, 2])),
        ("two.npz:b[0][0]", "b[0]", json!([2])),
        ("two.npz:c:d[:]", "c:d", json!([1])),
    ] {
        let facts = json_of(&directory, file);
        assert_eq!(
            (&facts["member"], &facts["shape"]),
            (&json!(member), &shape),
            "{file}"
        );
    }
    let packed = json_of(&directory, "packed.npz");
    assert_eq!(
        (&packed["member"], &packed["format"]),
        (&json!("a"), &json!("npz"))
    );
    assert!(
        packed["unsupported"]
            .as_str()
            .unwrap()
            .contains("compressed")
    );
    assert!(succeeded(&mut info(&directory, &["packed.npz"])).contains("not mapped"));
    // The member was named.
    assert!(refused(&mut info(&directory, &["packed.npz:a[0]"])).contains("compressed"));
}

#[test]
fn text_for_people() {
    let directory = files();
    let text = succeeded(&mut info(&directory, &["ticks.npy", "two.npz:a"]));
    assert_eq!(
        text,
        "\
ticks.npy
  format      npy version 1.0
  dtype       structured, 5 fields, 48 bytes
    field        offset  dtype       shape
    symbol            0  |S4
    price (usd)       4  float64
    place            12  structured  (3,)
    place.x          12  float32
    place.y          16  >f4         (2,)
  shape       (1000,)
  strides     (48,)
  order       C
  byte order  mixed
  offset      192
  alignment   1 byte, aligned
  size        46.9 KiB (48000 bytes, 1000 elements)
  in cache    ████████████ 100%

two.npz:a
  format      npz, a member of npy version 1.0
  dtype       uint16, 2 bytes
  shape       (5,)
  strides     (2,)
  order       C
  byte order  little
  offset      183
  alignment   2 bytes, not aligned in the file
  size        10 bytes (10 bytes, 5 elements)
  in cache    █ 100%
  crc-32      ok
"
    );
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn bad_input_is_one_line_and_code_two() {
    let directory = files();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("void"), "").unwrap();
    fs::write(at("short.npy"), &fs::read(at("x.npy")).unwrap()[..300]).unwrap();
    fs::write(at("cut.npz"), &fs::read(at("two.npz")).unwrap()[..300]).unwrap();
    fs::write(at("bad\n\u{1b}[31m.npy"), "no").unwrap();
    fs::create_dir(at("folder")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    for (file, part) in [
        (
            "none.npy",
            "expected a file, got \"none.npy\": No such file",
        ),
        ("none.npy[0:3]", "got \"none.npy\": No such file"),
        ("none:f4:3x4", "got \"none\": No such file"),
        ("", "expected a file, got \"\""),
        ("a\0b", ""),
        ("folder", "expected a regular file, got a directory"),
        ("pipe", "expected a regular file, got a pipe"),
        ("pipe:f4", "expected a regular file, got a pipe"),
        ("raw.bin", "as in raw.bin:f4:1000x1000"),
        ("raw.bin[0:3]", "as in raw.bin:f4:1000x1000"),
        ("raw.bin:", "expected a type"),
        ("raw.bin:f3", "expected an itemsize"),
        ("raw.bin:O", "Python objects"),
        ("raw.bin:M8[ns", "expected a range in brackets"),
        (
            "raw.bin:f4:3by4",
            "expected a shape as 1000x1000, got \"3by4\"",
        ),
        ("raw.bin:f4:", "got \"\""),
        ("raw.bin:f4:3x", "got \"3x\""),
        ("raw.bin:f4:+3", "got \"+3\""),
        ("raw.bin:f4:99999999999999999999", "expected a shape"),
        ("raw.bin:f4:9999999999x9999999999", "too big"),
        ("raw.bin:f4:13", "needs the file to be 52 bytes long"),
        ("raw.bin:c16:", "expected a shape"),
        ("raw.bin:V7", "not a multiple of the item size 7"),
        ("raw.bin:f4:3x4[", "expected a range in brackets"),
        ("raw.bin:f4[1]x", "expected a range in brackets"),
        ("void:u1", "can't map an empty file"),
        ("void", "as in raw.bin:f4:1000x1000"),
        (
            "x.npy:f8",
            "expected nothing but a range behind a .npy file, got \":f8\"",
        ),
        ("x.npy[]", "expected an integer, a slice"),
        ("x.npy[1:2:3:4]", "got \"1:2:3:4\""),
        (
            "x.npy[2]",
            "index 2 is out of bounds for axis 0 with size 2; give a range",
        ),
        ("x.npy[0,0,0,0]", "too many indices"),
        ("x.npy[::0]", "slice step can't be zero"),
        ("x.npy[..., ...]", "single ellipsis"),
        ("two.npz:z", "has no member \"z\"; it has \"a\""),
        ("two.npz:", "has no member \"\""),
        ("short.npy", "the file was cut short"),
        ("cut.npz", "the directory of the .npz can't be read"),
        (
            "bad\n\u{1b}[31m.npy",
            "bad\\n\\u{1b}[31m.npy: expected a .npy or .npz file",
        ),
    ] {
        if file.contains('\0') {
            continue;
        }
        let message = refused(&mut info(&directory, &[file]));
        assert!(message.contains(part), "{file:?}: {message}");
        assert!(message.starts_with("error: "), "{file:?}: {message}");
        assert_eq!(
            message.matches(char::is_control).count(),
            1,
            "{file:?}: {message}"
        );
    }
    let message = refused(&mut info(&directory, &[]));
    assert!(message.contains("Usage: mapcall info"), "{message}");
    assert_eq!(message.lines().count(), 1);
}

#[test]
fn valid_files_are_shown_despite_others() {
    let directory = files();
    let output = info(&directory, &["none", "x.npy", "raw.bin", "one.npy"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(message.lines().count(), 2, "{message}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("x.npy\n") && text.contains("\n\none.npy\n"),
        "{text}"
    );
}

#[test]
fn a_damaged_member_is_an_error_and_the_others_are_shown() {
    let directory = files();
    let path = directory.path().join("two.npz");
    let mut bytes = fs::read(&path).unwrap();
    let magic = bytes
        .windows(6)
        .position(|bytes| bytes == b"\x93NUMPY")
        .unwrap();
    bytes[magic + 6] = 9;
    fs::write(&path, bytes).unwrap();
    let output = info(&directory, &["--json", "two.npz"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        json_lines(&String::from_utf8(output.stdout).unwrap()).len(),
        2
    );
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("member \"a\" of the .npz: expected .npy format version"),
        "{message}"
    );
}

#[test]
fn checksums_of_members_are_compared() {
    let directory = files();
    let path = directory.path().join("two.npz");
    let crc32 = |facts: &Value| facts["crc32"].clone();
    let sound = json_lines(&succeeded(&mut info(&directory, &["--json", "two.npz"])));
    assert!(sound.iter().all(|facts| crc32(facts) == "ok"));
    assert_eq!(crc32(&json_of(&directory, "x.npy")), Value::Null);

    let offset = json_of(&directory, "two.npz:a")["offset"].as_u64().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(offset).unwrap() + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    let output = info(&directory, &["--json", "two.npz"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let lines = json_lines(&String::from_utf8(output.stdout).unwrap());
    let found: Vec<_> = lines.iter().map(crc32).collect();
    assert_eq!(found, ["damaged", "ok", "ok"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("member \"a\" of the .npz is damaged: its CRC-32 should be "),
        "{message}"
    );
    // The complete member is compared, even if only a range of it is shown.
    let output = info(&directory, &["two.npz:a[3:]"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("  crc-32      damaged\n")
    );

    let unread = info(&directory, &["--json", "--no-verify", "two.npz"]);
    let unread = json_lines(&succeeded(&mut { unread }));
    assert!(unread.iter().all(|facts| facts["crc32"].is_null()));
}

#[test]
fn the_order_is_the_files() {
    let directory = tempfile::tempdir().unwrap();
    numpy(
        directory.path(),
        "for name, shape in ('column', (5, 1)), ('none', (0, 3)):
    for order in True, False:
        np.lib.format.open_memmap(f'{name}{order}.npy', 'w+', 'f8', shape, order)",
    );
    for (name, order, strides) in [
        ("columnTrue.npy", "F", json!([8, 40])),
        ("columnFalse.npy", "C", json!([8, 8])),
        ("noneTrue.npy", "F", json!([8, 8])),
        ("noneFalse.npy", "C", json!([24, 8])),
    ] {
        let facts = json_of(&directory, name);
        assert_eq!(
            (&facts["order"], &facts["strides"]),
            (&json!(order), &strides)
        );
    }
}

/// Creates a file of 16 MiB whose pages are not in the page cache; `None` if they can't be removed from it.
fn dropped(directory: &TempDir) -> Option<File> {
    let path = directory.path().join("large.bin");
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    file.write_all(&vec![7; 16 << 20]).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let facts = json_of(directory, "large.bin:u1");
    if facts["cache"]["resident"] != 0 {
        println!("skipped: this file system doesn't drop pages");
        return None;
    }
    Some(file)
}

#[test]
fn the_bar_shows_the_page_cache() {
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = dropped(&directory) else {
        return;
    };
    let text = succeeded(&mut info(&directory, &["large.bin:u1"]));
    assert!(
        text.ends_with(&format!("in cache    {} 0%\n", "·".repeat(40))),
        "{text}"
    );

    // Prevents the kernel from reading ahead.
    fadvise(&file, 0, None, Advice::Random).unwrap();
    file.read_exact_at(&mut vec![0; 4 << 20], 0).unwrap();
    let text = succeeded(&mut info(&directory, &["large.bin:u1"]));
    let bar = text.lines().last().unwrap();
    assert!(
        bar.contains(&"█".repeat(10)) && bar.contains(&"·".repeat(20)),
        "{bar}"
    );
    let cache = json_of(&directory, "large.bin:u1")["cache"].take();
    let (pages, resident) = (
        cache["pages"].as_u64().unwrap(),
        cache["resident"].as_u64().unwrap(),
    );
    assert_eq!(pages * cache["page_size"].as_u64().unwrap(), 16 << 20);
    assert!(
        pages / 4 <= resident && resident < pages / 2,
        "{resident} of {pages}"
    );
    assert_eq!(
        (&cache["parts"][9], &cache["parts"][39]),
        (&json!(1.0), &json!(0.0))
    );

    // The bar of a range shows only the pages of the range.
    let text = succeeded(&mut info(&directory, &["large.bin:u1[:1000000]"]));
    assert!(text.ends_with("█ 100%\n"), "{text}");
    let text = succeeded(&mut info(&directory, &["large.bin:u1[12000000:]"]));
    assert!(text.ends_with("· 0%\n"), "{text}");
    assert_eq!(
        json_of(&directory, "large.bin:u1")["cache"]["resident"],
        resident,
        "nothing is read"
    );
}

#[test]
fn an_unknown_page_cache_has_no_bar() {
    const NOBODY_UID: u32 = 65534;
    let directory = files();
    fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
    let mut command = info(&directory, &["--json", "x.npy"]);
    let Ok(output) = command.uid(NOBODY_UID).output() else {
        println!(
            "skipped: only root may change the user id, and the other user must be able to run the program"
        );
        return;
    };
    let facts = json_lines(&String::from_utf8(output.stdout).unwrap()).remove(0);
    assert_eq!(
        (&facts["shape"], &facts["cache"]),
        (&json!([2, 3, 4]), &Value::Null)
    );
    let output = info(&directory, &["x.npy"])
        .uid(NOBODY_UID)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("in cache    unknown: the system tells it of files that one owns"),
        "{text}"
    );
}

#[test]
fn colours_where_they_are_asked_for() {
    let directory = files();
    let coloured = succeeded(info(&directory, &["x.npy"]).env("CLICOLOR_FORCE", "1"));
    assert!(coloured.contains("\u{1b}[1mx.npy\u{1b}[0m"), "{coloured:?}");
    let mut command = info(&directory, &["x.npy"]);
    let plain = succeeded(command.env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"));
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}
