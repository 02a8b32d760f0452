//! The few shapes that rows are made of: LEB128 numbers, counted bytes, fixed arrays.

/// Writes a number: 7 bits a byte, the least first.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Writes bytes behind their length.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a row apart from its front. `None` everywhere means that it ended too early or that a
/// number does not fit.
#[derive(Debug)]
pub struct Take<'a> {
    left: &'a [u8],
}

impl<'a> Take<'a> {
    pub(super) const fn new(left: &'a [u8]) -> Self {
        Self { left }
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, left) = self.left.split_first()?;
        self.left = left;
        Some(*first)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(*array)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        let (bytes, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(number in any::<u64>(), text in any::<Vec<u8>>(), tail in any::<[u8; 3]>()) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            put_bytes(&mut out, &text);
            out.extend(tail);
            let mut take = Take::new(&out);
            prop_assert_eq!(take.number(), Some(number));
            prop_assert_eq!(take.bytes(), Some(text.as_slice()));
            prop_assert_eq!(take.array(), Some(tail));
            prop_assert!(take.is_at_end() && take.byte().is_none());
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes in any::<Vec<u8>>()) {
            let mut take = Take::new(&bytes);
            while take.bytes().is_some() {}
        }
    }
}
