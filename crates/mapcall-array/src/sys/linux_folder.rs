//! Names in folders, and what it takes to put a file in the place of another one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Gid, IFlags, Mode, OFlags, RenameFlags,
    StatxAttributes, StatxFlags, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::{Identity, open};

/// An open folder: it stays the same one when the process or the folder moves.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder and the name in it, behind all links; `None` if the path leads to a file that has no
    /// name, or one that this process can't see.
    pub(crate) name: Option<(Arc<Folder>, OsString)>,
    /// The file that is there, open for reading and writing.
    pub(crate) file: Option<File>,
}

/// What a name in a folder is, itself and not what it leads to.
enum Entry {
    Nothing,
    Link,
    File(Identity),
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        Ok(Self(folder))
    }

    fn entry(&self, name: &OsStr) -> io::Result<Entry> {
        match rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(Entry::Nothing),
            Err(error) => Err(error.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                Ok(Entry::Link)
            }
            Ok(stat) => Ok(Entry::File((stat.st_dev, stat.st_ino))),
        }
    }

    /// Whether a name is that of an open file, and no link.
    pub(crate) fn has(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        let own = identity(file)?;
        Ok(matches!(self.entry(name)?, Entry::File(found) if found == own))
    }

    /// Whether two are one folder.
    pub(crate) fn is(&self, other: &Self) -> bool {
        is_same_file(&self.0, &other.0)
    }

    /// Makes a file that has no name, and that [`link`](Self::link) can give one in this folder.
    pub(crate) fn create_nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.0, ".", flags, PERMISSIONS)?);
        // Without this, it could have no name ever.
        fs::symlink_metadata(descriptor(&file))?;
        Ok(file)
    }

    /// Makes a file by a name that no file has.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, PERMISSIONS)?;
        Ok(file.into())
    }

    /// Gives a file that has no name one that no file has.
    pub(crate) fn link(&self, file: &File, name: &OsStr) -> io::Result<()> {
        let flags = AtFlags::SYMLINK_FOLLOW;
        Ok(rustix::fs::linkat(
            CWD,
            descriptor(file),
            &self.0,
            name,
            flags,
        )?)
    }

    /// Changes a name to one that no file has.
    pub(crate) fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.0, from, &self.0, to, flags) {
            // This file system can't: the name is taken first, and then replaced.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                drop(self.create(to)?);
                self.rename(from, to).inspect_err(|_| drop(self.remove(to)))
            }
            result => Ok(result?),
        }
    }

    /// Changes a name to one that another file may have, which loses it.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Whether the system lets this process replace the file that has a name.
    ///
    /// The system is asked to remove it as a folder: it refuses that in any case, but as the last check
    /// of all (`may_delete` in Linux's `fs/namei.c`), behind those of the folder's permissions, of
    /// sticky folders, of immutable and append-only files and of user namespaces.
    pub(crate) fn may_replace(&self, name: &OsStr) -> bool {
        let refused = rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR);
        !matches!(
            refused,
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY)
        )
    }

    /// Waits until the folder's names are on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(&self.0, ".", flags, Mode::empty()) {
            Ok(folder) => File::from(folder),
            // Names may be made in a folder that can't be read.
            Err(Errno::ACCESS) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match folder.sync_all() {
            // A file system that can't has no more to promise.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// Whether two are one file.
pub(crate) fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

fn identity(file: impl AsFd) -> io::Result<Identity> {
    let stat = rustix::fs::fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// Those of a new file, less the process's mask.
const PERMISSIONS: Mode = Mode::from_raw_mode(0o666);

/// How often a path is looked at again because another process has changed where it leads.
const MOST_ATTEMPTS: usize = 1000;

/// Finds where a path leads. All links are followed by the kernel, so that its own rules for them hold
/// (`fs.protected_symlinks`, the mount option `nosymfollow`).
pub(crate) fn find(path: &Path) -> io::Result<Place> {
    let mut before = None;
    for _ in 0..MOST_ATTEMPTS {
        match open(OpenOptions::new().read(true).write(true), path) {
            Ok(file) => {
                let name = match name_of(&file, path) {
                    // The folder is gone since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    name => name?,
                };
                let found = Some(identity(&file)?);
                // A path that leads there twice, and not by the file's own name, is no race.
                if name.is_some() || before == found {
                    let file = Some(file);
                    return Ok(Place { name, file });
                }
                before = found;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (folder, name) = split(path)?;
                let name = match folder.entry(name)? {
                    Entry::Nothing => Some((Arc::new(folder), name.to_owned())),
                    Entry::Link => free_name_behind(path)?,
                    Entry::File(_) => None,
                };
                if name.is_some() {
                    return Ok(Place { name, file: None });
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY.into())
}

/// The folder of a path, and the name in it.
fn split(path: &Path) -> io::Result<(Folder, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().rposition(|&byte| byte == b'/');
    let (folder, name) = bytes.split_at(start.map_or(0, |slash| slash + 1));
    match name {
        // A folder by its form; what has no name at all is nothing.
        b"" if folder.is_empty() => Err(Errno::NOENT.into()),
        b"" | b"." | b".." => Err(Errno::ISDIR.into()),
        name => Ok((
            Folder::open(Path::new(OsStr::from_bytes(folder)))?,
            OsStr::from_bytes(name),
        )),
    }
}

/// An open file's own name: the last of the path, or the one that a link leads to.
fn name_of(file: &File, path: &Path) -> io::Result<Option<(Arc<Folder>, OsString)>> {
    let own = |path: &Path| {
        let (folder, name) = split(path)?;
        let is_own = folder.has(name, file)?;
        Ok::<_, io::Error>(is_own.then(|| (Arc::new(folder), name.to_owned())))
    };
    match own(path)? {
        Some(name) => Ok(Some(name)),
        None => match fs::read_link(descriptor(file)) {
            Ok(path) => own(&path),
            Err(_) => Ok(None),
        },
    }
}

/// The name that a link to nothing leads to: the kernel makes an empty file there, which is removed at
/// once. `None` if another process was quicker.
fn free_name_behind(path: &Path) -> io::Result<Option<(Arc<Folder>, OsString)>> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // No other file that has this name by now is without permissions.
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if stat.st_mode & 0o7777 != 0 || stat.st_size != 0 {
        return Ok(None);
    }
    // Two that make the file at once must not both remove it, lest one removes what the other has put
    // there since. Where there are no locks, that has to do.
    let lock = || rustix::fs::flock(&file, FlockOperation::LockExclusive);
    let _ = rustix::io::retry_on_intr(lock);
    let name = name_of(&file, path)?;
    if let Some((folder, name)) = &name {
        folder.remove(name)?;
    }
    Ok(name)
}

fn descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Whether another file in a file's place would not be the same: it has more than one name, or a file
/// system or a file is mounted there.
pub(crate) fn has_other_names(file: &File) -> io::Result<bool> {
    if rustix::fs::fstat(file)?.st_nlink > 1 {
        return Ok(true);
    }
    match rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
        Ok(status) => Ok(status.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Gives a new file what another one has beside its content: owner, group, permissions, ACL, extended
/// attributes and flags. Not its set-id bits and capabilities, which would turn new content into a
/// program with another user's rights.
pub(crate) fn copy_attributes(old: &File, new: &File) -> io::Result<()> {
    let (was, is) = (rustix::fs::fstat(old)?, rustix::fs::fstat(new)?);
    let owner = (was.st_uid != is.st_uid).then(|| Uid::from_raw(was.st_uid));
    let group = (was.st_gid != is.st_gid).then(|| Gid::from_raw(was.st_gid));
    if owner.is_some() || group.is_some() {
        rustix::fs::fchown(new, owner, group)?;
    }
    let (names, own_names) = (attribute_names(old)?, attribute_names(new)?);
    for name in names.iter().filter(|name| !is_of_content(name)) {
        let value = attribute(old, name)?;
        let is_same = own_names.contains(name) && attribute(new, name)? == value;
        if !is_same {
            rustix::fs::fsetxattr(new, name.as_slice(), &value, XattrFlags::empty())?;
        }
    }
    // The folder's default for new files.
    let acl = b"system.posix_acl_access".to_vec();
    if own_names.contains(&acl) && !names.contains(&acl) {
        rustix::fs::fremovexattr(new, acl.as_slice())?;
    }
    // File systems without flags have none to keep.
    if let (Ok(flags), Ok(own)) = (
        rustix::fs::ioctl_getflags(old),
        rustix::fs::ioctl_getflags(new),
    ) {
        let wanted = own.difference(KEPT_FLAGS) | flags.intersection(KEPT_FLAGS);
        if wanted != own {
            rustix::fs::ioctl_setflags(new, wanted)?;
        }
    }
    // Last, as the others change it; the group's bits are the ACL's mask where there is one.
    rustix::fs::fchmod(new, Mode::from_raw_mode(was.st_mode & 0o1777))?;
    Ok(())
}

/// The flags (`chattr`) that a user may set and that say how a file is stored.
const KEPT_FLAGS: IFlags = IFlags::NOATIME
    .union(IFlags::NODUMP)
    .union(IFlags::COMPRESSED)
    .union(IFlags::NOCOW)
    .union(IFlags::SYNC);

/// Whether an extended attribute is about the bytes of the file, or gives rights to them.
fn is_of_content(name: &[u8]) -> bool {
    matches!(
        name,
        b"security.capability" | b"security.ima" | b"security.evm"
    )
}

fn attribute_names(file: &File) -> io::Result<Vec<Vec<u8>>> {
    let names = match whole(|buffer| rustix::fs::flistxattr(file, buffer)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(Vec::new()),
        names => names?,
    };
    let names = names.split(|&byte| byte == 0);
    let names = names.filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn attribute(file: &File, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(whole(|buffer| rustix::fs::fgetxattr(file, name, buffer))?)
}

/// What a call of the system puts into a buffer, which must be large enough.
fn whole(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    /// Linux's limit for names and values (`XATTR_SIZE_MAX`).
    const MOST: usize = 64 << 10;
    let mut buffer = vec![0; MOST];
    let len = get(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// Takes the set-id bits from a file whose content is about to change.
pub(crate) fn drop_set_id(file: &File) -> io::Result<()> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    if mode & 0o6000 == 0 {
        return Ok(());
    }
    match rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o1777)) {
        // Not this process's file: then the kernel takes them when it writes.
        Err(Errno::PERM) => Ok(()),
        result => Ok(result?),
    }
}
