//! Packages of Debian and PyPI that a judge needs, and a root of Debian unstable for what the stable one lacks.
//!
//! Decides: which are missing, and installs them. Refuses: other package managers; there the error names what to install.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// Installs those of `packages` that are missing. Says what it does; needs root only if something is missing.
pub fn packages(judge: &str, packages: &[&str]) -> Result<(), Failure> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !is_installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    println!("interop: the judge {judge} needs {list}; installing with apt-get");
    // A bare machine has no package lists, and old lists point to files that are gone.
    for arguments in [vec!["update"], [&["install", "--yes", "--no-install-recommends"], &missing[..]].concat()] {
        let status = Command::new("apt-get").args(&arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => {
                return Err(format!(
                    "`apt-get {}` failed ({status}). Run as root, or install {list} by hand, and try again",
                    arguments.join(" ")
                ));
            }
            Err(e) => return Err(format!("there is no apt-get here ({e}). Install what Debian calls {list}, and try again")),
        }
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout.ends_with(b"ok installed"))
}

/// A Python with `packages` from PyPI, in an environment of the judge's own under `target/interop`. Gives the path of its interpreter.
pub fn python(judge: &str, wanted: &[&str]) -> Result<PathBuf, Failure> {
    let place = target().join(format!("{judge}-venv"));
    let python = place.join("bin/python");
    let has_all = || {
        let mut shown = Command::new(&python);
        shown.args(["-m", "pip", "show", "--quiet"]).args(wanted).stdout(Stdio::null()).stderr(Stdio::null());
        shown.status().is_ok_and(|status| status.success())
    };
    if has_all() {
        return Ok(python);
    }
    packages(judge, &["python3", "python3-venv"])?;
    println!("interop: the judge {judge} needs {} from PyPI; installing in {}", wanted.join(" "), place.display());
    // Debian's own interpreter: it is the one that the package above completes.
    let made = Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&place).status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(format!("`python3 -m venv {}` failed; its reason is above", place.display()));
    }
    let pip = Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(wanted).status();
    if !pip.is_ok_and(|status| status.success()) {
        return Err(format!("pip could not install {}; its reason is above", wanted.join(" ")));
    }
    Ok(python)
}

/// A root of Debian's unstable distribution with `wanted` in it, under `target/interop`, for what the stable one does not have. `program` is the path inside it that shows that
/// it is complete. Needs root; nothing of it runs but what a judge starts with `chroot`.
pub fn unstable_root(judge: &str, wanted: &[&str], program: &str) -> Result<PathBuf, Failure> {
    let place = target().join(format!("{judge}-root"));
    if place.join(program).exists() {
        return Ok(place);
    }
    packages(judge, &["debootstrap"])?;
    println!("interop: the judge {judge} needs {} of Debian unstable; making a root in {} (600 MB)", wanted.join(" "), place.display());
    std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
    let run = |command: &mut Command| {
        let done = command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null()).status();
        let shown = format!("{command:?}");
        if done.is_ok_and(|status| status.success()) { Ok(()) } else { Err(format!("{shown} failed; its reason is above")) }
    };
    run(Command::new("debootstrap").args(["--variant=minbase", "sid"]).arg(&place))?;
    run(Command::new("chroot").arg(&place).args(["apt-get", "install", "--yes", "--no-install-recommends"]).args(wanted))?;
    Ok(place)
}

/// Where downloaded things go: never into the tree.
fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| {
            Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this package lies two folders down").join("target")
        })
        .join("interop")
}
