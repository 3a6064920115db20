//! No text makes the parser panic, and no text is drawn with a panic.

use proptest::prelude::*;
use proptest::sample::Index;

use super::{TestFolder, refused, with_operator};

const VALID: &str = r#"[pipeline]
name = "p"
slo = "50ms"
checkpoint = "off"
[[source]]
id = "s"
kind = "generator"
start = 2024-01-01T00:00:00Z
rate = 1.5
count = 10
[[operator]]
id = "o"
component = "builtin:reduce"
inputs = ["s"]
window = { count = 5 }
config = { a = [1, 2.5, true], b = { env = "TOKEN" } }
[operator.limits]
memory = "16MiB"
[[sink]]
id = "k"
kind = "null"
[[test]]
name = "t"
input = [{ at = "s", value = { é = 1 } }]
output = []
"#;

/// Looks at everything that could panic.
fn endure(text: &str, overrides: &[&str]) {
    match TestFolder::new().parse(text, overrides) {
        Ok(loaded) => drop(loaded.warnings.render(true)),
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(!problems.render(false).is_empty());
            serde_json::to_string(&problems).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*|[\\[\\]{}=\"'.,#a-c0-9\\r\\n\u{feff} -]{0,200}") {
        endure(&text, &[]);
    }

    #[test]
    fn a_mutated_file_never_panics(
        mutations in prop::collection::vec((any::<Index>(), 0_usize..12, "[\\[\\]{}=\"'.,\\r\\n0-9a-zé-]{0,6}"), 1..4)
    ) {
        let mut text: Vec<char> = VALID.chars().collect();
        for (start, length, insertion) in mutations {
            let start = start.index(text.len() + 1);
            let end = (start + length).min(text.len());
            text.splice(start..end, insertion.chars());
        }
        endure(&text.into_iter().collect::<String>(), &[]);
    }

    #[test]
    fn a_value_of_any_type_anywhere_never_panics(
        key in prop::sample::select(vec![
            "pipeline.name", "pipeline.slo", "pipeline.checkpoint", "source.s.id", "source.s.kind", "source.s.path",
            "source.s.start", "source.s.step", "source.s.count", "source.s.rate", "source.s.time", "operator.o.inputs",
            "operator.o.window", "operator.o.window.sliding", "operator.o.config", "operator.o.limits",
            "operator.o.limits.memory", "operator.o.slice", "operator.o.key", "sink.k.inputs", "sink.k.path",
            "dead_letters.path", "test.t.input", "test.0.output",
        ]),
        value in prop::sample::select(vec![
            "", "1", "-1", "0", "9223372036854775807", "99999999999999999999", "1e999", "nan", "-inf", "true", "x",
            "''",
            "\"0s\"", "\"/\"", "\"~\"", "[]", "[[]]", "[1]", "{}", "{env=''}", "{env='a=b'}", "2024-01-01", "12:00:00",
            "\"99999999999999999999s\"", "\"99999999999EiB\"", "['o']", "['s','s']", "{count=0}", "[{value=1}]",
            "\u{0}",
        ]),
    ) {
        endure(VALID, &[&format!("{key}={value}")]);
    }

    #[test]
    fn an_arbitrary_override_never_panics(
        text in "\\PC*|(source|operator|pipeline)\\.[a-z0-9.\"]{0,8}=[\\[{\"'a-z0-9 ]{0,8}"
    ) {
        if super::Override::parse(&text).is_ok() {
            endure(VALID, &[&text]);
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    let deep = |open: &str, close: &str| {
        with_operator(&format!(
            "config = {{ a = {}1{} }}",
            open.repeat(100_000),
            close.repeat(100_000)
        ))
    };
    for text in [
        deep("[", "]"),
        deep("{a=", "}"),
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
    ] {
        let said = refused(&text);
        assert!(
            said.contains("nest at most 80 deep"),
            "{}",
            &said[..said.len().min(2000)]
        );
    }
}

#[test]
fn thousands_of_operators_are_no_trouble() {
    let operators: Vec<String> = (0..2_000)
        .map(|index| format!("[[operator]]\nid='o{index}'\ncomponent='builtin:map'\n"))
        .collect();
    let text = with_operator(&format!("component = 'builtin:map'\n{}", operators.concat()));
    assert_eq!(super::good(&text).pipeline.operators.len(), 2_001);
}

#[test]
fn thousands_of_mistakes_are_no_trouble() {
    let operators: Vec<String> = (0..10_000)
        .map(|index| {
            format!(
                "[[operator]]\nid='o{index}'\ncomponent='x{index}.wasm'\ninputs=['p{index}', 'o{}']\n",
                index ^ 1
            )
        })
        .collect();
    let said = refused(&with_operator(&format!(
        "component = 'builtin:map'\n{}",
        operators.concat()
    )));
    assert!(said.contains("more problems are not shown"), "{said}");
}
