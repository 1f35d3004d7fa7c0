//! The programs under test, as Cargo built them.
//!
//! Cargo builds a package's programs for the integration tests of that package
//! alone, so `make test`, which builds every package's, builds these too.

use std::path::PathBuf;

/// The Lambda function.
#[must_use]
pub fn collector() -> PathBuf {
    built("collector")
}

/// The command line.
#[must_use]
pub fn oplake() -> PathBuf {
    built("oplake")
}

/// Tests run from `target/<profile>/deps/`; programs are one level up.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path =
        test.ancestors().nth(2).unwrap().join(name).with_extension(std::env::consts::EXE_EXTENSION);
    assert!(path.is_file(), "{} is missing: run `make test`, which builds it", path.display());
    path
}
