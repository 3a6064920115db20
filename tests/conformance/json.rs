//! JSON, held against `serde_json`: of documents with random mistakes, the same are refused.

use crate::documents::{event, taken};
use crate::support::{Random, number_of};

/// Documents that have something of everything.
const SOUND: [&str; 6] = [
    r#"{"a":[1,-2.5e+10,0.1E-7,true,false,null],"b":{"c":"d\u00e9\n\"\\\/"}}"#,
    r#"[[],{},"",[[[{"x":[]}]]],"\ud83d\ude00"]"#,
    r#""text with é and 😀 and \b\f\r\t""#,
    "-0.0",
    "[1 , 2\t,\t3]",
    r#"{"a":1,"a":2,"":{"":""}}"#,
];

/// What mistakes are made of.
const PIECES: [&str; 24] = [
    "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "0", "-", "+", ".", "e", "1", "true", "nul", " ", "\t",
    "'", "/", "\u{1}", "é",
];

#[test]
fn documents_with_mistakes_are_refused_as_serde_json_does() {
    const DOCUMENTS: usize = 20_000;
    let seed = number_of("DIRIGO_SEED", 1);
    println!("DIRIGO_SEED={seed}");
    let mut random = Random(seed);
    let documents: Vec<Vec<u8>> = (0..DOCUMENTS).map(|_| mistaken(&mut random)).collect();
    let taken = taken(&documents);
    for (number, document) in documents.iter().enumerate() {
        let is_json = is_json(&event(number, document));
        assert_eq!(
            taken.contains(&number),
            is_json,
            "DIRIGO_SEED={seed}: {}",
            String::from_utf8_lossy(document)
        );
    }
    let sound = taken.len();
    assert!(
        sound > DOCUMENTS / 50 && sound < DOCUMENTS * 9 / 10,
        "{sound} of {DOCUMENTS} are sound"
    );
}

/// By the grammar: a number may be too large for a float, and an escape half of a surrogate pair.
fn is_json(event: &[u8]) -> bool {
    std::str::from_utf8(event).is_ok_and(|event| serde_json::from_str::<serde::de::IgnoredAny>(event).is_ok())
}

fn mistaken(random: &mut Random) -> Vec<u8> {
    let mut document = SOUND[random.below(SOUND.len())].as_bytes().to_vec();
    for _ in 0..random.below(3) {
        let at = random.below(document.len() + 1);
        let end = (at + random.below(4)).min(document.len());
        let piece = PIECES[random.below(PIECES.len())].as_bytes().to_vec();
        let (range, piece) = match random.below(4) {
            0 => (at..at, piece),
            1 => (at..end, Vec::new()),
            2 => (at..end, piece),
            // A byte that may break UTF-8.
            _ => (at..end, vec![0x80 + u8::try_from(random.below(128)).unwrap()]),
        };
        document.splice(range, piece);
    }
    document
}
