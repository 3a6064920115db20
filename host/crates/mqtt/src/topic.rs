//! Topics, and filters of them.

/// What is wrong with the topic of messages, if anything is.
pub(crate) fn flaw_of_name(topic: &str) -> Option<&'static str> {
    if topic.contains(['+', '#']) {
        return Some("`+` and `#` stand for topics that are read");
    }
    flaw(topic)
}

/// What is wrong with a filter of topics, if anything is.
pub(crate) fn flaw_of_filter(filter: &str) -> Option<&'static str> {
    let levels = match filter.strip_prefix("$share/") {
        None => filter,
        Some(shared) => match shared.split_once('/') {
            Some((group, levels)) if !group.is_empty() && !group.contains(['+', '#']) => levels,
            _ => return Some("a shared subscription is such as \"$share/group/readings/#\""),
        },
    };
    let mut rest = levels.split('/').peekable();
    while let Some(level) = rest.next() {
        if level.contains(['+', '#']) && level.len() > 1 {
            return Some("`+` and `#` stand for a whole level");
        }
        if level == "#" && rest.peek().is_some() {
            return Some("`#` is the last level");
        }
    }
    flaw(levels)
}

fn flaw(topic: &str) -> Option<&'static str> {
    if topic.is_empty() {
        return Some("empty");
    }
    if topic.len() > usize::from(u16::MAX) {
        return Some("it is longer than 65,535 bytes");
    }
    topic.contains(char::is_control).then_some("it has control characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_names_are_told_from_what_is_none() {
        for filter in ["a", "/", "a/+/b", "#", "+/#", "a/#", "$share/g/a/#", "$SYS/#"] {
            assert_eq!(flaw_of_filter(filter), None, "{filter}");
        }
        for filter in [
            "",
            "a/#/b",
            "a+",
            "a/b#",
            "$share/g",
            "$share//a",
            "$share/+/a",
            "a\u{0}",
        ] {
            assert!(flaw_of_filter(filter).is_some(), "{filter}");
        }
        assert_eq!(flaw_of_name("a/b"), None);
        for name in ["", "a/+", "#", "a\n"] {
            assert!(flaw_of_name(name).is_some(), "{name}");
        }
    }
}
