//! [`FileStore`].

use std::{
    error::Error as StdError,
    ffi::OsString,
    fmt,
    fs::{self, File, Metadata, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::runtime::Handle;

use super::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version};

#[cfg(unix)]
#[path = "file/unix.rs"]
mod os;
#[cfg(not(unix))]
#[path = "file/windows.rs"]
mod os;

/// Keeps the record in a file, for the processes of one host. Needs Rust 1.89.
///
/// The file is replaced as a whole, so a reader never sees half of it. Two files are created beside it and
/// never deleted: `<name>.lock` is locked during a write, `<name>.hold` while a process calls the token
/// endpoint. The operating system releases both locks when a process ends, however it ends, so the next one
/// takes over immediately.
///
/// The file must belong to the user who runs the program, and no other user may have access to it (on Windows this
/// isn't checked). A missing folder is created with access for this user only. If the path is a symbolic link, the
/// file that it points to is replaced, not the link; all paths to a file share its locks.
///
/// # Examples
///
/// ```no_run
/// use tower_reauth::{Session, store::FileStore};
///
/// # fn example(refresher: impl tower_reauth::Refresher, config: std::path::PathBuf) {
/// let store = FileStore::new(config.join("my-program/credentials.json"));
/// // A command may exit before the response to an early refresh arrives.
/// let session = Session::builder(refresher).refresh_early(false).build_shared(store);
/// # }
/// ```
///
/// # Errors
///
/// | | error |
/// |---|---|
/// | other users have access to the file, or one of them owns it | [`is_unreadable`](StoreError::is_unreadable) |
/// | the file is empty, truncated, or not a record | [`is_unreadable`](StoreError::is_unreadable) |
/// | its folder can't be written, the disk is full, the file system is read-only | [`is_unavailable`](StoreError::is_unavailable) |
/// | the file is mounted by itself into a container; mount its folder instead | [`is_unavailable`](StoreError::is_unavailable) |
///
/// The source of the error names the file and says what to do. An unreadable file is neither used nor replaced, and
/// nothing is presented; a session keeps using a token that is still valid.
///
/// # Network file systems
///
/// On NFS use version 4, with locks enabled. Where locks are local to each host (the mount options `nolock` and
/// `local_lock`, folders shared with a virtual machine), two hosts may write at the same time, and one write is
/// lost. For many hosts, use Redis or PostgreSQL.
#[derive(Clone)]
pub struct FileStore {
    path: PathBuf,
    allows_others: bool,
    /// Whether the files that killed processes left behind have been removed.
    is_clean: Arc<AtomicBool>,
}

/// What is wrong with a file, without its content.
#[derive(Debug)]
struct FileError {
    message: String,
    source: Option<io::Error>,
}

/// Less than the 3 s that a session allows an operation, so that its error names the file.
const LOCK_TIMEOUT: Duration = Duration::from_millis(2500);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// The suffix of new files.
const NEW: &str = ".new";
/// The limit of Linux.
const MAX_LINKS: usize = 40;

// === impl FileStore ===

impl FileStore {
    /// Creates a store in this file, which needn't exist yet.
    ///
    /// A relative path is resolved now, against the current directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // This fails for an empty path, which is reported at the first use.
        let path = std::path::absolute(&path).unwrap_or(path);
        Self { path, allows_others: false, is_clean: Arc::default() }
    }

    /// Accepts a file that other users can read or write. They can use the tokens in it, or replace them.
    pub fn dangerous_allow_others_to_read(mut self) -> Self {
        self.allows_others = true;
        self
    }

    /// Reads a file and checks who can read it.
    fn read(&self, path: &Path) -> Result<Option<(Record, Metadata)>, StoreError> {
        let read = || -> io::Result<_> {
            let metadata = fs::metadata(path)?;
            // Before it is opened: to open a pipe blocks.
            if let Err(problem) = self.check(&metadata) {
                return Ok(Err(problem));
            }
            Ok(Ok((Record::from_bytes(fs::read(path)?), metadata)))
        };
        match read() {
            Ok(Ok(found)) => Ok(Some(found)),
            Ok(Err(problem)) => Err(StoreError::unreadable(FileError {
                message: format!("{} {problem}", path.display()),
                source: None,
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(StoreError::unreadable(FileError::new("can't read", path, error)))
            }
            Err(error) => Err(StoreError::unavailable(FileError::new("can't read", path, error))),
        }
    }

    fn check(&self, metadata: &Metadata) -> Result<(), String> {
        if !metadata.is_file() {
            return Err("isn't a regular file".to_owned());
        }
        os::check_owner(metadata)?;
        if self.allows_others { Ok(()) } else { os::check_mode(metadata) }
    }

    /// The file to replace, with all links resolved. Creates its folder.
    fn target(&self) -> Result<PathBuf, StoreError> {
        let mut path = self.path.clone();
        for _ in 0..MAX_LINKS {
            let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { break };
            let follow = || -> io::Result<_> {
                os::create_folder(folder)?;
                // The lock and the file stay in the same folder, even if a link to it changes in the meantime.
                let folder = fs::canonicalize(folder)?;
                let path = folder.join(name);
                match fs::read_link(&path) {
                    Ok(link) => Ok((folder.join(link), true)),
                    // It isn't a link, or doesn't exist.
                    Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::NotFound) => {
                        Ok((path, false))
                    }
                    Err(error) => Err(error),
                }
            };
            let (next, is_link) = follow().map_err(|error| {
                StoreError::unavailable(FileError::new("can't use the folder of", &path, error))
            })?;
            if !is_link {
                return Ok(next);
            }
            path = next;
        }
        let message = format!("{} isn't the path of a file, or has too many links", self.path.display());
        Err(StoreError::unreadable(FileError { message, source: None }))
    }

    fn load_now(&self) -> Result<Option<Loaded>, StoreError> {
        let found = self.read(&self.path)?;
        Ok(found.map(|(record, _)| {
            let version = Version::of(&record);
            Loaded::new(record, version).with_path(&self.path)
        }))
    }

    /// Waits for the lock as long as the caller waits for the result, but not if the record has changed anyway.
    ///
    /// Never blocks in the kernel: a runtime can't be dropped while one of its threads does.
    fn swap_now(
        &self,
        expected: Option<&Version>,
        record: &Record,
        caller: &Weak<()>,
    ) -> Result<Swap, StoreError> {
        let target = self.target()?;
        let lock_path = beside(&target, "lock");
        let mut waited = Duration::ZERO;
        let mut pause = FIRST_PAUSE;
        loop {
            let (_lock, is_locked) = try_lock(&lock_path)?;
            let found = self.read(&target)?;
            if found.as_ref().map(|(record, _)| Version::of(record)).as_ref() != expected {
                return Ok(Swap::Conflict);
            }
            if is_locked {
                if !self.is_clean.swap(true, Ordering::Relaxed) {
                    remove_leftovers(&target);
                }
                replace(&target, found.as_ref().map(|(_, metadata)| metadata), record, caller).map_err(
                    |error| StoreError::unavailable(FileError::new("can't write", &target, error)),
                )?;
                return Ok(Swap::Written(Version::of(record)));
            }
            if waited >= LOCK_TIMEOUT || caller.strong_count() == 0 {
                let message =
                    format!("{} is locked by another process, which may be suspended", lock_path.display());
                return Err(StoreError::unavailable(FileError { message, source: None }));
            }
            thread::sleep(pause);
            waited += pause;
            pause = (pause * 8 / 5).min(LONGEST_PAUSE);
        }
    }

    fn try_hold_now(&self) -> Result<Hold, StoreError> {
        let path = beside(&self.target()?, "hold");
        let (mut file, is_locked) = try_lock(&path)?;
        if is_locked {
            // The process ID is only for other processes' errors, so a failure doesn't matter.
            let _ = file
                .set_len(0)
                .and_then(|()| file.rewind())
                .and_then(|()| write!(file, "{}", std::process::id()));
            return Ok(Hold::new(file));
        }
        let mut owner = String::new();
        let owner = file.take(16).read_to_string(&mut owner).ok().and_then(|_| owner.parse::<u32>().ok());
        Ok(Hold::busy(match owner {
            Some(pid) => format!("pid {pid}"),
            None => "another process".to_owned(),
        }))
    }
}

impl TokenStore for FileStore {
    async fn load(&self) -> Result<Option<Loaded>, StoreError> {
        let store = self.clone();
        run_blocking(move || store.load_now()).await
    }

    async fn swap(&self, expected: Option<&Version>, record: &Record) -> Result<Swap, StoreError> {
        let (store, expected, record) = (self.clone(), expected.cloned(), record.clone());
        // Dropped with this future.
        let caller = Arc::new(());
        let weak = Arc::downgrade(&caller);
        run_blocking(move || store.swap_now(expected.as_ref(), &record, &weak)).await
    }

    async fn try_hold(&self) -> Result<Hold, StoreError> {
        let store = self.clone();
        run_blocking(move || store.try_hold_now()).await
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path).finish_non_exhaustive()
    }
}

async fn run_blocking<T: Send + 'static>(
    operation: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let runtime = Handle::try_current().map_err(StoreError::unavailable)?;
    runtime.spawn_blocking(operation).await.map_err(StoreError::unavailable)?
}

/// `credentials.json.lock` for `credentials.json`.
fn beside(target: &Path, extension: &str) -> PathBuf {
    let mut path = target.as_os_str().to_owned();
    path.push(".");
    path.push(extension);
    path.into()
}

/// Opens a lock file and tries to lock it.
fn try_lock(path: &Path) -> Result<(File, bool), StoreError> {
    let lock = || loop {
        let file = os::open_lock_file(path)?;
        match file.try_lock() {
            // If it was deleted after it was opened, other processes lock a new file of that name.
            Ok(()) if !os::is_at(&file, path)? => {}
            Ok(()) => return Ok((file, true)),
            Err(TryLockError::WouldBlock) => return Ok((file, false)),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    };
    lock().map_err(|error| StoreError::unavailable(FileError::new("can't lock", path, error)))
}

/// The folder of new files, and the prefix of their names.
fn new_file(target: &Path) -> (&Path, OsString) {
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(".");
    (target.parent().unwrap_or(Path::new("/")), prefix)
}

/// Removes the new files of processes that were killed before they could rename them: they contain secrets. Call it
/// with the lock held, so that no running process is writing one.
fn remove_leftovers(target: &Path) {
    let (folder, prefix) = new_file(target);
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        if name.starts_with(prefix.as_encoded_bytes()) && name.ends_with(NEW.as_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Replaces the file as a whole.
fn replace(target: &Path, old: Option<&Metadata>, record: &Record, caller: &Weak<()>) -> io::Result<()> {
    let (folder, prefix) = new_file(target);
    // The rest of the name is random: where locks are ineffective, two writers must not share a file.
    let mut file = tempfile::Builder::new().prefix(&prefix).suffix(NEW).tempfile_in(folder)?;
    file.write_all(record.as_bytes())?;
    if let Some(old) = old {
        os::copy_owner_and_mode(file.as_file(), old)?;
    }
    file.as_file().sync_all()?;
    // If the caller has given up, the write must not take effect later.
    if caller.strong_count() == 0 {
        return Err(ErrorKind::TimedOut.into());
    }
    os::rename(file, target)?;
    os::sync_folder(folder)
}

// === impl FileError ===

impl FileError {
    fn new(action: &str, path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            ErrorKind::PermissionDenied => ": this user has no permission for it or its folder",
            ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ": the disk is full",
            ErrorKind::ResourceBusy => {
                ": it is mounted by itself and can't be replaced; mount its folder instead"
            }
            _ => "",
        };
        Self { message: format!("{action} {}{advice}", path.display()), source: Some(source) }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for FileError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}
