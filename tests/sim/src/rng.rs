//! The seed: every choice of a run comes from here.

/// xorshift64*, good enough to choose faults with.
pub struct Rng(u64);

impl Rng {
    /// A generator whose stream differs for neighbouring seeds.
    pub fn new(seed: u64) -> Self {
        let mut rng = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66_D1CE_4E5B | 1);
        (0..8).for_each(|_| _ = rng.next());
        rng
    }

    /// 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `n`; 0 where `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { ((self.next() >> 33) % n as u64) as usize }
    }

    /// True `per_mille` times of a thousand.
    pub fn hits(&mut self, per_mille: usize) -> bool {
        self.below(1000) < per_mille
    }
}

/// A mixing hash for simulated plugin state.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |a, v| {
        let a = (a ^ v).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        a ^ (a >> 29)
    })
}
