//! What only a terminal shows: bars instead of lines.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

#[test]
fn the_demo_shows_bars_on_a_terminal() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let screen: OwnedFd =
        File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();

    let folder = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_oplake"))
        .args(["demo", "--events", "2000", "--out"])
        .arg(folder.path().join("lake"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(screen)
        .spawn()
        .unwrap();
    // Reading ends with an error when the last writer is gone.
    let mut shown = Vec::new();
    let mut terminal = File::from(terminal);
    let mut chunk = [0; 4096];
    loop {
        match terminal.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => shown.extend_from_slice(&chunk[..read]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    assert!(demo.wait().unwrap().success());
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains('%') && shown.contains("main/item_usages"), "{shown}");
    assert!(shown.contains("idle"), "{shown}");
}
