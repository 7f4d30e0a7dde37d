//! Which captured columns an update changed (`__$update_mask`).
//!
//! The mask is one number, the highest byte first: the first column is the lowest bit of the **last**
//! byte. Whoever counts from the first byte is right up to eight columns and wrong beyond.

/// Whether the column of this ordinal, from 1, was changed. One that the mask is too short for was not.
pub(crate) fn is_changed(mask: &[u8], ordinal: u32) -> bool {
    let Some(bit) = ordinal.checked_sub(1) else {
        return false;
    };
    let from_end = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    let byte = mask.iter().rev().nth(from_end);
    byte.is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn changed(mask: &[u8]) -> Vec<u32> {
        (0..=1_100)
            .filter(|ordinal| is_changed(mask, *ordinal))
            .collect()
    }

    /// Trap 1, and scenario 6: what a real server wrote of an insert into nine columns is 0x01FF.
    #[test]
    fn trap_1_the_update_mask_is_big_endian_by_byte() {
        assert_eq!(changed(&[0x01, 0xff]), (1..=9).collect::<Vec<_>>());
        assert_eq!(changed(&[0x01, 0x00]), [9]);
        assert_eq!(changed(&[0x01, 0x80, 0x02]), [2, 16, 17]);
        assert_eq!(changed(&[0x05]), [1, 3]);
        assert_eq!(changed(&[]), [0_u32; 0]);
    }

    /// Scenario 37: 1,024 captured columns.
    #[test]
    fn a_mask_of_128_bytes_has_1024_columns() {
        assert_eq!(changed(&[0xff; 128]), (1..=1_024).collect::<Vec<_>>());
        let mut last = [0; 128];
        last[0] = 0x80;
        assert_eq!(changed(&last), [1_024]);
    }

    proptest! {
        #[test]
        fn it_is_the_number_whose_bits_are_the_columns(number: u64) {
            let columns = changed(&number.to_be_bytes());
            let expected: Vec<u32> = (0..64).filter(|bit| number >> bit & 1 == 1).map(|bit| bit + 1).collect();
            prop_assert_eq!(columns, expected);
        }
    }
}
