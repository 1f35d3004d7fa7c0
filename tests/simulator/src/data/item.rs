//! Writing one event as compact JSON.

use super::company::User;
use crate::rng::Rng;
use crate::store::Cut;

/// An object that is being written. Texts have to be escaped already.
#[derive(Debug)]
pub(super) struct Item<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    v2_only: [Cut; 2],
    cuts: usize,
}

impl<'a> Item<'a> {
    pub(super) const fn begin(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self { out, start, v2_only: [0..0, 0..0], cuts: 0 }
    }

    pub(super) fn text(&mut self, key: &str, value: impl AsRef<[u8]>) {
        self.json(key, "\"");
        self.out.extend_from_slice(value.as_ref());
        self.out.push(b'"');
    }

    pub(super) fn id(&mut self, key: &str, value: &[u8; 26]) {
        self.text(key, value);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.json(key, &value.to_string());
    }

    pub(super) fn json(&mut self, key: &str, value: &str) {
        self.out.push(if self.out.len() == self.start { b'{' } else { b',' });
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out.extend_from_slice(value.as_bytes());
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.out.extend_from_slice(bytes.as_ref());
    }

    /// Now and then, a field that no documentation knows.
    pub(super) fn surprise(&mut self, rng: &mut Rng) {
        if rng.chance(4) {
            self.json(
                "risk",
                r#"{"score":0.37,"signals":["new-device","impossible\u0020travel"]}"#,
            );
        }
    }

    /// A user's details, with what only v2 says about them.
    pub(super) fn user(&mut self, key: &str, user: &User) {
        self.json(key, &user.details);
        let from = self.offset();
        self.out.extend_from_slice(user.v2_details.as_bytes());
        self.cut(from);
        self.out.push(b'}');
    }

    /// The bare `{uuid,name,email}` of a user.
    pub(super) fn plain_user(&mut self, key: &str, user: &User) {
        self.json(key, &user.details);
        self.out.push(b'}');
    }

    /// Fields that v1 leaves out. At most one such group besides a user.
    pub(super) fn v2_only(&mut self, write: impl FnOnce(&mut Self)) {
        let from = self.offset();
        write(self);
        self.cut(from);
    }

    /// Ends the object; what is left out of it for v1.
    pub(super) fn end(self) -> [Cut; 2] {
        self.out.push(b'}');
        self.v2_only
    }

    fn offset(&self) -> u16 {
        u16::try_from(self.out.len() - self.start).unwrap_or(u16::MAX)
    }

    fn cut(&mut self, from: u16) {
        let to = self.offset();
        if let Some(cut) = self.v2_only.get_mut(self.cuts).filter(|_| from < to) {
            *cut = from..to;
            self.cuts += 1;
        }
    }
}
