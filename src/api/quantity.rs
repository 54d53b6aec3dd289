//! Quantities of resources (`500m`, `64Mi`, `1e3`), after `k8s.io/apimachinery/pkg/api/resource`: exact sums, the same
//! canonical text. Amounts are whole billionths in 128 bits, enough for 10^29; beyond, they saturate.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub, SubAssign};
use std::str::FromStr;

/// Which suffixes a quantity is printed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `n u m k M G T P E`, powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`, powers of 1024.
    BinarySi,
    /// `e3`, powers of ten in multiples of three.
    DecimalExponent,
}

/// A quantity. Equality and order look at the amount, not at how it is written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity; the messages are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Form,
    /// A suffix that does not exist.
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// Digits that are no number.
    #[error("unable to parse numeric part of quantity")]
    Number,
}

const NANO: i128 = 1_000_000_000;
const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY_SUFFIXES: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// So many whole units.
    pub const fn new(value: i64, format: Format) -> Self {
        Self { nanos: value as i128 * NANO, format }
    }

    /// So many thousandths, as CPU is counted.
    pub const fn milli(value: i64) -> Self {
        Self { nanos: value as i128 * (NANO / 1000), format: Format::DecimalSi }
    }

    /// So many bytes, printed with binary suffixes.
    pub const fn bytes(value: i64) -> Self {
        Self::new(value, Format::BinarySi)
    }

    /// Whole units, rounded away from zero; saturates.
    pub fn value(&self) -> i64 {
        self.scaled(NANO)
    }

    /// Thousandths, rounded away from zero; saturates.
    pub fn milli_value(&self) -> i64 {
        self.scaled(NANO / 1000)
    }

    fn scaled(&self, unit: i128) -> i64 {
        let whole = self.nanos / unit;
        let rounded = if self.nanos % unit == 0 { whole } else { whole + self.nanos.signum() };
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount as a floating point number, for ratios.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn signum(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Whether the amount is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether the amount is a whole number of thousandths.
    pub fn is_whole_milli(&self) -> bool {
        self.nanos % (NANO / 1000) == 0
    }

    /// Which suffixes it is printed with.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The text as the API writes it, `1024Mi` as `1Gi`; an error where the text is no quantity.
    pub fn canonical(text: &str) -> Result<String, QuantityError> {
        Ok(text.parse::<Self>()?.to_string())
    }
}

/// The parts of a text: sign, digits before and after the point, suffix.
fn split(text: &str) -> Result<(bool, &str, &str, &str), QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Form);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |text: &str| text.find(|ch: char| !ch.is_ascii_digit()).unwrap_or(text.len());
    let (whole, mut rest) = unsigned.split_at(digits(unsigned));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let letters = rest.find(|ch: char| !"eEinumkKMGTP".contains(ch)).unwrap_or(rest.len());
    let exponent = rest[letters..].strip_prefix(['+', '-']).unwrap_or(&rest[letters..]);
    if digits(exponent) != exponent.len() {
        return Err(QuantityError::Form);
    }
    Ok((text.starts_with('-'), whole, fraction, rest))
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn suffix(text: &str) -> Result<(Scale, Format), QuantityError> {
    if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(suffix, _)| *suffix == text) {
        return Ok((Scale::Ten(*exponent), Format::DecimalSi));
    }
    if let Some(power) = BINARY_SUFFIXES.iter().position(|suffix| *suffix == text) {
        return Ok((Scale::Two(10 * power as u32), Format::BinarySi));
    }
    let exponent = text.strip_prefix(['e', 'E']).and_then(|exponent| exponent.parse::<i32>().ok()).ok_or(QuantityError::Suffix)?;
    Ok((Scale::Ten(exponent), Format::DecimalExponent))
}

/// `digits * 10^power` nanos, rounded up.
fn scale_ten(digits: i128, power: i32) -> i128 {
    if digits == 0 {
        return 0;
    }
    match 10i128.checked_pow(power.unsigned_abs()) {
        Some(factor) if power >= 0 => digits.saturating_mul(factor),
        Some(factor) => digits.div_euclid(factor) + i128::from(digits.rem_euclid(factor) != 0),
        None if power >= 0 => i128::MAX,
        None => 1,
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let (negative, whole, fraction, rest) = split(text)?;
        let (scale, mut format) = suffix(rest)?;
        // Digits further behind the point lie below a billionth, except of an exbibyte.
        let fraction = &fraction[..fraction.len().min(18)];
        let mut digits = 0i128;
        for digit in whole.bytes().chain(fraction.bytes()) {
            digits = digits.saturating_mul(10).saturating_add(i128::from(digit - b'0'));
        }
        let places = fraction.len() as i32;
        let mut nanos = match scale {
            Scale::Ten(exponent) => scale_ten(digits, exponent.saturating_add(9).saturating_sub(places)),
            Scale::Two(exponent) => scale_ten(digits.saturating_mul(1i128 << exponent), 9 - places),
        };
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX) * NANO);
            if nanos > 0 && nanos < NANO {
                format = Format::DecimalSi;
            }
        }
        Ok(Self { nanos: if negative { -nanos } else { nanos }, format })
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.is_whole() {
            let mut value = self.nanos / NANO;
            let mut power = 0;
            while value % 1024 == 0 && power + 1 < BINARY_SUFFIXES.len() {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", BINARY_SUFFIXES[power]);
        }
        let mut value = self.nanos;
        let mut exponent = -9;
        while value % 1000 == 0 && exponent < 18 {
            value /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{value}"),
            Format::DecimalExponent => write!(f, "{value}e{exponent}"),
            _ => {
                let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| *power == exponent).map_or("", |(suffix, _)| suffix);
                write!(f, "{value}{suffix}")
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

/// A sum is printed like its first part, unless that is nothing.
impl Add for Quantity {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: self.nanos.saturating_neg(), format: self.format }
    }
}

impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("0", "0")]
    #[case("0Ki", "0")]
    #[case("500m", "500m")]
    #[case("0.5", "500m")]
    #[case("1000m", "1")]
    #[case("1024Mi", "1Gi")]
    #[case("1536Mi", "1536Mi")]
    #[case("1.5Gi", "1536Mi")]
    #[case("64M", "64M")]
    #[case("128974848", "128974848")]
    #[case("129e6", "129e6")]
    #[case("1E", "1E")]
    #[case("1e3", "1e3")]
    #[case("1200e3", "1200e3")]
    #[case("0.5Ki", "512")]
    #[case("0.5", "500m")]
    #[case("0.1n", "1n")]
    #[case("-1.5", "-1500m")]
    #[case("+5", "5")]
    #[case("1Ki", "1Ki")]
    #[case("0.0001Ki", "102400u")]
    #[case("100Ei", "9223372036854775807")]
    #[case("12.", "12")]
    #[case(".5", "500m")]
    #[case("3000000000000", "3T")]
    #[case("1e-3", "1e-3")]
    fn canonical(#[case] text: &str, #[case] printed: &str) {
        assert_eq!(Quantity::canonical(text).unwrap(), printed);
    }

    #[rstest]
    #[case("", QuantityError::Form)]
    #[case("abc", QuantityError::Form)]
    #[case("1 Gi", QuantityError::Form)]
    #[case("1.2.3", QuantityError::Form)]
    #[case("1Gib", QuantityError::Form)]
    #[case("1KM", QuantityError::Suffix)]
    #[case("1K", QuantityError::Suffix)]
    #[case("10ki", QuantityError::Suffix)]
    #[case("1e3e", QuantityError::Form)]
    fn refused(#[case] text: &str, #[case] error: QuantityError) {
        assert_eq!(text.parse::<Quantity>().unwrap_err(), error);
    }

    #[test]
    fn rounds_away_from_zero() {
        assert_eq!(quantity("1m").value(), 1);
        assert_eq!(quantity("1n").milli_value(), 1);
        assert_eq!(quantity("-1500m").value(), -2);
        assert_eq!(quantity("1Gi").value(), 1 << 30);
        assert_eq!(quantity("250m").milli_value(), 250);
    }

    #[test]
    fn sums_keep_the_first_format() {
        assert_eq!((quantity("1Gi") + quantity("512Mi")).to_string(), "1536Mi");
        assert_eq!((quantity("100m") + quantity("900m")).to_string(), "1");
        assert_eq!(["64Mi", "64Mi"].map(quantity).into_iter().sum::<Quantity>().to_string(), "128Mi");
        assert!(quantity("1Gi") > quantity("1G"));
        assert_eq!(quantity("1000m"), quantity("1"));
    }

    proptest! {
        #[test]
        fn canonical_text_is_stable(text in "[+-]?[0-9]{1,9}(\\.[0-9]{0,6})?(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]|)") {
            let parsed = quantity(&text);
            let again = quantity(&parsed.to_string());
            prop_assert_eq!(again, parsed);
            prop_assert_eq!(again.to_string(), parsed.to_string());
        }

        #[test]
        fn addition_is_exact(a in -1_000_000_000i64..1_000_000_000, b in -1_000_000_000i64..1_000_000_000) {
            prop_assert_eq!((Quantity::milli(a) + Quantity::milli(b)).milli_value(), a + b);
            prop_assert_eq!(Quantity::milli(a) + Quantity::milli(b) - Quantity::milli(b), Quantity::milli(a));
            prop_assert_eq!(Quantity::milli(a).cmp(&Quantity::milli(b)), a.cmp(&b));
        }

        #[test]
        fn never_panics(text in "[0-9.eEinumkKMGTP+-]{0,30}|\\PC{0,12}") {
            let _ = text.parse::<Quantity>().map(|quantity| quantity.to_string());
        }
    }
}
