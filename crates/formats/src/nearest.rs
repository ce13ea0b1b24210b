//! The known name nearest to a mistaken one, for error sentences.

/// The candidate most like `name`, if any is alike enough to be what was meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// `" (did you mean 'x'?)"`, or nothing when no candidate is near.
pub fn hint<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map_or(String::new(), |n| format!(" (did you mean '{n}'?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_offered_and_strangers_are_not() {
        let names = ["layers.0.q", "layers.0.attn_norm", "head"];
        assert_eq!(nearest("layers.0.atn_norm", names), Some("layers.0.attn_norm"));
        assert_eq!(nearest("zzz", names), None);
        assert_eq!(nearest("head", []), None);
        assert_eq!(hint("haed", names), " (did you mean 'head'?)");
    }
}
