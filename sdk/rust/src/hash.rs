//! A hash that is the same on every machine and in every version: for sampling and for short names, not against attackers.

/// The hash of `bytes`: FNV-1a, mixed so that neighbours differ in every bit.
pub fn hash64(bytes: &[u8]) -> u64 {
    let mut hasher = Hasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// A hash over parts. `["ab", "c"]` and `["a", "bc"]` differ if [`Hasher::end_part`] stands between.
#[derive(Clone, Copy, Debug)]
pub struct Hasher(u64);

impl Default for Hasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher {
    /// Takes in `bytes`.
    pub fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Ends a part, by a byte that UTF-8 does not have.
    pub fn end_part(&mut self) {
        self.write(&[0xff]);
    }

    /// The hash.
    pub fn finish(self) -> u64 {
        let mut h = self.0;
        h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        h ^ (h >> 33)
    }
}
