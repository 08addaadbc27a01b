//! The loader's cache, `/etc/ld.so.cache`, as `ldconfig` of glibc writes it.

/// The first bytes of the cache; before glibc 2.32 of its part that follows a list in the old format.
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const HEADER: usize = 48;
const ENTRY: usize = 24;
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
/// The longest file name, in bytes.
const NAME_MAX: usize = 255;

/// Returns the file names in the cache; none if the file has another format.
pub(super) fn names(file: &[u8]) -> impl Iterator<Item = &str> {
    let cache = skip_old(file)
        .filter(|cache| cache.starts_with(MAGIC))
        .unwrap_or_default();
    let count = number(cache, MAGIC.len()).unwrap_or_default();
    let entries = cache.get(HEADER..).unwrap_or_default();
    entries
        .chunks_exact(ENTRY)
        .take(count)
        .filter_map(move |entry| {
            // An entry has flags of 32 bits, then the offset of the name from the start of the cache.
            let name = cache.get(number(entry, 4)?..)?;
            let name = name.get(..name.len().min(NAME_MAX + 1))?;
            let end = name.iter().position(|byte| *byte == 0)?;
            str::from_utf8(name.get(..end)?).ok()
        })
}

fn skip_old(file: &[u8]) -> Option<&[u8]> {
    if !file.starts_with(OLD_MAGIC) {
        return Some(file);
    }
    let entries = number(file, OLD_MAGIC.len())?.checked_mul(OLD_ENTRY)?;
    let end = entries.checked_add(OLD_HEADER)?;
    file.get(end.checked_next_multiple_of(8)?..)
}

/// Returns the 32-bit number at an offset.
fn number(bytes: &[u8], offset: usize) -> Option<usize> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    usize::try_from(u32::from_ne_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a cache in the format of `ldconfig -c new`, without values and extensions.
    fn cache(names: &[&str]) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).unwrap().to_ne_bytes();
        let mut cache = MAGIC.to_vec();
        cache.extend(number(names.len()));
        cache.resize(HEADER, 0);
        let mut offset = HEADER + names.len() * ENTRY;
        for name in names {
            cache.extend([3, 3, 0, 0]);
            cache.extend(number(offset));
            cache.resize(cache.len() + ENTRY - 8, 0);
            offset += name.len() + 1;
        }
        for name in names {
            cache.extend(name.bytes());
            cache.push(0);
        }
        cache
    }

    #[test]
    fn both_forms() {
        let new = cache(&["libz.so.1", "libm.so.6"]);
        assert!(names(&new).eq(["libz.so.1", "libm.so.6"]));

        let mut old = OLD_MAGIC.to_vec();
        old.extend(3_u32.to_ne_bytes());
        // 16 + 3 * 12 = 52, and the new form starts at a multiple of 8.
        old.resize(56, 0);
        old.extend(&new);
        assert!(names(&old).eq(["libz.so.1", "libm.so.6"]));
    }

    #[test]
    fn hostile() {
        let whole = cache(&["libz.so.1", "libm.so.6"]);
        for len in 0..whole.len() {
            assert!(names(whole.get(..len).unwrap()).count() < 2, "{len}");
        }
        // Every field of the header and the entries at its largest.
        for at in (0..HEADER + 2 * ENTRY).step_by(4) {
            let mut cache = whole.clone();
            cache.splice(at..at + 4, [0xff; 4]);
            assert!(names(&cache).count() <= 2, "{at}");
        }
        let mut old = OLD_MAGIC.to_vec();
        old.extend(u32::MAX.to_ne_bytes());
        assert_eq!(names(&old).count(), 0);
        assert_eq!(names(b"").count(), 0);
        assert_eq!(names(&cache(&[&"x".repeat(NAME_MAX)])).count(), 1);
        assert_eq!(names(&cache(&[&"x".repeat(NAME_MAX + 1)])).count(), 0);
    }
}
