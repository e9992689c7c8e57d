//! Checks that the model finds faults: runs `schedules.rs` on copies of the sources, each with one fault.
//!
//! A fault is a replacement in a copy of the sources. Its text must occur once, so that a change of the
//! sources can't make a fault disappear unnoticed.
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Output},
};

struct Fault {
    name: &'static str,
    replacements: &'static [Replacement],
}

struct Replacement {
    /// In `src/`.
    file: &'static str,
    old: &'static str,
    new: &'static str,
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "a completion is polled once",
        replacements: &[Replacement {
            file: "session/completion.rs",
            old: "        while Pin::new(&mut shared).poll(&mut cx).is_pending() {
            yield_now();
        }
",
            new: "        let _ = Pin::new(&mut shared).poll(&mut cx);
",
        }],
    },
    Fault {
        name: "a watch asks to be notified after its check",
        replacements: &[
            Replacement {
                file: "session/watch.rs",
                old: "            let changed = self.changed.notified();
",
                new: "",
            },
            Replacement {
                file: "session/watch.rs",
                old: "            changed.await;
",
                new: "            self.changed.notified().await;
",
            },
        ],
    },
    Fault {
        name: "a shutdown asks to be notified after its check",
        replacements: &[
            Replacement {
                file: "session/shutdown.rs",
                old: "            let changed = shared.changed();
",
                new: "",
            },
            Replacement {
                file: "session/shutdown.rs",
                old: "            let mut changed = pin!(changed);
",
                new: "            let mut changed = pin!(shared.changed());
",
            },
        ],
    },
    Fault {
        name: "`idle` asks to be notified after its check",
        replacements: &[
            Replacement {
                file: "session/shutdown.rs",
                old: "            let changed = self.shared.changed();
",
                new: "",
            },
            Replacement {
                file: "session/shutdown.rs",
                old: "            select(pin!(changed), ",
                new: "            select(pin!(self.shared.changed()), ",
            },
        ],
    },
    Fault {
        name: "a snapshot is published outside the lock",
        replacements: &[Replacement {
            file: "session/driver.rs",
            old: "        if effects.publish {
            self.published.publish(locked.machine.snapshot(now));
        }
        drop(locked);
",
            new: "        let snapshot = effects.publish.then(|| locked.machine.snapshot(now));
        drop(locked);
        if let Some(snapshot) = snapshot {
            self.published.publish(snapshot);
        }
",
        }],
    },
    Fault {
        name: "a thread's copy is filled outside the lock, by a reader",
        replacements: &[Replacement {
            file: "session/driver.rs",
            old: "        self.published.fill(Some(snapshot));
",
            new: "        drop(locked);
        self.published.fill(Some(snapshot));
",
        }],
    },
    Fault {
        name: "a thread's copy is filled outside the lock, by a demand",
        replacements: &[
            Replacement {
                file: "session/driver.rs",
                old: "                if !effects.publish {
                    self.published.fill(locked.machine.snapshot(now));
                }
",
                new: "",
            },
            Replacement {
                file: "session/driver.rs",
                old: "            Placed::Use(token) => Ok(Demanded::Use(token)),
",
                new: "            Placed::Use(token) => {
                let snapshot = self.lock().machine.snapshot(now);
                self.published.fill(snapshot);
                Ok(Demanded::Use(token))
            }
",
            },
        ],
    },
    Fault {
        name: "a flight's completion comes before its landing",
        replacements: &[Replacement {
            file: "session/flight.rs",
            old: "        self.shared.turn(|turn| turn.land(&self.info, end));
",
            new: "        self.completion.clone().complete(Arc::new(Outcome::abandoned(&self.info)));
        self.shared.turn(|turn| turn.land(&self.info, end));
",
        }],
    },
    Fault {
        name: "a flight's outcome is another one if its abandoned task ends first",
        replacements: &[Replacement {
            file: "session/machine/outcome.rs",
            old: "token: None, usable: false, result: FlightResult::Discarded }
    }

    #[cfg(test)]",
            new: "token: None, usable: false, result: FlightResult::Failed(Error::new(ErrorKind::TaskDropped)) }
    }

    #[cfg(test)]",
        }],
    },
    Fault {
        name: "a flight's guard is made by the first poll of its task",
        replacements: &[Replacement {
            file: "session/driver.rs",
            old: "            let guard = FlightGuard::new(Arc::clone(self), completion, info);
            flight::run(guard, cx)
",
            new: "            let shared = Arc::clone(self);
            async move { flight::run(FlightGuard::new(shared, completion, info), cx).await }
",
        }],
    },
    Fault {
        name: "a waiter gets its completion outside the lock",
        replacements: &[
            Replacement {
                file: "session/driver.rs",
                old: "Placed::Wait(wait, locked.completion(wait.flight).clone(), count())",
                new: "Placed::Wait(wait, Completion::new(), count())",
            },
            Replacement {
                file: "session/driver.rs",
                old: "            Placed::Wait(wait, completion, count) => {
",
                new: "            Placed::Wait(wait, _, count) => {
                let completion = self.lock().completion(wait.flight).clone();
",
            },
        ],
    },
    Fault {
        name: "no guard counts the waiters",
        replacements: &[
            Replacement {
                file: "session/waiter.rs",
                old: "        self.shared.waiters.fetch_sub(1, Ordering::Relaxed);
",
                new: "",
            },
            Replacement {
                file: "session/waiter.rs",
                old: "                if let Some(result) = outcome.resume(&self.wait) {
",
                new: "                if let Some(result) = outcome.resume(&self.wait) {
                    self.count.shared.waiters.fetch_sub(1, Ordering::Relaxed);
",
            },
        ],
    },
    Fault {
        name: "the end of a session notifies no watch",
        replacements: &[Replacement {
            file: "session/shared.rs",
            old: "        // Wakes the watches, which then return `Closed`.
        self.notify_changed();
",
            new: "",
        }],
    },
];

/// The number of schedules for each fault and mode.
const SCHEDULES: &str = "20000";

/// Builds nothing.
#[test]
fn the_text_of_each_fault_is_in_the_sources() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src");
    for fault in FAULTS {
        for replacement in fault.replacements {
            replacement.apply(&sources, fault.name);
        }
    }
}

#[test]
#[ignore = "builds the model once for each fault"]
fn each_fault_is_found() {
    let copy = SourceCopy::new();
    let found = copy.run();
    assert!(found.status.success(), "the copy without a fault fails:\n{}", text(&found));
    let mut missed = Vec::new();
    for fault in FAULTS {
        copy.restore();
        for replacement in fault.replacements {
            let source = replacement.apply(&copy.directory.join("src"), fault.name);
            fs::write(copy.directory.join("src").join(replacement.file), source).unwrap();
        }
        let built = copy.cargo(&["--no-run"]);
        assert!(built.status.success(), "{}:\n{}", fault.name, text(&built));
        let output = text(&copy.run());
        let finding = output.lines().find_map(finding);
        println!("{}: {}", fault.name, finding.as_deref().unwrap_or("NOT FOUND"));
        if finding.is_none() {
            missed.push(fault.name);
        }
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

/// What a line of the output says about the property that doesn't hold.
fn finding(line: &str) -> Option<String> {
    let line = line.trim();
    let is_finding = ["deadlock!", "exceeded max_steps", "\""].iter().any(|start| line.starts_with(start));
    (is_finding && line.len() > 1).then(|| line.chars().take(100).collect())
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
}

/// A copy of the sources and of the model.
struct SourceCopy {
    root: PathBuf,
    directory: PathBuf,
}

// === impl Replacement ===

impl Replacement {
    /// The file with the fault.
    fn apply(&self, sources: &Path, fault: &str) -> String {
        let source = fs::read_to_string(sources.join(self.file)).unwrap();
        let count = source.matches(self.old).count();
        assert_eq!(count, 1, "{fault}: its text occurs {count} times in {}:\n{}", self.file, self.old);
        source.replace(self.old, self.new)
    }
}

// === impl SourceCopy ===

impl SourceCopy {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let copy = Self { root, directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("broken") };
        copy.restore();
        for directory in ["proof/model/src", "proof/model/tests"] {
            copy_directory(&copy.root.join(directory), &copy.directory.join(directory)).unwrap();
        }
        fs::remove_file(copy.directory.join("proof/model/tests/broken.rs")).unwrap();
        let manifest = fs::read_to_string(copy.root.join("proof/model/Cargo.toml")).unwrap();
        // It is a workspace of its own, which is built often and run briefly.
        let workspace = "[workspace]\n\n[profile.release]\nincremental = true\nopt-level = 1\n";
        let manifest = manifest.replace("[lints]\nworkspace = true\n", workspace);
        fs::write(copy.directory.join("proof/model/Cargo.toml"), manifest).unwrap();
        let lock = copy.root.join("Cargo.lock");
        if lock.exists() {
            fs::copy(lock, copy.directory.join("proof/model/Cargo.lock")).unwrap();
        }
        copy
    }

    /// Removes the faults.
    fn restore(&self) {
        copy_directory(&self.root.join("src"), &self.directory.join("src")).unwrap();
    }

    fn run(&self) -> Output {
        self.cargo(&["--", "--test-threads=1"])
    }

    fn cargo(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO"));
        command.args(["test", "--release", "--quiet", "--test", "schedules", "--manifest-path"]);
        command.arg(self.directory.join("proof/model/Cargo.toml")).args(arguments);
        command.current_dir(&self.directory).env("CARGO_TARGET_DIR", self.directory.join("target"));
        command.env("TOWER_REAUTH_SCHEDULES", SCHEDULES).env("RUST_BACKTRACE", "0");
        command.output().unwrap()
    }
}

/// Copies the files that differ, so that only what they are part of is built again.
fn copy_directory(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            let content = fs::read(entry.path())?;
            if fs::read(&target).ok().as_ref() != Some(&content) {
                fs::write(&target, content)?;
            }
        }
    }
    Ok(())
}
