//! `FileStore` on a full disk, on a read-only file system, and as a mount.

use std::process::Command;

use crate::{child::process_with_mounts, file::skip};

/// Puts the file on a disk of 64 KiB that only its process sees.
const SMALL_DISK: &str = "\
    folder=$(dirname $file); mkdir -p $folder; mount -t tmpfs -o size=64k,mode=700 tmpfs $folder; \
    umask 077; printf SECRET-1 >$file";

/// What a process with mounts of its own reports. `None`: this system doesn't permit them.
fn run(script: &str, task: &str) -> Option<Vec<String>> {
    let permitted = Command::new("unshare").args(["--mount", "true"]).output();
    if !permitted.is_ok_and(|output| output.status.success()) {
        skip("`unshare --mount` isn't permitted");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk/credentials.json");
    let reports = process_with_mounts(script, task, &path).run();
    Some(reports.lines().map(str::to_owned).collect())
}

#[test]
fn full_disk_makes_the_store_unavailable_and_the_record_stays() {
    let Some(reports) = run(SMALL_DISK, "fill") else { return };
    let expected = "the disk is full: No space left on device";
    assert!(reports[0].starts_with("unavailable: ") && reports[0].contains(expected), "{reports:?}");
    assert_eq!(reports[1..], ["SECRET-1", r#"["credentials.json", "credentials.json.lock"]"#]);
}

#[test]
fn read_only_file_system_makes_the_store_unavailable_for_writes() {
    let script = format!("{SMALL_DISK}; mount -o remount,ro $folder");
    let Some(reports) = run(&script, "use") else { return };
    assert_eq!(reports[0], "ok: true");
    for report in &reports[1..] {
        let expected = "the file system is read-only: Read-only file system";
        assert!(report.starts_with("unavailable: ") && report.contains(expected), "{reports:?}");
    }
}

#[test]
fn file_that_is_mounted_by_itself_cannot_be_replaced() {
    let script = format!("{SMALL_DISK}; printf SECRET-1 >$folder/source; mount --bind $folder/source $file");
    let Some(reports) = run(&script, "use") else { return };
    assert_eq!(reports[0], "ok: true");
    let expected = "it is mounted by itself and can't be replaced; mount its folder instead: ";
    assert!(reports[1].starts_with("unavailable: ") && reports[1].contains(expected), "{reports:?}");
    assert_eq!(reports[2], "ok: Hold(held)");
}
