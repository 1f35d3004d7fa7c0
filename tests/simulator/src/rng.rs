//! Pseudo-random numbers whose sequence never changes.

/// `SplitMix64`: ten lines that no dependency update can alter, which is what
/// "the same seed gives the same bytes" needs; quality beyond that is not.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product maps the range without division; its
        // bias is far below what generated data could show.
        let wide = u128::from(self.next()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }

    /// An index below `len`, which must not be zero.
    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or_default()
    }

    /// True `per_mille` times in a thousand.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A number from 0 to 1, 1 excluded.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit an f64 exactly")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A row of `table`, each as often as its weight says.
    pub(crate) fn weighted_row<T>(&mut self, table: &[(u32, T)]) -> u16 {
        let total: u64 = table.iter().map(|(weight, _)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        let row = table.iter().position(|(weight, _)| {
            let weight = u64::from(*weight);
            let found = left < weight;
            left = left.wrapping_sub(weight);
            found
        });
        row.and_then(|row| u16::try_from(row).ok()).unwrap_or_default()
    }

    /// A 26-character upper-case base32 id of 128 bits, the shape of event,
    /// user, account and session ids.
    pub(crate) fn id(&mut self) -> [u8; 26] {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        let mut id = [0; 26];
        for (position, byte) in id.iter_mut().enumerate() {
            // 26 digits hold 130 bits: the last one carries two zero bits.
            let digit = match 25 - position {
                0 => (bits << 2) & 31,
                later => (bits >> (later * 5 - 2)) & 31,
            };
            *byte = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[digit as usize];
        }
        id
    }

    /// [`id`](Self::id) as text.
    pub(crate) fn upper_id(&mut self) -> String {
        self.id().iter().map(|&byte| char::from(byte)).collect()
    }

    /// A lower-case id, the shape of vault, item, group and device ids.
    pub(crate) fn lower_id(&mut self) -> String {
        self.upper_id().to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_fixed() {
        let mut rng = Rng::new(0);

        assert_eq!(rng.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(Rng::new(7).upper_id(), Rng::new(7).upper_id());
        assert_eq!(Rng::new(7).upper_id().len(), 26);
    }
}
