//! Structs: by value, and as the items of arrays.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};
use mapcall::array::dtype::{ByteOrder, DTypeError, Field};
use mapcall::array::layout::Order;
use mapcall::array::{Array, DType, Element};
use mapcall::contract::Contract;
use mapcall::{Arg, Prototype, Value};

use crate::fixture::{call, engines, refuse, unbound};

#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
struct Point {
    x: f32,
    y: f32,
}

impl Element for Point {
    fn dtype() -> Result<DType, DTypeError> {
        DType::structured_aligned([("x", DType::F32), ("y", DType::F32)])
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Particle {
    tag: i8,
    padding: [u8; 3],
    at: Point,
    more_padding: [u8; 4],
    mass: f64,
}

impl Element for Particle {
    fn dtype() -> Result<DType, DTypeError> {
        let fields = [
            ("tag", DType::I8),
            ("at", Point::dtype()?),
            ("mass", DType::F64),
        ];
        DType::structured_aligned(fields)
    }
}

const MIDDLE: &str = "struct point { float x, y; };
    struct point middle(struct point a, struct point b)";
const MOMENT: &str = "struct point { float x, y; };
    struct particle { char tag; struct point at; double mass; };
    double moment(int n, const struct particle p[n])";

fn particle(tag: i8, x: f32, y: f32, mass: f64) -> Particle {
    let at = Point { x, y };
    Particle {
        tag,
        padding: [0; 3],
        at,
        more_padding: [0; 4],
        mass,
    }
}

#[test]
fn a_struct_goes_and_comes_by_value() {
    let (a, b) = (Point { x: 1.0, y: 2.0 }, Point { x: 3.0, y: -4.0 });
    for middle in engines(MIDDLE) {
        let value = call(
            &middle,
            &mut [Arg::record(&a).unwrap(), Arg::record(&b).unwrap()],
        );
        let Value::Record { dtype, bytes } = value else {
            panic!("{value:?}")
        };
        assert_eq!(dtype, Point::dtype().unwrap());
        assert_eq!(
            *bytemuck::from_bytes::<Point>(&bytes),
            Point { x: 2.0, y: -1.0 }
        );
    }
}

#[test]
fn another_struct_is_refused_by_value() {
    let a = Point { x: 1.0, y: 2.0 };
    let two = |dtype: DType, bytes: &'static [u8]| {
        [
            Arg::record(&a).unwrap(),
            Arg::Record(dtype, Cow::Borrowed(bytes)),
        ]
    };
    let swapped = DType::structured([("y", DType::F32), ("x", DType::F32)]).unwrap();
    refuse(
        MIDDLE,
        &mut two(swapped, &[0; 8]),
        "middle: b: expected struct point whose field \"x\" is float32 at byte 0, \
         got float32 at byte 4",
    );
    for bytes in [&[0; 7][..], &[0; 9]] {
        refuse(
            MIDDLE,
            &mut two(Point::dtype().unwrap(), bytes),
            &format!(
                "middle: b: expected struct point, got {} bytes",
                bytes.len()
            ),
        );
    }
    refuse(
        MIDDLE,
        &mut [Arg::record(&a).unwrap(), Arg::from(1.0)],
        "middle: b: expected struct point, got a number",
    );
    refuse(
        MIDDLE,
        &mut [Arg::record(&a).unwrap(), Arg::Null],
        "middle: b: expected struct point, got NULL",
    );
}

#[test]
fn structs_are_items_of_arrays() {
    let particles = [particle(1, 2.0, 3.0, 10.0), particle(-1, 1.0, 1.0, 5.0)];
    for moment in engines(MOMENT) {
        assert_eq!(
            call(&moment, &mut [Arg::from(&particles)]).to_f64(),
            Some(40.0)
        );
    }
}

/// The dtype of a particle with changes.
fn changed(change: impl Fn(&mut [(&str, DType, usize); 3]), itemsize: usize) -> DType {
    let mut fields = [
        ("tag", DType::I8, 0),
        ("at", Point::dtype().unwrap(), 4),
        ("mass", DType::F64, 16),
    ];
    change(&mut fields);
    let fields = fields.map(|(name, dtype, offset)| Field::new(name, dtype).at(offset));
    DType::structured_with_offsets(fields, Some(itemsize), false).unwrap()
}

#[track_caller]
fn refuse_dtype(dtype: DType, problem: &str) {
    let p = Array::zeros(dtype, &[2], Order::C).unwrap();
    let message = format!("moment: p: expected particle[n]{problem}");
    refuse(MOMENT, &mut [Arg::from(&p)], &message);
}

#[test]
fn fields_are_members() {
    refuse_dtype(
        changed(|fields| fields[2].0 = "weight", 24),
        " whose field \"mass\" is a field of float64, got none of that name",
    );
    refuse_dtype(
        changed(|fields| fields[2].1 = DType::I64, 24),
        " whose field \"mass\" is float64 at byte 16, got int64 at byte 16",
    );
    refuse_dtype(
        changed(|fields| fields[1].2 = 8, 24),
        " of 24 bytes each, with \"at\" at byte 4, got 24 bytes with it at byte 8",
    );
    refuse_dtype(
        changed(
            |fields| {
                fields[1].1 = DType::structured([("x", DType::F32), ("y", DType::I32)]).unwrap();
            },
            24,
        ),
        " whose field \"at.y\" is float32 at byte 4, got int32 at byte 4",
    );
    let swapped = Particle::dtype().unwrap().newbyteorder(ByteOrder::Big);
    let p = Array::zeros(swapped, &[2], Order::C).unwrap();
    let before = crate::fixture::calls();
    for moment in engines(MOMENT) {
        let error = moment.call(&mut [Arg::from(&p)]).unwrap_err().to_string();
        assert!(
            error.starts_with("moment: p: expected particle[n] in native byte order"),
            "{error}"
        );
    }
    assert_eq!(crate::fixture::calls(), before);
    // The right members, and an item that is too long.
    let longer = changed(|_| (), 32);
    let p = Array::zeros(longer, &[2], Order::C).unwrap();
    for moment in engines(MOMENT) {
        let error = moment.call(&mut [Arg::from(&p)]).unwrap_err().to_string();
        assert!(
            error.starts_with("moment: p: expected particle[n] of 24 bytes each, got 32 bytes; "),
            "{error}"
        );
    }
    refuse_dtype(DType::F64, ", got an array of float64");
}

#[test]
fn structs_that_cannot_be_passed_are_refused_when_bound() {
    unbound("struct none; int status(struct none x)", "none");
    unbound(
        "struct page { char bytes[100000]; }; int status(struct page x)",
        "status: expected parameters and result of at most 65536 bytes, got more",
    );
}

#[test]
fn types_whose_members_double_with_each_level_are_bound_at_once() {
    let levels = (0..15).map(|level| {
        let next = level + 1;
        format!("typedef struct {{ t{level} *a, *b; }} t{next};")
    });
    let types = levels.collect::<String>();
    let prototype = format!("typedef int t0; {types} void f(t15 *x)");
    assert!(Contract::new(Prototype::parse(&prototype).unwrap()).is_ok());
}
