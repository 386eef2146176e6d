//! What deploy/README.md says in figures is made by the model. `UPDATE_EXPECT=1` writes it anew.

use std::path::Path;
use std::process::Command;

use reflow_tracing_sizing::Figures;
use reflow_tracing_sizing::tables::TEXTS;

#[test]
fn the_figures_in_the_readme_are_the_models() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let figures = Figures::checked_in().unwrap();
    for (name, make) in TEXTS {
        let (text, made) = (std::fs::read_to_string(&file).unwrap(), make(&figures));
        let (begin, end) = (format!("<!-- {name}: made by deploy/sizing -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = text.split_once(&begin).unwrap();
        let (written, after) = rest.split_once(&end).unwrap();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, format!("{before}{begin}{made}{end}{after}")).unwrap();
        } else {
            assert_eq!(written, made, "run this test with UPDATE_EXPECT=1");
        }
    }
}

fn sizing(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_reflow-sizing")).args(arguments).output().expect("the program runs");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn the_program_plans_and_says_what_breaks_first() {
    let (ok, text) = sizing(&["--events-per-second", "1000000", "--viewers", "100", "--retention-days", "30"]);
    assert!(
        ok && text.contains(" systems, each ") && text.contains("of size of the disk; instead: a larger disk"),
        "{text}"
    );
    assert!(text.contains("collectors") && text.contains(": breaks first; then: "), "{text}");
    let (ok, text) = sizing(&["--events-per-second", "500"]);
    assert!(ok && text.contains("reflow-tracing     1, with SQLite"), "{text}");
}

#[test]
fn bad_input_is_told() {
    for (arguments, told) in [
        (&["--events-per-second", "0"][..], "from 0.001 to 1000000000"),
        (&["--events-per-second", "1e300"], "from 0.001 to 1000000000"),
        (&["--events-per-second", "10", "--pod-cores", "1e-300"], "from 0.01 to 1000"),
        (&["--events-per-second", "10", "--viewers", "NaN"], "from 0 to 1000000"),
        (&["--events-per-second", "10", "--viewer-share", "2"], "from 0 to 1"),
        (&["--events-per-second", "10", "--batch", "0.5"], "from 1 to 10000"),
        (&["--events-per-second", "10", "--batch", "10001"], "from 1 to 10000"),
        (&["--events-per-second", "10", "--replicas", "2"], "1, 3 or 5"),
        (&["--events-per-second", "10", "--replicas", "9"], "1, 3 or 5"),
        (&["--events-per-second", "10", "--figures", "/no/such/file"], "cannot read /no/such/file"),
    ] {
        let (ok, text) = sizing(arguments);
        assert!(!ok && text.contains(told), "{arguments:?}: {text}");
    }
}

#[test]
fn the_largest_and_the_smallest_numbers_that_are_taken_make_a_plan() {
    let most = "--events-per-second 1e9 --event-bytes 64e6 --batch 1 --retention-days 36500 --viewers 1e6 --viewer-share 1 \
                --programs 1e9 --outage-minutes 1e6 --pod-cores 0.01 --postgres-cores 0.01 --disk-mb-per-second 0.1 --disk-gb 0.1";
    let least = "--events-per-second 0.001 --event-bytes 1 --batch 10000 --retention-days 0.01 --viewers 0 --viewer-share 0 \
                 --programs 0 --outage-minutes 0.01 --pod-cores 1000 --postgres-cores 1000 --disk-mb-per-second 1e6 --disk-gb 1e9";
    for arguments in [most, least] {
        let (ok, text) = sizing(&arguments.split_whitespace().collect::<Vec<_>>());
        assert!(ok && text.contains("breaks first"), "{text}");
    }
}
