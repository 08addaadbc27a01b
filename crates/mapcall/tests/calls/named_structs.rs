//! Structs that are made by their members.

use mapcall::array::{Array, DType, layout::Order};
use mapcall::declarations::Declarations;
use mapcall::{Arg, CType, Library, Struct, Value};

use crate::fixture::{bind, call, engines, without_remedy};

const TASK: &str = "struct counter { int value; };
    struct task {
        const double *in; double *out; int n; unsigned mode : 3; int level : 5; union { int i; float f; } u;
        const char *name; char tag[8]; const char *const *words; int (*op)(int); struct counter *counter;
        struct task *next;
    };";
const VIEW: &str = "struct view { const double *x; int n; };";

fn run() -> Vec<mapcall::Function> {
    engines(&format!("{TASK} int task_run(struct task *t)"))
}

fn message<T: std::fmt::Debug>(result: Result<T, mapcall::CallError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn members_of_all_kinds() {
    for run in run() {
        let input = [1.0, 2.0];
        let mut output = vec![0.0; 2];
        let counter_new = bind("struct counter *counter_new(int value)");
        let counter = call(&counter_new, &mut [50_000.into()]).into_handle();
        let counter = counter.unwrap();
        let mut next = run.structure("t").unwrap();
        let mut task = run.structure("t").unwrap();
        task.set("in", &input).unwrap();
        task.set("out", &mut output).unwrap();
        task.set("n", 2).unwrap();
        task.set("mode", 5).unwrap();
        task.set("level", -3).unwrap();
        task.set("u.i", 20_000).unwrap();
        task.set("name", "four").unwrap();
        task.set("tag", "six").unwrap();
        task.set("words", Arg::list(["a", "bc"])).unwrap();
        task.set("op", &bind("int halved(int x)")).unwrap();
        task.set("counter", &counter).unwrap();
        task.set("next", &mut next).unwrap();
        assert_eq!(task.get("level").unwrap().to_i128(), Some(-3));
        let total = call(&run, &mut [Arg::from(&mut task)]).to_i128().unwrap();
        let expected = 2 + 500 - 3000 + 20_000 + 3 + 4 + 3;
        assert_eq!(total, expected / 2 + 50_000);
        assert_eq!(task.get("level").unwrap().to_i128(), Some(-1));
        assert_eq!(task.get("mode").unwrap().to_i128(), Some(5));
        assert!(task.get("u.f").unwrap().to_f64().is_some());
        let Value::Text(name) = task.get("name").unwrap() else {
            panic!()
        };
        assert_eq!(name.unwrap().to_bytes(), b"four");
        drop(task);
        assert_eq!(output, [2.0, 4.0]);
        assert_eq!(next.get("n").unwrap().to_i128(), Some(total));
        assert_eq!(next.get("name").unwrap().text(), Some(c"written by C"));
    }
}

#[test]
fn owned_arrays_and_null() {
    for run in run() {
        let input = Array::zeros(DType::F64, &[3], Order::C).unwrap();
        let mut task = run.structure("t").unwrap();
        task.set("n", 3).unwrap();
        task.set("in", &input).unwrap();
        task.set(
            "out",
            Arg::Allocated(Array::zeros(DType::F64, &[3], Order::C).unwrap()),
        )
        .unwrap();
        assert_eq!(call(&run, &mut [Arg::from(&mut task)]).to_i128(), Some(3));
        // A handle keeps what the struct owns.
        let out = bind(&format!("{TASK} double *task_out(struct task *t)"));
        let handle = call(&out, &mut [Arg::from(&mut task)])
            .into_handle()
            .unwrap();
        task.set("out", Arg::Null).unwrap();
        assert!(task.get("out").unwrap().into_handle().is_none());
        drop(task);
        let first = bind("double first_of(const double *x)");
        // SAFETY: the array has three elements.
        let value = unsafe { first.call_unchecked(&mut [Arg::from(&handle)]) };
        assert_eq!(value.unwrap().to_f64(), Some(0.0));
    }
}

#[test]
fn handles_to_borrowed_memory_are_refused() {
    let out = bind(&format!("{TASK} double *task_out(struct task *t)"));
    let mut output = [1.0];
    let mut task = out.structure("t").unwrap();
    task.set("out", &mut output).unwrap();
    let handles = [
        call(&out, &mut [Arg::from(&mut task)])
            .into_handle()
            .unwrap(),
        task.get("out").unwrap().into_handle().unwrap(),
    ];
    drop(task);
    for handle in handles {
        let first = bind("double first_of(const double *x)");
        let error = message(first.call(&mut [Arg::from(&handle)]));
        assert!(
            error.contains("borrow") || error.contains("freed"),
            "{error}"
        );
    }
}

#[test]
fn by_value() {
    for sum in engines(&format!("{VIEW} double view_sum(struct view v)")) {
        let x = [1.0, 2.0, 4.0];
        let mut view = sum.structure("v").unwrap();
        view.set("x", &x).unwrap();
        view.set("n", 3).unwrap();
        assert_eq!(call(&sum, &mut [Arg::from(&view)]).to_f64(), Some(7.0));
        assert_eq!(call(&sum, &mut [Arg::from(&mut view)]).to_f64(), Some(7.0));
        let task = run()[0].structure("t").unwrap();
        let error = message(sum.call(&mut [Arg::from(&task)]));
        assert!(
            error.starts_with("view_sum: v: expected struct view, got a struct task"),
            "{error}"
        );
    }
    let at = bind(&format!("{VIEW} double view_at(struct view v, int i)"));
    let x = [1.0, 2.0, 4.0];
    let mut view = at.structure("v").unwrap();
    view.set("x", &x).unwrap();
    let mut outputs = [Arg::Out];
    at.map(&[Arg::from(&view), Arg::from(&[2, 0])], &mut outputs)
        .run()
        .unwrap();
    let values = outputs[0].array().unwrap();
    assert_eq!(
        values.view::<f64>().unwrap().as_slice(),
        Some(&[4.0, 1.0][..])
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let run = &run()[0];
    let (single, x) = ([1.0_f32], [1.0]);
    let mut task = run.structure("t").unwrap();
    for (result, expected) in [
        (
            task.set("n", 1_u64 << 31),
            "task: n: expected int, got 2147483648",
        ),
        (task.set("n", "2"), "task: n: expected int, got a text"),
        (
            task.set("mode", 8),
            "task: mode: expected unsigned int from 0 to 7, got 8",
        ),
        (
            task.set("in", &single),
            "task: in: expected a pointer to double, got an array of float32",
        ),
        (
            task.set("in", 3),
            "task: in: expected a pointer to double with its extent, got an integer",
        ),
        (
            task.set("out", &x),
            "task: out: expected a pointer to double, writeable, got a read-only array",
        ),
        (
            task.set("tag", "123456789"),
            "task: tag: expected char[8], got a text of 9 bytes",
        ),
        (
            task.set("counter", &x),
            "task: counter: expected a pointer to counter, got an array of float64",
        ),
        (
            task.set("words", Arg::list([Arg::from("a"), Arg::from(1)])),
            "task: words[1]: expected text, got an integer",
        ),
        (
            task.set("nn", 1),
            "task: expected the name of a member, got nn",
        ),
        (
            task.set("n.x", 1),
            "task: expected the name of a member, got n.x",
        ),
        (
            task.get("tag").map(drop),
            "task: tag: expected char[8], got an array",
        ),
        (
            task.array("n").map(drop),
            "task: n: expected int, got no array of plain data",
        ),
        (
            run.structure("s").map(drop),
            "task_run: expected the name of a parameter, got s",
        ),
    ] {
        let found = result.map_err(|error| without_remedy(&error.to_string()).to_owned());
        assert_eq!(found, Err(expected.to_owned()));
    }
    let error = message(run.call(&mut [Arg::from(&task)]));
    assert!(
        error.contains("read-only") || error.contains("const"),
        "{error}"
    );
    let size = bind(&format!("{TASK} int task_size(const struct task *t)"));
    assert_eq!(call(&size, &mut [Arg::from(&task)]).to_i128(), Some(0));
    let unknown = bind("int counter_next(struct counter *counter)").structure("counter");
    assert!(message(unknown).starts_with("counter: expected a struct with its members"));
    let process = Library::process().unwrap();
    assert!(Struct::new(&process, &CType::Void).is_err());
    let header = Declarations::parse("struct wide { char c; } __attribute__((aligned(128)));");
    assert!(Struct::new(&process, &header.structure("wide").unwrap()).is_err());
}
