//! oplake: the collector from a shell.

fn main() {}
