//! The order of the crate's modules.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const SRC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src");

/// The crate's modules, from top to bottom. Those of one line don't import each other.
const CRATE: &[&[&str]] = &[
    &["lib", "docs"],
    &["grpc", "reqwest"],
    &["sessions"],
    &["oauth2", "json", "store"],
    &["endpoint"],
    &["https"],
    &["layer", "send"],
    &["service"],
    &["future"],
    &["request"],
    &["session"],
    &["event", "metrics"],
    &["testing"],
    &["refresh"],
    &["token"],
    &["challenge"],
    &["origin"],
    &["rt"],
    &["error"],
    &["shard"],
    &["sync", "panics"],
];

/// The files of `session/`. `builder` makes a `Session`, whose methods are in `session`.
const SESSION: &[&[&str]] = &[
    &["stored"],
    &["build", "changes", "keep_fresh", "mapped", "shutdown", "tokens"],
    &["builder"],
    &["session"],
    &["options"],
    &["watch"],
    &["driver"],
    &["flight", "log", "waiter"],
    &["hooks"],
    &["shared"],
    &["attachment"],
    &["settings"],
    &["limit"],
    &["completion", "published"],
    &["machine"],
    &["reentrancy"],
];

/// The files of `session/machine/`.
const MACHINE: &[&[&str]] = &[
    &["machine"],
    &["ends", "stored"],
    &["health", "late", "snapshot"],
    &["status"],
    &["in_flight", "landing"],
    &["decide", "retiring", "saving"],
    &["turn"],
    &["effects"],
    &["outcome"],
    &["demand", "grant"],
    &["flight", "held"],
    &["saves"],
    &["rules"],
    &["backoff"],
];

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests") || path.ends_with("tests.rs") {
            continue;
        }
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// A file's code, without comments, attributes of one line and modules of tests.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let item = lines.next().unwrap_or_default();
            if item.ends_with('{') {
                lines.by_ref().find(|line| *line == "}");
            }
        } else if !line.trim_start().starts_with("#[") {
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
        }
    }
    code
}

/// The names that directly follow `prefix`, such as `a` and `b` in `crate::{a::X, b}`.
fn imports<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let before = &code[..at];
        if before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') || before.ends_with("(in ")
        {
            continue;
        }
        let rest = &code[at + prefix.len()..];
        let Some(list) = rest.strip_prefix('{') else {
            found.extend(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (end, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                '}' | ',' if depth == 0 => {
                    found.extend(name(list[start..end].trim_start()));
                    start = end + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn name(path: &str) -> Option<&str> {
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    Some(&path[..end]).filter(|name| !name.is_empty())
}

fn rank(order: &[&[&str]], module: &str) -> Option<usize> {
    order.iter().position(|modules| modules.contains(&module))
}

/// What `module` imports from above, or from beside it. An item of the parent module counts as the parent.
fn upward(order: &[&[&str]], module: &str, parent: &str, code: &str, prefix: &str) -> Vec<String> {
    let own = rank(order, module).unwrap_or_else(|| panic!("{module} has no place in the order of modules"));
    let mut found = Vec::new();
    for import in imports(code, prefix) {
        let (imported, to) = match rank(order, import) {
            Some(rank) => (import, rank),
            None => (parent, rank(order, parent).unwrap()),
        };
        if imported != module && to <= own {
            found.push(format!("{module} imports {prefix}{import}"));
        }
    }
    found
}

#[test]
fn modules_import_only_from_below() {
    let mut paths = Vec::new();
    files(Path::new(SRC), &mut paths);
    assert!(paths.len() > 80, "only {} files found", paths.len());
    let mut found = Vec::new();
    for path in paths {
        let code = code(&fs::read_to_string(&path).unwrap());
        let relative = path.strip_prefix(SRC).unwrap().with_extension("");
        let parts: Vec<_> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let mut upward_imports = upward(CRATE, parts[0], "lib", &code, "crate::");
        match parts[..] {
            ["session", module] => {
                upward_imports.extend(upward(SESSION, module, "session", &code, "super::"));
            }
            ["session", "machine", module] => {
                upward_imports.extend(upward(MACHINE, module, "machine", &code, "super::"));
            }
            _ => {}
        }
        found.extend(upward_imports.into_iter().map(|import| format!("{}: {import}", relative.display())));
    }
    assert!(found.is_empty(), "upward imports:\n{}", found.join("\n"));
}

/// Splits a list at the commas that are outside of its inner lists.
fn elements(list: &str) -> Vec<&str> {
    let mut depth = 0;
    let is_end = |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    };
    list.split(is_end).map(str::trim).filter(|element| !element.is_empty()).collect()
}

/// The paths of a `use` tree, each in full.
fn expand(prefix: &str, tree: &str, found: &mut Vec<String>) {
    match tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) {
        Some((path, list)) => {
            elements(list).into_iter().for_each(|tree| expand(&format!("{prefix}{path}"), tree, found));
        }
        None => found.push(format!("{prefix}{tree}")),
    }
}

/// What threads synchronise with, among the paths that code uses.
fn synchronisation(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = String::new();
    for statement in code.split_inclusive(';') {
        match statement.rsplit_once("use ").filter(|(before, _)| before.trim_end_matches(' ').ends_with('\n'))
        {
            Some((before, tree)) => {
                expand("", tree.trim_end_matches(';'), &mut paths);
                rest.push_str(before);
            }
            None => rest.push_str(statement),
        }
    }
    let imports_thread_local = paths.iter().any(|path| path == "crate::sync::thread_local");
    let is_allowed = |path: &String| {
        ["std::sync::Arc", "std::sync::Weak", "std::sync::LazyLock"].contains(&&**path)
            // A limit isn't part of one session.
            || ["tokio::sync::Semaphore", "tokio::sync::OwnedSemaphorePermit"].contains(&&**path)
    };
    let starts = ["std::sync", "std::thread", "tokio::sync", "arc_swap", "futures_util::future::Shared"];
    paths.retain(|path| starts.iter().any(|start| path.starts_with(start)) && !is_allowed(path));
    paths.extend(starts.iter().filter(|start| rest.contains(**start)).map(ToString::to_string));
    if rest.contains("thread_local!") && !imports_thread_local {
        paths.push("thread_local!".to_owned());
    }
    paths
}

/// So that the model checker in `proof/model` sees all of it.
#[test]
fn the_session_synchronises_through_one_module() {
    let mut paths = vec![Path::new(SRC).join("session.rs"), Path::new(SRC).join("shard.rs")];
    files(&Path::new(SRC).join("session"), &mut paths);
    assert!(paths.len() > 40, "only {} files found", paths.len());
    let mut found = Vec::new();
    for path in paths {
        let code = code(&fs::read_to_string(&path).unwrap());
        found.extend(synchronisation(&code).into_iter().map(|used| format!("{}: {used}", path.display())));
    }
    assert!(found.is_empty(), "not through `sync.rs`:\n{}", found.join("\n"));
}

#[test]
fn synchronisation_is_found_in_imports_and_in_paths() {
    let source = "
use std::{
    cell::Cell,
    sync::{Arc, Mutex, atomic::{AtomicUsize, Ordering}},
};

use crate::sync::{Notify, OnceLock};

fn f() { std::thread::yield_now(); tokio::task::yield_now(); }
thread_local! { static A: Cell<u8> = const { Cell::new(0) }; }
";
    let expected =
        ["std::sync::Mutex", "std::sync::atomic::AtomicUsize", "std::sync::atomic::Ordering", "std::thread"];
    assert_eq!(synchronisation(source), [&expected[..], &["thread_local!"]].concat());
}

#[test]
fn imports_are_found_in_lists_and_in_paths() {
    let source = "\
use crate::{
    a::{A, crate_like},
    b, // crate::comment
};
#[doc = \"crate::attribute\"]
pub(in crate::visible) fn f() -> crate::c::C { not_crate::d() }
#[cfg(test)]
mod tests {
    use crate::tested;
}
fn g() { crate::e::g() }
";
    assert_eq!(Vec::from_iter(imports(&code(source), "crate::")), ["a", "b", "c", "e"]);
}
