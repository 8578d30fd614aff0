//! Debian packages that a judge needs.
//!
//! Decides: which are missing, and installs them. Refuses: other package managers; there the error names what to install.

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
