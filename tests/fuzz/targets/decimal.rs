//! Numbers: what is read is printed as the same, and sums, products and quotients are exact or refused.
#![no_main]

use contract::Decimal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut numbers = text
        .split('\n')
        .filter_map(|text| text.parse::<Decimal>().ok());
    let Some(left) = numbers.next() else { return };
    let right = numbers.next().unwrap_or(left);
    for number in [left, right] {
        fuzz::same_decimal(number);
        fuzz::same_decimal(number.negated());
        assert_eq!(number.negated().negated(), number);
        assert!(!number.abs().is_negative());
        let (floor, ceil) = (number.floor(), number.ceil());
        assert!(floor <= number && number <= ceil && floor.is_integer() && ceil.is_integer());
        assert_eq!(floor == ceil, number.is_integer());
        if let Ok(rounded) = number.try_round(2) {
            assert!(rounded.scale() <= 2);
            assert_eq!(rounded.try_round(2), Ok(rounded));
        }
    }
    if let Ok(sum) = left.try_add(right) {
        assert_eq!(right.try_add(left), Ok(sum));
        fuzz::same_decimal(sum);
        // Digits may run out on the way back, but never become others.
        if let Ok(back) = sum.try_sub(right) {
            assert_eq!(back, left);
        }
    }
    if let Ok(product) = left.try_mul(right) {
        assert_eq!(right.try_mul(left), Ok(product));
        fuzz::same_decimal(product);
        if right != Decimal::ZERO
            && let Ok(back) = product.try_div(right)
        {
            assert_eq!(back, left);
        }
    }
    if let Ok(quotient) = left.try_div(right) {
        fuzz::same_decimal(quotient);
        if let Ok(back) = quotient.try_mul(right) {
            assert_eq!(back, left);
        }
    }
    if let Ok(rest) = left.try_rem(right) {
        assert!(rest.abs() < right.abs());
    }
    if let Ok(whole) = left.try_div_floor(right) {
        assert!(whole.is_integer());
    }
    let _ = left.try_div_round(right, 4);
    assert_eq!(left.cmp(&right), right.cmp(&left).reverse());
    assert_eq!(left == right, left.cmp(&right).is_eq());
});
