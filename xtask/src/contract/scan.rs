//! Test functions in the text of a Rust file.
//! Holds: what is commented out is no test. It reads lines as rustfmt leaves them; it is no parser.

/// A test function.
#[derive(Debug, PartialEq, Eq)]
pub struct Test {
    /// Its name.
    pub name: String,
    /// Its doc comment in one line; empty without one.
    doc: String,
}

/// Words that a name cannot spell as people do.
const SPELLED: [(&str, &str); 4] = [
    ("api", "API"),
    ("bmc", "BMC"),
    ("gpu", "GPU"),
    ("bmcs", "BMCs"),
];

impl Test {
    /// The number of its check, as in `c07_…`.
    pub fn number(&self) -> Option<u8> {
        self.numbered().map(|(number, _)| number)
    }

    /// What it proves: its doc comment, else its name as a sentence.
    pub fn statement(&self) -> String {
        if !self.doc.is_empty() {
            return self.doc.trim_end_matches('.').to_owned();
        }
        let sentence = self.numbered().map_or(self.name.as_str(), |(_, rest)| rest);
        let words = sentence.split('_').map(|word| {
            let spelled = SPELLED.iter().find(|(plain, _)| *plain == word);
            spelled.map_or(word, |(_, spelled)| spelled)
        });
        let sentence = words.collect::<Vec<_>>().join(" ");
        let mut letters = sentence.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect()
    }

    fn numbered(&self) -> Option<(u8, &str)> {
        let (number, rest) = self.name.strip_prefix('c')?.split_once('_')?;
        let is_number = number.len() == 2 && number.bytes().all(|digit| digit.is_ascii_digit());
        let number = is_number.then(|| number.parse().ok())??;
        Some((number, rest))
    }
}

/// The test functions of a file, in their order.
pub fn tests(text: &str) -> Vec<Test> {
    let mut tests = Vec::new();
    let (mut doc, mut is_test) = (Vec::new(), false);
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(words) = line.strip_prefix("///") {
            doc.push(words.trim());
        } else if line.starts_with("/*") {
            skip_until(line, "*/", &mut lines);
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            skip_until(line, "]", &mut lines);
        } else if !line.is_empty() && !line.starts_with("//") {
            // Whatever it is, it ends what was said before it.
            let doc = std::mem::take(&mut doc).join(" ");
            if let (true, Some(name)) = (std::mem::take(&mut is_test), function(line)) {
                let name = name.to_owned();
                tests.push(Test { name, doc });
            }
        }
    }
    tests
}

/// Goes on to the line that ends what begins here.
fn skip_until<'a>(first: &str, end: &str, lines: &mut impl Iterator<Item = &'a str>) {
    if !first.ends_with(end) {
        let _found = lines.any(|line| line.ends_with(end));
    }
}

/// The name of the function that is declared here.
fn function(line: &str) -> Option<&str> {
    let declared = line.strip_prefix("async ").unwrap_or(line);
    let (name, _) = declared.strip_prefix("fn ")?.split_once('(')?;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Test {
        let mut found = tests(text);
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    #[test]
    fn name_is_the_statement_unless_the_test_has_words_of_its_own() {
        let plain = "#[test]\nfn c40_gpu_label_is_always_told() -> Result<()> {\n";
        let test = only(plain);
        assert_eq!(test.number(), Some(40));
        assert_eq!(test.statement(), "GPU label is always told");
        let told = format!("/// The label of GPUs\n/// is `a/b`.\n{plain}");
        assert_eq!(only(&told).statement(), "The label of GPUs is `a/b`");
    }

    #[test]
    fn tests_that_wait_and_those_with_long_signatures_and_attributes_are_found() {
        let text = r#"
            #[tokio::test(flavor = "multi_thread")]
            #[expect(
                clippy::panic,
                reason = "fn c99_in_words() is none"
            )]
            async fn c48_one_pod_wakes_one_machine()
            -> Result<()> {
        "#;
        assert_eq!(only(text).name, "c48_one_pod_wakes_one_machine");
    }

    #[test]
    fn functions_that_are_no_tests_are_none() {
        let text = "
            /// Of the helper.
            fn c01_helper() {}
            // #[test]
            // fn c02_commented_out() {}
            /*
            #[test]
            fn c03_commented_out() {}
            */
            #[test]
            const C04: u8 = 0;
            fn c05_after_something_else() {}
        ";
        assert_eq!(tests(text), []);
    }

    #[test]
    fn comment_of_one_function_is_not_that_of_the_next() {
        let text = "/// Helps.\nfn help() {}\n\n#[test]\nfn c09_fake_node() {}\n";
        assert_eq!(only(text).statement(), "Fake node");
    }

    #[test]
    fn name_without_two_digits_has_no_number() {
        for name in [
            "c7_short",
            "c070_long",
            "cab_letters",
            "c+7_sign",
            "d07_other",
            "c07",
        ] {
            let test = only(&format!("#[test]\nfn {name}() {{}}\n"));
            assert_eq!(test.number(), None, "{name}");
        }
    }
}
