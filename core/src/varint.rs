//! Integers of variable length: unsigned LEB128, and zigzag for differences; one spelling per value.

/// Appends `value`, 7 bits to a byte, lowest first.
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

/// Appends what leads from `from` to `to`, as zigzag: small differences either way are short.
pub(crate) fn put_step(out: &mut Vec<u8>, from: u64, to: u64) {
    let step = to.wrapping_sub(from);
    // The top bit of the difference is its sign; shifting it to the bottom makes both signs short.
    let sign = 0_u64.wrapping_sub(step >> 63);
    put(out, (step << 1) ^ sign);
}

const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

/// Reads integers from the front of a slice.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) const fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    /// The next integer; `None` if it is cut off, longer than needed or above 64 bits.
    pub(crate) fn take(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if (bits << shift) >> shift != bits {
                return None;
            }
            if byte & 0x80 == 0 {
                return (byte != 0 || shift == 0).then_some(value);
            }
        }
        None
    }

    /// What [`put_step`] leads to from `from`; `None` also if that leaves 64 bits.
    pub(crate) fn step(&mut self, from: u64) -> Option<u64> {
        let zigzag = self.take()?;
        if zigzag & 1 == 0 {
            from.checked_add(zigzag >> 1)
        } else {
            from.checked_sub((zigzag >> 1) + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_spellings() {
        for (value, bytes) in [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (300, &[0xac, 2])]
        {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out, bytes);
        }
        let mut out = Vec::new();
        for (from, to) in [(5, 4), (4, 4), (4, 5)] {
            put_step(&mut out, from, to);
        }
        assert_eq!(out, [1, 0, 2]);
    }

    #[test]
    fn other_spellings_are_refused() {
        for bytes in [&[][..], &[0x80], &[0x80, 0], &[0xff; 10], &[0xff; 11]] {
            assert_eq!(Reader::new(bytes).take(), None, "{bytes:?}");
        }
        let mut most = vec![0xff; 9];
        most.push(1);
        assert_eq!(Reader::new(&most).take(), Some(u64::MAX));
        most[9] = 2;
        assert_eq!(Reader::new(&most).take(), None);
        assert_eq!(Reader::new(&[1]).step(0), None, "below zero");
        assert_eq!(Reader::new(&[2]).step(u64::MAX), None, "above 64 bits");
    }

    proptest! {
        #[test]
        fn every_value_comes_back(value: u64, near in 0..2_000_u64) {
            let mut out = Vec::new();
            put(&mut out, value);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.take(), Some(value));
            prop_assert!(reader.is_empty());
            let (from, to) = (value >> 2, (value >> 2) + near);
            for (from, to) in [(from, to), (to, from)] {
                let mut out = Vec::new();
                put_step(&mut out, from, to);
                prop_assert!(out.len() <= 2);
                prop_assert_eq!(Reader::new(&out).step(from), Some(to));
            }
        }
    }
}
