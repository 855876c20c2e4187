//! Numbers drawn from a seed: the same draws for the same seed, for ever.

/// SplitMix64 (Steele, Lea, Flood, 2014).
pub struct Rng(u64);

impl Rng {
    /// Draws for a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number in the range, both ends included.
    pub fn among(&mut self, least: u64, most: u64) -> u64 {
        least + self.bits() % (most - least + 1)
    }
}
