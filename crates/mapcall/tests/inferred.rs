//! An extent that is given by its name can't outvote an array, wherever it stands.

use std::error::Error;

use mapcall::Prototype;
use mapcall::contract::{Backing, Check, Contract, HostValue, Memory, Role, Rule};

/// Gives `x` three elements and `n` a value, in the order of the parameters.
fn check(prototype: &str, n: i32) -> Result<(), Box<dyn Error>> {
    let contract = Contract::new(Prototype::parse(prototype)?)?;
    let mut slots = vec![0; contract.slots()];
    let mut check = Check::new(&contract, &mut slots);
    let mut x = [0.0_f64; 3];
    for (position, rule) in contract.rules().iter().enumerate() {
        let value = match rule {
            Rule::Inferred(_) => HostValue::Number(n.into()),
            Rule::Array(rule) => {
                let memory = Memory {
                    address: x.as_mut_ptr().cast(),
                    shape: &[3],
                    strides: &[8],
                    is_contiguous: true,
                    is_writeable: true,
                    is_shared: false,
                    backing: Backing::Private,
                };
                let dtype = Ok(rule.dtype());
                HostValue::Array { memory, dtype }
            }
            _ => HostValue::Omitted,
        };
        check.argument(Role::Parameter(position), value)?;
    }
    Ok(check.finish()?)
}

#[test]
fn before_and_behind_the_array() -> Result<(), Box<dyn Error>> {
    let (before, behind) = (
        "double f(int n, const double x[n])",
        "double f(const double x[n], int n)",
    );
    check(before, 3)?;
    check(behind, 3)?;
    for n in [0, 2, 4, 1000, -1, i32::MAX] {
        for prototype in [before, behind] {
            assert!(check(prototype, n).is_err(), "{prototype} with n = {n}");
        }
    }
    let error = check(behind, 50).map_or_else(|error| error.to_string(), |()| String::new());
    assert_eq!(
        error,
        "f: n: expected int 3 as x has it, got 50; leave n out"
    );
    Ok(())
}
