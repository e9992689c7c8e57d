//! What differs between operating systems: Windows. Untested.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    path::Path,
    thread,
    time::Duration,
};

use tempfile::NamedTempFile;

/// For 1 s in total.
const RENAMES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

pub(super) fn open_lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// std can't compare files on Windows.
pub(super) fn is_at(_file: &File, _path: &Path) -> io::Result<bool> {
    Ok(true)
}

pub(super) fn check_owner(_metadata: &Metadata) -> Result<(), String> {
    Ok(())
}

pub(super) fn check_mode(_metadata: &Metadata) -> Result<(), String> {
    Ok(())
}

/// A new file inherits them from its folder.
pub(super) fn copy_owner_and_mode(_new: &File, _old: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Renames, and tries again while another process has the target open.
pub(super) fn rename(mut file: NamedTempFile, target: &Path) -> io::Result<()> {
    for _ in 0..RENAMES {
        match file.persist(target) {
            Err(error) if is_sharing_violation(&error.error) => file = error.file,
            result => return result.map(drop).map_err(|error| error.error),
        }
        thread::sleep(PAUSE);
    }
    file.persist(target).map(drop).map_err(|error| error.error)
}

fn is_sharing_violation(error: &io::Error) -> bool {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    error.kind() == ErrorKind::PermissionDenied || error.raw_os_error() == Some(ERROR_SHARING_VIOLATION)
}

/// The file system keeps a log of renames.
pub(super) fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}
