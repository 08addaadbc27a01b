//! Names in folders, and the replacement of a file by another one with the same attributes.

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

/// An open folder (`O_PATH`). It stays the same folder if the working directory changes or the folder is
/// renamed.
#[derive(Debug)]
pub(crate) struct Folder(OwnedFd);

/// The file and the name that a path resolves to.
#[derive(Debug)]
pub(crate) struct ResolvedPath {
    /// The folder and the name in it, with all symbolic links resolved; `None` if the file has no name, or
    /// none that this process can see.
    pub(crate) name: Option<(Arc<Folder>, OsString)>,
    /// The existing file, open for reading and writing.
    pub(crate) file: Option<File>,
}

/// The entry of a name in a folder; symbolic links are not followed.
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

    /// Returns whether a name is a hard link to an open file, not a symbolic link.
    pub(crate) fn has(&self, name: &OsStr, file: &File) -> io::Result<bool> {
        let own = identity(file)?;
        Ok(matches!(self.entry(name)?, Entry::File(found) if found == own))
    }

    /// Returns whether two folders are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        is_same_file(&self.0, &other.0)
    }

    /// Returns a path of the folder.
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        fs::read_link(descriptor(&self.0))
    }

    /// Creates a file without a name (`O_TMPFILE`), to which [`link`](Self::link) can give a name in this
    /// folder.
    pub(crate) fn create_nameless(&self) -> io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&self.0, ".", flags, PERMISSIONS)?);
        // `link` needs the path of the descriptor in `/proc`, so a system without `/proc` fails here.
        fs::symlink_metadata(descriptor(&file))?;
        Ok(file)
    }

    /// Creates a file; no file may have the name yet.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, PERMISSIONS)?;
        Ok(file.into())
    }

    /// Gives a name to a file without a name; no other file may have it yet.
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

    /// Renames a file; no file may have the new name yet.
    pub(crate) fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.0, from, &self.0, to, flags) {
            // The file system has no `RENAME_NOREPLACE`: an empty file takes the new name, and is then
            // replaced.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                drop(self.create(to)?);
                self.rename(from, to).inspect_err(|_| drop(self.remove(to)))
            }
            result => Ok(result?),
        }
    }

    /// Renames a file; a file that has the new name is replaced.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Returns whether the system lets this process replace the file of a name.
    ///
    /// This calls `unlinkat` with `AT_REMOVEDIR`, which always fails for a file. The check for a folder is
    /// the last one in the kernel (`may_delete` in `fs/namei.c`), after the checks of the folder's
    /// permissions, of sticky folders, of immutable and append-only files and of user namespaces; the error
    /// shows which check failed.
    pub(crate) fn may_replace(&self, name: &OsStr) -> bool {
        let refused = rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR);
        !matches!(
            refused,
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::BUSY)
        )
    }

    /// Waits until the names in the folder are on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(&self.0, ".", flags, Mode::empty()) {
            Ok(folder) => File::from(folder),
            // A folder may permit new names, but no reading, and then can't be synced.
            Err(Errno::ACCESS) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match folder.sync_all() {
            // The file system has no sync of folders (`EINVAL`).
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }
}

/// Returns whether two open files are the same file.
pub(crate) fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

fn identity(file: impl AsFd) -> io::Result<Identity> {
    let stat = rustix::fs::fstat(file)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// The permissions of a new file, from which the system takes the process's umask.
const PERMISSIONS: Mode = Mode::from_raw_mode(0o666);

/// The number of attempts to resolve a path that other processes change at the same time.
const MAX_ATTEMPTS: usize = 1000;

/// Resolves a path. The kernel follows all symbolic links, so that its own rules for them hold
/// (`fs.protected_symlinks`, the mount option `nosymfollow`).
pub(crate) fn find(path: &Path) -> io::Result<ResolvedPath> {
    let mut before = None;
    for _ in 0..MAX_ATTEMPTS {
        match open(OpenOptions::new().read(true).write(true), path) {
            Ok(file) => {
                let name = match name_of(&file, path) {
                    // The folder has been removed since.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    name => name?,
                };
                let found = Some(identity(&file)?);
                // If two attempts find the same file, the name is missing for good, and not because of a
                // race.
                if name.is_some() || before == found {
                    let file = Some(file);
                    return Ok(ResolvedPath { name, file });
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
                    return Ok(ResolvedPath { name, file: None });
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(Errno::BUSY.into())
}

/// Splits a path into its folder, which is opened, and the name in it.
fn split(path: &Path) -> io::Result<(Folder, &OsStr)> {
    let bytes = path.as_os_str().as_bytes();
    let start = bytes.iter().rposition(|&byte| byte == b'/');
    let (folder, name) = bytes.split_at(start.map_or(0, |slash| slash + 1));
    match name {
        // An empty path is an error, and a path that ends in `/`, `.` or `..` is a folder.
        b"" if folder.is_empty() => Err(Errno::NOENT.into()),
        b"" | b"." | b".." => Err(Errno::ISDIR.into()),
        name => Ok((
            Folder::open(Path::new(OsStr::from_bytes(folder)))?,
            OsStr::from_bytes(name),
        )),
    }
}

/// Returns the name of an open file: the last component of the path, or the target of its symbolic links.
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

/// Returns the name to which a dangling symbolic link leads. To find it, an empty file is created through the
/// link and removed at once. `None` if another process has created a file of the name first.
fn free_name_behind(path: &Path) -> io::Result<Option<(Arc<Folder>, OsString)>> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // The new file has no permissions, which tells it from a file that another process has created.
    let file = File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
    let stat = rustix::fs::fstat(&file)?;
    if stat.st_mode & 0o7777 != 0 || stat.st_size != 0 {
        return Ok(None);
    }
    // If two processes create the file at once, only one may remove it: the other could remove a file that
    // has been put there since. On file systems without locks, this race remains.
    let lock = || rustix::fs::flock(&file, FlockOperation::LockExclusive);
    let _ = rustix::io::retry_on_intr(lock);
    let name = name_of(&file, path)?;
    if let Some((folder, name)) = &name {
        folder.remove(name)?;
    }
    Ok(name)
}

fn descriptor(file: &impl AsRawFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Returns whether a file can't be replaced by renaming another one, because it has several hard links, or
/// because it is a mount point.
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

/// Copies owner, group, permissions, ACL, extended attributes and flags of a file to a new one. Set-ID bits
/// and capabilities are not copied, as they would give the new content the rights of another user.
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
    // The new file may have an ACL by the default of the folder, which the old file does not have.
    let acl = b"system.posix_acl_access".to_vec();
    if own_names.contains(&acl) && !names.contains(&acl) {
        rustix::fs::fremovexattr(new, acl.as_slice())?;
    }
    // On file systems without flags there are none to copy.
    if let (Ok(flags), Ok(own)) = (
        rustix::fs::ioctl_getflags(old),
        rustix::fs::ioctl_getflags(new),
    ) {
        let wanted = own.difference(KEPT_FLAGS) | flags.intersection(KEPT_FLAGS);
        if wanted != own {
            rustix::fs::ioctl_setflags(new, wanted)?;
        }
    }
    // The permissions are set last, as the calls before change them. With an ACL, the group bits are its
    // mask.
    rustix::fs::fchmod(new, Mode::from_raw_mode(was.st_mode & 0o1777))?;
    Ok(())
}

/// The flags (`chattr`) that are copied: those that a user may set and that control how a file is stored.
const KEPT_FLAGS: IFlags = IFlags::NOATIME
    .union(IFlags::NODUMP)
    .union(IFlags::COMPRESSED)
    .union(IFlags::NOCOW)
    .union(IFlags::SYNC);

/// Returns whether an extended attribute is a signature of the content, or gives rights to the program in it.
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

/// Calls `get` with a buffer of the maximum size of extended attributes, and returns the bytes that it has
/// written.
fn whole(get: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<Vec<u8>> {
    /// Linux's limit in bytes for lists of names and for values (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
    const MAX_LEN: usize = 64 << 10;
    let mut buffer = vec![0; MAX_LEN];
    let len = get(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// Clears the set-ID bits of a file whose content is about to change.
pub(crate) fn drop_set_id(file: &File) -> io::Result<()> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    if mode & 0o6000 == 0 {
        return Ok(());
    }
    match rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o1777)) {
        // This process does not own the file; the kernel then clears the bits at the first write.
        Err(Errno::PERM) => Ok(()),
        result => Ok(result?),
    }
}
