//! The tokens of a tenants file: who may use the service, and what each may do there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use super::choice::Word;
use super::diagnostic::{Diagnostic, Problems};
use super::name::Name;
use super::raw;
use super::section::At;
use super::span::Span;
use super::validate::list;

/// The shortest token that is taken, in bytes: one of random hexadecimal digits has 64 bits then.
const TOKEN_BYTES_MIN: usize = 16;

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Change something.
    Admin,
    /// Only look.
    Viewer,
}

/// Who may use the service.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// What the log calls its bearer.
    pub name: String,
    /// Whose pipelines its bearer may see and change; `None` for those of all tenants.
    pub tenant: Option<String>,
    /// Whether it may change them.
    pub role: Role,
    /// The SHA-256 of the token.
    pub digest: [u8; 32],
    /// From when on it is not valid any more.
    pub expires: Option<SystemTime>,
}

/// Without the digest: of a token that is guessable it would tell the token.
impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Token")
            .field("name", &self.name)
            .field("tenant", &self.tenant)
            .field("role", &self.role)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// The digest by which a token is known.
    #[must_use]
    pub fn digest_of(token: &str) -> [u8; 32] {
        Sha256::digest(token.trim()).into()
    }
}

/// The tokens that a tenants file lists.
pub(super) fn tokens<T>(raw: &raw::Tenants, tenants: &BTreeMap<String, T>, problems: &mut Problems) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut places: BTreeMap<String, Span> = BTreeMap::new();
    for at in list(&raw.token) {
        let Some(token) = token(at, tenants, problems) else {
            continue;
        };
        if let Some(first) = places.insert(token.name.clone(), at.place) {
            let problem =
                Diagnostic::error(format!("two tokens are named `{}`", token.name)).at(at.place, "again here");
            problems.push(problem.also(first, "first here"));
        }
        if found.iter().any(|other| other.digest == token.digest) {
            let problem = Diagnostic::error("a token is listed twice").at(at.place, "the same token as an earlier one");
            problems.push(problem.help("give each bearer a token of its own"));
        }
        found.push(token);
    }
    found
}

fn token<T>(at: &At<raw::Bearer>, tenants: &BTreeMap<String, T>, problems: &mut Problems) -> Option<Token> {
    let raw = &at.value;
    let name = raw.name.required("name", "\"ci\"", at.place, "the token", problems);
    let digest = digest(raw, at.place, problems);
    let expires = match raw.expires.given() {
        None => None,
        Some(at) => Some(humantime::parse_rfc3339_weak(&at.value).ok().or_else(|| {
            let problem = Diagnostic::error("`expires` is no time").at(at.place, "no time");
            problems.push(problem.help("write a time in UTC, such as \"2027-01-31T00:00:00Z\""));
            None
        })?),
    };
    if let Some(At {
        value: Name(tenant),
        place,
    }) = raw.tenant.given()
        && !tenants.contains_key(tenant)
    {
        let problem = Diagnostic::error(format!("the token is of tenant `{tenant}`, which is not listed"));
        problems.push(
            problem
                .at(*place, "no such tenant")
                .help("add a `[[tenant]]` with this name"),
        );
    }
    Some(Token {
        name: name?.value.0.clone(),
        tenant: raw.tenant.given().map(|at| at.value.0.clone()),
        role: raw.role.map(|Word(role)| *role).unwrap_or(Role::Admin),
        digest: digest?,
        expires,
    })
}

fn digest(raw: &raw::Bearer, place: Span, problems: &mut Problems) -> Option<[u8; 32]> {
    match (raw.token.given(), raw.sha256.given()) {
        (Some(token), None) => {
            if token.value.trim().len() < TOKEN_BYTES_MIN {
                let problem = Diagnostic::error(format!("the token has fewer than {TOKEN_BYTES_MIN} bytes"));
                let help = "`openssl rand -hex 32` makes a token that nobody guesses";
                // The line of the token itself would show it.
                problems.push(problem.at(place, "its `token` is too short").help(help));
                return None;
            }
            Some(Token::digest_of(&token.value))
        }
        (None, Some(sha256)) => {
            let digest = hexadecimal(&sha256.value);
            if digest.is_none() {
                let problem = Diagnostic::error("`sha256` is no SHA-256").at(sha256.place, "not 64 hexadecimal digits");
                problems.push(problem.help("`printf %s \"$TOKEN\" | sha256sum` prints it"));
            }
            digest
        }
        _ => {
            let problem = Diagnostic::error("the token has neither or both of `token` and `sha256`");
            let help = "give one: `token = { env = \"NAME\" }`, `token = { file = \"PATH\" }` or `sha256 = \"…\"`";
            problems.push(problem.at(place, "one is needed").help(help));
            None
        }
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let digit = |digit: char| u8::try_from(digit.to_digit(16)?).ok();
    let digits: Vec<u8> = text.chars().map(digit).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok().filter(|_| rest.is_empty())
}
