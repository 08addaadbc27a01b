//! Members of a `.npz`: a zip archive of `.npy` files.
//!
//! A member that is stored without compression is a `.npy` file within the archive, and can be mapped at its
//! offset.

use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use rawzip::extra_fields::ExtraFieldId;
use rawzip::{
    CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ReaderAt, ZipArchiveEntryWayfinder,
    ZipFileHeaderRecord, ZipLocator,
};

use super::error::FormatError;

/// The minimum length of a local header, in bytes.
const LOCAL_HEADER: u64 = 30;

/// The maximum length of name and extra field of a local header, in bytes; each has a length field of 16
/// bits.
const LOCAL_HEADER_REST: usize = 2 * 0xffff;

/// The number of bytes read at once to compute a checksum.
const CHECK_LEN: u64 = 1 << 20;

/// The characters of code page 437 above ASCII, in which names are written without the flag for UTF-8
/// (APPNOTE.TXT, appendix D).
const CODE_PAGE_437: &str = "\
    ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
    └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";

/// The maximum distance of the end record's start from the end of the file, in bytes: the record and a comment.
const END_RECORD_REACH: u64 = 22 + 0xffff;

/// Returns whether a file that begins with these bytes has the format of a zip archive.
pub(super) fn is_npz(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06")
}

/// The directory of a `.npz` file.
///
/// ```
#[doc = example_npz!()]
/// use mapcall_array::format::npz::Archive;
///
/// let archive = Archive::read(&mut file)?;
/// for name in archive.names() {
///     let member = archive.find(Some(name))?;
///     assert_eq!(member.len(), 128 + 3 * 8);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Archive<R> {
    zip: rawzip::ZipArchive<Positioned<R>>,
    entries: Vec<Entry>,
    /// The entries in the order of their offsets.
    ordered: Vec<Ordered>,
}

/// An entry in the order of offsets, for the search of overlaps.
#[derive(Debug)]
struct Ordered {
    entry: usize,
    /// The entry with the largest end among this one and those before it, and a lower bound of that end.
    furthest: usize,
    reach: u64,
}

/// An entry of the directory, which describes a member.
#[derive(Debug)]
struct Entry {
    name: String,
    /// The name of the record itself, which an extra field may replace.
    record_name: String,
    wayfinder: ZipArchiveEntryWayfinder,
    header_offset: u64,
    method: CompressionMethod,
    encrypted: bool,
    crc32: u32,
    /// Its index in the order of offsets.
    rank: usize,
}

impl Entry {
    fn new(record: &ZipFileHeaderRecord<'_>) -> Self {
        let record_name = decode(record.file_path().as_bytes(), record.flags().is_utf8());
        Self {
            name: unicode_path(record).unwrap_or_else(|| up_to_nul(&record_name).to_owned()),
            record_name,
            wayfinder: record.wayfinder(),
            header_offset: record.local_header_offset(),
            method: record.compression_method(),
            encrypted: record.flags().is_encrypted(),
            crc32: record.crc32(),
            rank: 0,
        }
    }

    /// Returns a lower bound of the offset of its end.
    fn min_end(&self) -> u64 {
        let min_len = LOCAL_HEADER.saturating_add(self.wayfinder.compressed_size_hint());
        self.header_offset.saturating_add(min_len)
    }
}

/// An uncompressed member of a `.npz` file.
///
/// ```
#[doc = example_npz!()]
/// use mapcall_array::format::npz::Archive;
///
/// let member = Archive::read(&mut file)?.find(Some("y"))?;
/// file.set_position(member.offset());
/// assert_eq!(Header::read(&mut file)?.shape(), [3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    name: String,
    offset: u64,
    len: u64,
    crc32: u32,
}

impl Member {
    /// Returns the name, without `.npy`.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::npz::Archive;
    /// assert_eq!(Archive::read(file)?.find(Some("x.npy"))?.name(), "x");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        strip(&self.name)
    }

    /// Returns the number of bytes from the start of the file to the member's first byte, which is that of its
    /// `.npy` magic.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::npz::Archive;
    /// let start = Archive::read(&mut file)?.find(Some("x"))?.offset() as usize;
    /// assert!(file.get_ref()[start..].starts_with(b"\x93NUMPY"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the length of the member in bytes, with its `.npy` header.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::npz::Archive;
    /// let member = Archive::read(&mut file)?.find(Some("x"))?;
    /// file.set_position(member.offset());
    /// assert_eq!(member.len(), Header::read(&mut file)?.end());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(
        clippy::len_without_is_empty,
        reason = "a member without a byte is of no use"
    )]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the checksum of the member's bytes in the directory.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::npz::Archive;
    /// let member = Archive::read(&mut file)?.find(Some("x"))?;
    /// let (start, len) = (member.offset() as usize, member.len() as usize);
    /// assert_eq!(member.crc32(), crc32fast::hash(&file.get_ref()[start..start + len]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// Reads the member and compares its checksum.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::{FormatError, npz::Archive};
    /// let member = Archive::read(&mut file)?.find(Some("x"))?;
    /// member.verify(&mut file)?;
    ///
    /// let last = (member.offset() + member.len() - 1) as usize;
    /// file.get_mut()[last] ^= 1;
    /// assert!(matches!(member.verify(&mut file), Err(FormatError::Damaged { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormatError::Damaged`] if the checksum differs; [`FormatError::Io`] if the file can't be read.
    pub fn verify(&self, mut file: impl Read + Seek) -> Result<(), FormatError> {
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::with_capacity(
            usize::try_from(self.len.min(CHECK_LEN)).unwrap_or_default(),
            file.take(self.len),
        );
        let mut hasher = crc32fast::Hasher::new();
        loop {
            let bytes = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            let len = bytes.len();
            reader.consume(len);
        }
        let (expected, found) = (self.crc32, hasher.finalize());
        if expected == found {
            return Ok(());
        }
        Err(FormatError::Damaged {
            member: self.name().to_owned(),
            expected,
            found,
        })
    }
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory, which is at the end of the file.
    ///
    /// ```
    /// # use std::io::Cursor;
    /// # use mapcall_array::format::{FormatError, npz::Archive};
    /// // An archive without members is its end record alone.
    /// let empty = [&b"PK\x05\x06"[..], &[0; 18]].concat();
    /// assert_eq!(Archive::read(Cursor::new(&empty))?.names().count(), 0);
    ///
    /// let error = Archive::read(Cursor::new(&empty[1..])).unwrap_err();
    /// assert!(matches!(error, FormatError::BadDirectory { .. }));
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormatError::BadDirectory`] if the directory can't be found or is malformed,
    /// [`FormatError::MemberCount`] if it has another number of entries than its end record says, and
    /// [`FormatError::Io`] if the file can't be read.
    pub fn read(mut file: R) -> Result<Self, FormatError> {
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let len = file.seek(SeekFrom::End(0))?;
        let zip = ZipLocator::new()
            .max_search_space(END_RECORD_REACH)
            .locate_in_reader(Positioned(RefCell::new(file)), &mut buffer, len)
            .map_err(|(_, error)| bad_directory(error))?;
        // Memory is allocated for the entries that are read, not for the number in the end record.
        let mut entries = Vec::new();
        let mut records = zip.entries(&mut buffer);
        while let Some(record) = records.next_entry().map_err(bad_directory)? {
            entries.push(Entry::new(&record));
        }
        let (claimed, have) = (zip.entries_hint(), entries.len() as u64);
        // Without zip64, the number has 16 bits: writers let it wrap, or write the maximum.
        let is_short = claimed < have && (claimed == 0xffff || claimed == have & 0xffff);
        if claimed != have && !is_short {
            return Err(FormatError::MemberCount { claimed, have });
        }
        let ordered = ordered(&mut entries);
        Ok(Self {
            zip,
            entries,
            ordered,
        })
    }

    /// Returns the names of the members as in NumPy: without `.npy`.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::npz::Archive;
    /// assert!(Archive::read(file)?.names().eq(["x", "y"]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| strip(&entry.name))
    }

    /// Finds a member by its name, with or without `.npy`; without a name, the only member ending in `.npy`.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::{FormatError, npz::Archive};
    /// let archive = Archive::read(file)?;
    /// assert_eq!(archive.find(Some("x"))?, archive.find(Some("x.npy"))?);
    /// assert!(matches!(archive.find(None), Err(FormatError::WhichMember { .. })));
    /// assert_eq!(
    ///     archive.find(Some("z")).unwrap_err().to_string(),
    ///     r#"the .npz has no member "z"; it has "x", "y""#
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// If a name occurs twice, the last member is found, as in NumPy.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoSuchMember`] if no member has the name, [`FormatError::WhichMember`] if no name is
    /// given and there is not exactly one array; [`FormatError::Compressed`] and [`FormatError::Encrypted`]
    /// for members that can't be mapped; [`FormatError::BadMember`], [`FormatError::MemberOverlap`] or
    /// [`FormatError::MemberTruncated`] if the archive contradicts itself; [`FormatError::BadDirectory`] if
    /// there is no local header at the member's offset, and [`FormatError::Io`] if the file can't be read.
    pub fn find(&self, name: Option<&str>) -> Result<Member, FormatError> {
        self.member(self.choose(name)?)
    }

    /// Returns the result of [`find`](Self::find) for each member, in order; of members with the same name only
    /// the last.
    pub(super) fn find_all(&self) -> Vec<(String, Result<Member, FormatError>)> {
        let mut seen = HashSet::new();
        let mut listed = Vec::new();
        for entry in self.entries.iter().rev() {
            if seen.insert(&entry.name) {
                listed.push(entry);
            }
        }
        let found = |entry: &Entry| (strip(&entry.name).to_owned(), self.member(entry));
        listed.into_iter().rev().map(found).collect()
    }

    fn member(&self, entry: &Entry) -> Result<Member, FormatError> {
        let member = || strip(&entry.name).to_owned();
        let bad = |what| FormatError::BadMember {
            member: member(),
            what,
        };

        if entry.encrypted {
            return Err(FormatError::Encrypted { member: member() });
        }
        if entry.method != CompressionMethod::STORE {
            let method = entry.method.as_u16();
            return Err(FormatError::Compressed {
                member: member(),
                method,
            });
        }
        let len = entry.wayfinder.compressed_size_hint();
        if len != entry.wayfinder.uncompressed_size_hint() {
            return Err(bad("two sizes, though it is not compressed"));
        }
        let local = self.zip.get_entry(entry.wayfinder).map_err(bad_directory)?;
        let (offset, end) = local.compressed_data_range();
        let limit = self.zip.directory_offset();
        if end > limit {
            return Err(FormatError::MemberTruncated {
                member: member(),
                end,
                limit,
            });
        }
        let mut buffer = vec![0; LOCAL_HEADER_REST];
        let header = local.local_header(&mut buffer).map_err(bad_directory)?;
        let local_name = decode(header.file_path().as_bytes(), header.flags().is_utf8());
        if local_name != entry.record_name {
            return Err(bad(
                "two names, one in the directory and one in front of its data",
            ));
        }
        if header.compression_method() != entry.method || header.flags().is_encrypted() {
            return Err(bad("two ways of compression or encryption"));
        }
        if let Some(other) = self.overlapping(entry, end) {
            let other = strip(&other.name).to_owned();
            return Err(FormatError::MemberOverlap {
                member: member(),
                other,
            });
        }
        Ok(Member {
            name: entry.name.clone(),
            offset,
            len,
            crc32: entry.crc32,
        })
    }

    fn choose(&self, name: Option<&str>) -> Result<&Entry, FormatError> {
        let names = || self.names().map(str::to_owned).collect();
        let Some(name) = name else {
            let mut arrays = self
                .entries
                .iter()
                .filter(|entry| stem(&entry.name).is_some());
            return match (arrays.next(), arrays.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(FormatError::WhichMember { names: names() }),
            };
        };
        let last = |wanted: &dyn Fn(&str) -> bool| {
            let entries = || self.entries.iter().rev();
            // Python before 3.13 uses only the record's own name.
            entries()
                .find(|entry| wanted(&entry.name))
                .or_else(|| entries().find(|entry| wanted(up_to_nul(&entry.record_name))))
        };
        last(&|full| full == name)
            .or_else(|| last(&|full| stem(full) == Some(name)))
            .ok_or_else(|| FormatError::NoSuchMember {
                member: name.to_owned(),
                names: names(),
            })
    }

    /// Returns another member that shares bytes with `entry`, whose data end at `end`.
    fn overlapping(&self, entry: &Entry, end: u64) -> Option<&Entry> {
        let before = entry.rank.checked_sub(1);
        let before = before.and_then(|rank| self.ordered.get(rank));
        let before = before.filter(|before| entry.header_offset < before.reach);
        if let Some(before) = before {
            return self.entries.get(before.furthest);
        }
        let behind = self.ordered.get(entry.rank.checked_add(1)?)?;
        let behind = self.entries.get(behind.entry)?;
        (behind.header_offset < end).then_some(behind)
    }
}

/// Sorts the entries by offset, and stores each one's index in that order as its rank. So the search for an
/// overlap takes constant time.
fn ordered(entries: &mut [Entry]) -> Vec<Ordered> {
    let mut indices: Vec<usize> = (0..entries.len()).collect();
    indices.sort_by_key(|&index| entries.get(index).map(|entry| entry.header_offset));
    let mut ordered = Vec::with_capacity(indices.len());
    let (mut furthest, mut reach) = (0, 0);
    for (rank, &index) in indices.iter().enumerate() {
        let Some(entry) = entries.get_mut(index) else {
            continue;
        };
        entry.rank = rank;
        if entry.min_end() >= reach {
            (furthest, reach) = (index, entry.min_end());
        }
        ordered.push(Ordered {
            entry: index,
            furthest,
            reach,
        });
    }
    ordered
}

/// An adapter of a seekable reader for `rawzip`, which reads at offsets.
#[derive(Debug)]
struct Positioned<R>(RefCell<R>);

impl<R: Read + Seek> ReaderAt for Positioned<R> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut file = self.0.try_borrow_mut().map_err(io::Error::other)?;
        file.seek(SeekFrom::Start(offset))?;
        loop {
            match file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// Decodes a name. Invalid UTF-8 in a name with the flag for UTF-8 is replaced.
fn decode(name: &[u8], is_utf8: bool) -> String {
    if is_utf8 {
        return String::from_utf8_lossy(name).into_owned();
    }
    let character = |&byte: &u8| match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(above) => CODE_PAGE_437
            .chars()
            .nth(above.into())
            .unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    name.iter().map(character).collect()
}

/// Returns a name up to the first NUL, like Python's `zipfile`.
fn up_to_nul(name: &str) -> &str {
    name.split('\0').next().unwrap_or_default()
}

/// Returns the name in the extra field "Info-ZIP Unicode Path" (APPNOTE.TXT, 4.6.9), if its checksum is that of
/// the name in the record.
fn unicode_path(record: &ZipFileHeaderRecord<'_>) -> Option<String> {
    let mut fields = record.extra_fields();
    let (_, field) = fields.find(|(id, _)| *id == ExtraFieldId::INFO_ZIP_UNICODE_PATH)?;
    let (&[1, a, b, c, d], name) = field.split_first_chunk()? else {
        return None;
    };
    let is_current =
        u32::from_le_bytes([a, b, c, d]) == crc32fast::hash(record.file_path().as_bytes());
    let name = str::from_utf8(name)
        .ok()
        .filter(|name| is_current && !name.is_empty())?;
    Some(up_to_nul(name).to_owned())
}

/// Returns a name without `.npy`; `None` if it does not end so.
fn stem(name: &str) -> Option<&str> {
    name.strip_suffix(".npy")
}

/// Returns the name of a member in NumPy, which is without `.npy`.
fn strip(name: &str) -> &str {
    stem(name).unwrap_or(name)
}

fn bad_directory(error: rawzip::Error) -> FormatError {
    match error.into_kind() {
        rawzip::ErrorKind::IO(source) if source.kind() != io::ErrorKind::UnexpectedEof => {
            FormatError::Io(source)
        }
        kind => FormatError::BadDirectory {
            source: rawzip::Error::from(kind).into(),
        },
    }
}
