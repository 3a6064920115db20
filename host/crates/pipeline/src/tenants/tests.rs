use super::*;

fn parse(text: &str) -> Result<Tenants, Diagnostics> {
    Tenants::parse(text, Path::new("tenants.toml"))
}

#[test]
fn a_tenant_gets_its_own_budget_and_others_the_default() {
    let tenants =
        parse("[[tenant]]\nname = \"acme\"\nweight = 4\nmemory = \"64MiB\"\n[default]\nfuel_per_second = 1_000_000\n")
            .unwrap();
    let acme = Budget {
        weight: 4,
        memory: Some(64 << 20),
        ..Budget::default()
    };
    let other = Budget {
        fuel_per_second: Some(1_000_000),
        ..Budget::default()
    };
    assert_eq!((tenants.budget("acme"), tenants.budget("x")), (Some(acme), Some(other)));
}

#[test]
fn without_a_default_others_get_nothing() {
    let tenants = parse("[[tenant]]\nname = \"acme\"\n").unwrap();
    assert_eq!(tenants.budget("acme"), Some(Budget::default()));
    assert_eq!(tenants.budget("x"), None);
}

#[test]
fn all_that_is_wrong_is_said_with_its_place() {
    let text = "[[tenant]]\nname = \"a\"\nweight = 0\nmemry = \"1GiB\"\n[[tenant]]\nname = \"a\"\n[[tenant]]\nmemory = \"4KiB\"\n[default]\nname = \"x\"\n";
    let said = parse(text).unwrap_err().to_string();
    for part in [
        "did you mean `memory`?",
        "tenant `a` is listed twice",
        "the tenant has no `name`",
        "`memory` is too little for a tenant",
        "`[default]` names no tenant",
        "tenants.toml:3",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

/// A host with a folder for each of two tenants.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["acme/deep", "globex", "loose"] {
            std::fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "acme/p.toml",
            "acme/deep/p.toml",
            "acme/deep/q.toml",
            "globex/p.toml",
            "loose/p.toml",
        ] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        Self(folder)
    }

    fn tenants(&self, text: &str) -> Result<Tenants, Diagnostics> {
        Tenants::parse(text, &self.0.path().join("tenants.toml"))
    }

    /// Whose a file is that says `said`; or what is wrong with that.
    fn tenant(&self, tenants: &Tenants, file: &str, said: Option<&str>) -> String {
        let file = self.0.path().join(file);
        let opened = OpenedFile::open(&file, &[]).unwrap();
        let admission = match tenants.admit(&opened, &HostDirectories::default()) {
            Ok(admission) => admission,
            Err(problems) => return problems.to_string(),
        };
        match admission.tenancy.unwrap().tenant(said, raw::TENANT) {
            Ok(tenant) => tenant.to_owned(),
            Err((message, help)) => format!("{message}; {help}"),
        }
    }
}

const TWO: &str = r#"
[[tenant]]
name = "acme"
pipelines = ["acme/"]
[[tenant]]
name = "globex"
pipelines = ["globex", "acme/deep/q.toml"]
"#;

#[test]
fn a_file_belongs_to_the_tenant_that_names_it_most_closely() {
    let machine = Machine::new();
    std::os::unix::fs::symlink("../acme/p.toml", machine.0.path().join("globex/link.toml")).unwrap();
    let tenants = machine.tenants(TWO).unwrap();
    for (file, tenant) in [
        ("acme/p.toml", "acme"),
        ("acme/deep/p.toml", "acme"),
        ("acme/deep/q.toml", "globex"),
        ("acme/deep/../../globex/p.toml", "globex"),
        ("globex/link.toml", "acme"),
    ] {
        assert_eq!(machine.tenant(&tenants, file, None), tenant, "{file}");
        assert_eq!(machine.tenant(&tenants, file, Some(tenant)), tenant, "{file}");
    }
}

#[test]
fn a_file_cannot_pass_for_that_of_another_tenant() {
    let machine = Machine::new();
    let said = machine.tenant(&machine.tenants(TWO).unwrap(), "acme/p.toml", Some("globex"));
    assert!(
        said.contains("this file is of tenant `acme`, and says `globex`"),
        "{said}"
    );
    let unlisted = machine.tenant(&machine.tenants(TWO).unwrap(), "loose/p.toml", None);
    assert!(unlisted.contains("tenants.toml has this pipeline file"), "{unlisted}");
    let tenants = machine.tenants(&format!("{TWO}[default]\n")).unwrap();
    let said = machine.tenant(&tenants, "loose/p.toml", Some("acme"));
    assert!(said.contains("this file is not of tenant `acme`"), "{said}");
    assert_eq!(machine.tenant(&tenants, "loose/p.toml", None), "default");
    assert_eq!(machine.tenant(&tenants, "loose/p.toml", Some("loose")), "loose");
}

#[test]
fn a_file_is_read_as_it_was_when_its_tenant_was_looked_up() {
    let machine = Machine::new();
    let path = |name: &str| machine.0.path().join(name);
    let link = path("acme/link.toml");
    std::fs::write(path("acme/p.toml"), "of acme").unwrap();
    std::fs::write(path("globex/p.toml"), "of globex").unwrap();
    std::os::unix::fs::symlink("p.toml", &link).unwrap();
    let opened = OpenedFile::open(&link, &[]).unwrap();
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("../globex/p.toml", &link).unwrap();
    let tenants = machine.tenants(TWO).unwrap();
    let admission = tenants.admit(&opened, &HostDirectories::default()).unwrap();
    assert_eq!(admission.tenancy.unwrap().tenant.as_deref(), Some("acme"));
    assert_eq!(opened.read(Wanted::Pipeline, &[]).unwrap(), "of acme");

    // A folder on the way that has become a link is not granted.
    let opened = OpenedFile::open(&path("acme/deep/p.toml"), &[]).unwrap();
    std::fs::rename(path("acme/deep"), path("acme/moved")).unwrap();
    std::os::unix::fs::symlink("../globex", path("acme/deep")).unwrap();
    let refused = tenants
        .admit(&opened, &HostDirectories::default())
        .unwrap_err()
        .to_string();
    assert!(refused.contains("it was exchanged"), "{refused}");
}

#[test]
fn a_dead_letter_may_do_what_the_pipelines_of_its_tenant_may() {
    let machine = Machine::new();
    let tenants = machine.tenants(&format!("{TWO}write = [\"loose\"]\n")).unwrap();
    let admitted = |letters: &str, named: Option<&str>| {
        let letters = machine.0.path().join(letters);
        tenants.admit_letters(&letters, named, &HostDirectories::default())
    };
    for (letters, named, tenant) in [
        ("acme/dead.jsonl", None, "acme"),
        ("acme/deep/dead.jsonl", None, "acme"),
        ("loose/dead.jsonl", None, "globex"),
        ("dead.jsonl", Some("globex"), "globex"),
    ] {
        let admission = admitted(letters, named).unwrap();
        assert_eq!(admission.tenancy.unwrap().tenant.as_deref(), Some(tenant), "{letters}");
        for (file, of) in [
            ("acme/p.toml", "acme"),
            ("globex/p.toml", "globex"),
            ("tenants.toml", ""),
        ] {
            let read = admission
                .access
                .check(&machine.0.path().join(file), dirigo_disk::Usage::Read);
            assert_eq!(read.is_ok(), tenant == of, "{file} of {letters}");
        }
    }
    let nobody = admitted("dead.jsonl", None).unwrap_err().to_string();
    assert!(nobody.contains("`--tenant NAME`"), "{nobody}");
    let unknown = admitted("acme/dead.jsonl", Some("initech")).unwrap_err().to_string();
    assert!(unknown.contains("no tenant `initech`"), "{unknown}");
}

#[test]
fn a_file_that_is_none_of_tenants_is_called_what_it_is() {
    for (text, is) in [
        (
            "[pipeline]\nname = \"p\"\n[[source]]\n",
            "this is a pipeline file, not a tenants file",
        ),
        ("{\"a\":1}\n", "this is JSON, not a tenants file"),
    ] {
        let said = parse(text).unwrap_err().to_string();
        assert!(said.contains(is) && said.matches("error").count() == 1, "{said}");
    }
}

#[test]
fn what_a_grant_says_wrong_is_said_with_its_place() {
    let machine = Machine::new();
    let text = r#"
[[tenant]]
name = "acme"
pipelines = ["acme", "nowhere/"]
raed = ["acme"]
env = ["A=B"]
limits = { slcie = "1ms" }
[[tenant]]
name = "globex"
pipelines = ["globex/../acme/"]
[default]
pipelines = ["loose"]
"#;
    let said = machine.tenants(text).unwrap_err().to_string();
    for part in [
        "there is no such pipeline file or folder",
        "did you mean `read`?",
        "`A=B` cannot be the name of an environment variable",
        "did you mean `slice`?",
        "a pipeline file or folder is listed twice",
        "`[default]` has no `pipelines`",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}

#[test]
fn tokens_are_known_by_their_digest_and_bear_a_tenant_a_role_and_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.toml");
    std::fs::write(folder.path().join("ci.token"), "0123456789abcdef\n").unwrap();
    let digest = "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f";
    let text = format!(
        "[[tenant]]\nname = \"acme\"\n[[token]]\nname = \"ci\"\ntenant = \"acme\"\ntoken = {{ file = \"ci.token\" }}\n\
         [[token]]\nname = \"ops\"\nrole = \"viewer\"\nsha256 = \"{}\"\nexpires = \"2027-01-31T00:00:00Z\"\n",
        digest.replace('9', "8")
    );
    let tenants = Tenants::parse(&text, &file).unwrap();
    let [ci, ops] = tenants.tokens() else {
        panic!("{:?}", tenants.tokens())
    };
    assert_eq!(
        (ci.tenant.as_deref(), ci.role, ci.expires),
        (Some("acme"), crate::Role::Admin, None)
    );
    assert_eq!(
        ci.digest,
        crate::Token::digest_of("0123456789abcdef"),
        "what ends the file is no part of the token"
    );
    assert_eq!((ops.tenant.as_deref(), ops.role), (None, crate::Role::Viewer));
    let ends = ops
        .expires
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(ends, 1_801_353_600);
    assert!(!format!("{ci:?}").contains("digest"));
}

#[test]
fn what_is_wrong_with_tokens_is_said_with_its_place() {
    let text = "[[tenant]]\nname = \"a\"\n[[token]]\nname = \"one\"\n[[token]]\nname = \"two\"\ntoken = \"short\"\n[[token]]\nname = \
                \"three\"\ntenant = \"b\"\nsha256 = \"12\"\n[[token]]\nname = \"four\"\ntoken = \"0123456789abcdef\"\nexpires = \"soon\"\n\
                [[token]]\nname = \"five\"\ntoken = \"0123456789abcdef\"\nrole = \"boss\"\n[[token]]\nname = \"five\"\ntoken = \"0123456789abcdef\"\n";
    let said = parse(text).unwrap_err().to_string();
    for part in [
        "neither or both of `token` and `sha256`",
        "fewer than 16 bytes",
        "`sha256` is no SHA-256",
        "tenant `b`, which is not listed",
        "`expires` is no time",
        "boss",
        "two tokens are named `five`",
        "a token is listed twice",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
}
