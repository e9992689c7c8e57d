//! Installs the servers' dependencies below the target directory, once for all test processes.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    slice,
    sync::atomic::{AtomicU32, Ordering},
};

use super::Kind;

const SOURCES: &str = "tests/support/servers";

/// The command of a server, without its options, or why it isn't available.
pub(super) fn command(kind: Kind) -> Result<Command, String> {
    let (program, script) = match kind {
        Kind::SimpleJwt => (python()?, sources().join("simplejwt_server.py")),
        Kind::Dot => (python()?, sources().join("dot_server.py")),
        Kind::Oidc => ("node".into(), node()?.join("oidc_provider_server.mjs")),
    };
    let mut command = Command::new(program);
    // No compiled Python beside the sources.
    command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(command)
}

/// The root of the workspace: tests of its other packages use the servers, too.
fn root() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join(SOURCES).is_dir()).expect("the package is in the workspace")
}

fn sources() -> PathBuf {
    root().join(SOURCES)
}

pub(super) fn new_state_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let place = env::temp_dir().join(format!("tower-reauth-{}-{number}", std::process::id()));
    // A killed process with the same id may have left one.
    let _ = fs::remove_dir_all(&place);
    place
}

/// The Python of a virtual environment with the pinned packages.
fn python() -> Result<PathBuf, String> {
    let requirements = sources().join("requirements.txt");
    run(Command::new("python3").arg("--version"))?;
    let place = once("python", slice::from_ref(&requirements), |place| {
        run(Command::new("python3").args(["-c", "import ensurepip, venv"])).map_err(|_| {
            "needs python3's venv and ensurepip (python3-venv, as Debian names it)".to_owned()
        })?;
        run(Command::new("python3").args(["-m", "venv"]).arg(place))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        run(Command::new(place.join("bin/python")).args(pip).arg(&requirements))
    })?;
    Ok(place.join("bin/python"))
}

/// A directory with the server and its pinned modules, as node resolves them beside it.
fn node() -> Result<PathBuf, String> {
    let file = |name: &str| sources().join(name);
    let sources =
        ["oidc_provider_server.mjs", "oidc_provider_grants.mjs", "package-lock.json", "package.json"]
            .map(file);
    run(Command::new("node").arg("--version"))?;
    once("node", &sources, |place| {
        for source in &sources {
            let target = place.join(source.file_name().expect("it is a file"));
            fs::copy(source, target).map_err(|error| error.to_string())?;
        }
        run(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(place))
    })
}

/// Creates a directory with `install`, unless it exists for the same sources. Other test processes wait.
#[allow(clippy::incompatible_msrv, reason = "a lock of std's, for tests alone")]
fn once(
    name: &str,
    sources: &[PathBuf],
    install: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    for source in sources {
        fs::read(source).map_err(|error| error.to_string())?.hash(&mut hasher);
    }
    let home = target_directory().join("servers");
    fs::create_dir_all(&home).map_err(|error| error.to_string())?;
    let place = home.join(format!("{name}-{:016x}", hasher.finish()));
    let lock = fs::File::create(home.join(format!("{name}.lock"))).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let done = place.join("installed");
    if !done.exists() {
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).map_err(|error| error.to_string())?;
        install(&place)?;
        fs::write(&done, "").map_err(|error| error.to_string())?;
    }
    Ok(place)
}

fn target_directory() -> PathBuf {
    let configured = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    configured.unwrap_or_else(|| root().join("target"))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        if error.kind() == ErrorKind::NotFound {
            format!("needs {program}")
        } else {
            format!("{program}: {error}")
        }
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&said)))
}
