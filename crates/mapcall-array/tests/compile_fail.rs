//! What must not compile: pointers and views that outlive their array, or alias a writer.

#[test]
fn borrows() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
