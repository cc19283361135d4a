//! The order of crates, and of the modules inside `storage`: who may know whom.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate with those that it may depend on.
const CRATES: [(&str, &[&str]); 7] = [
    ("proto", &[]),
    ("storage", &[]),
    ("ingest", &["proto", "storage"]),
    ("query", &["storage"]),
    ("server", &["proto", "storage", "ingest", "query"]),
    ("benches", &["proto", "storage", "ingest", "query"]),
    ("tests", &["proto", "storage", "ingest", "query", "server"]),
];

/// The modules of `storage`; each may import those to its left.
const STORAGE_MODULES: [&str; 11] =
    ["model", "io", "codec", "index", "wal", "block", "head", "read", "compact", "database", "fuzz"];

#[test]
fn crates_depend_in_order() {
    let metadata = workspace();
    let packages = metadata["packages"].as_array().expect("packages");
    let mut found = BTreeSet::new();
    for package in packages {
        let name = short(&package["name"]).expect("our packages are named cardinal-*");
        let allowed = CRATES.iter().find(|(n, _)| *n == name).map(|(_, allowed)| *allowed);
        let allowed = allowed.unwrap_or_else(|| panic!("crate {name} has no place in the order of CRATES"));
        for dependency in package["dependencies"].as_array().expect("a list") {
            if let Some(dependency) = short(&dependency["name"]) {
                assert!(allowed.contains(&dependency), "crate {name} must not depend on {dependency}");
            }
        }
        found.insert(name.to_owned());
    }
    assert_eq!(found, CRATES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn there_is_one_binary_and_cargo_finds_it() {
    let metadata = workspace();
    let packages = metadata["packages"].as_array().expect("packages");
    let targets = packages.iter().flat_map(|p| p["targets"].as_array().expect("targets"));
    let binaries: Vec<_> =
        targets.filter(|t| t["kind"][0] == "bin").map(|t| t["name"].as_str().expect("a name")).collect();
    assert_eq!(binaries, ["cardinal"]);
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("readable");
    assert!(
        !manifest.contains("default-members"),
        "`cargo run` and `cargo bench` at the root see every crate"
    );
}

#[test]
fn storage_modules_import_leftwards() {
    let source = root().join("storage/src");
    let mut modules = BTreeMap::new();
    for (place, module) in STORAGE_MODULES.iter().enumerate() {
        modules.insert(*module, place);
    }
    for file in rust_files(&source) {
        let inside = file.strip_prefix(&source).expect("below the source folder");
        let Some(module) = inside.components().next().map(|c| c.as_os_str().to_string_lossy().into_owned())
        else {
            continue;
        };
        if module == "lib.rs" {
            continue;
        }
        let module = module.trim_end_matches(".rs");
        let place = modules.get(module).unwrap_or_else(|| panic!("{module} has no place in STORAGE_MODULES"));
        let text = fs::read_to_string(&file).expect("readable");
        for import in crate_imports(&text) {
            let of = modules.get(import.as_str()).copied();
            let of = of
                .unwrap_or_else(|| panic!("{}: `crate::{import}` is no module of storage", inside.display()));
            assert!(
                of <= *place,
                "{}: {module} must not import {import}, which stands to its right",
                inside.display()
            );
        }
    }
}

#[test]
fn imports_are_found_in_every_spelling() {
    let check = |text: &str, expected: &[&str]| assert_eq!(crate_imports(text), expected, "{text}");
    check("use crate::model::Sample;", &["model"]);
    check("use crate::{io::Fs, model::{Sample, LabelSet}, wal};", &["io", "model", "wal"]);
    check("let x = crate::codec::seal(a); // crate::database", &["codec"]);
    check("pub(crate) fn f() {}\n//! crate::head\n/// [`crate::read`]", &[]);
    check("pub(in crate::head) fn f() {}", &["head"]);
    check("my_crate::thing(); $crate::model::x", &["model"]);
}

fn workspace() -> serde_json::Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The crate's folder; `None` for what is not ours.
fn short(name: &serde_json::Value) -> Option<&str> {
    name.as_str()?.strip_prefix("cardinal-")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files
}

/// The modules named behind `crate::`, comments left out.
fn crate_imports(text: &str) -> Vec<String> {
    let code: Vec<_> = text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let code = code.join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.push(identifier(rest)),
        }
    }
    found
}

/// The first identifiers of each member of a `{a::x, b::{y, z}, c}` group, whose opening brace is behind us.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut expects) = (1, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => expects = true,
            c if expects && (c.is_alphabetic() || c == '_') => {
                heads.push(identifier(&group[at..]));
                expects = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
