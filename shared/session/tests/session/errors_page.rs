//! `shared/protocol/ERRORS.md` is what authors of clients go by: it names what the code says, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reflow_tracing_chunk::{MAX_ERROR_BYTES, MAX_NAME_BYTES};
use reflow_tracing_protocol::ErrorCode;
use reflow_tracing_protocol::wire::{Code, MAX_BRIEF_BYTES, MAX_DEPTH};
use serde::de::DeserializeOwned;

type Row = Vec<String>;

fn shared(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn page() -> String {
    std::fs::read_to_string(shared("protocol/ERRORS.md")).unwrap()
}

/// The rows of the table between `<!-- name: … -->` and `<!-- end of name -->`, without quotes.
fn table(name: &str) -> Vec<Row> {
    let page = page();
    let (_, rest) = page.split_once(&format!("<!-- {name}: compared with the code -->")).unwrap();
    let (table, _) = rest.split_once(&format!("<!-- end of {name} -->")).unwrap();
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect::<Row>();
    table.lines().filter(|line| line.starts_with("| `")).map(|line| cells(line.trim_matches('|'))).collect()
}

/// The variants of an enum, which serde lists when it meets another.
fn variants<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let listed = serde_json::from_str::<T>("\"NoSuchVariant\"").unwrap_err().to_string();
    let (_, listed) = listed.split_once("expected one of ").unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn codes_are_documented_with_what_v1_makes_of_them() {
    let table = table("codes");
    let documented: BTreeSet<_> = table.iter().map(|row| row[0].clone()).collect();
    assert_eq!(documented, variants::<Code>());
    assert_eq!(documented.len(), table.len(), "a code is there twice");
    for row in &table {
        let code: Code = serde_json::from_value(row[0].clone().into()).unwrap();
        assert_eq!(serde_json::to_value(code.for_v1()).unwrap(), row[1], "{} in v1", row[0]);
    }
    assert_eq!(table.iter().map(|row| row[1].clone()).collect::<BTreeSet<_>>(), variants::<ErrorCode>());
}

/// All refusals of this crate are made of a code and a literal reason; the source is the one place that has all of them.
#[test]
fn refusals_are_documented_with_their_code_and_whether_to_send_again() {
    let mut made = BTreeSet::new();
    for file in sources(&shared("session/src")) {
        made.extend(refusals(&std::fs::read_to_string(file).unwrap()));
    }
    // Close codes look the same and are others.
    let codes = variants::<Code>();
    made.retain(|(_, code, _)| codes.contains(code));
    assert!(made.len() > 20, "the search finds next to nothing: {made:?}");
    let documented: BTreeSet<_> =
        table("reasons").into_iter().map(|row| (row[0].clone(), row[1].clone(), row[2] == "yes")).collect();
    assert_eq!(documented, made);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Every `Code::X, "reason"` and whether `.retryable()` follows the call it is in.
fn refusals(source: &str) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    for place in source.split("Code::").skip(1) {
        let code: String = place.chars().take_while(char::is_ascii_alphabetic).collect();
        let rest = place[code.len()..].strip_prefix(',').map(str::trim_start);
        let Some((reason, rest)) = rest.and_then(|rest| rest.strip_prefix('"')?.split_once('"')) else { continue };
        let mut open = 1;
        let after = rest.trim_start_matches(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open > 0
        });
        let again = after.strip_prefix(')').unwrap_or(after).trim_start().starts_with(".retryable()");
        found.push((reason.to_owned(), code, again));
    }
    found
}

#[test]
fn limits_have_the_defaults_of_the_configuration() {
    let settings = std::fs::read_to_string(shared("service/CONFIGURATION.md")).unwrap();
    let table = table("limits");
    for row in &table {
        let line = settings.lines().find(|line| line.starts_with(&format!("| `{}`<br>", row[0]))).unwrap();
        assert_eq!(line.split(" | ").nth(1).unwrap().trim_matches('`'), row[1], "{}", row[0]);
    }
    let limits = settings.lines().filter_map(|line| line.strip_prefix("| `limits.")?.split_once('`'));
    let about_the_server = ["ping_interval_secs", "drain_deadline_secs"];
    for (name, _) in limits.filter(|(name, _)| !about_the_server.contains(name)) {
        assert!(table.iter().any(|row| row[0] == format!("limits.{name}")), "limits.{name} is not in the page");
    }
    for fixed in [
        format!("at most {MAX_DEPTH} levels"),
        format!("at most {MAX_NAME_BYTES} bytes"),
        format!("more than {MAX_NAME_BYTES} bytes"),
        format!("a reason has at most {MAX_BRIEF_BYTES} bytes"),
        format!("the first {MAX_ERROR_BYTES} bytes"),
    ] {
        assert!(page().contains(&fixed), "{fixed}");
    }
}
