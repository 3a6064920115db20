//! What `#[operator]` says where it is misused. The messages are ours, so they don't change with the compiler.

#[test]
fn misuse_is_explained_where_it_is_written() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/a_path_to_the_trait_will_do.rs");
    cases.compile_fail("tests/ui/refused/*.rs");
}
