//! The ids in the names of tests, `tests/PROMISES.md` and `docs::promises` agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const DIRECTORIES: [&str; 4] = ["src", "tests", "stores", "proof"];

/// What a row says of its id: a statement, and the files with its tests.
type Row = (String, BTreeSet<String>);

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The ids at the beginning of a name: `p03` and `b101` of `p03_b101_dropped`.
fn ids(name: &str) -> Vec<&str> {
    let is_id = |part: &&str| {
        let number = part.strip_prefix(['p', 'b', 'c', 'd', 'h', 't', 'z']).unwrap_or_default();
        number.len() >= 2 && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let ids: Vec<_> = name.split('_').take_while(is_id).collect();
    if ids.len() == name.split('_').count() { Vec::new() } else { ids }
}

/// The files that have tests of each id. Tests made by a macro count, so all names in a file are looked at.
fn tested() -> BTreeMap<String, BTreeSet<String>> {
    let mut files = Vec::new();
    for directory in DIRECTORIES {
        sources(&Path::new(ROOT).join(directory), &mut files);
    }
    let mut tested = BTreeMap::<String, BTreeSet<String>>::new();
    for path in files.iter().filter(|path| !path.ends_with("api/promises.rs")) {
        let file = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
        let source = read(path);
        for name in source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            for id in ids(name) {
                tested.entry(id.to_owned()).or_default().insert(file.to_owned());
            }
        }
    }
    tested
}

fn rows() -> BTreeMap<String, Row> {
    let row = |line: &str| {
        let [id, statement, tests] =
            line.strip_prefix('|')?.strip_suffix('|')?.split('|').collect::<Vec<_>>()[..]
        else {
            panic!("not three columns: {line}")
        };
        let tests = tests.split(", ").map(|file| file.trim_matches('`').to_owned());
        Some((id.to_owned(), (statement.to_owned(), tests.collect())))
    };
    read("tests/PROMISES.md").lines().filter_map(row).skip(2).collect()
}

/// The first bold sentences of each section.
fn promises() -> BTreeMap<String, String> {
    let docs = read("src/docs/promises.rs");
    let words: Vec<_> = docs.lines().filter_map(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let text = words.join(" ");
    let sections = text.split("# ").skip(1);
    let promise = |section: &str| {
        let (id, rest) = section.split_once(' ')?;
        Some((id.to_owned(), rest.split("**").nth(1)?.to_owned()))
    };
    sections.filter_map(promise).collect()
}

#[test]
fn each_id_has_a_row_and_each_row_has_its_tests() {
    // The package has the main crate's tests only.
    if !Path::new(ROOT).join("stores").is_dir() {
        return;
    }
    let (tested, rows) = (tested(), rows());
    for (id, files) in &tested {
        let row = rows.get(id).unwrap_or_else(|| panic!("tests/PROMISES.md has no row for {id}: {files:?}"));
        assert_eq!(&row.1, files, "the tests of {id} in tests/PROMISES.md");
    }
    for id in rows.keys() {
        assert!(tested.contains_key(id), "no test has the id {id} of tests/PROMISES.md");
    }
}

#[test]
fn the_statement_of_each_promise_is_that_of_the_docs() {
    let (promises, rows) = (promises(), rows());
    assert!(promises.len() >= 19);
    for (id, promise) in &promises {
        assert_eq!(Some(promise), rows.get(id).map(|row| &row.0), "{id}");
    }
    for id in rows.keys().filter(|id| id.starts_with('p')) {
        assert!(promises.contains_key(id), "docs::promises has no {id}");
    }
}
