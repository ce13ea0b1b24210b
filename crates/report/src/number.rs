//! Numbers as people read them. What a program reads is in the page's data, to the last bit.

/// Four significant digits; very large and very small ones with an exponent; a dash for what is no number.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    match value {
        v if !v.is_finite() => "–".to_owned(),
        0.0 => "0".to_owned(),
        _ if !(1e-3..1e6).contains(&magnitude) => tidy(format!("{value:.2e}")),
        _ => {
            let digits = (3 - magnitude.log10().floor() as i32).clamp(0, 6) as usize;
            trim_zeros(format!("{value:.digits$}"))
        }
    }
}

/// Thousands apart: `1,234,567`.
pub fn whole(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as per cent.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        size if !size.is_finite() => "–".to_owned(),
        1e6.. => format!("{percent:.0e} %"),
        _ => format!("{} %", trim_zeros(format!("{percent:.1}"))),
    }
}

/// Bytes in the largest decimal unit that leaves a whole part.
pub fn bytes(value: u64) -> String {
    let value = value as f64;
    let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{} {unit}", short(value / size)),
        None => format!("{value} bytes"),
    }
}

fn trim_zeros(text: String) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn tidy(text: String) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    format!("{}e{exponent}", trim_zeros(mantissa.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (10.825, "10.82"),
            (3.5, "3.5"),
            (0.0015, "0.0015"),
            (3e-5, "3e-5"),
            (1.234e9, "1.23e9"),
            (123456.0, "123456"),
            (-2.0, "-2"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(whole(0), "0");
        assert_eq!(whole(1234567), "1,234,567");
        assert_eq!(percent(0.3101), "31 %");
        assert_eq!(percent(1e307), "–");
        assert_eq!(percent(-1e300), "-1e302 %");
        assert_eq!(percent(f64::NAN), "–");
        assert_eq!(bytes(2_500_000_000), "2.5 GB");
        assert_eq!(bytes(12), "12 bytes");
    }
}
