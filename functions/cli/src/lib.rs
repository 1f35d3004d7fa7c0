//! The collector's ports from a shell: a folder, an SQLite file, and a token
//! out of the environment or a file.

pub mod folder;
pub mod sqlite;
pub mod tokens;
