//! `FileStore`.

use std::{
    fs::{self, File, Permissions},
    future::Future,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    pin::pin,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Waker},
};

use tempfile::TempDir;
use tower_reauth::{
    Session, Token, refresh_fn,
    store::{FileStore, Record, SharedStore, StoreError, StoreExt, Swap, TokenStore, Version},
};

use crate::child::{NOBODY, chain, count, outcome, process};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn bytes(content: &str) -> Record {
    Record::from_bytes(content)
}

/// Writes, whatever is there.
async fn write(store: &FileStore, content: &str) -> Version {
    let version = store.load().await.unwrap().map(|loaded| loaded.version().clone());
    match store.swap(version.as_ref(), &bytes(content)).await.unwrap() {
        Swap::Written(version) => version,
        other => panic!("{other:?}"),
    }
}

async fn read(store: &FileStore) -> String {
    let loaded = store.load().await.unwrap().unwrap();
    String::from_utf8(loaded.record().as_bytes().to_vec()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A file of this mode that isn't the store's own.
fn file_with_mode(folder: &TempDir, mode: u32) -> PathBuf {
    let path = folder.path().join("credentials.json");
    fs::write(&path, "SECRET-1").unwrap();
    set_mode(&path, mode);
    path
}

// === The file ===

#[tokio::test]
async fn first_write_creates_the_folder_and_the_file_for_this_user_only() {
    let folder = folder();
    let path = folder.path().join("a/b/credentials.json");
    let store = FileStore::new(&path);
    assert!(store.load().await.unwrap().is_none());
    assert!(!folder.path().join("a").exists(), "a load creates nothing");
    let version = write(&store, "SECRET-1").await;
    assert_eq!(store.load().await.unwrap().unwrap().version(), &version);
    assert_eq!(mode(&folder.path().join("a")), 0o700);
    assert_eq!(mode(&folder.path().join("a/b")), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&folder.path().join("a/b/credentials.json.lock")), 0o600);
    assert_eq!(names(&folder.path().join("a/b")), ["credentials.json", "credentials.json.lock"]);
}

#[tokio::test]
async fn relative_path_is_resolved_when_the_store_is_created() {
    let store = FileStore::new("credentials.json");
    let expected = std::env::current_dir().unwrap().join("credentials.json");
    assert!(format!("{store:?}").contains(&format!("{expected:?}")), "{store:?}");
}

#[tokio::test]
async fn link_stays_a_link_and_its_target_is_replaced() {
    let folder = folder();
    fs::create_dir(folder.path().join("dotfiles")).unwrap();
    let target = folder.path().join("dotfiles/real.json");
    fs::write(&target, "SECRET-1").unwrap();
    set_mode(&target, 0o600);
    symlink("real.json", folder.path().join("dotfiles/second")).unwrap();
    let link = folder.path().join("credentials.json");
    symlink("dotfiles/second", &link).unwrap();
    let store = FileStore::new(&link);
    write(&store, "SECRET-2").await;
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("dotfiles/second"));
    assert_eq!(fs::read_to_string(&target).unwrap(), "SECRET-2");
    assert!(!fs::symlink_metadata(&target).unwrap().is_symlink());
    assert_eq!(names(&folder.path().join("dotfiles")), ["real.json", "real.json.lock", "second"]);
}

#[tokio::test]
async fn link_to_a_missing_file_stays_and_the_file_is_created() {
    let folder = folder();
    let link = folder.path().join("credentials.json");
    symlink("missing/real.json", &link).unwrap();
    let store = FileStore::new(&link);
    assert!(store.load().await.unwrap().is_none());
    write(&store, "SECRET-1").await;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let target = folder.path().join("missing/real.json");
    assert_eq!(fs::read_to_string(&target).unwrap(), "SECRET-1");
    assert_eq!((mode(&folder.path().join("missing")), mode(&target)), (0o700, 0o600));
    write(&store, "SECRET-2").await;
    assert_eq!(fs::read_to_string(&target).unwrap(), "SECRET-2");
}

#[tokio::test]
async fn all_names_of_a_file_share_its_locks() {
    let folder = folder();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink("real", folder.path().join("folder-link")).unwrap();
    symlink("real/credentials.json", folder.path().join("file-link")).unwrap();
    let store = FileStore::new(real.join("credentials.json"));
    let _hold = store.try_hold().await.unwrap();
    for name in ["folder-link/credentials.json", "file-link", "real/../real/credentials.json"] {
        let other = FileStore::new(folder.path().join(name));
        let busy = format!("ok: Hold(busy: pid {})", std::process::id());
        assert_eq!(outcome(other.try_hold().await), busy, "{name}");
    }
}

#[tokio::test]
async fn links_in_a_circle_are_an_error() {
    let folder = folder();
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    let store = FileStore::new(folder.path().join("a"));
    assert!(store.load().await.is_err());
    let outcome = outcome(store.swap(None, &bytes("SECRET-1")).await);
    assert!(outcome.contains("too many links"), "{outcome}");
}

#[tokio::test]
async fn a_path_that_is_not_a_file_is_unreadable() {
    let folder = folder();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [folder.path(), &pipe] {
        let store = FileStore::new(path);
        let load = outcome(store.load().await.map(drop));
        assert!(load.starts_with("unreadable: ") && load.contains("isn't a regular file"), "{load}");
        assert!(outcome(store.swap(None, &bytes("SECRET-1")).await).starts_with("unreadable: "));
    }
    for path in ["", "/", ".."] {
        let store = FileStore::new(path);
        assert!(outcome(store.swap(None, &bytes("SECRET-1")).await).starts_with("unreadable: "), "{path}");
    }
}

#[tokio::test]
async fn content_that_is_not_a_record_is_unreadable_and_stays() {
    let json = r#"{"v": 1, "w": "1", "epoch": 5, "was": [], "by": 7000, "claims": 8000, "token": {"access": "SECRET"#;
    for content in ["", "SECRET", json, r#"{"access_token": "SECRET"}"#, r#"{"v": 2, "x": "SECRET"}"#] {
        let folder = folder();
        let path = file_with_mode(&folder, 0o600);
        fs::write(&path, content).unwrap();
        let refresher = refresh_fn(async |_| panic!("nothing is presented"));
        let session = Session::builder(refresher).build_shared(FileStore::new(&path));
        let signed_in = session.sign_in(Token::try_new("A1").unwrap()).await;
        for error in [session.load().await.unwrap_err(), signed_in.unwrap_err()] {
            assert!(error.is_misconfigured(), "{content}: {}", chain(&error));
            assert!(StoreError::find(&error).unwrap().is_unreadable());
            let path = path.display().to_string();
            assert!(chain(&error).contains(&path) && !chain(&error).contains("SECRET"), "{}", chain(&error));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn error_about_a_record_of_another_client_or_key_names_the_file() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let builder = || Session::builder(refresh_fn(async |_| panic!("nothing is presented")));
    let store = || SharedStore::new(FileStore::new(&path));
    let session = builder().build_shared(store().credential("one"));
    session.sign_in(Token::try_new("A1").unwrap()).await.unwrap();

    let with_other_key =
        FileStore::new(&path).sealed(|record| Ok(record.to_vec()), |_| Err("wrong key".into()));
    let sessions =
        [builder().build_shared(store().credential("two")), builder().build_shared(with_other_key)];
    for session in sessions {
        let error = session.load().await.unwrap_err();
        assert!(StoreError::find(&error).unwrap().is_unreadable(), "{}", chain(&error));
        assert!(chain(&error).contains(&path.display().to_string()), "{}", chain(&error));
    }
}

#[tokio::test]
async fn what_a_killed_writer_left_is_removed() {
    let folder = folder();
    let path = file_with_mode(&folder, 0o600);
    for name in [".credentials.json.aB3dE6.new", ".other.json.aB3dE6.new"] {
        fs::write(folder.path().join(name), "SECRET").unwrap();
    }
    write(&FileStore::new(&path), "SECRET-2").await;
    let left = names(folder.path());
    assert_eq!(left, [".other.json.aB3dE6.new", "credentials.json", "credentials.json.lock"]);
}

// === Modes and owners ===

#[tokio::test]
async fn file_that_others_can_read_is_refused_unless_allowed() {
    for others in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666] {
        let folder = folder();
        let path = file_with_mode(&folder, others);
        let store = FileStore::new(&path);
        let version = Version::of(&bytes("SECRET-1"));
        for outcome in [
            outcome(store.load().await.map(drop)),
            outcome(store.swap(Some(&version), &bytes("SECRET-2")).await),
            outcome(store.swap(None, &bytes("SECRET-2")).await),
        ] {
            assert!(outcome.starts_with("unreadable: "), "{others:o}: {outcome}");
            let expected = format!(
                "{} can be read or written by other users (mode {others:04o}); run `chmod 600` on it",
                path.display()
            );
            assert!(outcome.contains(&expected) && !outcome.contains("SECRET"), "{outcome}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-1");
        let store = store.dangerous_allow_others_to_read();
        write(&store, "SECRET-2").await;
        assert_eq!((read(&store).await.as_str(), mode(&path)), ("SECRET-2", others));
    }
}

#[tokio::test]
async fn session_says_what_to_do_about_the_mode() {
    let folder = folder();
    let path = file_with_mode(&folder, 0o644);
    let refresher = refresh_fn(async |_| panic!("nothing is presented"));
    let session = Session::builder(refresher).build_shared(FileStore::new(&path));
    let error = session.session().token().await.unwrap_err();
    assert!(error.is_misconfigured(), "{}", chain(&error));
    assert!(chain(&error).contains("chmod 600"), "{}", chain(&error));
}

#[tokio::test]
async fn mode_and_group_are_kept() {
    for kept in [0o600, 0o400, 0o700] {
        let folder = folder();
        let path = file_with_mode(&folder, kept);
        if is_root() {
            chown(&path, None, Some(NOBODY)).unwrap();
        }
        let group = fs::metadata(&path).unwrap().gid();
        write(&FileStore::new(&path), "SECRET-2").await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-2");
        assert_eq!((mode(&path), fs::metadata(&path).unwrap().gid()), (kept, group));
    }
}

/// Rows that change owners, which only root can.
fn is_root() -> bool {
    let folder = folder();
    fs::metadata(folder.path()).unwrap().uid() == 0
}

/// A folder with a file in it, of this owner.
fn owned_folder(owner: u32, file_owner: u32) -> (TempDir, PathBuf) {
    let folder = folder();
    let path = file_with_mode(&folder, 0o600);
    chown(&path, Some(file_owner), Some(file_owner)).unwrap();
    chown(folder.path(), Some(owner), Some(owner)).unwrap();
    set_mode(folder.path(), 0o755);
    (folder, path)
}

#[tokio::test]
async fn file_of_another_user_is_refused() {
    if !is_root() {
        return skip("only root can change owners");
    }
    let (_folder, path) = owned_folder(0, NOBODY);
    let store = FileStore::new(&path).dangerous_allow_others_to_read();
    let load = outcome(store.load().await.map(drop));
    let expected = format!("{} belongs to another user (uid 65534; this is uid 0)", path.display());
    assert!(load.starts_with("unreadable: ") && load.contains(&expected), "{load}");
    let version = Version::of(&bytes("SECRET-1"));
    let swap = outcome(store.swap(Some(&version), &bytes("SECRET-2")).await);
    assert!(swap.starts_with("unreadable: ") && swap.contains(&expected), "{swap}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-1");

    let (_folder, path) = owned_folder(NOBODY, 0);
    let reports = process("use", &path).by_nobody().run();
    let reports: Vec<_> = reports.lines().collect();
    for report in &reports[..2] {
        let expected = "belongs to another user (uid 0; this is uid 65534)";
        assert!(report.starts_with("unreadable: ") && report.contains(expected), "{reports:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-1");
}

#[tokio::test]
async fn folder_that_cannot_be_written_makes_the_store_unavailable() {
    if !is_root() {
        return skip("only root can change owners");
    }
    let (folder, path) = owned_folder(0, NOBODY);
    let reports = process("use", &path).by_nobody().run();
    let reports: Vec<_> = reports.lines().collect();
    assert_eq!(reports[0], "ok: true");
    for report in &reports[1..] {
        let expected = "this user has no permission for it or its folder: Permission denied";
        assert!(report.starts_with("unavailable: ") && report.contains(expected), "{reports:?}");
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-1");
    assert_eq!(names(folder.path()), ["credentials.json"]);
}

#[tokio::test]
async fn folder_that_cannot_be_entered_is_not_a_missing_record() {
    if !is_root() {
        return skip("only root can change owners");
    }
    let (folder, path) = owned_folder(0, NOBODY);
    set_mode(folder.path(), 0o700);
    let report = process("load", &path).by_nobody().run();
    assert!(report.starts_with("unreadable: ") && report.contains("Permission denied"), "{report}");
}

#[tokio::test]
async fn user_without_privileges_can_use_the_store() {
    if !is_root() {
        return skip("only root can change owners");
    }
    let (folder, path) = owned_folder(NOBODY, NOBODY);
    let reports = process("use", &path).by_nobody().run();
    let reports: Vec<_> = reports.lines().collect();
    assert_eq!(reports, ["ok: true", "ok: Written(Version { .. })", "ok: Hold(held)"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-2");
    for name in names(folder.path()) {
        let metadata = fs::metadata(folder.path().join(&name)).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (NOBODY, 0o600), "{name}");
    }
}

pub(crate) fn skip(why: &str) {
    use std::io::Write;

    assert!(std::env::var_os("TOWER_REAUTH_REQUIRE_SERVERS").is_none(), "{why}");
    // Not captured, as the output of a test is shown only if it fails.
    let test = std::thread::current().name().unwrap_or("main").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

// === Locks ===

#[tokio::test]
async fn handles_of_one_process_exclude_each_other() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let (one, two) = (FileStore::new(&path), FileStore::new(&path));
    let hold = one.try_hold().await.unwrap();
    let busy = format!("ok: Hold(busy: pid {})", std::process::id());
    assert_eq!(outcome(two.try_hold().await), busy);
    assert_eq!(outcome(one.try_hold().await), busy);
    // A hold isn't in the way of writes.
    write(&two, "SECRET-1").await;
    drop(hold);
    assert_eq!(outcome(two.try_hold().await), "ok: Hold(held)");
}

#[tokio::test]
async fn hold_of_a_killed_process_is_free_at_once() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let store = FileStore::new(&path);
    let mut owner = process("hold", &path).start();
    assert_eq!(owner.next_report().as_deref(), Some("held"));
    assert_eq!(outcome(store.try_hold().await), format!("ok: Hold(busy: pid {})", owner.id()));
    owner.kill();
    assert_eq!(outcome(store.try_hold().await), "ok: Hold(held)");
}

#[tokio::test]
async fn lock_of_a_killed_process_is_free_at_once() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let store = FileStore::new(&path);
    let mut owner = process("lock", &path).start();
    assert_eq!(owner.next_report().as_deref(), Some("locked"));
    let swap = outcome(store.swap(None, &bytes("SECRET-1")).await);
    let expected = format!("{}.lock is locked by another process", path.display());
    assert!(swap.starts_with("unavailable: ") && swap.contains(&expected), "{swap}");
    assert!(store.load().await.unwrap().is_none(), "a load needs no lock");
    owner.kill();
    write(&store, "SECRET-1").await;
}

#[tokio::test]
async fn swap_of_an_old_version_conflicts_without_the_lock() {
    let folder = folder();
    let store = FileStore::new(folder.path().join("credentials.json"));
    let old = write(&store, "SECRET-1").await;
    write(&store, "SECRET-2").await;
    let lock = File::open(folder.path().join("credentials.json.lock")).unwrap();
    lock.lock().unwrap();
    assert_eq!(outcome(store.swap(Some(&old), &bytes("SECRET-3")).await), "ok: Conflict");
}

#[tokio::test]
async fn lock_files_may_be_deleted() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let store = FileStore::new(&path);
    write(&store, "SECRET-1").await;
    let lock = folder.path().join("credentials.json.lock");
    // Whoever waits for the file that was deleted waits for the next one of its name.
    let old = File::open(&lock).unwrap();
    old.lock().unwrap();
    let version = Version::of(&bytes("SECRET-1"));
    let mut swap = tokio::spawn({
        let store = store.clone();
        async move { store.swap(Some(&version), &bytes("SECRET-2")).await }
    });
    // Until it has opened the file.
    while cfg!(target_os = "linux") && times_open(&lock) < 2 {
        assert!(futures::poll!(&mut swap).is_pending());
        tokio::task::yield_now().await;
    }
    fs::remove_file(&lock).unwrap();
    assert!(matches!(swap.await.unwrap(), Ok(Swap::Written(_))));
    assert!(lock.exists());
    let hold = store.try_hold().await.unwrap();
    drop(hold);
    fs::remove_file(folder.path().join("credentials.json.hold")).unwrap();
    assert_eq!(outcome(store.try_hold().await), "ok: Hold(held)");
}

/// How many descriptors of this process a file has.
fn times_open(path: &Path) -> usize {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors.filter(|entry| fs::read_link(entry.path()).is_ok_and(|open| open == path)).count()
}

#[test]
fn dropped_swap_does_not_take_effect_later() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = FileStore::new(&path);
    runtime.block_on(write(&store, "SECRET-1"));
    let lock = File::open(folder.path().join("credentials.json.lock")).unwrap();
    lock.lock().unwrap();
    let version = Version::of(&bytes("SECRET-1"));
    {
        let _context = runtime.enter();
        let record = bytes("SECRET-2");
        let swap = pin!(store.swap(Some(&version), &record));
        assert!(swap.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    lock.unlock().unwrap();
    // Waits for the thread that was to write.
    drop(runtime);
    assert_eq!(fs::read_to_string(&path).unwrap(), "SECRET-1");
}

#[test]
fn swap_that_is_dropped_while_it_writes_leaves_the_old_record() {
    let folder = folder();
    let store = FileStore::new(folder.path().join("credentials.json"));
    let large = Record::from_bytes(vec![b'x'; 32 << 20]);
    loop {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let old = runtime.block_on(write(&store, "SECRET-1"));
        let is_writing = || names(folder.path()).iter().any(|name| name.ends_with(".new"));
        {
            let _context = runtime.enter();
            let mut swap = pin!(store.swap(Some(&old), &large));
            while !is_writing() {
                if swap.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        // Otherwise it was too fast to be dropped in time.
        let was_writing = is_writing();
        // Waits for the thread that writes.
        drop(runtime);
        if was_writing {
            break;
        }
    }
    assert_eq!(fs::read_to_string(folder.path().join("credentials.json")).unwrap(), "SECRET-1");
    assert_eq!(names(folder.path()), ["credentials.json", "credentials.json.lock"]);
}

#[test]
fn without_a_tokio_runtime_the_store_is_unavailable() {
    let folder = folder();
    let store = FileStore::new(folder.path().join("credentials.json"));
    let load = outcome(futures::executor::block_on(store.load()).map(drop));
    assert!(load.starts_with("unavailable: ") && load.contains("runtime"), "{load}");
}

// === Many at once ===

#[tokio::test(flavor = "multi_thread")]
async fn readers_see_whole_records_while_one_writes() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let store = FileStore::new(&path);
    let content = |length: usize| format!("{length}:{}", "x".repeat(length));
    write(&store, &content(20_000)).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU32::new(0));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (store, is_done, reads) = (FileStore::new(&path), Arc::clone(&is_done), Arc::clone(&reads));
            tokio::spawn(async move {
                while !is_done.load(Ordering::Relaxed) {
                    let read = read(&store).await;
                    let (length, rest) = read.split_once(':').unwrap();
                    assert_eq!(length.parse(), Ok(rest.len()));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for length in (0..200).rev() {
        write(&store, &content(100 * length)).await;
    }
    while reads.load(Ordering::Relaxed) < 100 && readers.iter().all(|reader| !reader.is_finished()) {
        tokio::task::yield_now().await;
    }
    is_done.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_loses_an_update_of_another() {
    let folder = folder();
    let path = folder.path().join("credentials.json");
    let store = FileStore::new(&path);
    write(&store, "0").await;
    let others: Vec<_> = (0..3).map(|_| process("count", &path).start()).collect();
    for _ in 0..50 {
        count(&store).await;
    }
    for mut other in others {
        assert_eq!(other.next_report(), None);
    }
    assert_eq!(read(&store).await, "200");
}

#[tokio::test]
async fn debug_shows_the_path_only() {
    let folder = folder();
    let store = FileStore::new(folder.path().join("credentials.json"));
    write(&store, "SECRET-1").await;
    let shown = format!("{store:?} {:?} {:?}", store.load().await, store.try_hold().await);
    assert!(shown.contains("credentials.json") && !shown.contains("SECRET"), "{shown}");
}
