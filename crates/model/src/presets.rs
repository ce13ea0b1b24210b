//! The shipped presets: complete run configurations, one TOML file each.

use crate::Config;

/// (name, TOML text), from the smallest to the largest.
pub static PRESETS: &[(&str, &str)] = &[
    ("tiny", include_str!("../presets/tiny.toml")),
    ("books10m", include_str!("../presets/books10m.toml")),
    ("study256", include_str!("../presets/study256.toml")),
    ("study512", include_str!("../presets/study512.toml")),
    ("study768", include_str!("../presets/study768.toml")),
    ("study1024", include_str!("../presets/study1024.toml")),
    ("125m", include_str!("../presets/125m.toml")),
    ("350m", include_str!("../presets/350m.toml")),
    ("700m", include_str!("../presets/700m.toml")),
    ("1b3", include_str!("../presets/1b3.toml")),
    ("3b", include_str!("../presets/3b.toml")),
    ("3b9", include_str!("../presets/3b9.toml")),
    ("2b4t", include_str!("../presets/2b4t.toml")),
];

/// All names, from the smallest model to the largest.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// The TOML text of a preset.
pub fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The network of a preset.
pub fn model(name: &str) -> Option<Config> {
    let mut table: toml::Table = text(name)?.parse().expect("a preset is TOML");
    let model = table.remove("model").expect("a preset has a [model] table");
    Some(model.try_into().expect("the [model] table of a preset is a network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_a_network() {
        for name in names() {
            model(name).unwrap().validate().unwrap();
        }
        assert_eq!(model("2b4t").unwrap().parameters(), 2_412_820_480);
        assert!(model("none").is_none());
    }
}
