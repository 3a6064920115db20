//! Who asks, and what each may do.

use std::sync::Arc;

use dirigo_pipeline::{Role, Tenants, Token};
use subtle::ConstantTimeEq as _;

use crate::refused::Refused;

/// The tokens of the service.
pub(crate) struct Access {
    tokens: Vec<Token>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    /// The tenant whose pipelines it may see; `None` for those of all.
    pub(crate) tenant: Option<String>,
    role: Role,
}

impl Access {
    /// Those of the tenants file, and one of an operator of the host.
    pub(crate) fn new(operator: &str, tenants: Option<&Arc<Tenants>>) -> Self {
        let own = Token {
            name: "operator".to_owned(),
            tenant: None,
            role: Role::Admin,
            digest: Token::digest_of(operator),
            expires: None,
        };
        let listed = tenants.iter().flat_map(|tenants| tenants.tokens()).cloned();
        Self {
            tokens: listed.chain([own]).collect(),
        }
    }

    /// The bearer of a token at a time, in ms since the epoch. How long it takes says nothing of the tokens that there are.
    pub(crate) fn caller(&self, token: &str, now_ms: i64) -> Option<Caller> {
        let digest = Token::digest_of(token);
        let mut found = None;
        for known in &self.tokens {
            if bool::from(known.digest.ct_eq(&digest)) {
                found = Some(known);
            }
        }
        let found = found.filter(|known| known.expires.is_none_or(|expires| now_ms < in_ms(expires)))?;
        Some(Caller {
            name: found.name.clone(),
            tenant: found.tenant.clone(),
            role: found.role,
        })
    }
}

fn in_ms(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Caller {
    /// Whether it is an operator of the host.
    pub(crate) fn is_operator(&self) -> bool {
        self.tenant.is_none()
    }

    /// Whether it may change what it may see.
    pub(crate) fn may_change(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether it may see what a tenant has.
    pub(crate) fn may_see(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|own| own == tenant)
    }

    /// Refuses one that may not see what a tenant has. Whether there is such a tenant does not show.
    pub(crate) fn expect_see(&self, tenant: &str) -> Result<(), Refused> {
        if self.may_see(tenant) {
            return Ok(());
        }
        let own = self.tenant.as_deref().unwrap_or_default();
        Err(Refused::forbidden(format!("this token is of tenant `{own}`"))
            .help("name that tenant, or use a token of the other one"))
    }

    /// Refuses one that may not change what a tenant has.
    pub(crate) fn expect_change(&self, tenant: &str) -> Result<(), Refused> {
        self.expect_see(tenant)?;
        if self.may_change() {
            return Ok(());
        }
        Err(Refused::forbidden("this token may only look").help("use one whose `role` is \"admin\""))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_token_is_its_bearers_until_it_expires() {
        let text = "[[tenant]]\nname = \"acme\"\n[[token]]\nname = \"ci\"\ntenant = \"acme\"\ntoken = \"0123456789abcdef\"\n\
                    expires = \"1970-01-01T00:00:10Z\"\n[[token]]\nname = \"watch\"\nrole = \"viewer\"\ntoken = \"fedcba9876543210\"";
        let tenants = Arc::new(Tenants::parse(text, Path::new("/nowhere/tenants.toml")).unwrap());
        let access = Access::new("the operator's own", Some(&tenants));
        let ci = access.caller("0123456789abcdef", 9_999).unwrap();
        assert!(ci.may_see("acme") && ci.may_change() && !ci.is_operator());
        assert!(ci.expect_change("acme").is_ok() && ci.expect_see("globex").is_err());
        assert_eq!(access.caller("0123456789abcdef", 10_000), None, "it has expired");
        let watch = access.caller("fedcba9876543210", 10_000).unwrap();
        assert!(watch.is_operator() && watch.may_see("globex") && watch.expect_change("globex").is_err());
        assert!(access.caller("the operator's own", 0).unwrap().may_change());
        for other in ["", "0123456789abcde", "0123456789abcdeg"] {
            assert_eq!(access.caller(other, 0), None);
        }
    }
}
