//! The committed definitions are the ones that the types give.

use std::{fs, path::Path};

#[test]
fn committed_definitions_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in coordinator_crds::generated_files() {
        let file = root.join(path);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, &text).unwrap();
        }
        let committed = fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == text,
            "{path} is out of date: run `cargo xtask codegen` (or this test with UPDATE=1) and commit the result"
        );
    }
}
