//! Names that somebody may have meant who wrote another one.
//!
//! In: what was written, the names that there are. Out: a part of an error line.

/// Most names that are offered.
const MOST: usize = 5;
/// A name that differs by more slips than these was hardly meant.
const SLIPS: usize = 2;

/// What there is instead of `wanted`, as the end of a sentence.
pub(crate) fn offer(wanted: &str, names: &[&str]) -> String {
    if names.is_empty() {
        return "none is declared yet".to_owned();
    }
    let wanted = wanted.to_lowercase();
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .filter_map(|name| Some((distance(&wanted, &name.to_lowercase())?, *name)))
        .collect();
    near.sort_unstable();
    near.dedup();
    if near.is_empty() {
        let mut all = names.to_vec();
        all.sort_unstable();
        return format!("there are {}", listed(&all));
    }
    let near: Vec<&str> = near.into_iter().map(|(_, name)| name).collect();
    format!("did you mean {}?", listed(&near))
}

fn listed(names: &[&str]) -> String {
    match names.split_at_checked(MOST) {
        Some((shown, more)) if !more.is_empty() => {
            format!("{} and {} more", shown.join(", "), more.len())
        }
        Some(_) | None => names.join(", "),
    }
}

/// How far a name is from what was written; `None` where it was not meant.
fn distance(wanted: &str, name: &str) -> Option<usize> {
    let slips = slips(wanted, name);
    let shorter = wanted.chars().count().min(name.chars().count());
    // Two slips turn any name of two letters into any other one.
    if slips <= SLIPS && slips < shorter {
        return Some(slips);
    }
    let part = !wanted.is_empty() && (name.contains(wanted) || wanted.contains(name));
    part.then_some(SLIPS + 1)
}

/// Letters to insert, remove or replace on the way from one to the other.
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut last = i + 1;
        let mut next = vec![last];
        for ((b, diagonal), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(a != *b);
            last = replaced.min(above + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first_and_unlike_ones_not_at_all() {
        let lab = ["r720", "nuc1", "nuc2", "store.lan"];
        for (wanted, offered) in [
            ("nuc7", "did you mean nuc1, nuc2?"),
            ("NUC1", "did you mean nuc1, nuc2?"),
            ("r72", "did you mean r720?"),
            ("store", "did you mean store.lan?"),
            ("printer", "there are nuc1, nuc2, r720, store.lan"),
            ("", "there are nuc1, nuc2, r720, store.lan"),
            ("ä\u{1f600}", "there are nuc1, nuc2, r720, store.lan"),
        ] {
            assert_eq!(offer(wanted, &lab), offered, "{wanted:?}");
        }
        assert_eq!(offer("nuc1", &[]), "none is declared yet");
    }

    #[test]
    fn a_large_lab_does_not_fill_the_screen() {
        let names: Vec<String> = (0..40).map(|n| format!("rack-{n:02}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            offer("x", &names),
            "there are rack-00, rack-01, rack-02, rack-03, rack-04 and 35 more"
        );
        assert!(offer("rack-99", &names).ends_with(" more?"));
    }
}
